//! The operation that FUTEX_WAKE_OP encodes in one word (futex(2)).

/// What to do with the second word, and what to compare its old value with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeOp {
    operation: u32,
    operand: u32,
    comparison: u32,
    against: i32,
}

impl WakeOp {
    /// From the encoded word; `None` for an operation or a comparison that does not exist.
    pub const fn new(word: u32) -> Option<Self> {
        let operation = (word >> 28) & 7;
        let comparison = (word >> 24) & 15;
        if operation > 4 || comparison > 5 {
            return None;
        }
        let argument = sign_extend(word >> 12);
        let shifts = word & (8 << 28) != 0;
        let operand = if shifts {
            1 << (argument as u32 & 31)
        } else {
            argument as u32
        };
        Some(Self {
            operation,
            operand,
            comparison,
            against: sign_extend(word),
        })
    }

    /// What the word becomes.
    pub const fn apply(&self, old: u32) -> u32 {
        match self.operation {
            0 => self.operand,
            1 => old.wrapping_add(self.operand),
            2 => old | self.operand,
            3 => old & !self.operand,
            _ => old ^ self.operand,
        }
    }

    /// Whether waiters of the second word are woken.
    pub const fn compares(&self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            0 => old == self.against,
            1 => old != self.against,
            2 => old < self.against,
            3 => old <= self.against,
            4 => old > self.against,
            _ => old >= self.against,
        }
    }
}

/// The lowest twelve bits, as a signed number.
const fn sign_extend(word: u32) -> i32 {
    ((word << 20) as i32) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(operation: u32, comparison: u32, operand: u32, against: u32) -> WakeOp {
        WakeOp::new(operation << 28 | comparison << 24 | (operand & 0xfff) << 12 | against & 0xfff).expect("valid")
    }

    #[test]
    fn operations() {
        assert_eq!(op(0, 0, 7, 0).apply(9), 7);
        assert_eq!(op(1, 0, 0xfff, 0).apply(9), 8);
        assert_eq!(op(2, 0, 6, 0).apply(9), 15);
        assert_eq!(op(3, 0, 1, 0).apply(9), 8);
        assert_eq!(op(4, 0, 1, 0).apply(9), 8);
        assert_eq!(op(8, 0, 4, 0).apply(9), 16);
    }

    #[test]
    fn comparisons_are_signed() {
        assert!(op(0, 0, 0, 3).compares(3));
        assert!(op(0, 1, 0, 3).compares(4));
        assert!(op(0, 2, 0, 0).compares(u32::MAX));
        assert!(op(0, 4, 0, 0xfff).compares(0));
        assert!(op(0, 3, 0, 3).compares(3) && op(0, 5, 0, 3).compares(3));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert_eq!(WakeOp::new(5 << 28), None);
        assert_eq!(WakeOp::new(6 << 24), None);
        // The highest bit only says that the operand is shifted.
        assert!(WakeOp::new(0xc << 28).is_some());
    }
}
