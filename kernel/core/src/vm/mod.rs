//! Users' address spaces.

use sis_machine::mm::frames::Frame;

use crate::Result;

/// The pages of something that can be mapped: a file's page cache, a shared memory object, a device.
pub trait PageSource: Send + Sync {
    /// Page `index` (of 4096 bytes). `write`: the mapper is about to write through a shared mapping, so a hole must get
    /// a page of its own. `EFAULT`-like answers become SIGBUS: past the end of the file, no space, I/O error.
    fn page(&self, index: u64, write: bool) -> Result<Frame>;

    /// Bytes, now.
    fn size(&self) -> u64;

    /// Name shown in /proc/PID/maps; an absolute path or `[name]`.
    fn name(&self) -> alloc::string::String;

    /// Device and inode number, for /proc/PID/maps and for shared futex keys.
    fn identity(&self) -> (u64, u64);
}
