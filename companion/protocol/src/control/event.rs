//! What happens on the board, in order.

use alloc::string::String;
use minicbor::{Decode, Encode};

use super::{Outcome, Proposal, Verdict};
use crate::codec::{self, open_enum};

open_enum! {
    /// Severity of a log line, syslog(3).
    pub enum Level {
        /// The system is unusable.
        Emergency = 0,
        /// Action must be taken immediately.
        Alert = 1,
        /// Critical conditions.
        Critical = 2,
        /// Error conditions.
        Error = 3,
        /// Warning conditions.
        Warning = 4,
        /// Normal but significant.
        Notice = 5,
        /// Informational.
        Info = 6,
        /// Debug-level.
        Debug = 7,
    }
}

open_enum! {
    /// Where a log line comes from, syslog(3).
    pub enum Facility {
        /// The kernel.
        Kernel = 0,
        /// A program, through `/dev/kmsg`.
        User = 1,
        /// A system daemon; the agent's own lines.
        Daemon = 3,
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct Event {
    /// From 1, one more an event, without a gap.
    #[n(0)]
    pub seq: u64,
    /// When.
    #[n(1)]
    pub ts_ns: u64,
    /// When, as Unix milliseconds; absent while the board does not know the time of day.
    #[n(2)]
    pub wall_ms: Option<u64>,
    /// What.
    #[n(3)]
    #[cbor(decode_with = "codec::lenient")]
    pub kind: EventKind,
    /// The kernel's sequence number where the agent has numbered the event anew.
    #[n(4)]
    pub kernel_seq: Option<u64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type")
)]
#[cbor(map)]
#[non_exhaustive]
pub enum EventKind {
    /// Something of a newer version.
    #[n(0)]
    Unknown,
    /// A line of the log.
    #[n(1)]
    LogLine(#[n(0)] LogRecord),
    /// The memory manager proposes something; it waits for a decision when approval mode is on.
    #[n(2)]
    Proposal(#[n(0)] Proposal),
    /// A proposal was decided.
    #[n(3)]
    ApprovalDecided {
        /// The proposal.
        #[n(0)]
        id: u64,
        /// Who; absent when nobody did (expiry).
        #[n(1)]
        by: Option<String>,
        /// What.
        #[n(2)]
        verdict: Verdict,
    },
    /// What became of a proposal.
    #[n(4)]
    Outcome(#[n(0)] Outcome),
    /// Memory ran out and a process was ended.
    #[n(5)]
    OomKill {
        /// Its process id.
        #[n(0)]
        pid: u32,
        /// Its name (`comm`).
        #[n(1)]
        name: String,
        /// Its resident memory.
        #[n(2)]
        rss_bytes: Option<u64>,
    },
    /// A process was ended by a signal whose default is to dump core.
    #[n(6)]
    ProcessCrash {
        /// Its process id.
        #[n(0)]
        pid: u32,
        /// Its name (`comm`).
        #[n(1)]
        name: String,
        /// The signal, signal(7).
        #[n(2)]
        signal: u32,
        /// The address that faulted.
        #[n(3)]
        fault_address: Option<u64>,
        /// The program counter.
        #[n(4)]
        pc: Option<u64>,
    },
    /// The kernel has started.
    #[n(7)]
    Boot {
        /// Kernel release, as `uname -r`.
        #[n(0)]
        release: String,
        /// The board's name.
        #[n(1)]
        board: String,
        /// CPUs online.
        #[n(2)]
        cpus: u32,
        /// All memory.
        #[n(3)]
        mem_total_bytes: u64,
        /// Build identifier of the kernel.
        #[n(4)]
        build_id: Option<String>,
        /// From entry to the start of init.
        #[n(5)]
        boot_time_ns: Option<u64>,
    },
    /// The strategy changed (by approval, by itself, or by hand).
    #[n(8)]
    StrategyChanged {
        /// Before.
        #[n(0)]
        from: super::Strategy,
        /// Now.
        #[n(1)]
        to: super::Strategy,
    },
    /// Events were lost before they reached this log.
    #[n(9)]
    Lost {
        /// How many.
        #[n(0)]
        count: u64,
    },
    /// The agent paired a client.
    #[n(10)]
    Paired {
        /// The client's name.
        #[n(0)]
        name: String,
        /// Its role, as in `pairing::Role`.
        #[n(1)]
        role: u32,
    },
    /// The agent unpaired a client.
    #[n(11)]
    Unpaired {
        /// The client's name.
        #[n(0)]
        name: String,
    },
    /// The agent started.
    #[n(12)]
    AgentStarted {
        /// Program and version.
        #[n(0)]
        software: String,
    },
}

impl codec::Unknown for EventKind {
    fn unknown() -> Self {
        Self::Unknown
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(map)]
pub struct LogRecord {
    /// When.
    #[n(0)]
    pub ts_ns: u64,
    /// Severity.
    #[n(1)]
    pub level: Level,
    /// Source.
    #[n(2)]
    pub facility: Facility,
    /// Without the newline.
    #[n(3)]
    pub text: String,
}
