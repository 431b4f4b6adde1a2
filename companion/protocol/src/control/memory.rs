//! The memory manager's strategies, what it proposes, and what came of it.

use alloc::string::String;
use minicbor::{Decode, Encode};

use crate::codec::open_enum;

open_enum! {
    /// How the memory manager sets its watermarks and its pool of pre-zeroed pages.
    pub enum Strategy {
        /// Small pool, low watermarks: leaves memory to programs.
        Conservative = 1,
        /// The strategy at boot.
        Balanced = 2,
        /// Large pool, high watermarks: fast faults.
        Aggressive = 3,
    }
}

open_enum! {
    /// What is proposed.
    pub enum ProposalKind {
        /// Move pages to make large free blocks.
        Compaction = 1,
        /// Change the strategy, `from` and `to` say which.
        StrategyChange = 2,
    }
}

open_enum! {
    /// What was decided about a proposal.
    pub enum Verdict {
        /// Somebody said yes.
        Approved = 1,
        /// Somebody said no.
        Rejected = 2,
        /// Nobody decided in time, which means no.
        Expired = 3,
        /// Pushed out of a full queue, or by a newer proposal.
        Dropped = 4,
    }
}

open_enum! {
    /// What became of a proposal that was approved (or needed no approval).
    pub enum OutcomeStatus {
        /// Carried out.
        Executed = 1,
        /// No longer needed when it was checked again.
        Skipped = 2,
        /// Tried and failed; the reason says why.
        Failed = 3,
        /// Ran out of time before it could be carried out.
        Expired = 4,
    }
}

/// What was measured when a proposal was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct Observation {
    /// Used memory of all memory, 0..=1000.
    #[n(0)]
    pub pressure_permille: Option<u32>,
    /// External fragmentation of the page allocator, 0..=100.
    #[n(1)]
    pub fragmentation_percent: Option<u32>,
    /// Page faults a second over the last window.
    #[n(2)]
    pub faults_per_second: Option<u32>,
    /// Mean page-fault latency over the last window.
    #[n(3)]
    pub fault_mean_ns: Option<u64>,
    /// Free pages.
    #[n(4)]
    pub free_pages: Option<u64>,
    /// Pages in the pre-zeroed pool.
    #[n(5)]
    pub zero_pool_pages: Option<u64>,
    /// Share of faults in the window that found a pre-zeroed page, 0..=100.
    #[n(6)]
    pub zero_pool_hit_percent: Option<u32>,
}

/// Something the memory manager wants to do.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Proposal {
    /// From 1, never used again in this boot.
    #[n(0)]
    pub id: u64,
    /// What is proposed.
    #[n(1)]
    pub kind: ProposalKind,
    /// The strategy in force.
    #[n(2)]
    pub from: Option<Strategy>,
    /// The strategy proposed; absent for a compaction.
    #[n(3)]
    pub to: Option<Strategy>,
    /// For people.
    #[n(4)]
    pub reason: String,
    /// 0..=100.
    #[n(5)]
    pub risk: u32,
    /// 0..=1000.
    #[n(6)]
    pub confidence: u32,
    /// When it was made.
    #[n(7)]
    pub created_ns: u64,
    /// When it lapses.
    #[n(8)]
    pub expires_ns: u64,
    /// What it rests on.
    #[n(9)]
    pub observation: Observation,
}

/// Page-fault latency over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct FaultStats {
    /// Faults measured in the window; with 0 the others mean nothing.
    #[n(0)]
    pub samples: u64,
    /// Mean.
    #[n(1)]
    pub mean_ns: u64,
    /// 99th percentile.
    #[n(2)]
    pub p99_ns: u64,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Outcome {
    /// The proposal.
    #[n(0)]
    pub id: u64,
    /// Exactly one of the four.
    #[n(1)]
    pub status: OutcomeStatus,
    /// What was proposed.
    #[n(2)]
    pub kind: ProposalKind,
    /// The strategy before.
    #[n(3)]
    pub from: Option<Strategy>,
    /// The strategy asked for.
    #[n(4)]
    pub to: Option<Strategy>,
    /// Who decided; absent when approval mode was off.
    #[n(5)]
    pub decided_by: Option<String>,
    /// Why it was skipped or failed, or what was seen.
    #[n(6)]
    pub reason: String,
    /// Fault latency over the window before the change.
    #[n(7)]
    pub before: Option<FaultStats>,
    /// Fault latency over the window after the change; absent until it is measured.
    #[n(8)]
    pub after: Option<FaultStats>,
    /// When it was carried out or given up.
    #[n(9)]
    pub ts_ns: u64,
}

/// The memory manager's state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct MemStatus {
    /// The strategy in force.
    #[n(0)]
    pub strategy: Strategy,
    /// Whether proposals wait for a person.
    #[n(1)]
    pub approval_mode: bool,
    /// Whether it only predicts.
    #[n(2)]
    pub query_mode: bool,
    /// How many proposals wait.
    #[n(3)]
    pub pending: u32,
    /// What is measured now.
    #[n(4)]
    pub observation: Observation,
    /// All pages the allocator manages.
    #[n(5)]
    pub total_pages: u64,
    /// Below this many free pages reclaim starts.
    #[n(6)]
    pub low_watermark_pages: Option<u64>,
    /// Above this many free pages it stops.
    #[n(7)]
    pub high_watermark_pages: Option<u64>,
    /// How many pre-zeroed pages the strategy wants to hold.
    #[n(8)]
    pub zero_pool_target_pages: Option<u64>,
    /// Proposals made since boot.
    #[n(9)]
    pub proposed: Option<u64>,
    /// Of those, carried out.
    #[n(10)]
    pub executed: Option<u64>,
    /// Skipped as no longer needed.
    #[n(11)]
    pub skipped: Option<u64>,
    /// Failed.
    #[n(12)]
    pub failed: Option<u64>,
    /// Rejected by a person.
    #[n(13)]
    pub rejected: Option<u64>,
    /// Lapsed.
    #[n(14)]
    pub expired: Option<u64>,
    /// Fault latency over the last window.
    #[n(15)]
    pub faults: Option<FaultStats>,
}
