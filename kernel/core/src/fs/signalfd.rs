//! signalfd(2): signals that are read. It always speaks of the thread that reads or polls.

use alloc::string::String;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_abi::Layout;
use sis_abi::poll::SignalfdSiginfo;
use sis_abi::signal::{SigInfo, SigSet};

use super::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::process::{signal, thread};
use crate::user::Sink;
use crate::wait::{Observer, Registration};
use crate::{Errno, Result};

/// A signalfd.
pub struct SignalFd {
    mask: AtomicU64,
}

impl SignalFd {
    /// For the signals of `mask`.
    pub fn new(mask: SigSet) -> Self {
        Self {
            mask: AtomicU64::new(mask.blockable().0),
        }
    }

    /// Replaces the mask.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.blockable().0, Ordering::SeqCst);
    }

    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::SeqCst))
    }
}

/// What a read gives of a signal.
fn describe(info: &SigInfo) -> SignalfdSiginfo {
    let bytes = info.to_bytes();
    let word = |at: usize| bytes.get(at..).and_then(i32::read).unwrap_or(0);
    let long = |at: usize| bytes.get(at..).and_then(u64::read).unwrap_or(0);
    // Offsets of siginfo_t's union (asm-generic/siginfo.h): pid 16, uid 20, value or status 24, times 32 and 40, address 16.
    SignalfdSiginfo {
        ssi_signo: word(0) as u32,
        ssi_errno: word(4),
        ssi_code: word(8),
        ssi_pid: word(16) as u32,
        ssi_uid: word(20) as u32,
        ssi_status: word(24),
        ssi_int: word(24),
        ssi_ptr: long(24),
        ssi_utime: long(32),
        ssi_stime: long(40),
        ssi_addr: long(16),
        ..SignalfdSiginfo::default()
    }
}

impl File for SignalFd {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        if to.remaining() < SignalfdSiginfo::SIZE {
            return Err(Errno::EINVAL);
        }
        let thread = thread::current();
        let mut done = 0;
        while to.remaining() >= SignalfdSiginfo::SIZE {
            let taken = match signal::dequeue(&thread, self.mask()) {
                Some(info) => info,
                None if done > 0 => break,
                None if flags.nonblock => return Err(Errno::EAGAIN),
                None => thread
                    .process
                    .signal_wait
                    .wait(|| signal::dequeue(&thread, self.mask()))?,
            };
            done += to.put(&describe(&taken).to_bytes())?;
        }
        Ok(done)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        let Some(thread) = thread::try_current() else {
            return Events::empty();
        };
        if let Some(t) = table {
            t.watch(&thread.process.signal_wait);
        }
        let pending = thread.process.pending_signals(&thread);
        if pending.0 & self.mask().0 != 0 {
            Events::READ
        } else {
            Events::empty()
        }
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![thread::current().process.signal_wait.observe(observer)])
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }

    fn fdinfo(&self) -> String {
        alloc::format!("sigmask:\t{:016x}\n", self.mask().0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
