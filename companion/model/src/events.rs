//! What happened on a board, and what waits for a person.
//!
//! [`Events`] takes the deliveries of the subscription and builds from them a bounded [`Timeline`] and the [`Approvals`]. Each event counts
//! once ([`crate::feed`]). When events are missing, [`Events::needs_state`] says that the answers to `MemApprovals` and `MemHistory` are
//! wanted, and those put the approvals right.

mod approval;
mod approvals;
mod timeline;

use sis_protocol::control::{EventKind, ResponseBody};

pub use approval::{Approval, Decision, Effect, Phase, Submission};
pub use approvals::{Approvals, DecideError, KEPT_MAX};
pub use timeline::{Category, Entry, Timeline};

use crate::feed::{Feed, Turn};
use crate::input::Delivery;

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    feed: Feed,
    timeline: Timeline,
    approvals: Approvals,
    needs_approvals: bool,
    needs_history: bool,
    unknown: u64,
}

impl Events {
    /// Where the subscription stands.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What happened.
    #[must_use]
    pub const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// What waits for a person, and what became of it.
    #[must_use]
    pub const fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The same, to change.
    pub(crate) const fn approvals_mut(&mut self) -> &mut Approvals {
        &mut self.approvals
    }

    /// Whether events are missing, so that the pending approvals and the history are to be asked for.
    #[must_use]
    pub const fn needs_state(&self) -> bool {
        self.needs_approvals || self.needs_history
    }

    /// Events of a kind that this version does not know. They are in the timeline, as what they are.
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Takes what the subscription delivered.
    pub fn apply(&mut self, delivery: Delivery) {
        let is_first = self.feed.cursor().is_none();
        let turn = self.feed.take(delivery);
        if is_first && self.feed.cursor().is_some() {
            // What happened before delivery began may still wait for a decision.
            self.ask_for_state();
        }
        match turn {
            Turn::Nothing => {}
            Turn::Replace { is_new_life } => {
                if is_new_life {
                    // The board may have started again: then its proposals are numbered anew.
                    self.approvals.clear();
                    self.timeline.begin_life();
                } else {
                    self.approvals.doubt();
                }
                self.ask_for_state();
            }
            Turn::Apply(cursor, event) => {
                let entry = Entry::new(cursor, *event);
                match &entry.kind {
                    EventKind::Proposal(proposal) => self.approvals.propose(proposal.clone()),
                    EventKind::ApprovalDecided { id, by, verdict } => {
                        self.approvals.decided(*id, *verdict, by.clone());
                    }
                    EventKind::Outcome(outcome) => self.approvals.settle(outcome.clone()),
                    EventKind::Unknown => self.unknown += 1,
                    _ => {}
                }
                self.timeline.push(entry);
            }
        }
    }

    /// Takes an answer of the kernel, when it is about approvals.
    pub fn apply_answer(&mut self, answer: &ResponseBody) {
        match answer {
            ResponseBody::Approvals(pending) => {
                self.approvals.take_pending(pending);
                self.needs_approvals = false;
            }
            ResponseBody::History(outcomes) => {
                // Newest first, as it comes: taken oldest first.
                self.approvals.take_history(outcomes);
                self.needs_history = false;
            }
            _ => {}
        }
    }

    const fn ask_for_state(&mut self) {
        self.needs_approvals = true;
        self.needs_history = true;
    }
}

#[cfg(test)]
mod approval_tests;
#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod samples;
