//! The alternate signal stack (sigaltstack(2)).

/// A thread's alternate stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub base: usize,
    /// Bytes; 0 when there is none.
    pub size: usize,
    /// SS_AUTODISARM: disabled while a handler runs on it.
    pub is_autodisarm: bool,
}

impl AltStack {
    /// None.
    pub const NONE: Self = Self {
        base: 0,
        size: 0,
        is_autodisarm: false,
    };

    /// Whether `sp` lies on it. With SS_AUTODISARM it never counts as used.
    pub const fn contains(&self, sp: usize) -> bool {
        !self.is_autodisarm && sp > self.base && sp - self.base <= self.size
    }
}
