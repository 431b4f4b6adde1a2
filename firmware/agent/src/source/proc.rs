//! A Linux host without our kernel: what `/proc` and `/sys` measure (proc(5)). What they do not measure is absent.

use std::fs;

use sis_protocol::control::{CpuTimes, DiskCounters, ErrorCode, Metrics, NetCounters, RequestBody, ResponseBody};
use tokio::sync::mpsc;

use super::{Asked, QUEUE, Source, SourceKind, failure, kmsg};
use crate::clock;

/// One tick of `/proc/stat`: `USER_HZ` is 100 on every Linux architecture we run on.
const TICK_NS: u64 = 10_000_000;
const SECTOR_BYTES: u64 = 512;

/// The `/proc` source.
#[must_use]
pub fn proc() -> Source {
    let (requests, request_queue) = mpsc::channel(QUEUE);
    let (samples, sample_queue) = mpsc::channel(QUEUE);
    let (teller, told) = mpsc::channel(256);
    tokio::spawn(answer(request_queue));
    tokio::spawn(answer(sample_queue));
    tokio::spawn(kmsg::follow(teller));
    Source::new(SourceKind::Proc, requests, samples, told)
}

async fn answer(mut queue: mpsc::Receiver<Asked>) {
    while let Some((body, answer)) = queue.recv().await {
        let reply = match body {
            RequestBody::Metrics => ResponseBody::Metrics(Box::new(snapshot())),
            RequestBody::Unknown => failure(ErrorCode::Unsupported, "this agent does not know the request"),
            _ => failure(
                ErrorCode::Unavailable,
                "this agent runs on a Linux host: there is no control device, so nothing to approve or to check",
            ),
        };
        let _ = answer.send(reply);
    }
}

fn snapshot() -> Metrics {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut metrics = Metrics {
        ts_ns: Some(clock::monotonic_ns()),
        uptime_ns: Some(clock::uptime_ns()),
        ..Metrics::default()
    };
    stat(&read("/proc/stat"), &mut metrics);
    meminfo(&read("/proc/meminfo"), &mut metrics);
    loadavg(&read("/proc/loadavg"), &mut metrics);
    vmstat(&read("/proc/vmstat"), &mut metrics);
    metrics.net = net_dev(&read("/proc/net/dev"));
    metrics.disk = diskstats(&read("/proc/diskstats"));
    metrics.temperature_milli_c = read("/sys/class/thermal/thermal_zone0/temp").trim().parse().ok();
    let is_process = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
    if let Ok(entries) = fs::read_dir("/proc") {
        metrics.processes = u32::try_from(entries.flatten().filter(is_process).count()).ok();
    }
    metrics
}

fn number<T: std::str::FromStr>(field: Option<&str>) -> Option<T> {
    field?.parse().ok()
}

fn stat(text: &str, metrics: &mut Metrics) {
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        match fields.next() {
            Some("ctxt") => metrics.context_switches = number(fields.next()),
            Some("intr") => metrics.interrupts = number(fields.next()),
            Some(name) if name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()) => {
                let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
                // user nice system idle iowait irq softirq
                let [user, nice, system, idle, iowait, irq, softirq, ..] = ticks[..] else {
                    continue;
                };
                let ns = |ticks: u64| ticks.saturating_mul(TICK_NS);
                metrics.cpus.push(CpuTimes {
                    user_ns: ns(user + nice),
                    system_ns: ns(system),
                    idle_ns: ns(idle + iowait),
                    irq_ns: ns(irq + softirq),
                });
            }
            _ => {}
        }
    }
}

fn meminfo(text: &str, metrics: &mut Metrics) {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        number::<u64>(line.split_ascii_whitespace().next()).map(|kb| kb.saturating_mul(1024))
    };
    metrics.mem_total_bytes = kilobytes("MemTotal");
    metrics.mem_free_bytes = kilobytes("MemFree");
    metrics.mem_cached_bytes = kilobytes("Cached");
    metrics.mem_kernel_bytes = kilobytes("Slab")
        .map(|slab| slab + kilobytes("KernelStack").unwrap_or(0) + kilobytes("PageTables").unwrap_or(0));
}

fn loadavg(text: &str, metrics: &mut Metrics) {
    let mut fields = text.split_ascii_whitespace();
    metrics.load1_milli = fields.next().and_then(milli);
    metrics.load5_milli = fields.next().and_then(milli);
    metrics.load15_milli = fields.next().and_then(milli);
    metrics.threads = number(fields.next().and_then(|field| field.split('/').nth(1)));
}

/// A decimal with two digits after the point, in thousandths.
fn milli(decimal: &str) -> Option<u32> {
    let (whole, hundredths) = decimal.split_once('.')?;
    let hundredths: u32 = hundredths.get(..2)?.parse().ok()?;
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(hundredths * 10)
}

fn vmstat(text: &str, metrics: &mut Metrics) {
    let value = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| number(Some(line.strip_prefix(name)?.strip_prefix(' ')?)))
    };
    metrics.faults_major = value("pgmajfault");
    metrics.faults_minor = value("pgfault").map(|all| all.saturating_sub(metrics.faults_major.unwrap_or(0)));
}

fn net_dev(text: &str) -> Option<NetCounters> {
    let mut sum = None;
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let fields: Vec<u64> = counters
            .split_ascii_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_drops,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_drops,
            ..,
        ] = fields[..]
        else {
            continue;
        };
        let sum = sum.get_or_insert_with(NetCounters::default);
        sum.rx_packets += rx_packets;
        sum.rx_bytes += rx_bytes;
        sum.rx_errors += rx_errors;
        sum.rx_drops += rx_drops;
        sum.tx_packets += tx_packets;
        sum.tx_bytes += tx_bytes;
        sum.tx_errors += tx_errors;
        sum.tx_drops += tx_drops;
    }
    sum
}

fn diskstats(text: &str) -> Option<DiskCounters> {
    let mut sum = None;
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let Some(name) = fields.next() else { continue };
        // Whole disks only: partitions would count twice, and loop and ram disks are no disks.
        if !is_whole_disk(name) {
            continue;
        }
        let values: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let [reads, _, sectors_read, _, writes, _, sectors_written, ..] = values[..] else {
            continue;
        };
        let sum = sum.get_or_insert_with(DiskCounters::default);
        sum.reads += reads;
        sum.read_bytes += sectors_read.saturating_mul(SECTOR_BYTES);
        sum.writes += writes;
        sum.write_bytes += sectors_written.saturating_mul(SECTOR_BYTES);
    }
    sum
}

fn is_whole_disk(name: &str) -> bool {
    let ends_in_digit = name.ends_with(|c: char| c.is_ascii_digit());
    match name {
        _ if name.starts_with("nvme") || name.starts_with("mmcblk") => !name.contains('p'),
        _ => ["sd", "vd", "hd", "xvd"].iter().any(|kind| name.starts_with(kind)) && !ends_in_digit,
    }
}

#[cfg(test)]
mod tests;
