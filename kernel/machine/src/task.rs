//! Kernel tasks: a stack, saved registers, and a permit to run.
//!
//! A *task* runs kernel code on its own stack; if it belongs to a user thread that code calls
//! [`crate::user::UserContext::run`]. Which task runs next is the scheduler's business, given through [`Scheduler`].
//!
//! Blocking is by *permit*: [`park`] sleeps until someone calls [`Task::unpark`]; an unpark that comes first makes the
//! next park return at once. A park may return for no reason, so callers look at their condition again.
//!
//! The kernel is not preempted: a task leaves its CPU only in [`park`], in [`reschedule`] and when it exits.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use spin::Once;

use crate::cpu;
use crate::mm::stack::KernelStack;
use crate::percpu;
use crate::user::UserState;

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;
const DEAD: u8 = 3;

/// What the scheduler above does for the machine.
pub trait Scheduler: Sync {
    /// Puts a task that may run again on a run queue. Interrupt-safe.
    fn enqueue(&self, task: &Arc<Task>);
    /// Chooses this CPU's next task and switches to it. `stays`: the running task wants to go on and waits its turn.
    /// Otherwise it has parked or ended, and is never put on a queue here, not even if it has been unparked meanwhile:
    /// whoever did that enqueues it, once. Called with interrupts masked.
    fn schedule(&self, stays: bool);
    /// Interrupt of number `irq` on this CPU; called with interrupts masked.
    fn interrupt(&self, irq: u32);
    /// A fault that kernel code took on a user address while copying; true when it was mended. Called with interrupts
    /// enabled; may sleep.
    fn user_fault(&self, address: usize, write: bool) -> bool;
}

static SCHEDULER: Once<&'static dyn Scheduler> = Once::new();

/// Names the scheduler; once, at boot.
pub fn set_scheduler(s: &'static dyn Scheduler) {
    SCHEDULER.call_once(|| s);
}

pub(crate) fn scheduler() -> Option<&'static dyn Scheduler> {
    SCHEDULER.get().copied()
}

/// Registers that a switch keeps: x19..x30 and the stack pointer.
#[repr(C)]
#[derive(Default)]
struct Saved {
    x19_x30: [u64; 12],
    sp: u64,
}

/// A kernel task.
pub struct Task {
    saved: UnsafeCell<Saved>,
    /// Kept for its memory: the saved stack pointer lies inside.
    _stack: Option<KernelStack>,
    state: AtomicU8,
    on_cpu: AtomicBool,
    /// CPU it runs on or last ran on.
    cpu: AtomicU32,
    /// Owned by the scheduler: whether it is on a run queue (under that queue's lock).
    pub queued: AtomicBool,
    /// Nanoseconds this task has run, as the scheduler accounts them.
    pub run_ns: AtomicU64,
    entry: UnsafeCell<Option<Box<dyn FnOnce() + Send>>>,
    pub(crate) user: UnsafeCell<UserState>,
    ext: Box<dyn Any + Send + Sync>,
    #[cfg(debug_assertions)]
    pub(crate) sleep_ranks: [AtomicU8; 16],
}

// SAFETY: (1) `saved`, `entry` and `user` are touched only by the task itself or by the switch code of the CPU that it
// is on, and `on_cpu` (acquire/release) hands them over between CPUs; the rest is atomic or immutable.
unsafe impl Sync for Task {}
// SAFETY: (1) as above; `ext` is Send + Sync and `entry` is Send.
unsafe impl Send for Task {}

impl Task {
    /// A task that will run `entry` once enqueued. `ext` is the scheduler's and the kernel's own part.
    ///
    /// `None` when there is no memory for its stack.
    pub fn new(ext: Box<dyn Any + Send + Sync>, entry: Box<dyn FnOnce() + Send>) -> Option<Arc<Self>> {
        let stack = KernelStack::new()?;
        let mut saved = Saved {
            sp: stack.top() as u64,
            ..Saved::default()
        };
        saved.x19_x30[11] = task_start as *const () as u64;
        Some(Arc::new(Self {
            saved: UnsafeCell::new(saved),
            _stack: Some(stack),
            state: AtomicU8::new(RUNNING),
            on_cpu: AtomicBool::new(false),
            cpu: AtomicU32::new(0),
            queued: AtomicBool::new(false),
            run_ns: AtomicU64::new(0),
            entry: UnsafeCell::new(Some(entry)),
            user: UnsafeCell::new(UserState::new()),
            ext,
            #[cfg(debug_assertions)]
            sleep_ranks: [const { AtomicU8::new(0) }; 16],
        }))
    }

    /// Makes the code that is running on this CPU a task: its idle task. Once per CPU.
    pub fn adopt_current(ext: Box<dyn Any + Send + Sync>) -> Arc<Self> {
        let task = Arc::new(Self {
            saved: UnsafeCell::new(Saved::default()),
            _stack: None,
            state: AtomicU8::new(RUNNING),
            on_cpu: AtomicBool::new(true),
            cpu: AtomicU32::new(cpu::id().0),
            queued: AtomicBool::new(false),
            run_ns: AtomicU64::new(0),
            entry: UnsafeCell::new(None),
            user: UnsafeCell::new(UserState::new()),
            ext,
            #[cfg(debug_assertions)]
            sleep_ranks: [const { AtomicU8::new(0) }; 16],
        });
        let cpu = percpu::get();
        assert!(cpu.current.get().is_null(), "this CPU has a task already");
        cpu.current.set(Arc::into_raw(task.clone()));
        task
    }

    /// The kernel's own part.
    #[inline]
    pub fn ext(&self) -> &(dyn Any + Send + Sync) {
        &*self.ext
    }

    /// Whether some CPU executes it (or has not finished switching away).
    #[inline]
    pub fn is_on_cpu(&self) -> bool {
        self.on_cpu.load(Ordering::Acquire)
    }

    /// The CPU it runs on or last ran on.
    #[inline]
    pub fn last_cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Neither parked nor dead.
    #[inline]
    pub fn is_runnable(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), RUNNING | NOTIFIED)
    }

    /// Waiting for a permit.
    #[inline]
    pub fn is_parked(&self) -> bool {
        self.state.load(Ordering::Acquire) == PARKED
    }

    /// Lets the task run: ends its [`park`], or makes the next one return at once. Interrupt-safe.
    pub fn unpark(self: &Arc<Self>) {
        loop {
            match self.state.load(Ordering::SeqCst) {
                PARKED => {
                    if self
                        .state
                        .compare_exchange(PARKED, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                    {
                        if let Some(s) = scheduler() {
                            s.enqueue(self);
                        }
                        return;
                    }
                }
                RUNNING => {
                    if self
                        .state
                        .compare_exchange(RUNNING, NOTIFIED, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                    {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}

/// A handle on the running task; it cannot leave it.
pub struct Current {
    task: *const Task,
    _not_send: PhantomData<*const ()>,
}

impl Deref for Current {
    type Target = Task;
    #[inline]
    fn deref(&self) -> &Task {
        // SAFETY: (1) the CPU holds a reference to the running task, and this handle (neither Send nor Sync) lives on
        // that task's stack.
        unsafe { &*self.task }
    }
}

/// The running task.
#[inline]
pub fn current() -> Current {
    let task = percpu::get().current_ptr();
    debug_assert!(!task.is_null());
    Current {
        task,
        _not_send: PhantomData,
    }
}

/// The running task, if tasks exist yet.
#[inline]
pub fn try_current() -> Option<Current> {
    let task = percpu::try_get()?.current_ptr();
    if task.is_null() {
        None
    } else {
        Some(Current {
            task,
            _not_send: PhantomData,
        })
    }
}

/// The running task, as a counted reference.
#[inline]
pub fn current_arc() -> Arc<Task> {
    let task = percpu::get().current_ptr();
    // SAFETY: (1) the pointer came from `Arc::into_raw` and the CPU still owns that reference.
    unsafe {
        Arc::increment_strong_count(task);
        Arc::from_raw(task)
    }
}

/// Sleeps until [`Task::unpark`]. May return early; look at the condition again.
pub fn park() {
    debug_assert!(!percpu::holds_spin(), "a task slept while it held a spinning lock");
    debug_assert!(!percpu::in_interrupt(), "an interrupt handler slept");
    let task = current();
    let irq = cpu::irq_save();
    match task
        .state
        .compare_exchange(RUNNING, PARKED, Ordering::SeqCst, Ordering::SeqCst)
    {
        Ok(_) => {
            if let Some(s) = scheduler() {
                s.schedule(false);
            }
        }
        Err(_) => task.state.store(RUNNING, Ordering::SeqCst),
    }
    cpu::irq_restore(irq);
}

/// Gives the CPU to another task that may run, if the scheduler prefers one.
pub fn reschedule() {
    debug_assert!(!percpu::holds_spin(), "a task yielded while it held a spinning lock");
    let irq = cpu::irq_save();
    if let Some(s) = scheduler() {
        s.schedule(true);
    }
    cpu::irq_restore(irq);
}

/// Ends the running task.
pub fn exit() -> ! {
    let task = current();
    cpu::irq_disable();
    task.state.store(DEAD, Ordering::SeqCst);
    if let Some(s) = scheduler() {
        s.schedule(false);
    }
    unreachable!("a dead task was scheduled");
}

/// Switches this CPU to `next`. For the scheduler alone: interrupts masked, no lock held, `next` runnable, not on a CPU
/// and not on a queue.
pub fn switch_to(next: Arc<Task>) {
    debug_assert!(cpu::irqs_masked());
    debug_assert!(!percpu::holds_spin(), "switched while holding a spinning lock");
    let this = percpu::get();
    let prev = this.current.get();
    assert!(!core::ptr::eq(prev, &*next), "switch to the running task");
    assert!(
        !next.on_cpu.swap(true, Ordering::Acquire),
        "switch to a task that is on a CPU"
    );
    next.cpu.store(this.id, Ordering::Relaxed);
    // SAFETY: (1) `prev` is the running task, alive through the reference that this CPU owns and now parks in
    // `previous`; (2) `next` was on no CPU (asserted), so its saved registers are complete and ours alone; (3) its user
    // state is switched on the CPU that owns it.
    unsafe {
        crate::user::switch_out(&*prev);
        crate::user::switch_in(&next);
        this.previous.set(prev);
        let next = Arc::into_raw(next);
        this.current.set(next);
        sis_switch((*prev).saved.get(), (*next).saved.get());
    }
    finish_switch();
}

/// Runs first on the new stack: lets the task that was switched away from be taken by other CPUs.
fn finish_switch() {
    if let Some(prev) = percpu::take_previous() {
        prev.on_cpu.store(false, Ordering::Release);
        drop(prev);
    }
}

/// First code of a new task.
extern "C" fn task_start() -> ! {
    finish_switch();
    let task = current();
    // SAFETY: (1) only the task itself takes its entry, once.
    let entry = unsafe { (*task.entry.get()).take() };
    cpu::irq_enable();
    if let Some(entry) = entry {
        entry();
    }
    exit()
}

unsafe extern "C" {
    fn sis_switch(prev: *mut Saved, next: *const Saved);
}

global_asm!(
    r#"
    .section .text.sis_switch, "ax"
    .global sis_switch
    .type sis_switch, %function
sis_switch:
    stp x19, x20, [x0, #0]
    stp x21, x22, [x0, #16]
    stp x23, x24, [x0, #32]
    stp x25, x26, [x0, #48]
    stp x27, x28, [x0, #64]
    stp x29, x30, [x0, #80]
    mov x9, sp
    str x9, [x0, #96]
    ldp x19, x20, [x1, #0]
    ldp x21, x22, [x1, #16]
    ldp x23, x24, [x1, #32]
    ldp x25, x26, [x1, #48]
    ldp x27, x28, [x1, #64]
    ldp x29, x30, [x1, #80]
    ldr x9, [x1, #96]
    mov sp, x9
    ret
    .size sis_switch, . - sis_switch
"#
);

/// Checks and counts a sleeping lock that the running task takes (builds with debug assertions).
#[cfg(debug_assertions)]
pub(crate) fn sleep_rank_acquire(rank: crate::sync::Rank) {
    let Some(task) = try_current() else { return };
    let held = task.sleep_ranks.iter().rposition(|r| r.load(Ordering::Relaxed) != 0);
    assert!(
        held.is_none_or(|top| top <= rank as usize),
        "lock order: sleeping lock {rank:?} taken while one of rank {} is held",
        held.unwrap_or(0)
    );
    if let Some(r) = task.sleep_ranks.get(rank as usize) {
        r.fetch_add(1, Ordering::Relaxed);
    }
}

/// Forgets a sleeping lock.
#[cfg(debug_assertions)]
pub(crate) fn sleep_rank_release(rank: crate::sync::Rank) {
    if let Some(task) = try_current()
        && let Some(r) = task.sleep_ranks.get(rank as usize)
    {
        r.fetch_sub(1, Ordering::Relaxed);
    }
}
