//! /proc/sis: what only this kernel tells.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;

use sis_abi::nr;
use sis_machine::mm::frames;

use super::system::{ready, text};
use crate::fs::virt_tree::Tree;
use crate::syscall::{Coverage, table};
use crate::{control, init, sched, vm};

/// Registers them.
pub(super) fn add(tree: &Arc<Tree>) {
    tree.add_file("sis/syscalls", || ready(syscalls()));
    tree.add_file("sis/metrics", || ready(metrics()));
    tree.add_file("sis/boot", || ready(boot()));
}

/// Every number: `number name coverage calls`, and what is missing of partial ones. Numbers without a row are listed
/// once they have been called.
fn syscalls() -> String {
    text(|out| {
        for number in 0..table::NUMBERS {
            let calls = table::count(number);
            match table::row(number) {
                Some(row) => match row.coverage {
                    Coverage::Built => writeln!(out, "{number} {} built {calls}", row.name)?,
                    Coverage::Partial(missing) => {
                        writeln!(out, "{number} {} partial {calls} (missing: {missing})", row.name)?;
                    }
                },
                None if calls > 0 => {
                    let name = nr::NAMES.get(number).copied().flatten().unwrap_or("?");
                    writeln!(out, "{number} {name} none {calls}")?;
                }
                None => {}
            }
        }
        writeln!(out, "unknown {}", table::unknown_count())
    })
}

/// One `name value` a line.
fn metrics() -> String {
    let faults = vm::fault_stats();
    let pool = frames::zero_pool();
    text(|out| {
        writeln!(out, "frames_total {}", frames::total_frames())?;
        writeln!(out, "frames_free {}", frames::free_frames())?;
        writeln!(out, "frames_reserved {}", frames::reserve_frames())?;
        writeln!(out, "zero_pool_ready {}", pool.ready)?;
        writeln!(out, "zero_pool_target {}", pool.target)?;
        writeln!(out, "zero_pool_hits {}", pool.hits)?;
        writeln!(out, "zero_pool_misses {}", pool.misses)?;
        writeln!(out, "faults {}", faults.count)?;
        writeln!(out, "faults_cow {}", faults.copy_on_write)?;
        writeln!(out, "faults_total_ns {}", faults.total_ns)?;
        let all = control::metrics::snapshot();
        let watermarks = frames::watermarks();
        writeln!(out, "watermark_low {}", watermarks.low)?;
        writeln!(out, "watermark_high {}", watermarks.high)?;
        // What is not measured (yet) has no line.
        for (name, value) in [
            ("fault_mean_ns", all.fault_mean_ns),
            ("fault_p99_ns", all.fault_p99_ns),
            ("mem_kernel_bytes", all.mem_kernel_bytes),
            ("mem_cached_bytes", all.mem_cached_bytes),
            ("load1_milli", all.load1_milli.map(u64::from)),
            ("interrupts", all.interrupts),
            ("syscalls", all.syscalls),
            ("unknown_syscalls", all.unknown_syscalls),
            ("processes", all.processes.map(u64::from)),
            ("threads", all.threads.map(u64::from)),
            ("ctx_switch_ns", all.ctx_switch_ns),
            ("irq_latency_ns", all.irq_latency_ns),
            ("pending_approvals", all.pending_approvals.map(u64::from)),
        ] {
            if let Some(value) = value {
                writeln!(out, "{name} {value}")?;
            }
        }
        if let Some(milli) = all.temperature_milli_c {
            writeln!(out, "temperature_milli_c {milli}")?;
        }
        writeln!(out, "context_switches {}", sched::context_switches())
    })
}

/// What is known of the boot, one `name value` a line.
fn boot() -> String {
    text(|out| {
        if let Some(f) = init::facts() {
            writeln!(out, "board {}", f.board)?;
            writeln!(out, "mmu_enable_ns {}", f.mmu_enable_ns)?;
        }
        writeln!(out, "boot_time_ns {}", init::boot_time_ns())?;
        writeln!(out, "cpus {}", init::cpus())
    })
}
