//! tty_ioctl(4).

use core::sync::atomic::Ordering;

use alloc::sync::Arc;
use sis_abi::signal::{SIGWINCH, SigInfo};
use sis_abi::tty::{Termios, Termios2};
use sis_algo::ldisc::Settings;

use super::{Tty, WindowSize};
use crate::poll::Events;
use crate::process::signal::send_to_group;
use crate::process::thread;
use crate::user::UserPtr;
use crate::{Errno, Result};

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCNOTTY: u32 = 0x5422;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;

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
            let t = UserPtr::<Termios2>::new(argument).read()?;
            let new = Termios {
                c_iflag: t.c_iflag,
                c_oflag: t.c_oflag,
                c_cflag: t.c_cflag,
                c_lflag: t.c_lflag,
                c_line: t.c_line,
                c_cc: t.c_cc,
            };
            set(tty, &new, command == TCSETSF2)?;
        }
        // Output is written through: there is nothing to wait for.
        TCSBRK | TCSBRKP => tty.check_change()?,
        TCXONC => {
            tty.check_change()?;
            match argument {
                0 => tty.discipline.lock().set_stopped(true),
                1 => {
                    tty.discipline.lock().set_stopped(false);
                    tty.ready.wake_all(Events::WRITE);
                }
                2 | 3 => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        TCFLSH => {
            tty.check_change()?;
            match argument {
                0 | 2 => tty.discipline.lock().flush_input(),
                1 => {}
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
    let d = tty.discipline.lock();
    let s = d.settings();
    Termios {
        c_iflag: s.c_iflag,
        c_oflag: s.c_oflag,
        c_cflag: tty.control_flags.load(Ordering::Relaxed),
        c_lflag: s.c_lflag,
        c_line: 0,
        c_cc: s.c_cc,
    }
}

fn set(tty: &Tty, new: &Termios, flush: bool) -> Result<()> {
    tty.check_change()?;
    if thread::try_current().is_none() {
        return Err(Errno::ENOTTY);
    }
    let mut d = tty.discipline.lock();
    if flush {
        d.flush_input();
    }
    d.set(Settings {
        c_iflag: new.c_iflag,
        c_oflag: new.c_oflag,
        c_lflag: new.c_lflag,
        c_cc: new.c_cc,
    });
    drop(d);
    tty.control_flags.store(new.c_cflag, Ordering::Relaxed);
    tty.ready.wake_all(Events::READ | Events::WRITE);
    Ok(())
}
