//! What the kernel tells: procfs, mounts, random numbers, the control device.

use std::fs;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use sis_protocol::control::{CheckResult, RequestBody, ResponseBody};

use super::{Failed, during, ensure};
use crate::control::ask;

fn read(path: &str) -> Result<String, Failed> {
    during(path, fs::read_to_string(path))
}

fn meminfo(text: &str, name: &str) -> Result<u64, Failed> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("/proc/meminfo has no {name}"))
}

fn uptime() -> Result<f64, Failed> {
    let text = read("/proc/uptime")?;
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| format!("/proc/uptime is {text:?}"))
}

pub(super) fn procfs() -> Result<(), Failed> {
    let info = read("/proc/meminfo")?;
    let (total, free) = (meminfo(&info, "MemTotal")?, meminfo(&info, "MemFree")?);
    ensure(0 < free && free < total, || format!("{free} of {total} KiB free"))?;
    let before = uptime()?;
    std::thread::sleep(Duration::from_millis(30));
    let after = uptime()?;
    ensure(after > before, || format!("the uptime stands at {after}"))?;
    let cpus = read("/proc/cpuinfo")?
        .lines()
        .filter(|l| l.starts_with("processor"))
        .count();
    let online = during("CPUs", std::thread::available_parallelism())?.get();
    ensure(cpus == online, || {
        format!("/proc/cpuinfo has {cpus} CPUs, sched_getaffinity {online}")
    })?;
    let load = read("/proc/loadavg")?;
    ensure(load.split(' ').count() == 5, || format!("/proc/loadavg is {load:?}"))?;
    let stat = read("/proc/stat")?;
    ensure(stat.starts_with("cpu "), || {
        "/proc/stat does not begin with cpu".to_owned()
    })
}

pub(super) fn procfs_self() -> Result<(), Failed> {
    let pid = std::process::id().to_string();
    let stat = read("/proc/self/stat")?;
    ensure(stat.split(' ').next() == Some(&pid), || {
        format!("/proc/self/stat of {pid} is {stat}")
    })?;
    let command = during("cmdline", fs::read("/proc/self/cmdline"))?;
    ensure(command.ends_with(b"selfcheck\0"), || {
        "/proc/self/cmdline is another program's".to_owned()
    })?;
    let maps = read("/proc/self/maps")?;
    ensure(maps.contains("[stack]"), || "/proc/self/maps has no stack".to_owned())?;
    let both = maps
        .lines()
        .find(|l| l.split(' ').nth(1).is_some_and(|p| p.contains('w') && p.contains('x')));
    ensure(both.is_none(), || {
        format!("memory that is both writable and executable: {both:?}")
    })?;
    let listed = during("/proc", fs::read_dir("/proc"))?.filter_map(Result::ok);
    ensure(listed.into_iter().any(|e| e.file_name().to_str() == Some(&pid)), || {
        format!("/proc does not list {pid}")
    })
}

pub(super) fn mounts() -> Result<(), Failed> {
    let table = read("/proc/mounts")?;
    for at in ["/", "/proc", "/dev", "/tmp"] {
        let is_there = table.lines().any(|l| l.split(' ').nth(1) == Some(at));
        ensure(is_there, || format!("nothing is mounted on {at}"))?;
    }
    Ok(())
}

pub(super) fn random() -> Result<(), Failed> {
    let draw = || {
        let mut bytes = [0_u8; 32];
        let length = during("getrandom", getrandom(&mut bytes, GetRandomFlags::NONBLOCK))?;
        ensure(length == bytes.len(), || format!("{length} bytes"))?;
        Ok::<_, Failed>(bytes)
    };
    let draws = (0..64).map(|_| draw()).collect::<Result<Vec<_>, _>>()?;
    let mut unique = draws.clone();
    unique.sort_unstable();
    unique.dedup();
    ensure(unique.len() == draws.len(), || {
        "the same random bytes came twice".to_owned()
    })?;
    let ones: u32 = draws.iter().flatten().map(|b| b.count_ones()).sum();
    // 16384 bits: half of them within eight standard deviations (64 each).
    ensure((7680..=8704).contains(&ones), || {
        format!("{ones} of 16384 random bits are set")
    })
}

pub(super) fn control_device() -> Result<(), Failed> {
    match ask(RequestBody::Metrics) {
        Ok(ResponseBody::Metrics(metrics)) => {
            ensure(metrics.uptime_ns.is_some_and(|ns| ns > 0), || {
                "the kernel does not know its uptime".to_owned()
            })?;
            ensure(!metrics.cpus.is_empty(), || "the kernel counts no CPU".to_owned())
        }
        Ok(other) => Err(format!("metrics were asked for and {other:?} came")),
        Err(error) => Err(error.to_string()),
    }
}

/// The kernel's checks of itself.
pub(super) fn kernel_checks() -> Result<Vec<CheckResult>, Failed> {
    match ask(RequestBody::SelfCheck) {
        Ok(ResponseBody::SelfCheck(results)) if results.is_empty() => Err("the kernel checked nothing".to_owned()),
        Ok(ResponseBody::SelfCheck(results)) => Ok(results),
        Ok(_) => Err("the kernel answered something else than was asked".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
