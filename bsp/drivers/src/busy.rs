//! A flag that keeps two CPUs from changing one register at the same time.

use core::sync::atomic::{AtomicBool, Ordering};

/// A lock around a few register accesses. Whoever takes it has interrupts off or is never interrupted by another taker.
#[derive(Debug, Default)]
pub(crate) struct Busy(AtomicBool);

impl Busy {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `action` while no one else is in here.
    pub(crate) fn with<T>(&self, action: impl FnOnce() -> T) -> T {
        while !self.try_enter() {
            core::hint::spin_loop();
        }
        let result = action();
        self.leave();
        result
    }

    /// Enters if nobody is inside; pair it with [`Busy::leave`].
    pub(crate) fn try_enter(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    pub(crate) fn leave(&self) {
        self.0.store(false, Ordering::Release);
    }
}
