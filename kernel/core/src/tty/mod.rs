//! Terminals.
//!
//! A [`Tty`] joins a port (the console UART) and the line discipline ([`sis_ldisc`]). Bytes that the port receives
//! are taken in the interrupt, and pass the line discipline in a kernel thread, because signals and echo need locks that
//! interrupts may not take. The session that has the terminal as its controlling one, and the foreground process group,
//! are the terminal's.

mod console;
mod ioctl;
mod job;
pub(crate) mod screen;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_ldisc::{BUFFER_BYTES, LineDiscipline, ReadMode};
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

/// Bytes received and not yet taken by the line discipline, which takes no more when nobody reads; more are dropped, as by a
/// UART whose FIFO overruns.
const RECEIVED_MAX: usize = 16384;

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
    /// The line discipline is full: it takes no more before something has been read.
    is_full: AtomicBool,
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
            discipline: SpinLock::new(Rank::Tty, LineDiscipline::default()),
            is_full: AtomicBool::new(false),
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
                if received.is_empty() || self.is_full.load(Ordering::Acquire) {
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
            let batch = batch.get(..n).unwrap_or_default();
            let reaction = {
                let mut d = self.discipline.lock();
                let reaction = d.receive(batch);
                // Under the discipline's lock: a read after this one sees it, a read before has made the room already.
                self.is_full.store(reaction.consumed < n, Ordering::Release);
                reaction
            };
            let rest = batch.get(reaction.consumed..).unwrap_or_default();
            if !rest.is_empty() {
                let mut received = self.received.lock();
                rest.iter().rev().for_each(|b| received.push_front(*b));
            }
            // Output is written through: a signal has nothing to flush there.
            self.port.send(&reaction.echo);
            for signal in reaction.signals {
                let group = self.foreground.load(Ordering::Relaxed);
                if group != 0 {
                    let _ = send_to_group(group, sis_abi::signal::SigInfo::kernel(signal));
                }
            }
            self.ready.wake_all(Events::READ | Events::WRITE);
        }
    }

    /// Takes a line, or in noncanonical mode what there is, however little.
    fn read_now(&self, out: &mut [u8]) -> Option<usize> {
        let taken = self.discipline.lock().read(out)?;
        self.made_room();
        Some(taken)
    }

    /// Drops what has not been read.
    fn flush_input(&self) {
        self.discipline.lock().flush_input();
        self.made_room();
    }

    /// The line discipline may take more.
    fn made_room(&self) {
        if self.is_full.swap(false, Ordering::AcqRel) {
            self.arrivals.wake_all(Events::empty());
        }
    }

    /// Waits as termios(3) says for canonical mode and for the four cases of VMIN and VTIME.
    fn wait_input(&self, out: &mut [u8], flags: IoFlags) -> Result<usize> {
        let mode = self.discipline.lock().read_mode();
        if let ReadMode::Line | ReadMode::Immediate | ReadMode::Within { .. } = mode
            && let Some(n) = self.read_now(out)
        {
            return Ok(n);
        }
        let (want, pause) = match mode {
            ReadMode::Immediate => return Ok(0),
            _ if flags.nonblock => return self.read_now(out).ok_or(Errno::EAGAIN),
            ReadMode::Line => return self.ready.wait(|| self.read_now(out)),
            ReadMode::Within { ns } => {
                return match self.ready.wait_until(Deadline::after_ns(ns), || self.read_now(out)) {
                    Err(Errno::ETIMEDOUT) => Ok(0),
                    other => other,
                };
            }
            ReadMode::AtLeast { bytes } => (bytes, None),
            ReadMode::AtLeastOrPause { bytes, ns } => (bytes, Some(ns)),
        };
        // The first byte is waited for without limit, each further one for VTIME.
        let want = want.min(out.len());
        let mut got = self.ready.wait(|| self.read_now(out))?;
        while got < want {
            let rest = out.get_mut(got..).unwrap_or_default();
            let more = match pause {
                None => self.ready.wait(|| self.read_now(rest)),
                Some(ns) => self.ready.wait_until(Deadline::after_ns(ns), || self.read_now(rest)),
            };
            match more {
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
        let mut buf = alloc::vec![0u8; to.remaining().min(BUFFER_BYTES)];
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
                .write(buf.get(..n).unwrap_or_default(), &mut out, usize::MAX);
            self.tty.port.send(&out);
            done += n;
            sched::cond_resched();
            if crate::process::thread::kill_pending() {
                break;
            }
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
