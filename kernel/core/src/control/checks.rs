//! The kernel checks itself, on the live system: what only it can see.
//!
//! Each check uses the thing it is about and answers with a sentence when that is wrong. None changes anything for others
//! but for the moment that it takes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_machine::mm::{self, frames, usercopy};
use sis_machine::task::{self, Task};
use sis_machine::{percpu, symbols};
use sis_protocol::control::CheckResult;

use super::{events, memory};
use crate::time::{self, Deadline, Expire};
use crate::{random, sched};

/// What a check comes to: nothing, or why it failed.
type Outcome = Result<(), String>;

/// Its name, and what it does.
type Check = (&'static str, fn() -> Outcome);

const CHECKS: [Check; 11] = [
    ("frames", frame_accounts),
    ("zero-pool", zero_pool),
    ("memory-strategy", memory::check),
    ("mappings", mappings),
    ("heap", heap),
    ("timer", timer),
    ("cpus", cpus),
    ("user-copy", user_copy),
    ("locks", locks),
    ("random", randomness),
    ("events", event_ring),
];

/// Makes all checks.
pub(super) fn run() -> Vec<CheckResult> {
    let check = |(name, check): Check| {
        let begin = time::now_ns();
        let failure = check().err();
        sched::cond_resched();
        CheckResult {
            name: String::from(name),
            failure,
            duration_ns: Some(time::now_ns() - begin),
        }
    };
    CHECKS.into_iter().map(check).collect()
}

fn ensure(is_right: bool, why: impl FnOnce() -> String) -> Outcome {
    if is_right { Ok(()) } else { Err(why()) }
}

/// Lets others run for a while.
fn pause(ns: u64) {
    let deadline = Deadline::after_ns(ns);
    let timer = time::wake_at(deadline, &task::current_arc());
    while !deadline.has_passed() {
        task::park();
    }
    drop(timer);
}

/// The allocator's counts agree with each other and with its free lists.
fn frame_accounts() -> Outcome {
    /// What may be allocated and freed between reading one count and the next.
    const UNREST: usize = 256;
    let mut last = frames::Accounts::default();
    for _ in 0..5 {
        last = frames::accounts();
        ensure(last.buddy_free == last.in_blocks, || {
            format!(
                "{} frames are counted free, and {} are on the free lists",
                last.buddy_free, last.in_blocks
            )
        })?;
        let known = last.buddy_free + last.pool;
        if last.free + UNREST >= known && last.free <= known + last.caches_max + UNREST {
            return Ok(());
        }
        // Somebody allocates a lot just now.
        pause(5_000_000);
    }
    Err(format!(
        "{} frames are counted free in all, but {} are in the allocator, {} in the pool and at most {} in caches",
        last.free, last.buddy_free, last.pool, last.caches_max
    ))
}

/// What is in the pool of pre-zeroed frames is zero.
fn zero_pool() -> Outcome {
    match frames::check_zero_pool(256) {
        Ok(_) => Ok(()),
        Err(address) => Err(format!(
            "the frame at {address:#x} is in the pool of zeroed frames and not zero"
        )),
    }
}

/// No page of the kernel is both writable and executable, none is EL0's.
fn mappings() -> Outcome {
    let all = mm::kernel_mappings();
    ensure(all.executable > 0 && all.writable > 0, || {
        format!(
            "{} bytes executable and {} writable: the walk saw nothing",
            all.executable, all.writable
        )
    })?;
    if let Some(at) = all.both {
        return Err(format!("{at:#x} is writable and executable"));
    }
    all.user.map_or(Ok(()), |at| Err(format!("{at:#x} is open to EL0")))
}

/// Blocks of all sizes are aligned, disjoint and keep what is written.
fn heap() -> Outcome {
    let mut blocks: Vec<Vec<u64>> = Vec::new();
    for words in [1, 2, 5, 8, 16, 31, 64, 128, 200, 512, 1000, 4096] {
        for _ in 0..8 {
            let tag = blocks.len() as u64;
            let mut block = Vec::new();
            block
                .try_reserve_exact(words)
                .map_err(|_| format!("no block of {} bytes", words * 8))?;
            block.extend((0..words as u64).map(|n| tag << 32 | n));
            blocks.push(block);
        }
    }
    for (tag, block) in blocks.iter().enumerate() {
        let is_kept = block
            .iter()
            .enumerate()
            .all(|(n, word)| *word == (tag as u64) << 32 | n as u64);
        ensure(is_kept, || format!("a block of {} bytes has changed", block.len() * 8))?;
    }
    Ok(())
}

struct Alarm {
    task: Arc<Task>,
    at_ns: AtomicU64,
}

impl Expire for Alarm {
    fn expire(self: Arc<Self>) {
        self.at_ns.store(time::now_ns(), Ordering::Release);
        self.task.unpark();
    }
}

/// A timer goes off, not early and not very late.
fn timer() -> Outcome {
    const DELAY_NS: u64 = 3_000_000;
    /// Very late, even where the board is one program of many on a busy host.
    const LIMIT_NS: u64 = 1_000_000_000;
    let alarm = Arc::new(Alarm {
        task: task::current_arc(),
        at_ns: AtomicU64::new(0),
    });
    let due = Deadline::after_ns(DELAY_NS);
    let timer = time::set_timer(due, alarm.clone());
    // A second one, should the first never come.
    let end = Deadline::after_ns(LIMIT_NS);
    let watchdog = time::wake_at(end, &task::current_arc());
    while alarm.at_ns.load(Ordering::Acquire) == 0 && !end.has_passed() {
        task::park();
    }
    drop((timer, watchdog));
    match alarm.at_ns.load(Ordering::Acquire) {
        0 => Err(format!("a timer of {DELAY_NS} ns did not go off within {LIMIT_NS} ns")),
        at if at < due.ns() => Err(format!("a timer went off {} ns early", due.ns() - at)),
        _ => Ok(()),
    }
}

/// Every CPU runs a thread that is meant for it, and all see the same time.
fn cpus() -> Outcome {
    const LIMIT_NS: u64 = 2_000_000_000;
    let begin = time::now_ns();
    let end = Deadline::after_ns(LIMIT_NS);
    for cpu in percpu::online() {
        let seen = Arc::new((AtomicU64::new(u64::MAX), AtomicU64::new(0)));
        let (note, asker) = (seen.clone(), task::current_arc());
        let here = 1 << cpu.id;
        let body: Box<dyn FnOnce() + Send> = Box::new(move || {
            // It may have begun elsewhere before it was told where it belongs.
            let me = task::current_arc();
            sched::ext(&me).set_affinity(here);
            while percpu::get().id != here.trailing_zeros() && !end.has_passed() {
                pause(100_000);
            }
            note.1.store(time::now_ns(), Ordering::Relaxed);
            note.0.store(u64::from(percpu::get().id), Ordering::Release);
            asker.unpark();
        });
        sched::spawn_kernel("cpucheck", body).map_err(|e| format!("no thread for CPU {}: {e}", cpu.id))?;
        let watchdog = time::wake_at(end, &task::current_arc());
        while seen.0.load(Ordering::Acquire) == u64::MAX && !end.has_passed() {
            task::park();
        }
        drop(watchdog);
        let ran_on = seen.0.load(Ordering::Acquire);
        ensure(ran_on == u64::from(cpu.id), || {
            format!("CPU {} ran nothing within {LIMIT_NS} ns", cpu.id)
        })?;
        let (its_time, now) = (seen.1.load(Ordering::Relaxed), time::now_ns());
        ensure((begin..=now).contains(&its_time), || {
            format!(
                "CPU {} says it is {its_time} ns, between {begin} and {now} here",
                cpu.id
            )
        })?;
    }
    Ok(())
}

/// A copy from where no program's memory is fails, and does no harm.
fn user_copy() -> Outcome {
    /// Below the lowest address that programs may map.
    const NOWHERE: usize = 0x1000;
    let mut bytes = [0; 16];
    for at in [
        0,
        NOWHERE,
        mm::USER_END - 8,
        mm::USER_END,
        mm::LINEAR_BASE,
        usize::MAX - 3,
    ] {
        ensure(usercopy::copy_in(at, &mut bytes).is_err(), || {
            format!("{at:#x} was read as a program's memory")
        })?;
        ensure(usercopy::copy_out(at, &bytes).is_err(), || {
            format!("{at:#x} was written as a program's memory")
        })?;
    }
    Ok(())
}

/// This thread, which has taken and given back many, holds no spinning lock.
fn locks() -> Outcome {
    ensure(!percpu::holds_spin(), || String::from("a spinning lock is still held"))?;
    ensure(!percpu::in_interrupt(), || {
        String::from("a thread runs as an interrupt handler")
    })
}

/// The generator is seeded and does not repeat itself.
fn randomness() -> Outcome {
    ensure(random::is_seeded(), || {
        String::from("no source has given enough entropy")
    })?;
    let mut draws = [[0u8; 32]; 8];
    draws.iter_mut().for_each(|draw| random::fill(draw));
    draws.sort_unstable();
    let is_repeated = draws.iter().zip(draws.iter().skip(1)).any(|(a, b)| a == b);
    ensure(!is_repeated, || String::from("the same 32 bytes came twice"))
}

/// The ring of events is without a gap, and the kernel knows its own functions' names if it has them.
fn event_ring() -> Outcome {
    let (oldest, head) = events::bounds();
    ensure(head > 0 && oldest < head, || {
        format!("events {oldest} to {head}: nothing is kept")
    })?;
    let is_named =
        symbols::lookup(event_ring as fn() -> Outcome as usize).is_none_or(|(name, _)| name.contains("event_ring"));
    ensure(is_named, || String::from("the symbol table names functions wrongly"))
}
