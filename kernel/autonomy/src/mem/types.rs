//! The words that the controller and the kernel share.

use alloc::string::String;
use core::fmt;

use super::latency::Latency;

/// How the memory manager sets its watermarks and its pool of pre-zeroed pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Small pool, low watermarks: leaves memory to programs.
    Conservative,
    /// The strategy at boot.
    #[default]
    Balanced,
    /// Large pool, high watermarks: fast faults.
    Aggressive,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Conservative, Self::Balanced, Self::Aggressive];

    /// The name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conservative => "conservative",
            Self::Balanced => "balanced",
            Self::Aggressive => "aggressive",
        }
    }

    /// By name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.name().eq_ignore_ascii_case(name))
    }

    /// What the strategy means for a machine with so many page frames. Whatever the machine, the pool is below the low watermark's
    /// distance to all memory: it never holds more than a thirty-second of it.
    pub fn knobs(self, total_frames: u64) -> Knobs {
        let (low, high, pool, pool_max) = match self {
            Self::Conservative => (10, 20, 1, 128),
            Self::Balanced => (20, 40, 8, 2048),
            Self::Aggressive => (30, 60, 30, 8192),
        };
        Knobs {
            low_watermark_permille: low,
            high_watermark_permille: high,
            low_watermark_frames: permille_of(total_frames, low),
            high_watermark_frames: permille_of(total_frames, high),
            zero_pool_frames: permille_of(total_frames, pool).min(pool_max),
        }
    }
}

fn permille_of(total: u64, permille: u32) -> u64 {
    (u128::from(total) * u128::from(permille) / 1000) as u64
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a strategy sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Below this share of free memory reclaim begins and the pool is not filled.
    pub low_watermark_permille: u32,
    /// Above this share reclaim ends.
    pub high_watermark_permille: u32,
    /// The low watermark in frames.
    pub low_watermark_frames: u64,
    /// The high watermark in frames.
    pub high_watermark_frames: u64,
    /// How many pre-zeroed frames to hold.
    pub zero_pool_frames: u64,
}

/// What the kernel measured since the observation before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The time, nanoseconds since boot; never less than in the observation before.
    pub now_ns: u64,
    /// The frames that the allocator manages.
    pub total_frames: u64,
    /// Free frames, without those in the pool.
    pub free_frames: u64,
    /// Frames in the pool of pre-zeroed ones.
    pub zero_pool_frames: u64,
    /// The latencies of the page faults since the observation before.
    pub faults: Latency,
    /// How many of the frames needed zeroed came from the pool since the observation before.
    pub zero_hits: u64,
    /// How many had to be zeroed on the spot.
    pub zero_misses: u64,
}

/// Why another strategy fits better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Memory is nearly used up.
    HighPressure {
        /// Used memory of all.
        pressure_permille: u32,
    },
    /// There is room again.
    PressureEased {
        /// Used memory of all.
        pressure_permille: u32,
    },
    /// Many faults wait for a page to be zeroed, and there is memory for a larger pool.
    FaultRate {
        /// Faults a second.
        faults_per_s: u32,
        /// Those that the pool could not serve.
        miss_permille: u32,
    },
    /// The faults that needed a larger pool are over, or it takes too much memory.
    FaultsEased {
        /// Faults a second.
        faults_per_s: u32,
        /// Used memory of all.
        pressure_permille: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |permille: u32| (permille / 10, permille % 10);
        match *self {
            Self::HighPressure { pressure_permille } => {
                let (whole, tenth) = percent(pressure_permille);
                write!(f, "{whole}.{tenth} % of memory is used")
            }
            Self::PressureEased { pressure_permille } => {
                let (whole, tenth) = percent(pressure_permille);
                write!(f, "memory use has fallen to {whole}.{tenth} %")
            }
            Self::FaultRate {
                faults_per_s,
                miss_permille,
            } => {
                let (whole, tenth) = percent(miss_permille);
                write!(
                    f,
                    "{faults_per_s} page faults a second, {whole}.{tenth} % of them wait for a page to be zeroed"
                )
            }
            Self::FaultsEased {
                faults_per_s,
                pressure_permille,
            } => {
                let (whole, tenth) = percent(pressure_permille);
                write!(
                    f,
                    "page faults are down to {faults_per_s} a second with {whole}.{tenth} % of memory used"
                )
            }
        }
    }
}

/// What limits the confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfidenceReason {
    /// Nothing does.
    Normal,
    /// Fewer than 10 observations.
    Initializing,
    /// Fewer than 50 observations.
    InsufficientHistory,
    /// Memory use goes up and down too much.
    HighStateUncertainty,
}

/// Something the memory manager wants to do: change the strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// From 1, never used again.
    pub id: u64,
    /// The strategy in force when it was made.
    pub from: Strategy,
    /// The strategy proposed.
    pub to: Strategy,
    /// Why.
    pub reason: Reason,
    /// How sure, 0 to 1000.
    pub confidence: u32,
    /// What limits that.
    pub confidence_reason: ConfidenceReason,
    /// How bad it may turn out, 0 to 100.
    pub risk: u32,
    /// When it was made, nanoseconds since boot.
    pub created_ns: u64,
    /// When it lapses.
    pub expires_ns: u64,
    /// The mean fault latency expected when it is approved; 0 when no fault was measured.
    pub predicted_approve_ns: u64,
    /// The mean fault latency expected when it is rejected; 0 when no fault was measured.
    pub predicted_reject_ns: u64,
    /// What it rests on.
    pub summary: super::Summary,
}

/// What to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The proposal behind it; `None` when a person set the strategy by hand.
    pub proposal: Option<u64>,
    /// The strategy now.
    pub from: Strategy,
    /// The strategy wanted.
    pub to: Strategy,
    /// What to set.
    pub knobs: Knobs,
}

/// The kernel could not carry out a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyFailed {
    /// Why, for people.
    pub reason: String,
}

/// What was decided about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody (or the rule that small risks need nobody) said yes.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody decided in time, which means no.
    Expired,
    /// Pushed out by a newer proposal.
    Dropped,
}

/// What became of a proposal that was approved, or lapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeStatus {
    /// Carried out.
    Executed,
    /// No longer needed when it was checked again.
    Skipped,
    /// Tried and failed.
    Failed,
    /// Nobody decided in time.
    Expired,
}

/// Page-fault latency over a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// How many faults.
    pub samples: u64,
    /// The mean in nanoseconds.
    pub mean_ns: u64,
    /// The 99th percentile in nanoseconds.
    pub p99_ns: u64,
}

impl From<&Latency> for FaultStats {
    fn from(latency: &Latency) -> Self {
        Self {
            samples: latency.count(),
            mean_ns: latency.mean_ns(),
            p99_ns: latency.quantile_ns(990),
        }
    }
}

/// What became of a proposal. There is one for each that was approved or lapsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The proposal's id.
    pub id: u64,
    /// Exactly one of the four.
    pub status: OutcomeStatus,
    /// The strategy before.
    pub from: Strategy,
    /// The strategy asked for.
    pub to: Strategy,
    /// Who decided; `None` when nobody had to.
    pub decided_by: Option<String>,
    /// Why it was skipped or failed, for people; empty when executed.
    pub note: String,
    /// Fault latency before the change, if faults were measured.
    pub before: Option<FaultStats>,
    /// Fault latency after the change, if faults were measured.
    pub after: Option<FaultStats>,
    /// The mean that was predicted for it.
    pub predicted_ns: u64,
    /// When it was carried out or given up.
    pub ts_ns: u64,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A proposal was made. It waits, unless a decision follows at once.
    Proposed(Proposal),
    /// A proposal was decided.
    Decided {
        /// The proposal's id.
        id: u64,
        /// Who; `None` when nobody did.
        by: Option<String>,
        /// What.
        verdict: Verdict,
    },
    /// The strategy changed.
    StrategyChanged {
        /// Before.
        from: Strategy,
        /// Now.
        to: Strategy,
        /// The proposal behind it; `None` when a person set it by hand.
        proposal: Option<u64>,
    },
    /// What became of a proposal. For one that was executed it comes when the effect has been measured.
    Outcome(Outcome),
}

/// Which of the waiting proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// These.
    Ids(&'a [u64]),
    /// So many, oldest first.
    Oldest(usize),
    /// All.
    All,
}

/// What became of a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Approved and carried out.
    pub executed: u32,
    /// Approved and no longer needed.
    pub skipped: u32,
    /// Approved and failed.
    pub failed: u32,
    /// Rejected.
    pub rejected: u32,
    /// Named, but not waiting.
    pub not_found: u32,
}

/// An answer to [`Controller::approve`](super::Controller::approve) or [`Controller::reject`](super::Controller::reject).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// How many of each.
    pub counts: Counts,
    /// What to tell, in order.
    pub events: alloc::vec::Vec<Event>,
}

/// Totals since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Observations.
    pub observed: u64,
    /// Proposals made.
    pub proposed: u64,
    /// Times that another strategy fitted, but the confidence was too low.
    pub deferred: u64,
    /// Carried out.
    pub executed: u64,
    /// Approved and no longer needed.
    pub skipped: u64,
    /// Approved and failed.
    pub failed: u64,
    /// Rejected.
    pub rejected: u64,
    /// Lapsed.
    pub expired: u64,
    /// Pushed out of the queue.
    pub dropped: u64,
}

/// How many audit entries are kept.
pub const AUDIT_MAX: usize = 1000;

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// From 1, without a gap: what is missing at the front was pushed out.
    pub seq: u64,
    /// When, nanoseconds since boot.
    pub ts_ns: u64,
    /// What.
    pub what: Audit,
}

/// What the audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// A proposal was made.
    Proposed {
        /// Its id.
        id: u64,
        /// The strategy proposed.
        to: Strategy,
    },
    /// Another strategy fits, but the confidence is too low. Recorded once for a row of such observations.
    Deferred {
        /// The strategy that fits.
        to: Strategy,
        /// The confidence.
        confidence: u32,
    },
    /// Another strategy fits, but there were too many changes. Recorded once for a row of such observations.
    RateLimited {
        /// The strategy that fits.
        to: Strategy,
    },
    /// Another strategy fits, but only predictions are asked for. Recorded once for a row of such observations.
    OnlyPredicted {
        /// The strategy that fits.
        to: Strategy,
    },
    /// A proposal was decided.
    Decided {
        /// Its id.
        id: u64,
        /// What.
        verdict: Verdict,
        /// Who.
        by: Option<String>,
    },
    /// A proposal came to its end.
    Ended {
        /// Its id.
        id: u64,
        /// How.
        status: OutcomeStatus,
    },
    /// A person set the strategy.
    SetByHand {
        /// The strategy.
        to: Strategy,
        /// Who.
        by: Option<String>,
    },
    /// Approval mode was set.
    ApprovalMode(bool),
    /// Query mode was set.
    QueryMode(bool),
}
