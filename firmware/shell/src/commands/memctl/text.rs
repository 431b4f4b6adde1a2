//! What `memctl` prints.

use std::fmt::Write as _;

use rustix::time::{ClockId, clock_gettime};
use sis_protocol::control::{FaultStats, MemStatus, Outcome, OutcomeStatus, Proposal, ProposalKind, Strategy};

/// Bytes of a page of the board.
const PAGE_BYTES: u64 = 4096;

/// `CLOCK_MONOTONIC`, the clock of proposals, in nanoseconds.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

pub(super) fn strategy(strategy: Strategy) -> String {
    match strategy {
        Strategy::Unknown(number) => format!("strategy-{number}"),
        known => format!("{known:?}"),
    }
}

fn kind(kind: ProposalKind) -> String {
    match kind {
        ProposalKind::Unknown(number) => format!("proposal-{number}"),
        known => format!("{known:?}"),
    }
}

fn row(out: &mut String, name: &str, value: Option<String>) {
    if let Some(value) = value {
        let _ = writeln!(out, "{name:<22}{value}");
    }
}

fn pages(count: u64) -> String {
    format!("{count} pages ({} KiB)", count.saturating_mul(PAGE_BYTES / 1024))
}

fn faults(stats: &FaultStats) -> String {
    format!(
        "mean {} ns, p99 {} ns over {} faults",
        stats.mean_ns, stats.p99_ns, stats.samples
    )
}

pub(super) fn status(status: &MemStatus) -> String {
    let mut out = String::new();
    let mode = |on: bool| Some(if on { "on" } else { "off" }.to_owned());
    let seen = &status.observation;
    row(&mut out, "strategy", Some(strategy(status.strategy)));
    row(&mut out, "approval mode", mode(status.approval_mode));
    row(&mut out, "query mode", mode(status.query_mode));
    row(&mut out, "waiting approvals", Some(status.pending.to_string()));
    row(&mut out, "total", Some(pages(status.total_pages)));
    row(&mut out, "free", seen.free_pages.map(pages));
    row(
        &mut out,
        "pressure",
        seen.pressure_permille.map(|p| format!("{}.{} %", p / 10, p % 10)),
    );
    row(
        &mut out,
        "fragmentation",
        seen.fragmentation_percent.map(|p| format!("{p} %")),
    );
    row(&mut out, "low watermark", status.low_watermark_pages.map(pages));
    row(&mut out, "high watermark", status.high_watermark_pages.map(pages));
    row(&mut out, "zeroed pages", seen.zero_pool_pages.map(pages));
    row(
        &mut out,
        "zeroed pages wanted",
        status.zero_pool_target_pages.map(pages),
    );
    row(
        &mut out,
        "zeroed page hits",
        seen.zero_pool_hit_percent.map(|p| format!("{p} %")),
    );
    row(
        &mut out,
        "faults a second",
        seen.faults_per_second.map(|n| n.to_string()),
    );
    row(
        &mut out,
        "fault latency",
        status.faults.as_ref().filter(|f| f.samples > 0).map(faults),
    );
    for (name, count) in [
        ("proposed", status.proposed),
        ("executed", status.executed),
        ("skipped", status.skipped),
        ("failed", status.failed),
        ("rejected", status.rejected),
        ("expired", status.expired),
    ] {
        row(&mut out, name, count.map(|n| n.to_string()));
    }
    out
}

fn change(what: ProposalKind, from: Option<Strategy>, to: Option<Strategy>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{} {} -> {}", kind(what), strategy(from), strategy(to)),
        (None, Some(to)) => format!("{} -> {}", kind(what), strategy(to)),
        _ => kind(what),
    }
}

pub(super) fn proposal(proposal: &Proposal, now_ns: u64) -> String {
    let left = proposal.expires_ns.saturating_sub(now_ns) / 1_000_000_000;
    format!(
        "#{} {}  risk {}  confidence {}  {left} s left\n    {}\n",
        proposal.id,
        change(proposal.kind, proposal.from, proposal.to),
        proposal.risk,
        proposal.confidence,
        proposal.reason
    )
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    let status = match outcome.status {
        OutcomeStatus::Executed => "executed".to_owned(),
        OutcomeStatus::Skipped => "skipped".to_owned(),
        OutcomeStatus::Failed => "failed".to_owned(),
        OutcomeStatus::Expired => "expired".to_owned(),
        other => format!("{other:?}"),
    };
    let mut out = format!(
        "#{} {}  {status}",
        outcome.id,
        change(outcome.kind, outcome.from, outcome.to)
    );
    if let Some(by) = &outcome.decided_by {
        let _ = write!(out, "  by {by}");
    }
    out.push('\n');
    if !outcome.reason.is_empty() {
        let _ = writeln!(out, "    {}", outcome.reason);
    }
    for (when, stats) in [("before", &outcome.before), ("after", &outcome.after)] {
        if let Some(stats) = stats.as_ref().filter(|s| s.samples > 0) {
            let _ = writeln!(out, "    {when:<7}{}", faults(stats));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{outcome, proposal};
    use sis_protocol::control::{FaultStats, Observation, Outcome, OutcomeStatus, Proposal, ProposalKind, Strategy};

    #[test]
    fn a_proposal_shows_what_and_how_long() {
        let text = proposal(
            &Proposal {
                id: 7,
                kind: ProposalKind::StrategyChange,
                from: Some(Strategy::Balanced),
                to: Some(Strategy::Aggressive),
                reason: "fault rate".to_owned(),
                risk: 20,
                confidence: 800,
                created_ns: 0,
                expires_ns: 65_000_000_000,
                observation: Observation::default(),
            },
            5_000_000_000,
        );
        assert_eq!(
            text,
            "#7 StrategyChange Balanced -> Aggressive  risk 20  confidence 800  60 s left\n    fault rate\n"
        );
    }

    #[test]
    fn an_outcome_shows_the_measured_effect_and_not_an_empty_window() {
        let text = outcome(&Outcome {
            id: 7,
            status: OutcomeStatus::Executed,
            kind: ProposalKind::StrategyChange,
            from: None,
            to: Some(Strategy::Aggressive),
            decided_by: Some("console".to_owned()),
            reason: String::new(),
            before: Some(FaultStats {
                samples: 9,
                mean_ns: 800,
                p99_ns: 2000,
            }),
            after: Some(FaultStats::default()),
            ts_ns: 0,
        });
        assert_eq!(
            text,
            "#7 StrategyChange -> Aggressive  executed  by console\n    before mean 800 ns, p99 2000 ns over 9 faults\n"
        );
    }
}
