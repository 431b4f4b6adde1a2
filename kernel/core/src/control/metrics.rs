//! A snapshot of everything that is measured. What is not measured is absent.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use sis_machine::mm::{self, PAGE_SIZE, frames, uspace};
use sis_machine::task::{self, Task};
use sis_machine::{cpu, percpu};
use sis_protocol::control::{CpuTimes, DiskCounters, Metrics, NetCounters};

use super::memory;
use crate::block;
use crate::fs::tmpfs;
use crate::process::table;
use crate::sched::load;
use crate::{init, net, sched, syscall, time, vm};

/// Free blocks of at least this order (2 MiB) count as unfragmented.
const LARGE_ORDER: usize = 9;

/// The bytes of so many frames.
pub(super) fn bytes(frames: usize) -> u64 {
    frames as u64 * PAGE_SIZE as u64
}

/// Everything that is measured, now.
pub fn snapshot() -> Metrics {
    let now = time::now_ns();
    let (strategy, pending, recent) = memory::summary();
    let faults = vm::fault_stats();
    let milli = load::averages_centi().map(|centi| u32::try_from(centi * 10).unwrap_or(u32::MAX));
    let [load1, load5, load15] = milli;
    let has_faults = recent.samples > 0;
    let kernel = frames::heap_frames() + uspace::table_frames() + mm::stack_frames();
    let count = |n: usize| Some(u32::try_from(n).unwrap_or(u32::MAX));
    Metrics {
        ts_ns: Some(now),
        uptime_ns: Some(now),
        cpus: percpu::online().map(|c| cpu_times(c.id as usize)).collect(),
        mem_total_bytes: Some(bytes(frames::total_frames())),
        mem_free_bytes: Some(bytes(frames::free_frames())),
        mem_cached_bytes: Some(bytes(tmpfs::pages_in_use())),
        mem_kernel_bytes: Some(bytes(kernel)),
        mem_zero_pool_bytes: Some(bytes(frames::zero_pool().ready)),
        load1_milli: Some(load1),
        load5_milli: Some(load5),
        load15_milli: Some(load15),
        faults_minor: Some(faults.count),
        // No fault waits for a device: every page is in memory.
        faults_major: None,
        faults_cow: Some(faults.copy_on_write),
        fault_mean_ns: has_faults.then_some(recent.mean_ns),
        fault_p99_ns: has_faults.then_some(recent.p99_ns),
        context_switches: Some(sched::context_switches()),
        interrupts: Some(percpu::online().map(|c| c.interrupts.load(Ordering::Relaxed)).sum()),
        syscalls: Some(syscall::table::total()),
        unknown_syscalls: Some(syscall::table::unknown_count()),
        processes: count(table::process_count()),
        threads: count(table::thread_count()),
        net: net_counters(),
        disk: disk_counters(),
        temperature_milli_c: init::facts().and_then(|f| f.temperature?.read_millicelsius().ok()),
        boot_time_ns: Some(init::boot_time_ns()).filter(|ns| *ns > 0),
        mmu_enable_ns: init::facts().map(|f| f.mmu_enable_ns),
        strategy: Some(strategy),
        pending_approvals: Some(pending),
        cntfrq_hz: Some(cpu::counter_frequency()),
        ctx_switch_ns: Some(SWITCH_NS.load(Ordering::Relaxed)).filter(|ns| *ns > 0),
        irq_latency_ns: memory::irq_latency_ns(),
        ..Metrics::default()
    }
}

fn cpu_times(cpu: usize) -> CpuTimes {
    let t = sched::cpu_times(cpu);
    CpuTimes {
        user_ns: t.user_ns,
        system_ns: t.system_ns,
        idle_ns: t.idle_ns,
        irq_ns: t.irq_ns,
    }
}

fn net_counters() -> Option<NetCounters> {
    let sum = net::totals()?;
    Some(NetCounters {
        rx_packets: sum.rx_packets,
        rx_bytes: sum.rx_bytes,
        rx_errors: sum.rx_errors,
        rx_drops: sum.rx_dropped,
        tx_packets: sum.tx_packets,
        tx_bytes: sum.tx_bytes,
        tx_errors: sum.tx_errors,
        tx_drops: sum.tx_dropped,
    })
}

fn disk_counters() -> Option<DiskCounters> {
    let sum = block::totals()?;
    Some(DiskCounters {
        reads: sum.reads,
        writes: sum.writes,
        read_bytes: sum.read_bytes,
        write_bytes: sum.written_bytes,
    })
}

/// External fragmentation: the share of free memory in blocks that are too small for 2 MiB, 0 to 100. `None` when the
/// allocator has nothing free.
pub(super) fn fragmentation_percent() -> Option<u32> {
    let (mut all, mut large) = (0, 0);
    for (order, blocks) in frames::free_blocks().into_iter().enumerate() {
        all += blocks << order;
        if order >= LARGE_ORDER {
            large += blocks << order;
        }
    }
    let small = (all - large) * 100;
    small.checked_div(all).and_then(|percent| u32::try_from(percent).ok())
}

// --- what a context switch takes ---

/// Mean of a context switch between two kernel threads on one CPU; 0 until it is measured.
static SWITCH_NS: AtomicU64 = AtomicU64::new(0);
const ROUNDS: u32 = 64;
/// The best of so many: others may want the CPU meanwhile.
const BATCHES: u32 = 5;

/// Measures what has to be measured on purpose, the first time it is called. By a thread that may be kept waiting.
pub(super) fn measure_once() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed)
        && let Some(ns) = measure_switch()
    {
        SWITCH_NS.store(ns, Ordering::Relaxed);
    }
}

/// Lets a second thread and this one wake each other on one CPU.
fn measure_switch() -> Option<u64> {
    let me = task::current_arc();
    let ext = sched::ext(&me);
    let (before, here) = (ext.affinity(), 1 << cpu::id().0);
    // Whose turn it is: even mine, odd the other's. At the last turn the other thread ends.
    let turn = Arc::new(AtomicU32::new(0));
    let last = BATCHES * ROUNDS * 2 + 1;
    let (its_turn, waker) = (turn.clone(), me.clone());
    let body = move || {
        loop {
            let now = its_turn.load(Ordering::Acquire);
            if now == last {
                return;
            }
            if now.is_multiple_of(2) {
                task::park();
            } else {
                its_turn.store(now + 1, Ordering::Release);
                waker.unpark();
            }
        }
    };
    let other = sched::spawn_kernel("switch", body).ok()?;
    ext.set_affinity(here);
    sched::ext(&other).set_affinity(here);
    let best = (0..BATCHES).map(|_| batch(&turn, &other)).min();
    turn.store(last, Ordering::Release);
    other.unpark();
    ext.set_affinity(before);
    best
}

fn batch(turn: &AtomicU32, other: &Arc<Task>) -> u64 {
    let begin = time::now_ns();
    for _ in 0..ROUNDS {
        turn.fetch_add(1, Ordering::AcqRel);
        other.unpark();
        while !turn.load(Ordering::Acquire).is_multiple_of(2) {
            task::park();
        }
    }
    (time::now_ns() - begin) / u64::from(2 * ROUNDS)
}
