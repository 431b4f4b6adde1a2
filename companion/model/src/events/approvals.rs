//! All proposals of a board that are worth knowing, and what its person does about them.

use std::collections::BTreeMap;

use sis_protocol::control::{Counts, Failure, Outcome, Proposal, RequestBody, Selection, Verdict};

use super::approval::{Approval, Decision, Standing, Submission};
use super::timeline::{clean_outcome, clean_proposal};
use crate::text::{SENTENCE_BYTES, clean};

/// So many are kept; the board's own queue holds 100. Those that no longer wait go first, oldest first.
pub const KEPT_MAX: usize = 256;

/// Why a decision cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// There is no such proposal, or not any more.
    #[error("there is no proposal {id}")]
    Unknown {
        /// What was named.
        id: u64,
    },
    /// It was decided already.
    #[error("proposal {id} was decided already")]
    NotPending {
        /// What was named.
        id: u64,
    },
    /// A decision is on its way.
    #[error("a decision about proposal {id} is on its way")]
    Submitted {
        /// What was named.
        id: u64,
    },
    /// Nothing is held back: there was no decision, or it has been sent.
    #[error("there is no decision about proposal {id} to undo")]
    NothingToUndo {
        /// What was named.
        id: u64,
    },
    /// The board is not online.
    #[error("the board is not online")]
    Offline,
    /// What is known of proposals is of before the board or its agent started again: their numbers may mean something else now.
    #[error("the board has started again, and what it proposes now is not known yet")]
    CatchingUp,
    /// This companion's role on the board does not reach.
    #[error("deciding takes the role of an operator")]
    Forbidden,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approvals {
    all: BTreeMap<u64, Approval>,
    /// Proposals up to this number were forgotten: word of them comes too late.
    forgotten: u64,
}

impl Approvals {
    /// All that are kept, oldest first, by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Approval)> {
        self.all.iter().map(|(id, approval)| (*id, approval))
    }

    /// Those that wait for a decision, oldest first.
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = (u64, &Approval)> {
        self.iter().filter(|(_, approval)| approval.is_pending())
    }

    /// The proposal of this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Approval> {
        self.all.get(&id)
    }

    /// See [`crate::boards::Board::decide`], which asks first whether this may be.
    pub(crate) fn decide(&mut self, id: u64, decision: Decision, now_ms: u64, hold_ms: u64) -> Result<(), DecideError> {
        let approval = self.all.get_mut(&id).ok_or(DecideError::Unknown { id })?;
        if !approval.is_pending() {
            return Err(DecideError::NotPending { id });
        }
        if !matches!(approval.submission, None | Some(Submission::Failed { .. })) {
            return Err(DecideError::Submitted { id });
        }
        approval.submission = Some(Submission::Held {
            decision,
            send_at_ms: now_ms.saturating_add(hold_ms),
        });
        Ok(())
    }

    /// Takes a decision back that is still held.
    ///
    /// # Errors
    /// [`DecideError::Unknown`], [`DecideError::NothingToUndo`].
    pub fn undo(&mut self, id: u64) -> Result<(), DecideError> {
        let approval = self.all.get_mut(&id).ok_or(DecideError::Unknown { id })?;
        if !matches!(approval.submission, Some(Submission::Held { .. })) {
            return Err(DecideError::NothingToUndo { id });
        }
        approval.submission = None;
        Ok(())
    }

    /// See [`crate::boards::Board::poll_request`], which asks first whether the board can be reached.
    pub(crate) fn poll_request(&mut self, now_ms: u64) -> Option<(u64, RequestBody)> {
        for (id, approval) in &mut self.all {
            let Some(Submission::Held { decision, send_at_ms }) = approval.submission else {
                continue;
            };
            if !approval.is_pending() {
                // Somebody else was faster.
                approval.submission = None;
            } else if send_at_ms <= now_ms {
                approval.submission = Some(Submission::Sent {
                    decision,
                    at_ms: now_ms,
                });
                let which = Selection::Ids(vec![*id]);
                let request = match decision {
                    Decision::Approve => RequestBody::MemApprove { which, by: None },
                    Decision::Reject => RequestBody::MemReject { which, by: None },
                };
                return Some((*id, request));
            }
        }
        None
    }

    /// See [`crate::boards::Board::next_request_ms`].
    pub(crate) fn next_request_ms(&self) -> Option<u64> {
        let due = self.pending().filter_map(|(_, approval)| match approval.submission {
            Some(Submission::Held { send_at_ms, .. }) => Some(send_at_ms),
            _ => None,
        });
        due.min()
    }

    /// The board has answered a decision.
    pub fn answered(&mut self, id: u64, counts: Counts) {
        self.sent_became(id, |decision| {
            if counts.not_found > 0 {
                let reason = "it was no longer waiting".to_owned();
                return Submission::Failed { reason };
            }
            Submission::Acknowledged { decision }
        });
    }

    /// The board has refused a decision.
    pub fn refused(&mut self, id: u64, failure: Failure) {
        let reason = clean(failure.message, SENTENCE_BYTES);
        self.sent_became(id, |_| Submission::Failed { reason });
    }

    /// A decision was sent, and no answer came: it may have been carried out or not.
    pub fn unanswered(&mut self, id: u64) {
        let reason = "no answer came: it may have been carried out or not".to_owned();
        self.sent_became(id, |_| Submission::Failed { reason });
    }

    fn sent_became(&mut self, id: u64, next: impl FnOnce(Decision) -> Submission) {
        if let Some(approval) = self.all.get_mut(&id)
            && let Some(Submission::Sent { decision, .. }) = approval.submission
        {
            approval.submission = Some(next(decision));
        }
    }

    /// The board proposes, or says again that it does. What is no longer pending does not become so again.
    pub(super) fn propose(&mut self, mut proposal: Proposal) {
        clean_proposal(&mut proposal);
        if let Some(approval) = self.entry(proposal.id) {
            approval.proposal = Some(proposal);
            approval.is_doubtful = false;
        }
        self.trim();
    }

    /// A proposal was decided; an outcome that is known says more than that.
    pub(super) fn decided(&mut self, id: u64, verdict: Verdict, by: Option<String>) {
        if let Some(approval) = self.entry(id)
            && !matches!(approval.standing, Standing::Settled(_))
        {
            approval.standing = Standing::Decided { verdict, by };
        }
        self.trim();
    }

    /// It is known what came of a proposal. An outcome with a measured effect says more than one without.
    pub(super) fn settle(&mut self, mut outcome: Outcome) {
        clean_outcome(&mut outcome);
        if let Some(approval) = self.entry(outcome.id) {
            let is_measured = matches!(&approval.standing, Standing::Settled(known) if known.after.is_some());
            if outcome.after.is_some() || !is_measured {
                approval.standing = Standing::Settled(Box::new(outcome));
            }
        }
        self.trim();
    }

    /// Events are missing: what was pending may have been decided.
    pub(super) fn doubt(&mut self) {
        for approval in self.all.values_mut().filter(|approval| approval.is_pending()) {
            approval.is_doubtful = true;
        }
    }

    /// The board's list of what waits. It may be older than events that came meanwhile, so it settles only what is in doubt: what is
    /// not on it no longer waits.
    pub(super) fn take_pending(&mut self, pending: &[Proposal]) {
        for proposal in pending.iter().take(KEPT_MAX) {
            self.propose(proposal.clone());
        }
        for approval in self.all.values_mut().filter(|approval| approval.is_doubtful) {
            approval.is_doubtful = false;
            if approval.is_pending() {
                approval.standing = Standing::Gone;
            }
        }
    }

    /// The board's list of outcomes, newest first.
    pub(super) fn take_history(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().take(KEPT_MAX).rev() {
            self.settle(outcome.clone());
        }
    }

    /// A new life of the board's log: numbers of before mean nothing.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The approval of this number, made when it is not there; `None` when it was forgotten.
    fn entry(&mut self, id: u64) -> Option<&mut Approval> {
        if id <= self.forgotten && !self.all.contains_key(&id) {
            return None;
        }
        Some(self.all.entry(id).or_default())
    }

    fn trim(&mut self) {
        while self.all.len() > KEPT_MAX {
            let settled = self.iter().find(|(_, approval)| !approval.is_pending());
            let Some(id) = settled.or_else(|| self.iter().next()).map(|(id, _)| id) else {
                return;
            };
            self.all.remove(&id);
            self.forgotten = self.forgotten.max(id);
        }
    }
}
