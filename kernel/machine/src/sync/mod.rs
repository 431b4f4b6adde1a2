//! Locks: spinning ([`SpinLock`], [`IrqLock`]) and sleeping ([`Mutex`]), and the order in which they are taken
//! ([`Rank`]).

mod mutex;
pub(crate) mod rank;
mod spin;

/// A value set once, at boot.
pub use ::spin::Once;
pub use mutex::{Mutex, MutexGuard};
pub use rank::Rank;
pub use spin::{IrqGuard, IrqLock, SpinGuard, SpinLock};
