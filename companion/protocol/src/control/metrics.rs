//! A snapshot of everything that is measured. What is not measured is absent, never zero.

use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use super::Strategy;
use crate::codec;

/// Counters since boot and gauges at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct Metrics {
    /// Time since boot.
    #[n(0)]
    pub uptime_ns: Option<u64>,
    /// One a CPU that is online, in order of number.
    #[n(1)]
    #[cbor(decode_with = "codec::list::<_, _, 1024>", default)]
    pub cpus: Vec<CpuTimes>,
    /// All memory the system manages.
    #[n(2)]
    pub mem_total_bytes: Option<u64>,
    /// Memory in use by nobody.
    #[n(3)]
    pub mem_free_bytes: Option<u64>,
    /// Page cache and tmpfs.
    #[n(4)]
    pub mem_cached_bytes: Option<u64>,
    /// In use by the kernel itself: heap, page tables, stacks.
    #[n(5)]
    pub mem_kernel_bytes: Option<u64>,
    /// In the pool of pre-zeroed pages.
    #[n(6)]
    pub mem_zero_pool_bytes: Option<u64>,
    /// One-minute load average in thousandths.
    #[n(7)]
    pub load1_milli: Option<u32>,
    /// Five-minute load average in thousandths.
    #[n(8)]
    pub load5_milli: Option<u32>,
    /// Fifteen-minute load average in thousandths.
    #[n(9)]
    pub load15_milli: Option<u32>,
    /// Faults answered without input or output.
    #[n(10)]
    pub faults_minor: Option<u64>,
    /// Faults that waited for a device.
    #[n(11)]
    pub faults_major: Option<u64>,
    /// Faults that copied a page (copy on write).
    #[n(12)]
    pub faults_cow: Option<u64>,
    /// Mean fault latency over the last window.
    #[n(13)]
    pub fault_mean_ns: Option<u64>,
    /// 99th percentile of fault latency over the last window.
    #[n(14)]
    pub fault_p99_ns: Option<u64>,
    /// Context switches since boot.
    #[n(15)]
    pub context_switches: Option<u64>,
    /// Interrupts since boot.
    #[n(16)]
    pub interrupts: Option<u64>,
    /// System calls since boot.
    #[n(17)]
    pub syscalls: Option<u64>,
    /// System calls since boot with a number that is not built.
    #[n(18)]
    pub unknown_syscalls: Option<u64>,
    /// Processes that exist.
    #[n(19)]
    pub processes: Option<u32>,
    /// Threads that exist, those of processes included.
    #[n(20)]
    pub threads: Option<u32>,
    /// All network interfaces but loopback, summed.
    #[n(21)]
    pub net: Option<NetCounters>,
    /// All disks, summed; absent without a disk.
    #[n(22)]
    pub disk: Option<DiskCounters>,
    /// The system-on-chip's temperature in thousandths of a degree Celsius; absent without a sensor.
    #[n(23)]
    pub temperature_milli_c: Option<i32>,
    /// From the kernel's entry to the start of init.
    #[n(24)]
    pub boot_time_ns: Option<u64>,
    /// What turning the MMU on took.
    #[n(25)]
    pub mmu_enable_ns: Option<u64>,
    /// The memory strategy in force.
    #[n(26)]
    pub strategy: Option<Strategy>,
    /// Proposals that wait for a decision.
    #[n(27)]
    pub pending_approvals: Option<u32>,
    /// When the snapshot was taken.
    #[n(28)]
    pub ts_ns: Option<u64>,
    /// Frequency of the architected counter.
    #[n(29)]
    pub cntfrq_hz: Option<u64>,
    /// Mean of a measured context switch.
    #[n(30)]
    pub ctx_switch_ns: Option<u64>,
    /// Mean from an interrupt's arrival to its handler.
    #[n(31)]
    pub irq_latency_ns: Option<u64>,
    /// Resident memory of the agent itself (filled in by the agent).
    #[n(32)]
    pub agent_rss_bytes: Option<u64>,
    /// CPU time of the agent itself (filled in by the agent).
    #[n(33)]
    pub agent_cpu_ns: Option<u64>,
    /// Clients connected to the agent (filled in by the agent).
    #[n(34)]
    pub agent_clients: Option<u32>,
}

/// Where one CPU's time went since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct CpuTimes {
    /// In EL0.
    #[n(0)]
    #[cbor(default)]
    pub user_ns: u64,
    /// In the kernel for a process.
    #[n(1)]
    #[cbor(default)]
    pub system_ns: u64,
    /// Nothing to do.
    #[n(2)]
    #[cbor(default)]
    pub idle_ns: u64,
    /// In interrupt handlers.
    #[n(3)]
    #[cbor(default)]
    pub irq_ns: u64,
}

/// Network counters since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct NetCounters {
    /// Packets received.
    #[n(0)]
    #[cbor(default)]
    pub rx_packets: u64,
    /// Bytes received.
    #[n(1)]
    #[cbor(default)]
    pub rx_bytes: u64,
    /// Packets received with an error.
    #[n(2)]
    #[cbor(default)]
    pub rx_errors: u64,
    /// Packets received and dropped.
    #[n(3)]
    #[cbor(default)]
    pub rx_drops: u64,
    /// Packets sent.
    #[n(4)]
    #[cbor(default)]
    pub tx_packets: u64,
    /// Bytes sent.
    #[n(5)]
    #[cbor(default)]
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    #[n(6)]
    #[cbor(default)]
    pub tx_errors: u64,
    /// Packets dropped before sending.
    #[n(7)]
    #[cbor(default)]
    pub tx_drops: u64,
}

/// Disk counters since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase", default)
)]
#[cbor(map)]
pub struct DiskCounters {
    /// Reads completed.
    #[n(0)]
    #[cbor(default)]
    pub reads: u64,
    /// Bytes read.
    #[n(1)]
    #[cbor(default)]
    pub read_bytes: u64,
    /// Writes completed.
    #[n(2)]
    #[cbor(default)]
    pub writes: u64,
    /// Bytes written.
    #[n(3)]
    #[cbor(default)]
    pub write_bytes: u64,
}
