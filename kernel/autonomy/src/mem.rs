//! The memory manager's strategies: when to propose another one, who decides, and what came of it.
//!
//! A *strategy* sets the page allocator's watermarks and the size of its pool of pre-zeroed pages ([`Strategy::knobs`]). A *policy*
//! ([`Policy`], `policy`) says from smoothed measurements which strategy fits, with hysteresis: what is just inside one strategy stays
//! there. The *controller* ([`Controller`]) watches, and when another strategy has fitted for a while, with enough confidence, makes a
//! [`Proposal`]. A proposal is carried out at once when approvals are off and its risk is below the ceiling; else it waits for a person.
//! When it is approved it is checked again: still needed, it is executed; else it is skipped. Time-out means no.
//!
//! What the kernel does:
//! - about every 500 ms it calls [`Controller::observe`] with an [`Observation`];
//! - it passes the returned [`Event`]s on, in order;
//! - it carries out a [`Change`] when the `apply` function that it gives is called, and answers whether that worked;
//! - it calls [`Controller::approve`], [`Controller::reject`] and the setters when somebody asks.
//!
//! Limits, enforced here: 10 strategy changes a minute ([`CHANGES_PER_MINUTE`]), 100 waiting proposals ([`QUEUE_MAX`]), confidence at least
//! [`Policy::confidence_threshold`] before any proposal, a pause after a proposal, a rejection, or a time-out.

mod controller;
mod latency;
mod policy;
mod queue;
mod types;

pub use controller::{CHANGES_PER_MINUTE, Controller, HISTORY_MAX};
pub use latency::Latency;
pub use policy::{Policy, Summary};
pub use queue::{Approvals, QUEUE_MAX};
pub use types::{
    AUDIT_MAX, ApplyFailed, Audit, AuditEntry, Change, ConfidenceReason, Counts, Decided, Event, FaultStats, Knobs,
    Observation, Outcome, OutcomeStatus, Proposal, Reason, Selection, Strategy, Totals, Verdict,
};
