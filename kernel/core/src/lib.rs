//! The kernel above the machine: processes, files, sockets, system calls.
#![no_std]
#![forbid(unsafe_code)]
