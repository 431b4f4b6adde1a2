//! The proposals that wait for a person.

use alloc::{collections::VecDeque, vec::Vec};

use super::types::{Proposal, Selection};

/// How many proposals wait at most.
pub const QUEUE_MAX: usize = 100;

/// Waiting proposals, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    waiting: VecDeque<Proposal>,
}

impl Approvals {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Proposal> {
        self.waiting.iter()
    }

    /// Adds the newest; returns the oldest when there are too many.
    pub fn push(&mut self, proposal: Proposal) -> Option<Proposal> {
        self.waiting.push_back(proposal);
        if self.waiting.len() > QUEUE_MAX {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Takes those for which the function is true, oldest first.
    pub fn take_if(&mut self, mut is_wanted: impl FnMut(&Proposal) -> bool) -> Vec<Proposal> {
        let mut taken = Vec::new();
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for proposal in self.waiting.drain(..) {
            if is_wanted(&proposal) {
                taken.push(proposal)
            } else {
                left.push_back(proposal)
            }
        }
        self.waiting = left;
        taken
    }

    /// Takes those that are selected, and counts the ids that do not wait. Ids are taken in their order, each once.
    pub fn take(&mut self, selection: Selection<'_>) -> (Vec<Proposal>, u32) {
        match selection {
            Selection::All => (self.waiting.drain(..).collect(), 0),
            Selection::Oldest(count) => {
                let count = count.min(self.waiting.len());
                (self.waiting.drain(..count).collect(), 0)
            }
            Selection::Ids(ids) => {
                let mut taken = Vec::new();
                let mut not_found = 0;
                for id in ids {
                    let at = self.waiting.iter().position(|proposal| proposal.id == *id);
                    match at.and_then(|at| self.waiting.remove(at)) {
                        Some(proposal) => taken.push(proposal),
                        None => not_found += 1,
                    }
                }
                (taken, not_found)
            }
        }
    }
}
