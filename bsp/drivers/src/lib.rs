//! Device drivers: no addresses, no unsafe, hardware only through sis-hal.
#![no_std]
#![forbid(unsafe_code)]
