//! Boards: one, and several at once.
//!
//! A [`Board`] is everything that is known of one board, built by [`Board::apply`] from what comes of it, live or from a recording. [`Boards`]
//! holds a bounded number of them by their identity.

mod board;
mod link;

use std::collections::BTreeMap;
use std::fmt;

use sis_protocol::pairing::KeyHash;

pub use board::{Board, BoardLimits};
pub use link::{Compatibility, LinkStatus};

use crate::input::Input;

/// Which board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BoardId {
    /// A paired one: the hash of its key.
    Paired(KeyHash),
    /// A recording that is played, by a number that the player of it chose.
    Replay(u32),
}

impl fmt::Display for BoardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paired(key) => write!(f, "key:{key}"),
            Self::Replay(number) => write!(f, "replay:{number}"),
        }
    }
}

/// Why there is no such board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardsError {
    /// As many as there may be.
    #[error("there are {max} boards already, as many as there may be")]
    TooMany {
        /// How many.
        max: usize,
    },
    /// None of this identity.
    #[error("there is no board {0}")]
    Unknown(BoardId),
}

/// Several boards, in order of their identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Boards {
    boards: BTreeMap<BoardId, Board>,
    boards_max: usize,
    limits: BoardLimits,
}

impl Default for Boards {
    /// At most 64 boards.
    fn default() -> Self {
        Self::new(64, BoardLimits::default())
    }
}

impl Boards {
    /// No board yet, and at most `boards_max`, each within `limits`.
    #[must_use]
    pub const fn new(boards_max: usize, limits: BoardLimits) -> Self {
        Self {
            boards: BTreeMap::new(),
            boards_max,
            limits,
        }
    }

    /// Adds a board of which nothing is known; one that is there stays as it is.
    ///
    /// # Errors
    /// [`BoardsError::TooMany`].
    pub fn add(&mut self, id: BoardId) -> Result<&mut Board, BoardsError> {
        if !self.boards.contains_key(&id) && self.boards.len() >= self.boards_max {
            return Err(BoardsError::TooMany { max: self.boards_max });
        }
        let limits = self.limits;
        Ok(self.boards.entry(id).or_insert_with(|| Board::new(limits)))
    }

    /// Forgets a board and all that is known of it.
    pub fn remove(&mut self, id: BoardId) -> Option<Board> {
        self.boards.remove(&id)
    }

    /// The board of this identity.
    #[must_use]
    pub fn get(&self, id: BoardId) -> Option<&Board> {
        self.boards.get(&id)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: BoardId) -> Option<&mut Board> {
        self.boards.get_mut(&id)
    }

    /// All boards.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (BoardId, &Board)> + ExactSizeIterator {
        self.boards.iter().map(|(id, board)| (*id, board))
    }

    /// Takes what came of a board at `at_ms`, see [`Board::apply`].
    ///
    /// # Errors
    /// [`BoardsError::Unknown`]: it was removed meanwhile, or never added.
    pub fn apply(&mut self, id: BoardId, at_ms: u64, input: Input) -> Result<(), BoardsError> {
        let board = self.get_mut(id).ok_or(BoardsError::Unknown(id))?;
        board.apply(at_ms, input);
        Ok(())
    }

    /// How many approvals wait for a person, on all boards.
    #[must_use]
    pub fn pending_approvals(&self) -> usize {
        let of = |board: &Board| board.events().approvals().pending().count();
        self.boards.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests;
