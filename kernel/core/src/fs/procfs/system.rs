//! Files about the whole system.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::Ordering;

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::{self, frames};
use sis_machine::{cpu, percpu};

use crate::Result;
use crate::fs::registry;
use crate::fs::tmpfs;
use crate::fs::virt_tree::Tree;
use crate::process::table;
use crate::time::{now_ns, wall_ns};
use crate::{sched, uts, vm};

/// Nanoseconds of a tick of USER_HZ.
pub(super) const TICK_NS: u64 = 10_000_000;
const NS: u64 = 1_000_000_000;
const PAGE_KIB: usize = PAGE_SIZE / 1024;

/// Registers them.
pub(super) fn add(tree: &Arc<Tree>) {
    tree.add_file("stat", || Ok(stat().into_bytes()));
    tree.add_file("meminfo", || Ok(meminfo().into_bytes()));
    tree.add_file("uptime", || Ok(uptime().into_bytes()));
    tree.add_file("loadavg", || Ok(loadavg().into_bytes()));
    tree.add_file("version", || Ok(version().into_bytes()));
    tree.add_file("cpuinfo", || Ok(cpuinfo().into_bytes()));
    tree.add_file("filesystems", || Ok(filesystems().into_bytes()));
    tree.add_file("interrupts", || Ok(interrupts().into_bytes()));
    tree.add_file("vmstat", || Ok(vmstat().into_bytes()));
    tree.add_file("devices", || Ok(crate::fs::device::listing().into_bytes()));
    tree.add_file("cmdline", || {
        Ok(alloc::format!("{}\n", crate::init::facts().map_or("", |f| f.cmdline.as_str())).into_bytes())
    });
    tree.add_file("swaps", || {
        Ok(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec())
    });
    tree.add_file("partitions", || Ok(crate::block::proc_partitions().into_bytes()));
    tree.add_file("diskstats", || Ok(crate::block::proc_diskstats().into_bytes()));
    tree.add_file("modules", || Ok(Vec::new()));
    tree.add_file("buddyinfo", || Ok(buddyinfo().into_bytes()));
}

/// Joins lines that are made with `write!`, which cannot fail on strings.
pub(super) fn text(make: impl FnOnce(&mut String) -> core::fmt::Result) -> String {
    let mut out = String::new();
    let _ = make(&mut out);
    out
}

fn cpu_line(out: &mut String, name: &str, t: [u64; 3]) -> core::fmt::Result {
    let [user, system, idle] = t;
    writeln!(
        out,
        "{name} {} 0 {} {} 0 0 0 0 0 0",
        user / TICK_NS,
        system / TICK_NS,
        idle / TICK_NS
    )
}

fn stat() -> String {
    let cpus: Vec<(u32, [u64; 3])> = percpu::online()
        .map(|c| {
            let t = sched::cpu_times(c.id as usize);
            (c.id, [t.user_ns, t.system_ns, t.idle_ns])
        })
        .collect();
    let mut all = [0u64; 3];
    for (_, t) in &cpus {
        for (sum, n) in all.iter_mut().zip(t) {
            *sum += n;
        }
    }
    let interrupts: u64 = percpu::online().map(|c| c.interrupts.load(Ordering::Relaxed)).sum();
    text(|out| {
        cpu_line(out, "cpu ", all)?;
        for (id, t) in cpus {
            cpu_line(out, &alloc::format!("cpu{id}"), t)?;
        }
        writeln!(out, "intr {interrupts}")?;
        writeln!(out, "ctxt {}", sched::context_switches())?;
        writeln!(out, "btime {}", wall_ns().saturating_sub(now_ns()) / NS)?;
        writeln!(out, "processes {}", table::made_count())?;
        writeln!(out, "procs_running {}", sched::runnable())?;
        writeln!(out, "procs_blocked 0")?;
        writeln!(out, "softirq 0 0 0 0 0 0 0 0 0 0 0")
    })
}

fn meminfo() -> String {
    let (total, free) = (frames::total_frames(), frames::free_frames());
    let available = free.saturating_sub(frames::reserve_frames());
    let shared = tmpfs::pages_in_use();
    let line = |out: &mut String, name: &str, pages: usize| {
        let label = alloc::format!("{name}:");
        writeln!(out, "{label:<16}{:>8} kB", pages * PAGE_KIB)
    };
    text(|out| {
        line(out, "MemTotal", total)?;
        line(out, "MemFree", free)?;
        line(out, "MemAvailable", available)?;
        line(out, "Buffers", 0)?;
        line(out, "Cached", shared)?;
        for name in [
            "SwapCached",
            "Active",
            "Inactive",
            "Active(anon)",
            "Inactive(anon)",
            "Active(file)",
        ] {
            line(out, name, 0)?;
        }
        for name in [
            "Inactive(file)",
            "Unevictable",
            "Mlocked",
            "SwapTotal",
            "SwapFree",
            "Dirty",
            "Writeback",
        ] {
            line(out, name, 0)?;
        }
        line(out, "AnonPages", anonymous_pages(total, free, shared))?;
        line(out, "Mapped", 0)?;
        line(out, "Shmem", shared)?;
        line(out, "KReclaimable", 0)?;
        line(out, "Slab", frames::heap_frames())?;
        line(out, "SReclaimable", 0)?;
        line(out, "SUnreclaim", frames::heap_frames())?;
        line(out, "KernelStack", mm::stack_frames())?;
        line(out, "PageTables", mm::uspace::table_frames())?;
        line(out, "CommitLimit", total)?;
        line(out, "Committed_AS", total - free.min(total))?;
        writeln!(out, "VmallocTotal:   {:>8} kB", 0)?;
        writeln!(out, "HugePages_Total:       0")?;
        writeln!(out, "HugePages_Free:        0")?;
        writeln!(out, "Hugepagesize:       2048 kB")
    })
}

/// Resident pages of processes, at most what is in use.
fn anonymous_pages(total: usize, free: usize, shared: usize) -> usize {
    let resident: usize = table::iter().filter_map(|p| p.vm()).map(|v| v.resident_pages()).sum();
    resident.min(total.saturating_sub(free).saturating_sub(shared))
}

fn uptime() -> String {
    let idle: u64 = percpu::online().map(|c| sched::cpu_times(c.id as usize).idle_ns).sum();
    let now = now_ns();
    let centi = |ns: u64| (ns / NS, ns % NS / TICK_NS);
    let ((s, c), (is, ic)) = (centi(now), centi(idle));
    alloc::format!("{s}.{c:02} {is}.{ic:02}\n")
}

fn loadavg() -> String {
    let [a, b, c] = sched::load::averages_centi();
    let one = |v: u64| alloc::format!("{}.{:02}", v / 100, v % 100);
    let (running, all) = (sched::runnable(), table::thread_count());
    alloc::format!(
        "{} {} {} {running}/{all} {}\n",
        one(a),
        one(b),
        one(c),
        table::last_pid()
    )
}

fn version() -> String {
    alloc::format!("{} version {} (sis) {}\n", uts::SYSNAME, uts::RELEASE, uts::VERSION)
}

/// A feature: name, identification register's field (its shift) and the least value that has it.
const FEATURES_ISAR0: &[(&str, u32, u64)] = &[
    ("aes", 4, 1),
    ("pmull", 4, 2),
    ("sha1", 8, 1),
    ("sha2", 12, 1),
    ("crc32", 16, 1),
    ("atomics", 20, 2),
    ("asimdrdm", 28, 1),
    ("sha3", 32, 1),
    ("sm3", 36, 1),
    ("sm4", 40, 1),
    ("asimddp", 44, 1),
    ("asimdfhm", 48, 1),
];

fn features() -> String {
    let mut out = String::new();
    let (pfr0, isar0) = (cpu::id_aa64pfr0(), cpu::id_aa64isar0());
    if (pfr0 >> 16) & 0xf != 0xf {
        out.push_str("fp ");
    }
    if (pfr0 >> 20) & 0xf != 0xf {
        out.push_str("asimd ");
    }
    for (name, shift, least) in FEATURES_ISAR0 {
        if (isar0 >> shift) & 0xf >= *least {
            out.push_str(name);
            out.push(' ');
        }
    }
    String::from(out.trim_end())
}

fn cpuinfo() -> String {
    let midr = cpu::midr();
    // BogoMIPS of a delay loop on the system counter, as Linux has it on arm64.
    let bogo = cpu::counter_frequency() / 5000;
    let features = features();
    text(|out| {
        for c in percpu::online() {
            writeln!(out, "processor\t: {}", c.id)?;
            writeln!(out, "BogoMIPS\t: {}.{:02}", bogo / 100, bogo % 100)?;
            writeln!(out, "Features\t: {features}")?;
            writeln!(out, "CPU implementer\t: {:#04x}", (midr >> 24) & 0xff)?;
            writeln!(out, "CPU architecture: 8")?;
            writeln!(out, "CPU variant\t: {:#x}", (midr >> 20) & 0xf)?;
            writeln!(out, "CPU part\t: {:#05x}", (midr >> 4) & 0xfff)?;
            writeln!(out, "CPU revision\t: {}\n", midr & 0xf)?;
        }
        Ok(())
    })
}

fn filesystems() -> String {
    let mut out = String::new();
    for kind in registry::all() {
        out.push_str(if kind.needs_device { "\t" } else { "nodev\t" });
        out.push_str(kind.name);
        out.push('\n');
    }
    out
}

fn interrupts() -> String {
    text(|out| {
        write!(out, "           ")?;
        for c in percpu::online() {
            write!(out, "CPU{:<8}", c.id)?;
        }
        write!(out, "\nTOT: ")?;
        for c in percpu::online() {
            write!(out, "{:>10} ", c.interrupts.load(Ordering::Relaxed))?;
        }
        writeln!(out, "  all interrupts")
    })
}

fn vmstat() -> String {
    let faults = vm::fault_stats();
    let pool = frames::zero_pool();
    text(|out| {
        writeln!(out, "nr_free_pages {}", frames::free_frames())?;
        writeln!(out, "nr_shmem {}", tmpfs::pages_in_use())?;
        writeln!(out, "pgfault {}", faults.count)?;
        writeln!(out, "pgmajfault 0")?;
        writeln!(out, "cow_fault {}", faults.copy_on_write)?;
        writeln!(out, "zero_pool_ready {}", pool.ready)?;
        writeln!(out, "zero_pool_hits {}", pool.hits)?;
        writeln!(out, "zero_pool_misses {}", pool.misses)
    })
}

fn buddyinfo() -> String {
    text(|out| {
        write!(out, "Node 0, zone   Normal ")?;
        for n in frames::free_blocks() {
            write!(out, "{n:>6} ")?;
        }
        writeln!(out)
    })
}

/// The answer for a file whose text is at hand.
pub(super) fn ready(text: String) -> Result<Vec<u8>> {
    Ok(text.into_bytes())
}
