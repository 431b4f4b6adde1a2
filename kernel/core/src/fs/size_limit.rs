//! How large a program may make a file (setrlimit(2), RLIMIT_FSIZE).

use sis_abi::signal::{SIGXFSZ, SigInfo};

use crate::Errno;
use crate::process::limits::Resource;
use crate::process::{signal, thread};

/// RLIMIT_FSIZE of the running thread; no limit for the kernel.
pub fn file_size_limit() -> u64 {
    thread::try_current().map_or(u64::MAX, |t| t.process.limit(Resource::FileSize).soft)
}

/// What exceeding it does: SIGXFSZ and `EFBIG`.
#[cold]
pub fn too_large() -> Errno {
    if let Some(t) = thread::try_current() {
        // A standard signal is never refused.
        let _ = signal::send_to_thread(&t.to_arc(), SigInfo::kernel(SIGXFSZ));
    }
    Errno::EFBIG
}
