//! The network stack's pure part. Time and packets are passed in; what to send comes out.
//!
//! | module | story |
//! |---|---|
//! | [`sockaddr`] | socket addresses as user programs pass them |
//! | [`cmsg`] | control messages of sendmsg(2) and recvmsg(2) |
//! | [`packet`] | IP, UDP, ICMP and ARP packets as bytes |
//! | [`neighbor`] | which hardware address has which IP address |
//! | [`route`] | interfaces' addresses and where a packet goes |
//! | [`ports`] | who may bind which port, and who gets a packet |
//! | [`reassembly`] | fragments back into datagrams |
//! | [`tcp`] | one TCP connection over smoltcp |
//! | [`netlink`] | rtnetlink messages |
//!
//! What is *not* here: sockets, waiting, locks, devices (`kernel/core`).
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;

pub mod cmsg;
pub mod neighbor;
pub mod netlink;
pub mod packet;
pub mod ports;
pub mod reassembly;
pub mod route;
pub mod sockaddr;
pub mod tcp;
