//! The console: modes, window size, foreground group; pseudo-terminals where the kernel has them.

use super::Case;
use crate::sys::{Ended, Errno, Fd, Outcome, What, child, fd, open, read, refused, sleep_ms, wait, write};

pub(super) static CASES: &[Case] = &[
    ("tty/console-modes", console_modes),
    ("tty/console-window", console_window),
    ("tty/no-controlling-terminal", no_controlling_terminal),
    ("tty/pty-canonical", pty_canonical),
    ("tty/pty-raw", pty_raw),
    ("tty/pty-interrupt", pty_interrupt),
    ("tty/pty-hang-up", pty_hang_up),
    ("tty/pty-background-read", pty_background_read),
];

/// struct termios of the kernel: four mode words, line, 19 control characters.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Termios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    special: [u8; 19],
}

fn get(terminal: &Fd) -> Result<Termios, Errno> {
    let mut modes = Termios::default();
    sys!(SYS_ioctl, terminal, libc::TCGETS, &raw mut modes)?;
    Ok(modes)
}

fn set(terminal: &Fd, modes: &Termios) -> Result<i64, Errno> {
    sys!(SYS_ioctl, terminal, libc::TCSETS, std::ptr::from_ref(modes))
}

fn console() -> Result<Fd, String> {
    open("/dev/console", libc::O_RDWR | libc::O_NOCTTY, 0).what("/dev/console")
}

/// A case is a background job: without this, changing the console's modes would stop it.
fn hold_ttou() -> Outcome {
    let mask = 1_u64 << (libc::SIGTTOU - 1);
    sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8)
        .what("block")
        .map(|_| ())
}

fn console_modes() -> Outcome {
    hold_ttou()?;
    let console = console()?;
    let before = get(&console).what("TCGETS")?;
    let mut changed = before;
    changed.local ^= libc::ECHO | libc::ICANON;
    changed.special[libc::VMIN] = 3;
    set(&console, &changed).what("TCSETS")?;
    let seen = get(&console);
    set(&console, &before).what("TCSETS")?;
    same!(seen.what("TCGETS")?, changed, "modes");
    same!(get(&console).what("TCGETS")?, before, "modes put back");
    refused("an unknown request", sys!(SYS_ioctl, &console, 0x54ff, 0), libc::ENOTTY)
}

fn console_window() -> Outcome {
    hold_ttou()?;
    let console = console()?;
    let (mut before, wanted) = ([0_u16; 4], [33_u16, 99, 0, 0]);
    sys!(SYS_ioctl, &console, libc::TIOCGWINSZ, before.as_mut_ptr()).what("TIOCGWINSZ")?;
    sys!(SYS_ioctl, &console, libc::TIOCSWINSZ, wanted.as_ptr()).what("TIOCSWINSZ")?;
    let mut seen = [0_u16; 4];
    sys!(SYS_ioctl, &console, libc::TIOCGWINSZ, seen.as_mut_ptr()).what("TIOCGWINSZ")?;
    sys!(SYS_ioctl, &console, libc::TIOCSWINSZ, before.as_ptr()).what("TIOCSWINSZ")?;
    same!(seen, wanted, "rows and columns");
    Ok(())
}

fn no_controlling_terminal() -> Outcome {
    crate::sys::checked_child(|| {
        sys!(SYS_setsid).what("setsid")?;
        refused("/dev/tty", open("/dev/tty", libc::O_RDWR, 0).map(|_| ()), libc::ENXIO)
    })
}

/// A pseudo-terminal: the two ends. `None` when this kernel has none, which it must say cleanly.
fn pty() -> Result<Option<(Fd, Fd)>, String> {
    let master = match open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY, 0) {
        Ok(master) => master,
        Err(Errno(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => return Ok(None),
        Err(e) => return Err(format!("/dev/ptmx: {e}")),
    };
    let (off, mut number) = (0_i32, 0_u32);
    sys!(SYS_ioctl, &master, libc::TIOCSPTLCK, &raw const off).what("TIOCSPTLCK")?;
    sys!(SYS_ioctl, &master, libc::TIOCGPTN, &raw mut number).what("TIOCGPTN")?;
    let slave = open(&format!("/dev/pts/{number}"), libc::O_RDWR | libc::O_NOCTTY, 0).what("/dev/pts")?;
    Ok(Some((master, slave)))
}

fn pty_canonical() -> Outcome {
    let Some((master, slave)) = pty()? else { return Ok(()) };
    write(&master, b"one\x7f\x7fx\ntwo\n").what("write")?;
    same!(
        read(&slave, 100).what("read")?,
        b"ox\n".to_vec(),
        "a line with two characters erased"
    );
    same!(read(&slave, 2).what("read")?, b"tw".to_vec(), "part of a line");
    same!(read(&slave, 100).what("read")?, b"o\n".to_vec(), "the rest of it");
    let echo = read(&master, 200).what("read")?;
    same!(
        String::from_utf8_lossy(&echo),
        "one\x08 \x08\x08 \x08x\r\ntwo\r\n",
        "the echo"
    );
    write(&master, b"par\x15new\x04").what("write")?;
    same!(read(&slave, 100).what("read")?, b"new".to_vec(), "^U and ^D in a line");
    write(&master, b"\x04").what("write")?;
    same!(read(&slave, 100).what("read")?, Vec::<u8>::new(), "^D on an empty line");
    write(&slave, b"a\nb").what("write")?;
    let _ = read(&master, 100);
    Ok(())
}

fn pty_raw() -> Outcome {
    let Some((master, slave)) = pty()? else { return Ok(()) };
    let mut modes = get(&slave).what("TCGETS")?;
    modes.local &= !(libc::ICANON | libc::ECHO | libc::ISIG);
    modes.input &= !libc::ICRNL;
    modes.output &= !libc::OPOST;
    modes.special[libc::VMIN] = 1;
    modes.special[libc::VTIME] = 0;
    set(&slave, &modes).what("TCSETS")?;
    write(&master, b"a\r\x03").what("write")?;
    same!(
        read(&slave, 100).what("read")?,
        b"a\r\x03".to_vec(),
        "bytes as they come"
    );
    write(&slave, b"x\ny").what("write")?;
    same!(
        read(&master, 100).what("read")?,
        b"x\ny".to_vec(),
        "no echo, no output processing"
    );
    modes.special[libc::VMIN] = 0;
    modes.special[libc::VTIME] = 1;
    set(&slave, &modes).what("TCSETS")?;
    same!(read(&slave, 10).what("read")?, Vec::<u8>::new(), "VTIME without input");
    Ok(())
}

/// A child that leads a session on the terminal and runs `work`.
fn on_terminal(slave: &Fd, work: impl FnOnce() -> i32) -> Result<i32, String> {
    let pid = child(|| {
        if sys!(SYS_setsid).is_err() || sys!(SYS_ioctl, slave, libc::TIOCSCTTY, 0).is_err() {
            return 100;
        }
        work()
    })?;
    sleep_ms(50);
    Ok(pid)
}

fn pty_interrupt() -> Outcome {
    let Some((master, slave)) = pty()? else { return Ok(()) };
    let idle = || {
        sleep_ms(10_000);
        0
    };
    for (byte, signal) in [(3_u8, libc::SIGINT), (0x1c, libc::SIGQUIT)] {
        let pid = on_terminal(&slave, idle)?;
        write(&master, &[byte]).what("write")?;
        same!(
            wait(pid, 0).what("wait4")?,
            Ended::Signal(signal),
            "the foreground process"
        );
    }
    let pid = on_terminal(&slave, || {
        // In a session of its own the leader's group is orphaned, where ^Z does nothing: a child in a group of its own.
        let inner = child(|| {
            sleep_ms(10_000);
            0
        });
        let Ok(inner) = inner else { return 101 };
        let _ = sys!(SYS_setpgid, inner, inner);
        let mask = 1_u64 << (libc::SIGTTOU - 1);
        let _ = sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8);
        if sys!(SYS_ioctl, &slave, libc::TIOCSPGRP, &raw const inner).is_err() {
            return 102;
        }
        let stopped = wait(inner, libc::WUNTRACED);
        let _ = sys!(SYS_kill, inner, libc::SIGKILL);
        i32::from(stopped != Ok(Ended::Stopped(libc::SIGTSTP)))
    })?;
    sleep_ms(50);
    write(&master, &[0x1a]).what("write")?;
    same!(
        wait(pid, 0).what("wait4")?,
        Ended::Exit(0),
        "^Z stops the foreground group"
    );
    Ok(())
}

fn pty_hang_up() -> Outcome {
    let Some((master, slave)) = pty()? else { return Ok(()) };
    let master_number = master.0;
    let pid = on_terminal(&slave, || {
        let _ = sys!(SYS_close, master_number);
        sleep_ms(10_000);
        0
    })?;
    drop(master);
    same!(
        wait(pid, 0).what("wait4")?,
        Ended::Signal(libc::SIGHUP),
        "the session's leader"
    );
    same!(
        read(&slave, 10).what("read")?,
        Vec::<u8>::new(),
        "read after the hang-up"
    );
    refused("write after the hang-up", write(&slave, b"x"), libc::EIO)
}

fn pty_background_read() -> Outcome {
    let Some((_master, slave)) = pty()? else { return Ok(()) };
    let pid = on_terminal(&slave, || {
        let Ok(inner) = child(|| {
            let _ = sys!(SYS_setpgid, 0, 0);
            i32::from(read(&slave, 1).is_err())
        }) else {
            return 101;
        };
        let _ = sys!(SYS_setpgid, inner, inner);
        let stopped = wait(inner, libc::WUNTRACED);
        let _ = sys!(SYS_kill, inner, libc::SIGKILL);
        i32::from(stopped != Ok(Ended::Stopped(libc::SIGTTIN)))
    })?;
    same!(
        wait(pid, 0).what("wait4")?,
        Ended::Exit(0),
        "a background process that reads stops"
    );
    let _ = fd(sys!(SYS_dup, &slave), "dup")?;
    Ok(())
}
