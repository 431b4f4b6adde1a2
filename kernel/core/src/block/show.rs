//! What /proc/partitions, /proc/diskstats and /sys show of disks (Linux's Documentation/ABI/stable/sysfs-block).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use super::registry;
use super::volume::Volume;
use crate::fs::inode::LinkTarget;
use crate::fs::inode::split_dev;
use crate::fs::sysfs;
use crate::fs::virt_tree::Entry;
use crate::{Errno, Result};

/// Every disk with its partitions behind it.
fn in_order() -> Vec<Arc<Volume>> {
    let mut all = registry::all();
    let position = |v: &Volume| {
        let (major, minor) = split_dev(v.disk_number());
        (major, minor, v.number())
    };
    all.sort_by_key(|v| position(v));
    all
}

/// /proc/partitions (proc(5)).
pub fn proc_partitions() -> String {
    let mut out = String::from("major minor  #blocks  name\n\n");
    for v in in_order() {
        let (major, minor) = split_dev(v.device_number());
        let _ = writeln!(out, "{major:4}  {minor:7} {:>10} {}", v.sector_count() / 2, v.name());
    }
    out
}

/// /proc/diskstats (Linux's Documentation/admin-guide/iostats.rst).
pub fn proc_diskstats() -> String {
    let mut out = String::new();
    for v in in_order() {
        let (major, minor) = split_dev(v.device_number());
        let _ = writeln!(out, "{major:4} {minor:7} {} {}", v.name(), v.stats().line());
    }
    out
}

type Text = fn(&Volume) -> String;

/// Files of disks and partitions.
const BOTH: [(&str, Text); 5] = [
    ("dev", |v| {
        let (major, minor) = split_dev(v.device_number());
        format!("{major}:{minor}")
    }),
    ("size", |v| format!("{}", v.sector_count())),
    ("ro", |v| format!("{}", u8::from(v.is_read_only()))),
    ("stat", |v| v.stats().line()),
    ("uevent", uevent),
];

const OF_PARTITIONS: [(&str, Text); 2] = [
    ("partition", |v| format!("{}", v.number())),
    ("start", |v| format!("{}", v.first_sector())),
];

const OF_DISKS: [(&str, Text); 24] = [
    ("removable", |_| String::from("0")),
    ("serial", |v| String::from(v.disk().serial())),
    ("hidden", |_| String::from("0")),
    ("range", |_| String::from("16")),
    ("ext_range", |_| String::from("256")),
    ("queue/logical_block_size", |v| format!("{}", v.logical_block_bytes())),
    ("queue/hw_sector_size", |v| format!("{}", v.logical_block_bytes())),
    ("queue/physical_block_size", |v| physical(v)),
    ("queue/minimum_io_size", |v| physical(v)),
    ("queue/optimal_io_size", |_| String::from("0")),
    ("queue/rotational", |_| String::from("0")),
    ("queue/scheduler", |_| String::from("[none]")),
    ("queue/nr_requests", |v| format!("{}", v.disk().limits().queue_depth)),
    ("queue/max_sectors_kb", |v| max_kib(v)),
    ("queue/max_hw_sectors_kb", |v| max_kib(v)),
    ("queue/max_segments", |v| format!("{}", v.disk().limits().segments_max)),
    ("queue/max_segment_size", |v| {
        format!("{}", v.disk().limits().segment_bytes_max)
    }),
    ("queue/read_ahead_kb", |v| format!("{}", v.read_ahead_sectors() / 2)),
    ("queue/dma_alignment", |_| String::from("511")),
    ("queue/write_cache", |v| {
        let has = v.disk().limits().has_write_cache;
        String::from(if has { "write back" } else { "write through" })
    }),
    ("queue/fua", |v| format!("{}", u8::from(v.disk().limits().has_fua))),
    ("queue/discard_granularity", |v| {
        let can = v.disk().limits().discard_sectors_max != 0;
        format!("{}", if can { v.logical_block_bytes() } else { 0 })
    }),
    ("queue/discard_max_bytes", |v| {
        format!("{}", u64::from(v.disk().limits().discard_sectors_max) * 512)
    }),
    ("queue/write_zeroes_max_bytes", |v| {
        format!("{}", u64::from(v.disk().limits().write_zeroes_sectors_max) * 512)
    }),
];

fn physical(v: &Volume) -> String {
    format!("{}", v.disk().limits().physical_block_bytes)
}

fn max_kib(v: &Volume) -> String {
    format!("{}", v.disk().limits().request_sectors_max / 2)
}

fn uevent(v: &Volume) -> String {
    let (major, minor) = split_dev(v.device_number());
    let kind = if v.number() == 0 { "disk" } else { "partition" };
    let mut out = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={}\nDEVTYPE={kind}", v.name());
    if let Some(info) = v.info() {
        let _ = write!(out, "\nPARTN={}", v.number());
        if !info.name.is_empty() {
            let _ = write!(out, "\nPARTNAME={}", info.name);
        }
        let _ = write!(out, "\nPARTUUID={}", info.uuid);
    }
    out
}

/// Where a volume is in /sys.
fn folder(volume: &Volume) -> String {
    let disk = volume.disk().name();
    match volume.number() {
        0 => format!("devices/virtual/block/{disk}"),
        _ => format!("devices/virtual/block/{disk}/{}", volume.name()),
    }
}

fn links(volume: &Volume) -> [(String, String); 3] {
    let (major, minor) = split_dev(volume.device_number());
    let to = folder(volume);
    let name = volume.name();
    [
        (format!("block/{name}"), format!("../{to}")),
        (format!("class/block/{name}"), format!("../../{to}")),
        (format!("dev/block/{major}:{minor}"), format!("../../{to}")),
    ]
}

/// Shows a disk or partition.
pub(super) fn add(volume: &Arc<Volume>) {
    let tree = sysfs::tree();
    let folder = folder(volume);
    let own: &[(&str, Text)] = if volume.number() == 0 {
        &OF_DISKS
    } else {
        &OF_PARTITIONS
    };
    for (file, text) in BOTH.iter().chain(own) {
        let volume = Arc::downgrade(volume);
        let text = *text;
        tree.add_file(&format!("{folder}/{file}"), move || {
            let volume = volume.upgrade().ok_or(Errno::ENODEV)?;
            let mut line = text(&volume);
            line.push('\n');
            Ok(line.into_bytes())
        });
    }
    let is_part = usize::from(volume.number() != 0);
    // /sys/block has the disks alone.
    for (at, to) in links(volume).into_iter().skip(is_part) {
        let target = move || -> Result<LinkTarget> { Ok(LinkTarget::Text(to.clone().into_bytes())) };
        tree.add(&at, Entry::Link(Arc::new(target)));
    }
}

/// Shows a partition no more.
pub(super) fn remove(volume: &Volume) {
    let tree = sysfs::tree();
    tree.remove(&folder(volume));
    for (at, _) in links(volume).into_iter().skip(1) {
        tree.remove(&at);
    }
}
