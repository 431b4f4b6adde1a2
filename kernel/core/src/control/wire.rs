//! The controller's words ([`sis_autonomy::mem`]) as those of the protocol ([`sis_protocol::control`]).

use alloc::format;
use alloc::string::{String, ToString};

use sis_autonomy::mem;
use sis_protocol::control::{
    Counts, EventKind, FaultStats, Observation, Outcome, OutcomeStatus, Proposal, ProposalKind, Strategy, Verdict,
};

pub(super) fn strategy(strategy: mem::Strategy) -> Strategy {
    match strategy {
        mem::Strategy::Conservative => Strategy::Conservative,
        mem::Strategy::Balanced => Strategy::Balanced,
        mem::Strategy::Aggressive => Strategy::Aggressive,
    }
}

/// `None` for a strategy of a newer version.
pub(super) fn known_strategy(strategy: Strategy) -> Option<mem::Strategy> {
    match strategy {
        Strategy::Conservative => Some(mem::Strategy::Conservative),
        Strategy::Balanced => Some(mem::Strategy::Balanced),
        Strategy::Aggressive => Some(mem::Strategy::Aggressive),
        Strategy::Unknown(_) => None,
    }
}

pub(super) fn counts(counts: mem::Counts) -> Counts {
    Counts {
        executed: counts.executed,
        skipped: counts.skipped,
        failed: counts.failed,
        rejected: counts.rejected,
        not_found: counts.not_found,
    }
}

pub(super) fn stats(stats: mem::FaultStats) -> FaultStats {
    FaultStats {
        samples: stats.samples,
        mean_ns: stats.mean_ns,
        p99_ns: stats.p99_ns,
    }
}

/// What was measured, smoothed.
pub(super) fn observation(summary: &mem::Summary) -> Observation {
    Observation {
        pressure_permille: Some(summary.pressure_permille),
        fragmentation_percent: None,
        faults_per_second: Some(summary.faults_per_s),
        fault_mean_ns: (summary.fault_mean_ns > 0).then_some(summary.fault_mean_ns),
        free_pages: Some(summary.free_frames),
        zero_pool_pages: Some(summary.zero_pool_frames),
        zero_pool_hit_percent: Some(100 - (summary.miss_permille.min(1000) / 10)),
    }
}

pub(super) fn proposal(proposal: &mem::Proposal) -> Proposal {
    Proposal {
        id: proposal.id,
        kind: ProposalKind::StrategyChange,
        from: Some(strategy(proposal.from)),
        to: Some(strategy(proposal.to)),
        reason: reason(proposal),
        risk: proposal.risk,
        confidence: proposal.confidence,
        created_ns: proposal.created_ns,
        expires_ns: proposal.expires_ns,
        observation: observation(&proposal.summary),
    }
}

/// Why, and what is expected of either answer.
fn reason(proposal: &mem::Proposal) -> String {
    let mut out = proposal.reason.to_string();
    if proposal.predicted_approve_ns > 0 && proposal.predicted_reject_ns > 0 {
        out.push_str(&format!(
            "; expected mean fault latency: {} ns if approved, {} ns if rejected",
            proposal.predicted_approve_ns, proposal.predicted_reject_ns
        ));
    }
    out
}

fn status(status: mem::OutcomeStatus) -> OutcomeStatus {
    match status {
        mem::OutcomeStatus::Executed => OutcomeStatus::Executed,
        mem::OutcomeStatus::Skipped => OutcomeStatus::Skipped,
        mem::OutcomeStatus::Failed => OutcomeStatus::Failed,
        mem::OutcomeStatus::Expired => OutcomeStatus::Expired,
    }
}

pub(super) fn outcome(outcome: &mem::Outcome) -> Outcome {
    Outcome {
        id: outcome.id,
        status: status(outcome.status),
        kind: ProposalKind::StrategyChange,
        from: Some(strategy(outcome.from)),
        to: Some(strategy(outcome.to)),
        decided_by: outcome.decided_by.clone(),
        reason: effect(outcome),
        before: outcome.before.map(stats),
        after: outcome.after.map(stats),
        ts_ns: outcome.ts_ns,
    }
}

/// Why it was not carried out, or what was measured.
fn effect(outcome: &mem::Outcome) -> String {
    if !outcome.note.is_empty() {
        return outcome.note.clone();
    }
    let (Some(before), Some(after)) = (outcome.before, outcome.after) else {
        return String::from("there were too few page faults to measure the effect");
    };
    let change = i128::from(after.mean_ns) - i128::from(before.mean_ns);
    let percent = change * 100 / i128::from(before.mean_ns.max(1));
    let mut out = format!(
        "mean fault latency {} ns -> {} ns ({percent:+} %)",
        before.mean_ns, after.mean_ns
    );
    if outcome.predicted_ns > 0 {
        out.push_str(&format!(", {} ns expected", outcome.predicted_ns));
    }
    // The mean alone says little where a few faults waited long.
    out.push_str(&format!("; p99 {} ns -> {} ns", before.p99_ns, after.p99_ns));
    out
}

pub(super) fn verdict(verdict: mem::Verdict) -> Verdict {
    match verdict {
        mem::Verdict::Approved => Verdict::Approved,
        mem::Verdict::Rejected => Verdict::Rejected,
        mem::Verdict::Expired => Verdict::Expired,
        mem::Verdict::Dropped => Verdict::Dropped,
    }
}

pub(super) fn event(event: &mem::Event) -> EventKind {
    match event {
        mem::Event::Proposed(made) => EventKind::Proposal(proposal(made)),
        mem::Event::Decided { id, by, verdict: how } => EventKind::ApprovalDecided {
            id: *id,
            by: by.clone(),
            verdict: verdict(*how),
        },
        mem::Event::StrategyChanged { from, to, .. } => EventKind::StrategyChanged {
            from: strategy(*from),
            to: strategy(*to),
        },
        mem::Event::Outcome(ended) => EventKind::Outcome(outcome(ended)),
    }
}
