//! Cuts a board's power in thousands of ways and looks for what was lost.
//!
//! A board under QEMU runs the workload of `sis-workload` on a disk that this crate plays: an NBD server ([`nbd`]) that
//! writes down every request in order ([`trace`]). The workload's log is a second disk of the same server, so that what
//! had been acknowledged at any moment is exactly known. From one run come as many crash states as one likes
//! ([`states`]): cut after the k-th event; what the last completed flush covered is there, of the rest each write is
//! there, not there, or torn at sectors, as a seed says. Each state is recovered and must be sound and hold what was
//! acknowledged ([`check`]): by `e2fsck`, thousands of states ([`campaign`]), or by the board mounting and unmounting it
//! ([`recovery`]), where the power is cut a second time. In a second mode the board's disk is a plain file and QEMU is
//! killed ([`kill`]).
//!
//! A harness that finds nothing proves nothing until it has shown that it can: the tests run it against Linux' ext4 with
//! barriers (no losses), and without them, with a disk that lies about flushes, and with a workload that acknowledges
//! what it has not synchronised (losses, each time).
#![forbid(unsafe_code)]

pub mod campaign;
pub mod check;
pub mod disk;
pub mod host;
pub mod kill;
pub mod machine;
pub mod nbd;
pub mod recovery;
pub mod states;
pub mod trace;
