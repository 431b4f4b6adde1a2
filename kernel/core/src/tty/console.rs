//! The system console: a terminal over the board's serial port. /dev/console is it, /dev/ttyAMA0 too, and /dev/tty where
//! it is the caller's controlling terminal.

use alloc::sync::Arc;

use sis_machine::sync::Once;
use sis_machine::{irq, log};

use super::{Port, Tty, TtyFile};
use crate::fs::devfs;
use crate::fs::file::File;
use crate::init::{ConsolePort, leak};
use crate::process::signal::set_session_hook;
use crate::process::thread;
use crate::{Errno, Result};

/// O_NOCTTY.
const O_NOCTTY: u32 = 0o400;

static CONSOLE: Once<Arc<Tty>> = Once::new();

/// The system console, once there is one.
pub fn system() -> Option<&'static Arc<Tty>> {
    CONSOLE.get()
}

/// The kernel's console output, which lines of the kernel log share.
struct SerialPort;

impl Port for SerialPort {
    fn send(&self, bytes: &[u8]) {
        // In pieces: interrupts are masked while the port takes them.
        for part in bytes.chunks(64) {
            log::console_write_raw(part);
        }
        super::screen::poke();
    }
}

/// Makes the console terminal and its device nodes. `wanted` is the last `console=` of the command line.
pub(crate) fn init(console: Option<ConsolePort>, wanted: Option<&str>) {
    let Some(ConsolePort { device, irq: line }) = console else {
        sis_machine::warn!("no console port");
        return;
    };
    if let Some(w) = wanted
        && !matches!(w.split(',').next(), Some("ttyAMA0" | "ttyS0" | "tty0" | "serial0"))
    {
        sis_machine::warn!("console={w} is not a port of this board; using ttyAMA0");
    }
    let tty = match Tty::new(Arc::new(SerialPort)) {
        Ok(t) => t,
        Err(e) => {
            sis_machine::error!("console: {e}");
            return;
        }
    };
    CONSOLE.call_once(|| tty.clone());
    set_session_hook(|sid| {
        if let Some(tty) = system() {
            tty.hang_up(sid);
        }
    });
    register_nodes();
    let Some((number, trigger)) = line else {
        sis_machine::warn!("the console port has no interrupt: it can be written but not read");
        return;
    };
    let handler = leak(move || {
        device.acknowledge_interrupt();
        let mut batch = [0u8; 64];
        // A port that never runs dry must not keep the interrupt for ever.
        for _ in 0..16 {
            let mut n = 0;
            while n < batch.len()
                && let Some(b) = device.try_read()
            {
                if let Some(slot) = batch.get_mut(n) {
                    *slot = b;
                }
                n += 1;
            }
            tty.receive(batch.get(..n).unwrap_or_default());
            if n < batch.len() {
                break;
            }
        }
    });
    match irq::register(number, trigger, handler) {
        Ok(()) => device.enable_rx_interrupt(),
        Err(e) => sis_machine::error!("console interrupt: {e}"),
    }
}

fn register_nodes() {
    let open_port = |flags: u32| -> Result<Arc<dyn File>> {
        let tty = CONSOLE.get().ok_or(Errno::ENXIO)?;
        // The first terminal that a session's leader opens becomes its own, unless it says otherwise.
        if flags & O_NOCTTY == 0
            && let Some(current) = thread::try_current()
            && current.process.pid == current.process.sid()
            && tty.session() == 0
        {
            let _ = tty.take_session(false);
        }
        Ok(TtyFile::new(tty.clone()))
    };
    // /dev/console never becomes anybody's by being opened.
    let open_console =
        |_flags: u32| -> Result<Arc<dyn File>> { Ok(TtyFile::new(CONSOLE.get().ok_or(Errno::ENXIO)?.clone())) };
    let open_own = |_flags: u32| -> Result<Arc<dyn File>> {
        let tty = CONSOLE.get().ok_or(Errno::ENXIO)?;
        tty.session_of_caller().map_err(|_| Errno::ENXIO)?;
        Ok(TtyFile::new(tty.clone()))
    };
    let nodes: [(&str, u32, u32, u32, crate::fs::device::Factory); 3] = [
        ("console", 5, 1, 0o600, Arc::new(open_console)),
        ("ttyAMA0", 204, 64, 0o600, Arc::new(open_port)),
        ("tty", 5, 0, 0o666, Arc::new(open_own)),
    ];
    for (name, major, minor, mode, factory) in nodes {
        if let Err(e) = devfs::register_char(name, major, minor, mode, factory) {
            sis_machine::error!("/dev/{name}: {e}");
        }
    }
}
