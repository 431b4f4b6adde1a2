//! The values that more than one fixture holds. They never change.

use alloc::vec;

use crate::control::{
    CpuTimes, DiskCounters, Event, EventKind, FaultStats, Metrics, NetCounters, Observation, Outcome, OutcomeStatus,
    Proposal, ProposalKind, Strategy,
};
use crate::hello::Hello;

pub(super) fn hello() -> Hello {
    Hello {
        name: Some("rpi4".into()),
        build_id: Some("abc123".into()),
        ..Hello::new("sis-agent 0.1.0")
    }
}

pub(super) fn observation() -> Observation {
    Observation {
        pressure_permille: Some(912),
        fragmentation_percent: Some(40),
        faults_per_second: Some(20_000),
        fault_mean_ns: Some(1800),
        free_pages: Some(11_000),
        zero_pool_pages: Some(12),
        zero_pool_hit_percent: Some(3),
    }
}

pub(super) fn proposal() -> Proposal {
    Proposal {
        id: 7,
        kind: ProposalKind::StrategyChange,
        from: Some(Strategy::Balanced),
        to: Some(Strategy::Aggressive),
        reason: "20000 faults/s, 3 % from the pool".into(),
        risk: 20,
        confidence: 850,
        created_ns: 5_000_000_000,
        expires_ns: 65_000_000_000,
        observation: observation(),
    }
}

pub(super) fn outcome() -> Outcome {
    Outcome {
        id: 7,
        status: OutcomeStatus::Executed,
        kind: ProposalKind::StrategyChange,
        from: Some(Strategy::Balanced),
        to: Some(Strategy::Aggressive),
        decided_by: Some("desk (operator)".into()),
        reason: "still above the line".into(),
        before: Some(FaultStats {
            samples: 4000,
            mean_ns: 1800,
            p99_ns: 9000,
        }),
        after: Some(FaultStats {
            samples: 4100,
            mean_ns: 900,
            p99_ns: 4000,
        }),
        ts_ns: 9_000_000_000,
    }
}

pub(super) fn metrics() -> Metrics {
    Metrics {
        uptime_ns: Some(1_000_000_000),
        cpus: vec![
            CpuTimes {
                user_ns: 1,
                system_ns: 2,
                idle_ns: 3,
                irq_ns: 4
            };
            2
        ],
        mem_total_bytes: Some(512 << 20),
        mem_free_bytes: Some(400 << 20),
        mem_cached_bytes: Some(1 << 20),
        mem_kernel_bytes: Some(2 << 20),
        mem_zero_pool_bytes: Some(65536),
        load1_milli: Some(120),
        load5_milli: Some(80),
        load15_milli: Some(10),
        faults_minor: Some(5000),
        faults_major: Some(0),
        faults_cow: Some(300),
        fault_mean_ns: Some(1500),
        fault_p99_ns: Some(8000),
        context_switches: Some(12_345),
        interrupts: Some(54_321),
        syscalls: Some(99_999),
        unknown_syscalls: Some(2),
        processes: Some(12),
        threads: Some(14),
        net: Some(NetCounters {
            rx_packets: 1,
            rx_bytes: 2,
            rx_errors: 3,
            rx_drops: 4,
            tx_packets: 5,
            tx_bytes: 6,
            tx_errors: 7,
            tx_drops: 8,
        }),
        disk: Some(DiskCounters {
            reads: 1,
            read_bytes: 512,
            writes: 2,
            write_bytes: 1024,
        }),
        temperature_milli_c: Some(-5500),
        boot_time_ns: Some(70_000_000),
        mmu_enable_ns: Some(9000),
        strategy: Some(Strategy::Conservative),
        pending_approvals: Some(1),
        ts_ns: Some(1_000_000_123),
        cntfrq_hz: Some(62_500_000),
        ctx_switch_ns: Some(700),
        irq_latency_ns: Some(900),
        agent_rss_bytes: Some(2 << 20),
        agent_cpu_ns: Some(40_000_000),
        agent_clients: Some(1),
    }
}

pub(super) fn event(seq: u64, kind: EventKind) -> Event {
    Event {
        seq,
        ts_ns: 123_456_789,
        wall_ms: Some(1_795_185_916_000),
        kind,
        kernel_seq: Some(seq + 1),
    }
}
