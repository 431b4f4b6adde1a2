//! What boards of the tests say.

use sis_protocol::control::{
    Event, EventKind, FaultStats, Observation, Outcome, OutcomeStatus, Proposal, ProposalKind, Strategy, Verdict,
};
use sis_protocol::wire::Cursor;

use crate::input::Delivery;

pub(super) fn proposal(id: u64) -> Proposal {
    Proposal {
        id,
        kind: ProposalKind::StrategyChange,
        from: Some(Strategy::Balanced),
        to: Some(Strategy::Aggressive),
        reason: "many faults".into(),
        risk: 20,
        confidence: 700,
        created_ns: id * 1000,
        expires_ns: id * 1000 + 120_000_000_000,
        observation: Observation::default(),
    }
}

pub(super) fn outcome(id: u64, after: Option<FaultStats>) -> Outcome {
    Outcome {
        id,
        status: OutcomeStatus::Executed,
        kind: ProposalKind::StrategyChange,
        from: Some(Strategy::Balanced),
        to: Some(Strategy::Aggressive),
        decided_by: Some("laptop".into()),
        reason: String::new(),
        before: Some(faults(4000, 9000)),
        after,
        ts_ns: id * 2000,
    }
}

pub(super) const fn faults(mean_ns: u64, p99_ns: u64) -> FaultStats {
    FaultStats {
        samples: 100,
        mean_ns,
        p99_ns,
    }
}

pub(super) fn decided(id: u64, verdict: Verdict) -> EventKind {
    EventKind::ApprovalDecided {
        id,
        by: Some("laptop".into()),
        verdict,
    }
}

pub(super) fn event(epoch: u64, seq: u64, kind: EventKind) -> Delivery {
    Delivery::Event {
        epoch,
        event: Box::new(Event {
            seq,
            ts_ns: seq * 1_000_000,
            wall_ms: None,
            kind,
            kernel_seq: None,
        }),
    }
}

pub(super) const fn started(epoch: u64, seq: u64, head_seq: u64) -> Delivery {
    Delivery::Started {
        after: Cursor { epoch, seq },
        head_seq,
    }
}

pub(super) const fn bootstrap(epoch: u64, seq: u64) -> Delivery {
    Delivery::Bootstrap {
        cursor: Cursor { epoch, seq },
        missed: None,
    }
}
