//! Terminals.
//!
//! A [`Tty`] joins a port (the console UART) and the line discipline ([`sis_algo::ldisc`]). Bytes that the port receives
//! are taken in the interrupt, and pass the line discipline in a kernel thread, because signals and echo need locks that
//! interrupts may not take. The session that has the terminal as its controlling one, and the foreground process group,
//! are the terminal's.

mod console;
mod ioctl;
mod job;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use sis_algo::ldisc::{LineDiscipline, Settings, Signal, cc, lflag};
use sis_machine::sync::{IrqLock, Rank, SpinLock};

pub(crate) use console::init;
pub use console::system as console_tty;

use crate::fs::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::process::signal::send_to_group;
use crate::time::Deadline;
use crate::user::{Sink, Source};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result, sched};

/// Bytes received and not yet seen by the line discipline; more are dropped, as by a UART whose FIFO overruns.
const RECEIVED_MAX: usize = 4096;

/// What carries a terminal's bytes.
pub trait Port: Send + Sync {
    /// Sends bytes as they are.
    fn send(&self, bytes: &[u8]);
}

/// Size of the window (struct winsize).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Width in pixels.
    pub x_pixels: u16,
    /// Height in pixels.
    pub y_pixels: u16,
}

/// A terminal.
pub struct Tty {
    port: Arc<dyn Port>,
    received: IrqLock<VecDeque<u8>>,
    discipline: SpinLock<LineDiscipline>,
    /// `c_cflag`, which no line discipline needs.
    control_flags: AtomicU32,
    size: SpinLock<WindowSize>,
    /// Woken when input has been received (the kernel thread waits here).
    arrivals: Arc<WaitQueue>,
    /// Woken when a read or a write may go on.
    ready: Arc<WaitQueue>,
    /// The session whose controlling terminal it is; 0 for none.
    session: AtomicU32,
    /// The foreground process group; 0 for none.
    foreground: AtomicU32,
}

impl Tty {
    /// A terminal over `port`, with the kernel thread that feeds its line discipline.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(port: Arc<dyn Port>) -> Result<Arc<Self>> {
        let tty = Arc::new(Self {
            port,
            received: IrqLock::new(Rank::Leaf, VecDeque::with_capacity(RECEIVED_MAX)),
            discipline: SpinLock::new(Rank::Tty, LineDiscipline::new(Settings::default())),
            control_flags: AtomicU32::new(sis_abi::tty::Termios::STANDARD.c_cflag),
            size: SpinLock::new(Rank::Leaf, WindowSize::default()),
            arrivals: Arc::new(WaitQueue::new()),
            ready: Arc::new(WaitQueue::new()),
            session: AtomicU32::new(0),
            foreground: AtomicU32::new(0),
        });
        let mine = tty.clone();
        sched::spawn_kernel("tty", move || mine.feed())?;
        Ok(tty)
    }

    /// Bytes have come; called by the port's interrupt.
    pub fn receive(&self, bytes: &[u8]) {
        {
            let mut received = self.received.lock();
            for b in bytes {
                if received.len() < RECEIVED_MAX {
                    received.push_back(*b);
                }
            }
        }
        self.arrivals.wake_all(Events::empty());
    }

    /// The kernel thread: passes what was received through the line discipline.
    fn feed(&self) -> ! {
        loop {
            let batch = self.arrivals.wait(|| {
                let mut received = self.received.lock();
                if received.is_empty() {
                    return None;
                }
                let n = received.len().min(256);
                let mut batch = [0u8; 256];
                for (to, from) in batch.iter_mut().zip(received.drain(..n)) {
                    *to = from;
                }
                Some((batch, n))
            });
            let Ok((batch, n)) = batch else { continue };
            let mut echo = Vec::new();
            let mut signals = Vec::new();
            {
                let mut d = self.discipline.lock();
                for b in batch.iter().take(n) {
                    signals.extend(d.input(*b, &mut echo).signal);
                }
            }
            self.port.send(&echo);
            for s in signals {
                let signal = match s {
                    Signal::Interrupt => SIGINT,
                    Signal::Quit => SIGQUIT,
                    Signal::Suspend => SIGTSTP,
                };
                let group = self.foreground.load(Ordering::Relaxed);
                if group != 0 {
                    let _ = send_to_group(group, sis_abi::signal::SigInfo::kernel(signal));
                }
            }
            self.ready.wake_all(Events::READ | Events::WRITE);
        }
    }

    fn read_once(&self, out: &mut [u8]) -> Option<usize> {
        let mut d = self.discipline.lock();
        if d.is_readable() { d.read(out) } else { None }
    }

    /// Takes what there is, however little (raw mode, when a time-out has passed).
    fn read_any(&self, out: &mut [u8]) -> Option<usize> {
        self.discipline.lock().read(out)
    }

    /// Waits as termios(3) says for canonical mode and for the four cases of VMIN and VTIME.
    fn wait_input(&self, out: &mut [u8], flags: IoFlags) -> Result<usize> {
        if let Some(n) = self.read_once(out) {
            return Ok(n);
        }
        let (canonical, min, time) = {
            let d = self.discipline.lock();
            let s = d.settings();
            (
                s.c_lflag & lflag::ICANON != 0,
                s.control(cc::VMIN),
                s.control(cc::VTIME),
            )
        };
        if !canonical && min == 0 && time == 0 {
            return Ok(self.read_any(out).unwrap_or(0));
        }
        if flags.nonblock {
            return self.read_any(out).ok_or(Errno::EAGAIN);
        }
        if canonical || time == 0 {
            return self.ready.wait(|| self.read_once(out));
        }
        let tenths = u64::from(time) * 100_000_000;
        if min == 0 {
            return match self.ready.wait_until(Deadline::after_ns(tenths), || self.read_any(out)) {
                Err(Errno::ETIMEDOUT) => Ok(0),
                other => other,
            };
        }
        // The first byte is waited for without limit, each further one for VTIME.
        let want = usize::from(min).min(out.len());
        let mut got = self.ready.wait(|| self.read_any(out))?;
        while got < want {
            let rest = out.get_mut(got..).unwrap_or_default();
            match self
                .ready
                .wait_until(Deadline::after_ns(tenths), || self.read_any(rest))
            {
                Ok(n) => got += n,
                Err(_) => break,
            }
        }
        Ok(got)
    }
}

/// An open terminal.
pub struct TtyFile {
    tty: Arc<Tty>,
}

impl TtyFile {
    /// A terminal opened.
    pub fn new(tty: Arc<Tty>) -> Arc<Self> {
        Arc::new(Self { tty })
    }
}

impl File for TtyFile {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        self.tty.check_background_read()?;
        let mut buf = alloc::vec![0u8; to.remaining().min(sis_algo::ldisc::LINE_MAX)];
        let n = self.tty.wait_input(&mut buf, flags)?;
        to.put(buf.get(..n).unwrap_or_default())
    }

    fn write(&self, from: &mut Source<'_>, _offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        self.tty.check_background_write()?;
        let mut done = 0;
        let mut buf = [0u8; 256];
        while from.remaining() > 0 {
            if self.tty.discipline.lock().is_stopped() {
                if flags.nonblock {
                    return if done > 0 { Ok((done, 0)) } else { Err(Errno::EAGAIN) };
                }
                let started = self
                    .tty
                    .ready
                    .wait(|| (!self.tty.discipline.lock().is_stopped()).then_some(()));
                if let Err(e) = started {
                    return if done > 0 { Ok((done, 0)) } else { Err(e) };
                }
            }
            let n = match from.take(&mut buf) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok((done, 0)) } else { Err(e) },
            };
            let mut out = Vec::with_capacity(n + 16);
            self.tty
                .discipline
                .lock()
                .write(buf.get(..n).unwrap_or_default(), &mut out);
            self.tty.port.send(&out);
            done += n;
            sched::cond_resched();
        }
        Ok((done, 0))
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.tty.ready);
        }
        let d = self.tty.discipline.lock();
        let mut events = Events::empty();
        if d.is_readable() {
            events |= Events::READ;
        }
        if !d.is_stopped() {
            events |= Events::WRITE;
        }
        events
    }

    fn observe(&self, observer: alloc::sync::Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.tty.ready.observe(observer)])
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        ioctl::handle(&self.tty, command, argument)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
