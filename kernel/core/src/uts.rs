//! What the system calls itself: uname(2), sethostname(2), /proc/version and /proc/sys/kernel.

use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};

/// The kernel's name; programs look for this one.
pub const SYSNAME: &str = "Linux";
/// The version of Linux whose interface this is, and ours.
pub const RELEASE: &str = concat!("6.1.0-sis-", env!("CARGO_PKG_VERSION"));
/// The build.
pub const VERSION: &str = "#1 SMP SIS";
/// The machine.
pub const MACHINE: &str = "aarch64";
/// Longest host or domain name.
pub const NAME_MAX: usize = 64;

static HOST: SpinLock<Vec<u8>> = SpinLock::new(Rank::Leaf, Vec::new());
static DOMAIN: SpinLock<Vec<u8>> = SpinLock::new(Rank::Leaf, Vec::new());

fn get(name: &SpinLock<Vec<u8>>) -> Vec<u8> {
    let name = name.lock();
    if name.is_empty() {
        b"(none)".to_vec()
    } else {
        name.clone()
    }
}

fn set(name: &SpinLock<Vec<u8>>, new: &[u8]) {
    let new = new.iter().take(NAME_MAX).copied().collect();
    let old = core::mem::replace(&mut *name.lock(), new);
    drop(old);
}

/// The host's name; `(none)` until it is set.
pub fn hostname() -> Vec<u8> {
    get(&HOST)
}

/// Sets the host's name; what exceeds [`NAME_MAX`] is cut.
pub fn set_hostname(name: &[u8]) {
    set(&HOST, name);
}

/// The NIS domain's name; `(none)` until it is set.
pub fn domainname() -> Vec<u8> {
    get(&DOMAIN)
}

/// Sets the NIS domain's name; what exceeds [`NAME_MAX`] is cut.
pub fn set_domainname(name: &[u8]) {
    set(&DOMAIN, name);
}
