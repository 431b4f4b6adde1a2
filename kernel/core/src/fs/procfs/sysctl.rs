//! /proc/sys: what can be read, and the little that can be set.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::mm::frames::total_frames;
use sis_machine::sync::Once;

use crate::fs::cache::{self, flusher};
use crate::fs::notify::{event, inotify};
use crate::fs::virt_tree::Tree;
use crate::fs::{mount, pipe};
use crate::process::limits::NR_OPEN;
use crate::process::table::PID_MAX;
use crate::process::thread;
use crate::{Errno, Result, random, uts};

/// Registers them.
pub(super) fn add(tree: &Arc<Tree>) {
    let constants: &[(&str, &str)] = &[
        ("sys/kernel/ostype", uts::SYSNAME),
        ("sys/kernel/osrelease", uts::RELEASE),
        ("sys/kernel/version", uts::VERSION),
        ("sys/kernel/cap_last_cap", "40"),
        ("sys/kernel/ngroups_max", "65536"),
        ("sys/kernel/overflowuid", "65534"),
        ("sys/kernel/overflowgid", "65534"),
        ("sys/kernel/randomize_va_space", "2"),
        ("sys/kernel/core_pattern", "core"),
        ("sys/kernel/core_uses_pid", "0"),
        ("sys/kernel/random/poolsize", "256"),
        ("sys/kernel/random/entropy_avail", "256"),
        ("sys/vm/overcommit_memory", "1"),
        ("sys/vm/overcommit_ratio", "50"),
        ("sys/vm/swappiness", "0"),
        ("sys/vm/mmap_min_addr", "65536"),
        ("sys/fs/pipe-user-pages-soft", "0"),
        ("sys/fs/protected_symlinks", "0"),
        ("sys/fs/protected_hardlinks", "0"),
    ];
    for (path, value) in constants {
        tree.add_file(path, move || Ok(alloc::format!("{value}\n").into_bytes()));
    }
    let numbers: &[(&str, u64)] = &[
        ("sys/kernel/pid_max", u64::from(PID_MAX)),
        ("sys/kernel/threads-max", u64::from(PID_MAX)),
        ("sys/vm/max_map_count", crate::vm::most_areas() as u64),
        ("sys/fs/nr_open", NR_OPEN),
        ("sys/fs/file-max", i64::MAX as u64),
        ("sys/fs/pipe-max-size", pipe::MAX_BYTES as u64),
        ("sys/fs/inode-max", total_frames() as u64),
        ("sys/fs/inotify/max_queued_events", event::MAX_QUEUED as u64),
        ("sys/fs/inotify/max_user_instances", u64::from(inotify::MAX_INSTANCES)),
        ("sys/fs/inotify/max_user_watches", u64::from(inotify::MAX_WATCHES)),
        ("sys/vm/dirty_background_ratio", flusher::BACKGROUND_PERCENT as u64),
        ("sys/vm/dirty_ratio", flusher::THROTTLE_PERCENT as u64),
        ("sys/vm/dirty_background_bytes", 0),
        ("sys/vm/dirty_bytes", 0),
        ("sys/vm/dirty_expire_centisecs", flusher::EXPIRE_CENTISECONDS),
        ("sys/vm/dirty_writeback_centisecs", flusher::INTERVAL_CENTISECONDS),
    ];
    for (path, value) in numbers {
        let value = *value;
        tree.add_file(path, move || Ok(alloc::format!("{value}\n").into_bytes()));
    }
    tree.add_setting(
        "sys/kernel/hostname",
        || line(uts::hostname()),
        |b| {
            uts::set_hostname(first_line(b));
            Ok(())
        },
    );
    tree.add_setting(
        "sys/kernel/domainname",
        || line(uts::domainname()),
        |b| {
            uts::set_domainname(first_line(b));
            Ok(())
        },
    );
    tree.add_setting("sys/vm/drop_caches", || Ok(b"0\n".to_vec()), drop_caches);
    tree.add_setting("sys/kernel/printk", printk, set_printk);
    tree.add_file("sys/kernel/random/uuid", || line(uuid(&fresh())));
    tree.add_file("sys/kernel/random/boot_id", || line(uuid(boot_id())));
}

fn line(mut text: Vec<u8>) -> Result<Vec<u8>> {
    text.push(b'\n');
    Ok(text)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default()
}

/// 1: clean pages; 2: names that nobody uses; 3: both (Documentation/admin-guide/sysctl/vm.rst).
fn drop_caches(bytes: &[u8]) -> Result<()> {
    if !thread::current().cred().may_override() {
        return Err(Errno::EPERM);
    }
    let text = core::str::from_utf8(first_line(bytes)).map_err(|_| Errno::EINVAL)?;
    let what = text.trim().parse::<u8>().ok().filter(|n| (1..=4).contains(n));
    let what = what.ok_or(Errno::EINVAL)?;
    if what & 2 != 0 {
        mount::prune_names(0);
    }
    if what & 1 != 0 {
        cache::drop_clean();
    }
    Ok(())
}

fn printk() -> Result<Vec<u8>> {
    Ok(alloc::format!("{}\t4\t1\t7\n", sis_machine::log::console_level()).into_bytes())
}

fn set_printk(bytes: &[u8]) -> Result<()> {
    if !thread::current().cred().may_override() {
        return Err(Errno::EPERM);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let level = text
        .split_ascii_whitespace()
        .next()
        .and_then(|n| n.parse::<u8>().ok())
        .ok_or(Errno::EINVAL)?;
    sis_machine::log::set_console_level(level);
    Ok(())
}

fn fresh() -> [u8; 16] {
    let mut out = [0; 16];
    random::fill(&mut out);
    out
}

fn boot_id() -> &'static [u8; 16] {
    static ID: Once<[u8; 16]> = Once::new();
    ID.call_once(fresh)
}

/// A random UUID's text (RFC 9562, version 4).
fn uuid(random: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(36);
    for (n, byte) in random.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let byte = match n {
            6 => (byte & 0x0f) | 0x40,
            8 => (byte & 0x3f) | 0x80,
            _ => *byte,
        };
        out.extend_from_slice(alloc::format!("{byte:02x}").as_bytes());
    }
    out
}
