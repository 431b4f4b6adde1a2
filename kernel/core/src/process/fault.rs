//! Page faults of user code, and what to do when memory is out.

use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sis_abi::signal::{SIGBUS, SIGKILL, SIGSEGV, SigInfo, code};
use sis_machine::mm::frames;
use sis_machine::sync::{Rank, SpinLock};
use sis_machine::task;

use super::thread::Thread;
use super::{Process, State, table};
use crate::fs::cache;
use crate::time::{self, Deadline};
use crate::vm::{Access, Fault};

/// Mends a fault; answers the signal that it ends with if it cannot be mended.
pub(crate) fn resolve(thread: &Arc<Thread>, address: usize, write: bool, exec: bool) -> Option<SigInfo> {
    let access = match (exec, write) {
        (true, _) => Access::Exec,
        (false, true) => Access::Write,
        (false, false) => Access::Read,
    };
    let vm = thread.vm();
    let segv = |code| Some(SigInfo::fault(SIGSEGV, code, address as u64));
    loop {
        match vm.handle_fault(address, access) {
            Ok(()) => {
                thread.minor_faults.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            Err(Fault::Unmapped) => return segv(code::SEGV_MAPERR),
            Err(Fault::Forbidden) => return segv(code::SEGV_ACCERR),
            Err(Fault::NoPage) => return Some(SigInfo::fault(SIGBUS, code::BUS_ADRERR, address as u64)),
            // It is being killed: the way back to user mode ends it.
            Err(Fault::NoMemory) if thread.kill_pending() => return None,
            Err(Fault::NoMemory) => {
                if !oom_kill() {
                    if thread.process.is_init() {
                        panic!("Out of memory, and no process is left to be killed but init");
                    }
                    return Some(SigInfo::kernel(SIGKILL));
                }
            }
        }
    }
}

/// The last victim, and when the next may be chosen although it still lives.
struct Victim {
    process: Weak<Process>,
    patience: Deadline,
}

static VICTIM: SpinLock<Option<Victim>> = SpinLock::new(Rank::Leaf, None);
/// How long a victim may take to give its memory back.
const PATIENCE_NS: u64 = 5_000_000_000;
const PAUSE_NS: u64 = 1_000_000;
/// Frames beyond the reserve with which whatever failed succeeds when it is tried again.
const ENOUGH_FRAMES: usize = 64;

/// Address spaces that are being given up: their memory is on its way back, and belongs to no process any more.
static LEAVING: AtomicUsize = AtomicUsize::new(0);

/// While it lives, memory is on its way back.
pub(super) struct Leaving(());

impl Leaving {
    pub(super) fn begin() -> Self {
        LEAVING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        LEAVING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Frees memory: of the page cache, or where that has none left by killing the process that has most, or waits for the last victim to be gone. False when there is
/// nobody to kill. The caller holds no lock and tries its allocation again.
pub fn oom_kill() -> bool {
    let dying = VICTIM
        .lock()
        .as_ref()
        .and_then(|v| (!v.patience.has_passed()).then(|| v.process.clone()));
    if dying
        .and_then(|v| v.upgrade())
        .is_some_and(|p| p.state() == State::Alive && p.has_memory())
    {
        pause();
        return true;
    }
    // What files have in memory goes first.
    if cache::reclaim::make_room() {
        return true;
    }
    // Another process, or the last victim, has given its memory back meanwhile or is about to: no reason to kill.
    if LEAVING.load(Ordering::SeqCst) > 0 || frames::free_frames() > frames::reserve_frames() + ENOUGH_FRAMES {
        pause();
        return true;
    }
    if CHOOSING.swap(true, Ordering::AcqRel) {
        // Another CPU is at it: two that choose at once kill two.
        pause();
        return true;
    }
    let found = kill_worst();
    CHOOSING.store(false, Ordering::Release);
    if found && !super::thread::kill_pending() {
        pause();
    }
    found
}

static CHOOSING: AtomicBool = AtomicBool::new(false);

/// Kills the process that has most memory; false when there is none that may be killed.
fn kill_worst() -> bool {
    let mut worst: Option<(i64, usize, Arc<Process>)> = None;
    for process in table::iter() {
        if process.is_init() || process.state() != State::Alive || process.is_dying() {
            continue;
        }
        let adjust = process.oom_adjust.load(Ordering::Relaxed);
        if adjust <= -1000 {
            continue;
        }
        let Some(vm) = process.vm() else { continue };
        let pages = vm.resident_pages();
        let total = frames::total_frames();
        let score = (pages + vm.kernel_pages()) as i64 + i64::from(adjust) * (total as i64 / 1000);
        if worst.as_ref().is_none_or(|w| score > w.0) {
            worst = Some((score, pages, process));
        }
    }
    let Some((_, pages, process)) = worst else { return false };
    let name = process.main_thread().map(|t| t.name()).unwrap_or_default();
    sis_machine::error!(
        "Out of memory: Killed process {} ({name}) resident:{}kB",
        process.pid,
        pages * 4
    );
    *VICTIM.lock() = Some(Victim {
        process: Arc::downgrade(&process),
        patience: Deadline::after_ns(PATIENCE_NS),
    });
    super::exit::begin_group(&process, SIGKILL.number());
    crate::control::events::oom_kill(process.pid, name, pages);
    true
}

/// Before a system call: what the kernel takes for itself cannot be refused, so the reserve that it comes from must not
/// be used up. Below half of it somebody has to go.
#[inline]
pub(crate) fn keep_reserve(thread: &Thread) {
    if frames::free_frames() < frames::reserve_frames() / 2 {
        refill_reserve(thread);
    }
}

#[cold]
fn refill_reserve(thread: &Thread) {
    while frames::free_frames() < frames::reserve_frames() / 2 && !thread.kill_pending() {
        if !oom_kill() {
            return;
        }
    }
}

/// Whether an allocation for a user failed because memory is out, and not because it asked for too much.
pub(crate) fn oom_may_help() -> bool {
    frames::free_frames() < frames::total_frames() / 16
}

/// Lets others run for a moment.
fn pause() {
    let timer = time::wake_at(Deadline::after_ns(PAUSE_NS), &task::current_arc());
    task::park();
    drop(timer);
}

impl Process {
    /// Whether it has an address space.
    pub(crate) fn has_memory(&self) -> bool {
        self.inner.lock().vm.is_some()
    }

    /// Whether it has begun to end.
    pub(crate) fn is_dying(&self) -> bool {
        self.signal.lock().group_exit.is_some()
    }
}
