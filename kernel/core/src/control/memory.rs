//! The memory manager: it measures, lets the controller ([`sis_autonomy::mem`]) decide, and carries out.
//!
//! A kernel thread observes twice a second: free frames, how many page faults there were and how long they took, how many
//! of them found a pre-zeroed frame. What a strategy sets is real: the target of the pool of pre-zeroed frames
//! ([`frames::set_zero_pool_target`]) and the watermarks below which it is given back and not filled
//! ([`frames::set_watermarks`]). Proposals, decisions, and what came of them are events, and lines of the log.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_algo::cmdline::CommandLine;
use sis_autonomy::mem::{
    ApplyFailed, Change, Controller, Decided, Event, Knobs, Latency, Observation, OutcomeStatus, Policy, Selection,
    Strategy,
};
use sis_machine::mm::frames;
use sis_machine::sync::{Mutex, MutexGuard, Once, Rank};
use sis_machine::task::{self, Task};
use sis_protocol::control::{self as protocol, AutonomyStatus, Counts, ErrorCode, Failure, FaultStats, MemStatus};

use super::{events, metrics, wire};
use crate::time::{self, Deadline, Expire};
use crate::{sched, vm};

/// Between observations.
const INTERVAL_NS: u64 = 500_000_000;
/// The word of the command line for how long a proposal waits, in milliseconds.
const EXPIRY_WORD: &str = "sis.approval_expiry_ms";
/// The most outcomes that one answer has.
const OUTCOMES: usize = 100;
/// Observations without which the controller proposes nothing.
const OBSERVATIONS_TO_BE_READY: u64 = 10;

struct Manager {
    controller: Controller,
    /// The counters at the last observation.
    faults: Latency,
    hits: u64,
    misses: u64,
}

static MANAGER: Once<Mutex<Manager>> = Once::new();

fn manager() -> MutexGuard<'static, Manager> {
    MANAGER
        .call_once(|| Mutex::new(Rank::SleepLeaf, Manager::new(Policy::default())))
        .lock()
}

/// Sets what the first strategy asks for and starts the thread.
pub(super) fn init(line: &CommandLine) {
    let mut policy = Policy::default();
    if let Some(ms) = line.number(EXPIRY_WORD).and_then(|ms| u64::try_from(ms).ok()) {
        policy.expiry_ns = ms.saturating_mul(1_000_000);
    }
    let manager = Manager::new(policy);
    let knobs = manager.controller.strategy().knobs(frames::total_frames() as u64);
    if let Err(ApplyFailed { reason }) = set(&knobs) {
        sis_machine::warn!("memory: {reason}");
    }
    MANAGER.call_once(|| Mutex::new(Rank::SleepLeaf, manager));
    if sched::spawn_kernel("memory", watch).is_err() {
        sis_machine::error!("no memory for the memory manager's thread: nothing will be proposed");
    }
}

/// The thread.
fn watch() {
    loop {
        sleep(INTERVAL_NS);
        tick();
        metrics::measure_once();
    }
}

fn tick() {
    events::catch_up();
    if frames::is_short() {
        frames::reclaim();
    } else if frames::zero_pool().ready < frames::zero_pool().target {
        sched::wake_for_zeroing();
    }
    let mut manager = manager();
    let observation = manager.observe();
    let told = manager.controller.observe(&observation, apply);
    tell(&told);
}

impl Manager {
    fn new(policy: Policy) -> Self {
        let pool = frames::zero_pool();
        Self {
            controller: Controller::new(policy),
            faults: vm::fault_stats().latency,
            hits: pool.hits,
            misses: pool.misses,
        }
    }

    /// What was measured since the last observation.
    fn observe(&mut self) -> Observation {
        let faults = vm::fault_stats().latency;
        let pool = frames::zero_pool();
        let since = core::mem::replace(&mut self.faults, faults);
        let ready = pool.ready as u64;
        Observation {
            now_ns: time::now_ns(),
            total_frames: frames::total_frames() as u64,
            free_frames: (frames::free_frames() as u64).saturating_sub(ready),
            zero_pool_frames: ready,
            faults: faults.since(&since),
            zero_hits: pool.hits.saturating_sub(core::mem::replace(&mut self.hits, pool.hits)),
            zero_misses: pool
                .misses
                .saturating_sub(core::mem::replace(&mut self.misses, pool.misses)),
        }
    }
}

/// Carries a change out.
fn apply(change: &Change) -> Result<(), ApplyFailed> {
    set(&change.knobs)
}

fn set(knobs: &Knobs) -> Result<(), ApplyFailed> {
    let wanted = as_frames(knobs.zero_pool_frames);
    let (now, free) = (frames::zero_pool().target, frames::free_frames());
    let spared = frames::reserve_frames() + as_frames(knobs.high_watermark_frames);
    if wanted > now && free < spared + wanted {
        let reason = format!("{free} frames are free, too few for a pool of {wanted} above the watermark of {spared}");
        return Err(ApplyFailed { reason });
    }
    frames::set_watermarks(
        as_frames(knobs.low_watermark_frames),
        as_frames(knobs.high_watermark_frames),
    );
    frames::set_zero_pool_target(wanted);
    sched::wake_for_zeroing();
    Ok(())
}

fn as_frames(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Passes on what the controller tells.
fn tell(told: &[Event]) {
    for event in told {
        match event {
            Event::Proposed(p) => sis_machine::notice!(
                "memory: proposal {}: {} -> {}: {} (risk {}, confidence {})",
                p.id,
                p.from,
                p.to,
                p.reason,
                p.risk,
                p.confidence
            ),
            Event::Decided { .. } => {}
            Event::StrategyChanged { from, to, .. } => sis_machine::notice!("memory: strategy {from} -> {to}"),
            Event::Outcome(o) => {
                let status = match o.status {
                    OutcomeStatus::Executed => "executed",
                    OutcomeStatus::Skipped => "skipped",
                    OutcomeStatus::Failed => "failed",
                    OutcomeStatus::Expired => "expired",
                };
                sis_machine::notice!("memory: proposal {} {status}: {}", o.id, wire::outcome(o).reason);
            }
        }
        events::emit(wire::event(event));
    }
}

/// Approves; answers what became of each.
pub(super) fn approve(which: Selection<'_>, by: &str) -> Counts {
    let mut manager = manager();
    let observation = manager.observe();
    let Decided { counts, events } = manager.controller.approve(which, Some(by), &observation, apply);
    tell(&events);
    wire::counts(counts)
}

/// Rejects.
pub(super) fn reject(which: Selection<'_>, by: &str) -> Counts {
    let mut manager = manager();
    let Decided { counts, events } = manager.controller.reject(which, Some(by), time::now_ns());
    tell(&events);
    wire::counts(counts)
}

/// Sets the strategy by hand.
pub(super) fn set_strategy(to: protocol::Strategy, by: &str) -> Result<(), Failure> {
    let Some(to) = wire::known_strategy(to) else {
        return Err(Failure {
            code: ErrorCode::InvalidRequest,
            message: String::from("this kernel does not know the strategy: conservative, balanced, or aggressive"),
        });
    };
    let mut manager = manager();
    let set = manager.controller.set_strategy(to, Some(by), time::now_ns(), apply);
    match set {
        Ok(events) => {
            tell(&events);
            Ok(())
        }
        Err(ApplyFailed { reason }) => Err(Failure {
            code: ErrorCode::Busy,
            message: reason,
        }),
    }
}

/// Whether proposals wait for a person, after setting that if asked to.
pub(super) fn approval_mode(on: Option<bool>) -> bool {
    let mut manager = manager();
    if let Some(on) = on {
        manager.controller.set_approval_mode(on, time::now_ns());
    }
    manager.controller.has_approval_mode()
}

/// Whether there are only predictions, after setting that if asked to.
pub(super) fn query_mode(on: Option<bool>) -> bool {
    let mut manager = manager();
    if let Some(on) = on {
        manager.controller.set_query_mode(on, time::now_ns());
    }
    manager.controller.has_query_mode()
}

/// The proposals that wait, oldest first.
pub(super) fn approvals() -> Vec<protocol::Proposal> {
    manager().controller.approvals().iter().map(wire::proposal).collect()
}

/// The last outcomes, newest first.
pub(super) fn history(most: usize) -> Vec<protocol::Outcome> {
    let most = most.min(OUTCOMES);
    manager().controller.history().take(most).map(wire::outcome).collect()
}

/// What is measured and set.
pub(super) fn status() -> MemStatus {
    let manager = manager();
    let controller = &manager.controller;
    let (pool, marks, totals) = (frames::zero_pool(), frames::watermarks(), controller.totals());
    let ready = pool.ready as u64;
    let observation = protocol::Observation {
        free_pages: Some((frames::free_frames() as u64).saturating_sub(ready)),
        zero_pool_pages: Some(ready),
        fragmentation_percent: metrics::fragmentation_percent(),
        ..wire::observation(controller.state())
    };
    MemStatus {
        strategy: wire::strategy(controller.strategy()),
        approval_mode: controller.has_approval_mode(),
        query_mode: controller.has_query_mode(),
        pending: u32::try_from(controller.approvals().len()).unwrap_or(u32::MAX),
        observation,
        total_pages: frames::total_frames() as u64,
        low_watermark_pages: Some(marks.low as u64),
        high_watermark_pages: Some(marks.high as u64),
        zero_pool_target_pages: Some(pool.target as u64),
        proposed: Some(totals.proposed),
        executed: Some(totals.executed),
        skipped: Some(totals.skipped),
        failed: Some(totals.failed),
        rejected: Some(totals.rejected),
        expired: Some(totals.expired),
        faults: Some(wire::stats(controller.recent_faults())),
    }
}

/// What the metrics say of the manager: the strategy, how many proposals wait, page faults of the last seconds.
pub(super) fn summary() -> (protocol::Strategy, u32, FaultStats) {
    let manager = manager();
    let controller = &manager.controller;
    (
        wire::strategy(controller.strategy()),
        u32::try_from(controller.approvals().len()).unwrap_or(u32::MAX),
        wire::stats(controller.recent_faults()),
    )
}

/// The state of the one controller that there is. It has no safe mode and no phases, and goes on learning what each
/// strategy brings.
pub(super) fn autonomy() -> AutonomyStatus {
    let manager = manager();
    let controller = &manager.controller;
    let totals = controller.totals();
    AutonomyStatus {
        enabled: !controller.has_query_mode(),
        safe_mode: false,
        learning_frozen: false,
        ready: totals.observed >= OBSERVATIONS_TO_BE_READY,
        interval_ms: Some((INTERVAL_NS / 1_000_000) as u32),
        confidence_threshold: Some(controller.policy().confidence_threshold),
        phase: None,
        decisions: Some(totals.proposed + totals.deferred),
        accepted: Some(totals.executed),
        deferred: Some(totals.deferred),
    }
}

/// Whether what is set is what the strategy asks for; else what is not.
pub(super) fn check() -> Result<(), String> {
    let manager = manager();
    let strategy = manager.controller.strategy();
    drop(manager);
    let knobs = Strategy::knobs(strategy, frames::total_frames() as u64);
    let reserve = frames::reserve_frames();
    let wanted = (
        as_frames(knobs.zero_pool_frames).min(frames::ZERO_POOL_MAX),
        reserve + as_frames(knobs.low_watermark_frames),
        reserve + as_frames(knobs.high_watermark_frames),
    );
    let (pool, marks) = (frames::zero_pool(), frames::watermarks());
    let is = (pool.target, marks.low, marks.high);
    if is == wanted {
        Ok(())
    } else {
        Err(format!(
            "strategy {strategy} asks for a pool of {} and watermarks {} and {}, and {}, {} and {} are set",
            wanted.0, wanted.1, wanted.2, is.0, is.1, is.2
        ))
    }
}

/// Mean time from a timer's deadline to its interrupt's handler, in nanoseconds; 0 before the first.
static IRQ_LATENCY_NS: AtomicU64 = AtomicU64::new(0);

/// Mean time from a timer's deadline to its handler; `None` before it was measured.
pub(super) fn irq_latency_ns() -> Option<u64> {
    Some(IRQ_LATENCY_NS.load(Ordering::Relaxed)).filter(|ns| *ns > 0)
}

/// A timer that measures how late its interrupt is handled.
struct Wake {
    task: Arc<Task>,
    due_ns: u64,
}

impl Expire for Wake {
    fn expire(self: Arc<Self>) {
        let late = time::now_ns().saturating_sub(self.due_ns).max(1);
        let old = IRQ_LATENCY_NS.load(Ordering::Relaxed);
        let mean = if old == 0 { late } else { old - old / 8 + late / 8 };
        IRQ_LATENCY_NS.store(mean.max(1), Ordering::Relaxed);
        self.task.unpark();
    }
}

/// Sleeps, and measures the timer by the way.
fn sleep(ns: u64) {
    let deadline = Deadline::after_ns(ns);
    let wake = Wake {
        task: task::current_arc(),
        due_ns: deadline.ns(),
    };
    let timer = time::set_timer(deadline, Arc::new(wake));
    while !deadline.has_passed() {
        task::park();
    }
    drop(timer);
}
