//! Which series a board's snapshot of metrics makes.
//!
//! A *gauge* is shown as it is. A *counter* only grows, and what a person wants to see is how fast: it becomes a rate, from one sample to
//! the next. What a board does not measure makes no series.

use sis_protocol::control::{CpuTimes, DiskCounters, Metrics, NetCounters};

use super::Unit;

/// A name, a unit, and where in a snapshot the value is.
type Entry<T> = (&'static str, Unit, fn(&Metrics) -> Option<T>);

/// Values at one moment.
pub(super) const GAUGES: &[Entry<f64>] = &[
    ("memory.free", Unit::Bytes, |m| m.mem_free_bytes.map(float)),
    ("memory.used", Unit::Bytes, |m| {
        Some(float(m.mem_total_bytes?.saturating_sub(m.mem_free_bytes?)))
    }),
    ("memory.cached", Unit::Bytes, |m| m.mem_cached_bytes.map(float)),
    ("memory.kernel", Unit::Bytes, |m| m.mem_kernel_bytes.map(float)),
    ("memory.zero_pool", Unit::Bytes, |m| m.mem_zero_pool_bytes.map(float)),
    ("load.1m", Unit::Count, |m| m.load1_milli.map(thousandths)),
    ("load.5m", Unit::Count, |m| m.load5_milli.map(thousandths)),
    ("load.15m", Unit::Count, |m| m.load15_milli.map(thousandths)),
    ("fault.mean", Unit::Nanoseconds, |m| m.fault_mean_ns.map(float)),
    ("fault.p99", Unit::Nanoseconds, |m| m.fault_p99_ns.map(float)),
    ("irq.latency", Unit::Nanoseconds, |m| m.irq_latency_ns.map(float)),
    ("switch.mean", Unit::Nanoseconds, |m| m.ctx_switch_ns.map(float)),
    ("processes", Unit::Count, |m| m.processes.map(f64::from)),
    ("threads", Unit::Count, |m| m.threads.map(f64::from)),
    ("temperature", Unit::Celsius, |m| {
        m.temperature_milli_c.map(|milli| f64::from(milli) / 1000.0)
    }),
    ("approvals.pending", Unit::Count, |m| m.pending_approvals.map(f64::from)),
    ("agent.rss", Unit::Bytes, |m| m.agent_rss_bytes.map(float)),
    ("agent.clients", Unit::Count, |m| m.agent_clients.map(f64::from)),
];

/// Counts since boot, shown as a rate.
pub(super) const COUNTERS: &[Entry<u64>] = &[
    ("fault.minor", Unit::PerSecond, |m| m.faults_minor),
    ("fault.major", Unit::PerSecond, |m| m.faults_major),
    ("fault.cow", Unit::PerSecond, |m| m.faults_cow),
    ("switches", Unit::PerSecond, |m| m.context_switches),
    ("interrupts", Unit::PerSecond, |m| m.interrupts),
    ("syscalls", Unit::PerSecond, |m| m.syscalls),
    ("syscalls.unknown", Unit::PerSecond, |m| m.unknown_syscalls),
    ("net.rx", Unit::BytesPerSecond, |m| net(m, |net| net.rx_bytes)),
    ("net.tx", Unit::BytesPerSecond, |m| net(m, |net| net.tx_bytes)),
    ("net.rx_packets", Unit::PerSecond, |m| net(m, |net| net.rx_packets)),
    ("net.tx_packets", Unit::PerSecond, |m| net(m, |net| net.tx_packets)),
    ("net.errors", Unit::PerSecond, |m| {
        net(m, |net| net.rx_errors.saturating_add(net.tx_errors))
    }),
    ("net.drops", Unit::PerSecond, |m| {
        net(m, |net| net.rx_drops.saturating_add(net.tx_drops))
    }),
    ("disk.read", Unit::BytesPerSecond, |m| disk(m, |disk| disk.read_bytes)),
    ("disk.write", Unit::BytesPerSecond, |m| disk(m, |disk| disk.write_bytes)),
    ("disk.reads", Unit::PerSecond, |m| disk(m, |disk| disk.reads)),
    ("disk.writes", Unit::PerSecond, |m| disk(m, |disk| disk.writes)),
];

/// The share of time that all CPUs together were busy; `cpu.0.busy` and so on for each.
pub(super) const CPU_BUSY: &str = "cpu.busy";
/// CPU time of the agent itself, of one CPU's.
pub(super) const AGENT_CPU: &str = "agent.cpu";
/// So many CPUs get a series of their own; all count in [`CPU_BUSY`].
pub(super) const CPU_SERIES_MAX: usize = 64;

/// How fast a counter grew over `elapsed_ns`, a second. `None` when it fell: the board began anew.
pub(super) fn rate(before: u64, now: u64, elapsed_ns: u64) -> Option<f64> {
    let grown = float(now.checked_sub(before)?);
    (elapsed_ns > 0).then(|| grown * 1e9 / float(elapsed_ns))
}

/// The share of the time between two readings that was not idle, in percent, over any number of CPUs. `None` when no time passed, or a
/// reading fell.
pub(super) fn busy_percent<'a>(pairs: impl IntoIterator<Item = (&'a CpuTimes, &'a CpuTimes)>) -> Option<f64> {
    let (mut busy, mut all) = (0.0, 0.0);
    for (before, now) in pairs {
        let grown = |of: fn(&CpuTimes) -> u64| Some(float(of(now).checked_sub(of(before))?));
        let work = grown(|cpu| cpu.user_ns)? + grown(|cpu| cpu.system_ns)? + grown(|cpu| cpu.irq_ns)?;
        busy += work;
        all += work + grown(|cpu| cpu.idle_ns)?;
    }
    (all > 0.0).then(|| 100.0 * busy / all)
}

fn net(metrics: &Metrics, of: fn(&NetCounters) -> u64) -> Option<u64> {
    metrics.net.as_ref().map(of)
}

fn disk(metrics: &Metrics, of: fn(&DiskCounters) -> u64) -> Option<u64> {
    metrics.disk.as_ref().map(of)
}

/// Exact up to 2^53, and close enough above.
const fn float(value: u64) -> f64 {
    value as f64
}

fn thousandths(value: u32) -> f64 {
    f64::from(value) / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::SeriesName;
    use super::*;

    #[test]
    fn every_name_is_one_and_stands_for_one_thing() {
        let names = GAUGES.iter().map(|entry| entry.0);
        let names: Vec<_> = names
            .chain(COUNTERS.iter().map(|entry| entry.0))
            .chain([CPU_BUSY, AGENT_CPU])
            .collect();
        let parsed: BTreeSet<SeriesName> = names.iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(parsed.len(), names.len());
    }

    #[test]
    fn a_rate_is_per_second_and_a_fall_is_none() {
        assert_eq!(rate(100, 150, 500_000_000), Some(100.0));
        assert_eq!(rate(150, 100, 500_000_000), None);
        assert_eq!(rate(100, 150, 0), None);
    }

    #[test]
    fn busy_is_what_was_not_idle() {
        let cpu = |user_ns, system_ns, idle_ns, irq_ns| CpuTimes {
            user_ns,
            system_ns,
            idle_ns,
            irq_ns,
        };
        let (before, now) = (cpu(10, 10, 10, 10), cpu(20, 15, 40, 15));
        assert_eq!(busy_percent([(&before, &now)]), Some(40.0));
        assert_eq!(busy_percent([(&now, &before)]), None);
        assert_eq!(busy_percent([(&now, &now)]), None);
    }
}
