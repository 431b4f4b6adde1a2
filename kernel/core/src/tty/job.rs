//! Job control: who may use a terminal (credentials(7), setpgid(2), tty_ioctl(4)).

use core::sync::atomic::Ordering;

use sis_abi::signal::{SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SigInfo, Signal};
use sis_abi::tty::LocalFlags;

use super::Tty;
use crate::process::signal::send_to_group;
use crate::process::{table, thread};
use crate::{Errno, Result};

/// Whether no member of a group has a parent in another group of the same session: nobody could continue it.
fn is_orphaned(pgid: u32) -> bool {
    !table::group(pgid)
        .iter()
        .any(|p| table::get(p.ppid()).is_some_and(|parent| parent.sid() == p.sid() && parent.pgid() != pgid))
}

impl Tty {
    /// A reader in the background gets SIGTTIN, or `EIO` when that would do nothing.
    pub(super) fn check_background_read(&self) -> Result<()> {
        self.check_background(SIGTTIN)
    }

    /// A writer in the background gets SIGTTOU when TOSTOP is set.
    pub(super) fn check_background_write(&self) -> Result<()> {
        if !self.discipline.lock().termios().local().contains(LocalFlags::TOSTOP) {
            return Ok(());
        }
        self.check_change()
    }

    /// Whoever changes a terminal from the background gets SIGTTOU; those who block or ignore it may.
    pub(super) fn check_change(&self) -> Result<()> {
        self.check_background(SIGTTOU)
    }

    fn check_background(&self, signal: Signal) -> Result<()> {
        let Some(current) = thread::try_current() else {
            return Ok(());
        };
        let process = &current.process;
        let foreground = self.foreground.load(Ordering::Relaxed);
        if process.sid() != self.session.load(Ordering::Relaxed) || foreground == 0 || process.pgid() == foreground {
            return Ok(());
        }
        let is_held_off = current.blocked().has(signal) || process.signal.lock().actions.get(signal).ignores(signal);
        if is_held_off {
            return if signal == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        if is_orphaned(process.pgid()) {
            return Err(Errno::EIO);
        }
        send_to_group(process.pgid(), SigInfo::kernel(signal))?;
        Err(Errno::ERESTARTSYS)
    }

    /// Makes it the controlling terminal of the caller's session. `steal`: even if another session has it.
    pub(super) fn take_session(&self, steal: bool) -> Result<()> {
        let current = thread::current();
        let process = &current.process;
        let sid = process.sid();
        if self.session.load(Ordering::Relaxed) == sid && sid != 0 {
            return Ok(());
        }
        if process.pid != sid {
            return Err(Errno::EPERM);
        }
        let owner = self.session.load(Ordering::Relaxed);
        if owner != 0 && table::get(owner).is_some() && !(steal && current.cred().may_override()) {
            return Err(Errno::EPERM);
        }
        self.session.store(sid, Ordering::Relaxed);
        self.foreground.store(process.pgid(), Ordering::Relaxed);
        Ok(())
    }

    /// Gives up the controlling terminal; when the session's leader does, the foreground group is hung up.
    pub(super) fn leave_session(&self) -> Result<()> {
        let current = thread::current();
        let sid = current.process.sid();
        if self.session.load(Ordering::Relaxed) != sid {
            return Err(Errno::ENOTTY);
        }
        if current.process.pid == sid {
            self.hang_up(sid);
        }
        Ok(())
    }

    /// The session `sid` has ended: its foreground group is told, and the terminal is free.
    pub fn hang_up(&self, sid: u32) {
        if sid == 0
            || self
                .session
                .compare_exchange(sid, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let group = self.foreground.swap(0, Ordering::Relaxed);
        if group != 0 {
            let _ = send_to_group(group, SigInfo::kernel(SIGHUP));
            let _ = send_to_group(group, SigInfo::kernel(SIGCONT));
        }
    }

    pub(super) fn session_of_caller(&self) -> Result<()> {
        let current = thread::current();
        let sid = current.process.sid();
        if sid != 0 && self.session.load(Ordering::Relaxed) == sid {
            Ok(())
        } else {
            Err(Errno::ENOTTY)
        }
    }

    pub(super) fn foreground_group(&self) -> Result<u32> {
        self.session_of_caller()?;
        Ok(self.foreground.load(Ordering::Relaxed))
    }

    pub(super) fn set_foreground_group(&self, pgid: i32) -> Result<()> {
        self.session_of_caller()?;
        self.check_change()?;
        let pgid = u32::try_from(pgid).map_err(|_| Errno::EINVAL)?;
        let members = table::group(pgid);
        let first = members.first().ok_or(Errno::ESRCH)?;
        if first.sid() != self.session.load(Ordering::Relaxed) {
            return Err(Errno::EPERM);
        }
        self.foreground.store(pgid, Ordering::Relaxed);
        Ok(())
    }

    /// The session that has it; 0 for none.
    pub fn session(&self) -> u32 {
        self.session.load(Ordering::Relaxed)
    }

    /// The foreground process group; 0 for none.
    pub fn foreground(&self) -> u32 {
        self.foreground.load(Ordering::Relaxed)
    }
}
