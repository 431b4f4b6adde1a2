//! Bytes in pieces: arguments and environment take megabytes, and a kernel has no megabytes in one piece.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Bytes of a full piece.
const PIECE: usize = 16 << 10;

/// Bytes that only grow, kept in pieces of at most 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rope {
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl Rope {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }

    /// Bytes in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When there is no memory; some of the bytes may have been added.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), TryReserveError> {
        while !bytes.is_empty() {
            let room = self.pieces.last().map_or(0, |p| PIECE - p.len());
            if room == 0 {
                let mut piece = Vec::new();
                // A short text gets a small piece; what is longer fills whole ones.
                piece.try_reserve_exact(if self.len == 0 {
                    bytes.len().clamp(512, PIECE)
                } else {
                    PIECE
                })?;
                self.pieces.try_reserve(1)?;
                self.pieces.push(piece);
                continue;
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(piece) = self.pieces.last_mut() {
                let spare = piece.capacity() - piece.len();
                if spare < now.len() {
                    piece.try_reserve_exact(PIECE - piece.len())?;
                }
                piece.extend_from_slice(now);
            }
            self.len += now.len();
            bytes = rest;
        }
        Ok(())
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Vec::as_slice)
    }

    /// The bytes, in order.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.pieces().flatten().copied()
    }

    /// Where each string begins that a NUL ends.
    pub fn string_starts(&self) -> impl Iterator<Item = usize> {
        let mut is_start = true;
        self.bytes().enumerate().filter_map(move |(at, b)| {
            let start = is_start.then_some(at);
            is_start = b == 0;
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn strings_are_found_across_pieces() {
        let mut rope = Rope::new();
        rope.push(&vec![b'a'; PIECE - 1]).expect("memory");
        rope.push(b"\0bc\0\0d\0").expect("memory");
        assert_eq!(
            rope.string_starts().collect::<Vec<_>>(),
            [0, PIECE, PIECE + 3, PIECE + 4]
        );
        assert_eq!(rope.pieces().count(), 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40_000), 0..6)) {
            let mut rope = Rope::new();
            for p in &parts {
                rope.push(p).expect("memory");
            }
            let flat: Vec<u8> = parts.concat();
            prop_assert_eq!(rope.len(), flat.len());
            prop_assert!(rope.pieces().all(|p| !p.is_empty() && p.len() <= PIECE));
            prop_assert_eq!(rope.bytes().collect::<Vec<_>>(), flat);
        }
    }
}
