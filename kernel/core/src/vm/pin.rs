//! Frames of user memory for devices: direct I/O.

use super::{Access, Fault, PAGE, Vm};
use crate::process::thread;
use crate::{Errno, Result};
use sis_machine::mm::frames::Frame;

/// How often a page may be taken away again between its fault and the look at it.
const TRIES: usize = 64;

impl Vm {
    /// The frame of the page at `address`, brought in where needed, and with `write` one that the program itself may
    /// write. Who has it may let a device read or write it; a fork meanwhile makes it one of two copies, as on Linux.
    ///
    /// # Errors
    /// `EFAULT` where the program itself may not touch the page, `ENOMEM`.
    pub fn pin(&self, address: usize, write: bool) -> Result<Frame> {
        let page = address & !(PAGE - 1);
        let access = if write { Access::Write } else { Access::Read };
        for _ in 0..TRIES {
            let found = self.inner.lock().space.query(page);
            match found {
                Some((frame, now)) if now.read && (now.write || !write) => return Ok(frame),
                _ => {}
            }
            match self.handle_fault(page, access) {
                Ok(()) => {}
                Err(Fault::NoMemory) => return Err(Errno::ENOMEM),
                Err(_) => return Err(Errno::EFAULT),
            }
        }
        Err(Errno::EFAULT)
    }
}

/// As [`Vm::pin`], of the running process.
///
/// # Errors
/// See there; `EFAULT` in a kernel thread.
pub fn pin(address: usize, write: bool) -> Result<Frame> {
    let current = thread::try_current().ok_or(Errno::EFAULT)?;
    current.process.vm().ok_or(Errno::EFAULT)?.pin(address, write)
}
