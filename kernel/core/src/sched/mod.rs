//! Which task runs where.
//!
//! Each CPU has a run queue ordered by *virtual runtime*: the time a task has run, scaled by its weight (nice value). The
//! task with the least runs next. A task that wakes is placed near the queue's present, so that a sleeper gets a CPU soon
//! but cannot save up time. A slice ends only if somebody waits: an idle CPU, and one with a single task, take no ticks.
//!
//! A task is on at most one queue ([`Task::queued`], under the queue's lock), and a task that is still on a CPU (running,
//! or just switching away) is only ever put on that CPU's queue; so a queued task that another CPU may take is on none.

pub mod load;
mod queue;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU32, AtomicU64, Ordering};

use sis_machine::cpu::MAX_CPUS;
use sis_machine::mm::frames;
use sis_machine::sync::{IrqLock, Rank};
use sis_machine::task::{self, Scheduler, Task};
use sis_machine::{cpu, irq, percpu};

use crate::process::thread::Thread;
use crate::vm::Vm;
use crate::{Errno, Result, time};
use queue::RunQueue;

/// Longest time a task runs while another waits.
const SLICE_NS: u64 = 4_000_000;
/// A waking task may be this much behind the queue's present.
const WAKE_CREDIT_NS: u64 = 3_000_000;
/// Frames that an idle CPU zeroes before it looks for work again.
const ZEROED_AT_ONCE: usize = 8;
/// A waking task preempts when it is this much behind the running one.
const PREEMPT_NS: u64 = 1_000_000;

/// The kernel's part of a task.
pub struct TaskExt {
    /// The user thread that it runs; none for kernel threads and idle tasks.
    pub thread: Option<Arc<Thread>>,
    /// Name of a kernel thread.
    pub name: &'static str,
    /// Virtual runtime.
    vruntime: AtomicU64,
    /// 1024 for nice 0.
    weight: AtomicU32,
    /// CPUs that it may use, a bit each.
    affinity: AtomicU64,
    nice: AtomicI8,
    is_idle: bool,
    /// The address space it runs in.
    space: IrqLock<Option<Arc<Vm>>>,
    /// Times it was switched to.
    pub switches: AtomicU64,
}

impl TaskExt {
    fn new(thread: Option<Arc<Thread>>, name: &'static str, is_idle: bool) -> Self {
        Self {
            thread,
            name,
            vruntime: AtomicU64::new(0),
            weight: AtomicU32::new(1024),
            affinity: AtomicU64::new(u64::MAX),
            nice: AtomicI8::new(0),
            is_idle,
            space: IrqLock::new(Rank::Leaf, None),
            switches: AtomicU64::new(0),
        }
    }

    /// CPUs that it may use, a bit each.
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// Sets the CPUs that it may use; takes effect when it is next woken or preempted.
    pub fn set_affinity(&self, mask: u64) {
        self.affinity.store(mask, Ordering::Relaxed);
    }

    /// Nice value, -20..=19.
    pub fn nice(&self) -> i8 {
        self.nice.load(Ordering::Relaxed)
    }

    /// Sets the nice value; clamped to -20..=19.
    pub fn set_nice(&self, nice: i8) {
        let nice = nice.clamp(-20, 19);
        self.nice.store(nice, Ordering::Relaxed);
        self.weight.store(weight_of(nice), Ordering::Relaxed);
    }

    fn may_use(&self, cpu: usize) -> bool {
        self.affinity() & (1 << cpu) != 0
    }
}

/// Weight of a nice value: each step is a quarter more or less, 1024 for 0.
fn weight_of(nice: i8) -> u32 {
    let mut w = 1024u64 << 10;
    for _ in 0..nice.unsigned_abs() {
        w = if nice > 0 { w * 4 / 5 } else { w * 5 / 4 };
    }
    ((w >> 10) as u32).max(15)
}

/// The kernel's part of a task; every task has one.
pub fn ext(task: &Task) -> &TaskExt {
    match task.ext().downcast_ref() {
        Some(e) => e,
        None => unreachable!("every task is made by the scheduler"),
    }
}

static QUEUES: [IrqLock<RunQueue>; MAX_CPUS] = [const { IrqLock::new(Rank::RunQueue, RunQueue::new()) }; MAX_CPUS];
static IDLE: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
static IDLE_NS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SHOWN_IDLE_NS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SHOWN_SYSTEM_NS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static USER_NS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SWITCHES: AtomicU64 = AtomicU64::new(0);

fn idle_flag(cpu: usize) -> &'static AtomicBool {
    match IDLE.get(cpu) {
        Some(f) => f,
        None => unreachable!("CPU numbers are below MAX_CPUS"),
    }
}

struct Core;
static CORE: Core = Core;

fn queue(cpu: usize) -> &'static IrqLock<RunQueue> {
    match QUEUES.get(cpu) {
        Some(q) => q,
        None => unreachable!("CPU numbers are below MAX_CPUS"),
    }
}

/// Makes the running code CPU 0's idle task and takes over scheduling.
pub(crate) fn init() {
    task::set_scheduler(&CORE);
    adopt_idle();
}

fn adopt_idle() {
    let idle = Task::adopt_current(Box::new(TaskExt::new(None, "idle", true)));
    let id = cpu::id().0 as usize;
    let mut q = queue(id).lock();
    q.idle = Some(idle);
    q.since_ns = time::now_ns();
    if id != 0
        && let Some(i) = IDLE_NS.get(id)
    {
        // What passed before this CPU was started.
        i.store(q.since_ns, Ordering::Relaxed);
    }
}

/// What a secondary CPU runs.
pub(crate) fn secondary_main() -> ! {
    adopt_idle();
    sis_machine::smp::set_online();
    idle_loop()
}

/// Runs when nothing else does: zeroes frames ahead of need, then sleeps.
pub(crate) fn idle_loop() -> ! {
    let id = cpu::id().0 as usize;
    cpu::irq_enable();
    loop {
        cpu::irq_disable();
        if percpu::get().need_resched.swap(false, Ordering::SeqCst) || queue(id).lock().len() > 0 {
            idle_flag(id).store(false, Ordering::SeqCst);
            CORE.schedule(true);
            cpu::irq_enable();
            continue;
        }
        idle_flag(id).store(true, Ordering::SeqCst);
        if queue(id).lock().len() > 0 || percpu::get().need_resched.load(Ordering::SeqCst) {
            idle_flag(id).store(false, Ordering::SeqCst);
            cpu::irq_enable();
            continue;
        }
        if steal_possible(id) {
            idle_flag(id).store(false, Ordering::SeqCst);
            CORE.schedule(true);
            cpu::irq_enable();
            continue;
        }
        // A few at a time: interrupts are masked.
        if (0..ZEROED_AT_ONCE).take_while(|_| frames::fill_zero_pool()).count() > 0 {
            cpu::irq_enable();
            continue;
        }
        cpu::wait_for_interrupt();
        cpu::irq_enable();
    }
}

/// Wakes an idle CPU, if there is one, to fill the pool of pre-zeroed frames; others fill it when they become idle.
pub fn wake_for_zeroing() {
    if frames::claim_zero_pool_filling()
        && let Some(idle) = (0..MAX_CPUS).find(|c| idle_flag(*c).load(Ordering::Relaxed))
    {
        irq::send_reschedule(idle as u32);
    }
}

fn steal_possible(me: usize) -> bool {
    percpu::online().any(|c| c.id as usize != me && queue(c.id as usize).lock().has_stealable(me))
}

impl Scheduler for Core {
    fn enqueue(&self, task: &Arc<Task>) {
        let e = ext(task);
        let last = task.last_cpu() as usize;
        let target = if task.is_on_cpu() { last } else { choose_cpu(e, last) };
        let irq = cpu::irq_save();
        let me = cpu::id().0 as usize;
        let mut kick = false;
        {
            let mut q = queue(target).lock();
            // It may have got on a CPU again meanwhile only if somebody queued it, which `queued` tells.
            if task.queued.swap(true, Ordering::AcqRel) {
                drop(q);
                cpu::irq_restore(irq);
                return;
            }
            let floor = q.min_vruntime.saturating_sub(WAKE_CREDIT_NS);
            if e.vruntime.load(Ordering::Relaxed) < floor
                || e.vruntime.load(Ordering::Relaxed) > q.min_vruntime + 100 * SLICE_NS
                || last != target
            {
                e.vruntime.store(floor, Ordering::Relaxed);
            }
            let v = e.vruntime.load(Ordering::Relaxed);
            let was_empty = q.len() == 0;
            q.insert(v, task.clone());
            if idle_flag(target).load(Ordering::SeqCst) || v + PREEMPT_NS < q.current_vruntime || q.current_is_idle {
                kick = true;
            } else if was_empty {
                // Nobody waited until now: the running task gets an end to its slice.
                if target == me {
                    time::set_slice_end(time::now_ns() + SLICE_NS)
                } else {
                    irq::send_reschedule(target as u32)
                }
            }
        }
        if kick {
            if let Some(c) = percpu::of(target) {
                c.need_resched.store(true, Ordering::SeqCst);
            }
            if target != me {
                irq::send_reschedule(target as u32);
            }
        }
        cpu::irq_restore(irq);
    }

    fn schedule(&self, stays: bool) {
        let me = cpu::id().0 as usize;
        percpu::get().need_resched.store(false, Ordering::SeqCst);
        let now = time::now_ns();
        let current = task::current();
        let e = ext(&current);
        let mut next = {
            let mut q = queue(me).lock();
            let ran = now.saturating_sub(q.since_ns);
            q.since_ns = now;
            let irq_ns = percpu::get().irq_ns.load(Ordering::Relaxed);
            let in_irq = irq_ns.wrapping_sub(core::mem::replace(&mut q.since_irq_ns, irq_ns));
            current.run_ns.fetch_add(ran, Ordering::Relaxed);
            if e.is_idle {
                if let Some(i) = IDLE_NS.get(me) {
                    i.fetch_add(ran.saturating_sub(in_irq), Ordering::Relaxed);
                }
            } else {
                let scaled = ran * 1024 / u64::from(e.weight.load(Ordering::Relaxed).max(1));
                let v = e.vruntime.fetch_add(scaled, Ordering::Relaxed) + scaled;
                if stays && !current.queued.swap(true, Ordering::AcqRel) {
                    q.insert(v, task::current_arc());
                }
            }
            q.take_first(me)
        };
        if next.is_none() {
            next = steal(me);
        }
        let mut q = queue(me).lock();
        let next = match next {
            Some(n) => n,
            None => match (&q.idle, e.is_idle) {
                (_, true) => {
                    q.current_is_idle = true;
                    return;
                }
                (Some(idle), false) => idle.clone(),
                (None, false) => unreachable!("every CPU has an idle task"),
            },
        };
        next.queued.store(false, Ordering::Release);
        let ne = ext(&next);
        q.current_is_idle = ne.is_idle;
        q.current_vruntime = ne.vruntime.load(Ordering::Relaxed);
        if !ne.is_idle && q.current_vruntime > q.min_vruntime {
            q.min_vruntime = q.current_vruntime;
        }
        let waiting = q.len() > 0;
        drop(q);
        time::set_slice_end(if waiting && !ne.is_idle {
            now + SLICE_NS
        } else {
            u64::MAX
        });
        if core::ptr::eq(&*next, &*current) {
            return;
        }
        SWITCHES.fetch_add(1, Ordering::Relaxed);
        ne.switches.fetch_add(1, Ordering::Relaxed);
        if ne.thread.is_some() {
            let vm = ne.space.lock().clone();
            match vm {
                Some(vm) => vm.activate(),
                // It is ending: it must not see the memory of whoever ran before.
                None => sis_machine::mm::uspace::deactivate(),
            }
        }
        task::switch_to(next);
    }

    fn interrupt(&self, number: u32) {
        if number == irq::PPI_TIMER {
            if time::interrupt() {
                percpu::get().need_resched.store(true, Ordering::SeqCst);
            }
        } else if number == u32::from(irq::SGI_RESCHEDULE) {
            let me = cpu::id().0 as usize;
            let q = queue(me).lock();
            if q.len() > 0 && !q.current_is_idle {
                drop(q);
                time::set_slice_end(time::now_ns() + SLICE_NS);
            }
        }
    }

    fn user_fault(&self, address: usize, write: bool) -> bool {
        crate::vm::fault_from_kernel(address, write)
    }
}

/// The CPU for a task that wakes: where it was if that is idle, else any idle one, else where it was.
fn choose_cpu(e: &TaskExt, last: usize) -> usize {
    let usable = |c: usize| e.may_use(c) && percpu::of(c).is_some_and(|p| p.online.load(Ordering::Relaxed));
    if usable(last) && idle_flag(last).load(Ordering::Relaxed) {
        return last;
    }
    if let Some(c) = (0..MAX_CPUS).find(|c| idle_flag(*c).load(Ordering::Relaxed) && usable(*c)) {
        return c;
    }
    if usable(last) {
        last
    } else {
        (0..MAX_CPUS).find(|c| usable(*c)).unwrap_or(0)
    }
}

/// Takes a task that waits on another CPU's queue.
fn steal(me: usize) -> Option<Arc<Task>> {
    for c in percpu::online() {
        let other = c.id as usize;
        if other == me {
            continue;
        }
        let (task, base) = {
            let mut q = queue(other).lock();
            (q.take_stealable(me), q.min_vruntime)
        };
        if let Some(t) = task {
            let mine = queue(me).lock().min_vruntime;
            let e = ext(&t);
            let ahead = e.vruntime.load(Ordering::Relaxed).saturating_sub(base).min(SLICE_NS);
            e.vruntime.store(mine + ahead, Ordering::Relaxed);
            return Some(t);
        }
    }
    None
}

/// Starts a kernel thread.
///
/// # Errors
/// `ENOMEM`.
pub fn spawn_kernel(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<Arc<Task>> {
    let task = Task::new(Box::new(TaskExt::new(None, name, false)), Box::new(body)).ok_or(Errno::ENOMEM)?;
    CORE.enqueue(&task);
    Ok(task)
}

/// Makes the task of a user thread; it starts with [`start`].
///
/// # Errors
/// `ENOMEM`.
pub fn spawn_user(thread: Arc<Thread>, vm: Arc<Vm>, body: Box<dyn FnOnce() + Send>) -> Result<Arc<Task>> {
    let mut e = TaskExt::new(Some(thread), "", false);
    if let Some(parent) = task::try_current() {
        let p = ext(&parent);
        e.affinity = AtomicU64::new(p.affinity());
        e.set_nice(p.nice());
        e.vruntime = AtomicU64::new(p.vruntime.load(Ordering::Relaxed));
    }
    e.space = IrqLock::new(Rank::Leaf, Some(vm));
    Task::new(Box::new(e), body).ok_or(Errno::ENOMEM)
}

/// Lets a new task run.
pub fn start(task: &Arc<Task>) {
    CORE.enqueue(task);
}

/// The running user thread.
pub fn current_thread() -> Option<Arc<Thread>> {
    ext(&*task::try_current()?).thread.clone()
}

/// Changes the address space of the running task (exec, exit) and activates it.
pub fn set_current_space(vm: Option<Arc<Vm>>) {
    let current = task::current();
    if let Some(v) = &vm {
        v.activate();
    } else {
        sis_machine::mm::uspace::deactivate();
    }
    let old = core::mem::replace(&mut *ext(&current).space.lock(), vm);
    drop(old);
}

/// Whether another task should have this CPU.
#[inline]
pub fn needs_resched() -> bool {
    percpu::get().need_resched.load(Ordering::Relaxed)
}

/// Gives the CPU away if another task should have it. Long loops in the kernel call this.
#[inline]
pub fn cond_resched() {
    if percpu::get().need_resched.load(Ordering::Relaxed) {
        task::reschedule();
    }
}

/// sched_yield(2): behind everybody who waits on this CPU.
pub fn yield_now() {
    let current = task::current();
    let me = cpu::id().0 as usize;
    let last = queue(me).lock().last_vruntime();
    if let Some(v) = last {
        let e = ext(&current);
        let mine = e.vruntime.load(Ordering::Relaxed);
        e.vruntime.store(mine.max(v + 1), Ordering::Relaxed);
    }
    task::reschedule();
}

/// Adds to the time that this CPU has spent in user mode.
#[inline]
pub fn account_user(ns: u64) {
    if let Some(u) = USER_NS.get(cpu::id().0 as usize) {
        u.fetch_add(ns, Ordering::Relaxed);
    }
}

/// Times of one CPU, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTimes {
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel, idle and interrupts excluded.
    pub system_ns: u64,
    /// Idle.
    pub idle_ns: u64,
    /// In interrupt handlers, whatever they interrupted.
    pub irq_ns: u64,
}

/// Times of one CPU since boot.
pub fn cpu_times(cpu: usize) -> CpuTimes {
    let now = time::now_ns();
    let irq_ns = percpu::of(cpu).map_or(0, |c| c.irq_ns.load(Ordering::Relaxed));
    let user_ns = USER_NS.get(cpu).map_or(0, |v| v.load(Ordering::Relaxed));
    let mut idle_ns = IDLE_NS.get(cpu).map_or(0, |v| v.load(Ordering::Relaxed));
    if QUEUES.get(cpu).is_some() {
        let q = queue(cpu).lock();
        if q.current_is_idle {
            idle_ns += now.saturating_sub(q.since_ns + irq_ns.saturating_sub(q.since_irq_ns));
        }
    }
    let system_ns = now.saturating_sub(user_ns + idle_ns + irq_ns);
    CpuTimes {
        user_ns,
        idle_ns: SHOWN_IDLE_NS.get(cpu).map_or(idle_ns, |s| never_back(s, idle_ns)),
        irq_ns,
        system_ns: SHOWN_SYSTEM_NS.get(cpu).map_or(system_ns, |s| never_back(s, system_ns)),
    }
}

/// What was shown last, or `now` if that is more. A CPU that is on its way from one task to the next books the time in
/// between a moment after a reader has counted it elsewhere; without this a reader could see a clock go back.
fn never_back(shown: &AtomicU64, now: u64) -> u64 {
    shown.fetch_max(now, Ordering::Relaxed).max(now)
}

/// Context switches since boot, all CPUs.
pub fn context_switches() -> u64 {
    SWITCHES.load(Ordering::Relaxed)
}

/// Tasks that run or wait for a CPU.
pub fn runnable() -> usize {
    percpu::online()
        .map(|c| {
            let q = queue(c.id as usize).lock();
            q.len() + usize::from(!q.current_is_idle)
        })
        .sum()
}

/// A name of the running task for crash reports; takes no lock.
pub fn describe(out: &mut dyn core::fmt::Write) {
    let Some(current) = task::try_current() else { return };
    let e = ext(&current);
    let _ = match &e.thread {
        Some(t) => writeln!(out, "  thread {}", t.tid()),
        None => writeln!(out, "  kernel thread {}", e.name),
    };
}

/// For [`String`]-free names elsewhere.
pub fn name_of(task: &Task) -> String {
    let e = ext(task);
    match &e.thread {
        Some(t) => t.name(),
        None => String::from(e.name),
    }
}

/// The user thread that a task runs.
#[inline]
pub fn thread_of(task: &Task) -> Option<&Arc<Thread>> {
    ext(task).thread.as_ref()
}

/// Nanoseconds that a task has run, the present slice included. Interrupt-safe.
pub fn run_ns(task: &Task) -> u64 {
    let ran = task.run_ns.load(Ordering::Relaxed);
    if !task.is_on_cpu() {
        return ran;
    }
    // The slice may end meanwhile: then it is in `run_ns`, and counted once.
    let since = queue(task.last_cpu() as usize).lock().since_ns;
    let now = task.run_ns.load(Ordering::Relaxed);
    if now == ran && task.is_on_cpu() {
        return ran + time::now_ns().saturating_sub(since);
    }
    now
}

/// Brings the CPU that runs `task` into the kernel, so that the task looks at its pending work. Interrupt-safe.
pub fn kick(task: &Task) {
    if !task.is_on_cpu() {
        return;
    }
    let irq = cpu::irq_save();
    let on = task.last_cpu();
    if on != cpu::id().0 {
        irq::send_reschedule(on);
    }
    cpu::irq_restore(irq);
}
