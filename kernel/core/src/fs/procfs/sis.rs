//! /proc/sis: what only this kernel tells.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;

use sis_abi::nr;
use sis_machine::mm::frames;

use super::system::{ready, text};
use crate::fs::virt_tree::Tree;
use crate::syscall::{Coverage, table};
use crate::{init, sched, vm};

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
