//! The serial console as a program uses it: everything it says is kept, lines are understood as they come, and a
//! caller waits for a text with a limit.

use crate::command::CONSOLE_SOCKET;
use crate::lines::{Event, LineParser};
use crate::socket;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Held by whoever is attached: QEMU serves one, and would let the next wait without a word.
const LOCK_FILE: &str = "console.lock";

/// The console's bytes, for this holder alone.
#[derive(Debug)]
pub struct Attached {
    /// The bytes, both ways.
    pub stream: UnixStream,
    _lock: File,
}

/// Why the console was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Someone else has it.
    #[error("the console is in use: another `console` or a command over serial is attached to it")]
    Busy,
    /// The machine is gone.
    #[error("the console is not to be had: {0}")]
    Io(#[from] io::Error),
}

/// Attaches to the console of the machine whose run folder this is.
///
/// # Errors
/// [`AttachError`].
pub fn attach(run_folder: &Path) -> Result<Attached, AttachError> {
    let lock = File::create(run_folder.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => Ok(Attached {
            stream: socket::connect(run_folder, CONSOLE_SOCKET)?,
            _lock: lock,
        }),
        Err(TryLockError::WouldBlock) => Err(AttachError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Text kept; more than any test says. The oldest half goes when it is full.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// An attached console. Dropping it detaches; the machine goes on.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    _lock: Option<File>,
    shared: Arc<Shared>,
    /// Up to where waiting has consumed the text.
    position: u64,
    /// Commands run so far.
    commands: u64,
    /// A crash is part of what is looked for.
    tolerates_panic: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was said, without escapes' bytes removed: exactly the bytes.
    text: Vec<u8>,
    /// How many bytes came before `text`.
    forgotten: u64,
    events: Vec<Event>,
    has_panicked: bool,
    has_ended: bool,
}

/// Why waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Time ran out.
    #[error("not seen within {seconds:.1} s")]
    Timeout {
        /// The limit.
        seconds: f64,
    },
    /// The kernel crashed.
    #[error("the kernel crashed")]
    Panicked,
    /// The console is closed: the machine ended.
    #[error("the machine ended")]
    Ended,
    /// The console cannot be written to.
    #[error("the console cannot be written to: {0}")]
    Io(#[from] io::Error),
}

impl Console {
    /// Attaches to the console of the machine whose run folder this is.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(run_folder: &Path) -> Result<Self, AttachError> {
        let Attached { stream, _lock: lock } = attach(run_folder)?;
        Ok(Self::new(stream, Some(lock))?)
    }

    fn new(stream: UnixStream, lock: Option<File>) -> io::Result<Self> {
        let mut reader = stream.try_clone()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            let start = Instant::now();
            let mut parser = LineParser::new();
            let mut buffer = [0; 8192];
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let bytes = buffer.get(..count).unwrap_or_default();
                theirs.lock().take(bytes, parser.push(bytes, start.elapsed()));
                theirs.changed.notify_all();
            }
            let last = parser.finish(start.elapsed());
            let mut state = theirs.lock();
            state.take(&[], last);
            state.has_ended = true;
            drop(state);
            theirs.changed.notify_all();
        });
        Ok(Self {
            stream,
            _lock: lock,
            shared,
            position: 0,
            commands: 0,
            tolerates_panic: false,
        })
    }

    /// Types `bytes`.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Everything said since attaching (the last 16 MiB of it).
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.shared.lock().text.clone()
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.shared.lock().events)
    }

    /// Whether the kernel has crashed since attaching.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.shared.lock().has_panicked
    }

    /// Whether the machine has closed the console.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.lock().has_ended
    }

    /// Waits go on after a crash: for a caller who looks at what a crash says.
    pub fn tolerate_panic(&mut self) {
        self.tolerates_panic = true;
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.commands += 1;
        self.commands
    }

    /// Forgets what was said and not yet waited for.
    pub fn skip(&mut self) {
        let state = self.shared.lock();
        self.position = state.forgotten + state.text.len() as u64;
    }

    /// Waits until `find` says where in the not yet consumed text its answer ends; consumes up to there and gives the
    /// answer. A crash or the machine's end, when `find` has found nothing in what came before, ends the wait at once.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub fn wait<T>(
        &mut self,
        timeout: Duration,
        mut find: impl FnMut(&[u8]) -> Option<(usize, T)>,
    ) -> Result<T, ConsoleError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            let start = self.position.saturating_sub(state.forgotten) as usize;
            let unread = state.text.get(start..).unwrap_or_default();
            if let Some((end, answer)) = find(unread) {
                self.position = state.forgotten + (start + end) as u64;
                return Ok(answer);
            }
            if state.has_panicked && !self.tolerates_panic {
                return Err(ConsoleError::Panicked);
            }
            if state.has_ended {
                return Err(ConsoleError::Ended);
            }
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return Err(ConsoleError::Timeout {
                    seconds: timeout.as_secs_f64(),
                });
            };
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, bytes: &[u8], events: Vec<Event>) {
        if self.text.len() + bytes.len() > MAX_TEXT_BYTES {
            let half = self.text.len() / 2;
            self.text.drain(..half);
            self.forgotten += half as u64;
        }
        self.text.extend_from_slice(bytes);
        self.has_panicked |= events.iter().any(|event| matches!(event, Event::Panic(_)));
        self.events.extend(events);
    }
}

#[cfg(test)]
mod tests;
