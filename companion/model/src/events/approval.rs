//! One proposal, from the moment it waits to what came of it.
//!
//! Two sides know something of it. The board says what is so: it waits, was decided, had an outcome. This companion knows what its person
//! has just done about it, which the board does not know yet. [`Approval::phase`] puts the two together; where they disagree the board is
//! right.
//!
//! ```text
//!              decide             held long enough           answered
//!  Pending ------------> held ----------------------> sent ------------> acknowledged      (this companion)
//!     ^                    |                            |
//!     +------ undo --------+        refused, no answer -+--> Pending, with the reason
//!
//!  Pending --> Approved --> Settled        Pending --> Rejected | Expired | Dropped        (the board)
//! ```

use sis_protocol::control::{FaultStats, Outcome, Proposal, Verdict};

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It shall be done.
    Approve,
    /// It shall not be done.
    Reject,
}

/// How far a decision is on its way to the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It may still be undone; it is sent at `send_at_ms`.
    Held {
        /// Which.
        decision: Decision,
        /// When it is due, Unix milliseconds of the host.
        send_at_ms: u64,
    },
    /// Handed to the connection, whose key signs it: being sent, or sent and not answered. Too late to undo.
    Sent {
        /// Which.
        decision: Decision,
        /// Since when, Unix milliseconds of the host.
        at_ms: u64,
    },
    /// The board has taken it and will tell what came of it.
    Acknowledged {
        /// Which.
        decision: Decision,
    },
    /// The board did not take it, or nobody knows whether it did: it may be decided again, no proposal is carried out twice.
    Failed {
        /// For people.
        reason: String,
    },
}

/// What the board says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// It waits.
    #[default]
    Pending,
    /// It was decided.
    Decided { verdict: Verdict, by: Option<String> },
    /// What came of it.
    Settled(Box<Outcome>),
    /// It no longer waits, and what was decided is among the events that are missing.
    Gone,
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase<'a> {
    /// It waits for a decision.
    Pending {
        /// Why the last one did not get through.
        failure: Option<&'a str>,
    },
    /// This companion's decision is on its way.
    Submitting(&'a Submission),
    /// Approved; it is being carried out or measured.
    Approved {
        /// Who; nobody with approval mode off.
        by: Option<&'a str>,
    },
    /// Rejected.
    Rejected {
        /// Who.
        by: Option<&'a str>,
    },
    /// Nobody decided in time, which means no.
    Expired,
    /// Pushed out by newer ones.
    Dropped,
    /// Decided in a way that this version does not know.
    DecidedOtherwise {
        /// The verdict's number.
        number: u32,
    },
    /// It is known what came of it.
    Settled(&'a Outcome),
    /// It no longer waits; what was decided is not known here.
    Gone,
}

/// A proposal and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approval {
    pub(super) proposal: Option<Proposal>,
    pub(super) standing: Standing,
    pub(super) submission: Option<Submission>,
    /// Whether events are missing since the board last said that it waits.
    pub(super) is_doubtful: bool,
}

impl Approval {
    /// What is proposed; absent when that event is missing.
    #[must_use]
    pub const fn proposal(&self) -> Option<&Proposal> {
        self.proposal.as_ref()
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase<'_> {
        match (&self.standing, &self.submission) {
            (Standing::Pending, None) => Phase::Pending { failure: None },
            (Standing::Pending, Some(Submission::Failed { reason })) => Phase::Pending { failure: Some(reason) },
            (Standing::Pending, Some(submission)) => Phase::Submitting(submission),
            (Standing::Decided { verdict, by }, _) => match verdict {
                Verdict::Approved => Phase::Approved { by: by.as_deref() },
                Verdict::Rejected => Phase::Rejected { by: by.as_deref() },
                Verdict::Expired => Phase::Expired,
                Verdict::Dropped => Phase::Dropped,
                Verdict::Unknown(number) => Phase::DecidedOtherwise { number: *number },
            },
            (Standing::Settled(outcome), _) => Phase::Settled(outcome),
            (Standing::Gone, _) => Phase::Gone,
        }
    }

    /// Whether it waits for a decision, as far as is known.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.standing == Standing::Pending
    }

    /// What was measured before and after it was carried out.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        match &self.standing {
            Standing::Settled(outcome) => Effect::of(outcome),
            _ => None,
        }
    }
}

/// What carrying out a proposal changed, as it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Page-fault latency before.
    pub before: FaultStats,
    /// Page-fault latency after.
    pub after: FaultStats,
    /// Change of the mean, in percent of what it was; below 0 is faster.
    pub mean_change_percent: f64,
    /// Change of the 99th percentile, in percent of what it was.
    pub p99_change_percent: f64,
}

impl Effect {
    /// `None` unless both windows measured something.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let is_measured = |faults: &FaultStats| faults.samples > 0;
        let before = outcome.before.filter(is_measured)?;
        let after = outcome.after.filter(is_measured)?;
        Some(Self {
            before,
            after,
            mean_change_percent: change_percent(before.mean_ns, after.mean_ns)?,
            p99_change_percent: change_percent(before.p99_ns, after.p99_ns)?,
        })
    }
}

fn change_percent(before: u64, after: u64) -> Option<f64> {
    (before > 0).then(|| (after as f64 - before as f64) * 100.0 / before as f64)
}
