//! Bounded waiting for a serial port's transmitter, which every UART here shares.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_hal::Timeout;

/// How often a full FIFO is looked at before the byte is given up. A read of a device register takes 50 ns or more, a
/// byte at 9600 baud about 1 ms: this is at least 50 times that.
const MAX_POLLS: u32 = 1_000_000;

/// Polls until `is_ready`, at most [`MAX_POLLS`] times: a UART has to work before there is a clock.
pub(crate) fn poll(is_ready: impl Fn() -> bool) -> Result<(), Timeout> {
    for _ in 0..MAX_POLLS {
        if is_ready() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(Timeout)
}

/// Remembers whether the port took the last byte.
#[derive(Debug, Default)]
pub(crate) struct Transmitter {
    /// The last byte was given up: do not wait again until the port takes one.
    is_stuck: AtomicBool,
    unsent: AtomicU32,
}

impl Transmitter {
    pub(crate) const fn new() -> Self {
        Self {
            is_stuck: AtomicBool::new(false),
            unsent: AtomicU32::new(0),
        }
    }

    /// Forgets a time-out: the port was set up anew.
    pub(crate) fn reset(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
    }

    /// Waits until the port `has_room`, then `put`s the byte.
    pub(crate) fn send(&self, has_room: impl Fn() -> bool, put: impl FnOnce()) -> Result<(), Timeout> {
        if !has_room() {
            let waited = if self.is_stuck.load(Ordering::Relaxed) {
                Err(Timeout)
            } else {
                poll(has_room)
            };
            if waited.is_err() {
                self.is_stuck.store(true, Ordering::Relaxed);
                self.unsent.fetch_add(1, Ordering::Relaxed);
                return Err(Timeout);
            }
        }
        put();
        self.reset();
        Ok(())
    }

    /// Bytes given up since start.
    pub(crate) fn unsent(&self) -> u32 {
        self.unsent.load(Ordering::Relaxed)
    }
}
