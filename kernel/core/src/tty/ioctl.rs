//! tty_ioctl(4).

use alloc::sync::Arc;
use sis_abi::signal::{SIGWINCH, SigInfo};
use sis_abi::tty::{
    FIONREAD, TCFLSH, TCGETS, TCGETS2, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON, TCSBRK, TCSBRKP,
    TCSETS, TCSETS2, TCSETSF, TCSETSF2, TCSETSW, TCSETSW2, TCXONC, TIOCEXCL, TIOCGETD, TIOCGPGRP, TIOCGSID, TIOCGWINSZ,
    TIOCNOTTY, TIOCNXCL, TIOCOUTQ, TIOCSCTTY, TIOCSPGRP, TIOCSTI, TIOCSWINSZ, Termios, Termios2,
};

use super::{Tty, WindowSize};
use crate::poll::Events;
use crate::process::signal::send_to_group;
use crate::process::thread;
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) fn handle(tty: &Arc<Tty>, command: u32, argument: usize) -> Result<usize> {
    match command {
        TCGETS => UserPtr::<Termios>::new(argument).write(&get(tty))?,
        TCSETS | TCSETSW | TCSETSF => {
            let new = UserPtr::<Termios>::new(argument).read()?;
            set(tty, &new, command == TCSETSF)?;
        }
        TCGETS2 => {
            let t = get(tty);
            UserPtr::<Termios2>::new(argument).write(&Termios2 {
                c_iflag: t.c_iflag,
                c_oflag: t.c_oflag,
                c_cflag: t.c_cflag,
                c_lflag: t.c_lflag,
                c_line: t.c_line,
                c_cc: t.c_cc,
                c_ispeed: 115_200,
                c_ospeed: 115_200,
            })?;
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            let new = UserPtr::<Termios2>::new(argument).read()?.into();
            set(tty, &new, command == TCSETSF2)?;
        }
        // Output is written through: there is nothing to wait for.
        TCSBRK | TCSBRKP => tty.check_change()?,
        TCXONC => {
            tty.check_change()?;
            match u32::try_from(argument).map_err(|_| Errno::EINVAL)? {
                TCOOFF => tty.discipline.lock().set_stopped(true),
                TCOON => {
                    tty.discipline.lock().set_stopped(false);
                    tty.ready.wake_all(Events::WRITE);
                }
                TCIOFF | TCION => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        TCFLSH => {
            tty.check_change()?;
            match u32::try_from(argument).map_err(|_| Errno::EINVAL)? {
                TCIFLUSH | TCIOFLUSH => tty.flush_input(),
                TCOFLUSH => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        TIOCEXCL | TIOCNXCL | TIOCSTI => return Err(Errno::EPERM),
        TIOCSCTTY => tty.take_session(argument == 1)?,
        TIOCNOTTY => tty.leave_session()?,
        TIOCGPGRP => UserPtr::<i32>::new(argument).write(&(tty.foreground_group()? as i32))?,
        TIOCSPGRP => tty.set_foreground_group(UserPtr::<i32>::new(argument).read()?)?,
        TIOCGSID => {
            tty.session_of_caller()?;
            UserPtr::<i32>::new(argument).write(&(tty.session() as i32))?;
        }
        TIOCOUTQ => UserPtr::<i32>::new(argument).write(&0)?,
        FIONREAD => {
            let n = tty.discipline.lock().available();
            UserPtr::<i32>::new(argument).write(&(n as i32))?;
        }
        TIOCGWINSZ => {
            let s = *tty.size.lock();
            let word = u64::from(s.rows)
                | u64::from(s.columns) << 16
                | u64::from(s.x_pixels) << 32
                | u64::from(s.y_pixels) << 48;
            UserPtr::<u64>::new(argument).write(&word)?;
        }
        TIOCSWINSZ => set_size(tty, UserPtr::<u64>::new(argument).read()?),
        TIOCGETD => UserPtr::<i32>::new(argument).write(&0)?,
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

fn set_size(tty: &Tty, word: u64) {
    let new = WindowSize {
        rows: word as u16,
        columns: (word >> 16) as u16,
        x_pixels: (word >> 32) as u16,
        y_pixels: (word >> 48) as u16,
    };
    let old = core::mem::replace(&mut *tty.size.lock(), new);
    let group = tty.foreground();
    if old != new && group != 0 {
        let _ = send_to_group(group, SigInfo::kernel(SIGWINCH));
    }
}

fn get(tty: &Tty) -> Termios {
    *tty.discipline.lock().termios()
}

fn set(tty: &Tty, new: &Termios, flush: bool) -> Result<()> {
    tty.check_change()?;
    if thread::try_current().is_none() {
        return Err(Errno::ENOTTY);
    }
    if flush {
        tty.flush_input();
    }
    // There is one line discipline, N_TTY.
    let _ = tty.discipline.lock().set_termios(Termios { c_line: 0, ..*new });
    tty.ready.wake_all(Events::READ | Events::WRITE);
    Ok(())
}
