//! The kernel thread that takes packets in and minds the stack's timers.

use alloc::boxed::Box;
use alloc::format;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sis_hal::{IrqNumber, NetDevice, Trigger};

use super::stack;
use crate::fs::procfs;
use crate::poll::Events;
use crate::sched;
use crate::time::{self, Deadline};
use crate::wait::WaitQueue;
use crate::{Errno, Result};

/// Frames taken in before others get the CPU.
const BATCH: usize = 64;

static WAKE: WaitQueue = WaitQueue::new();
static IS_PENDING: AtomicBool = AtomicBool::new(false);
/// When the thread looks at the timers by itself.
static PLANNED_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// There is something to do: a packet came, or the interrupt says that there may be one. Interrupt-safe.
fn kick() {
    if !IS_PENDING.swap(true, Ordering::AcqRel) {
        WAKE.wake_all(Events::READ);
    }
}

/// A timer of the stack is due at `ns`; the thread is woken if it planned to sleep longer.
pub(super) fn plan(ns: u64) {
    if ns < PLANNED_NS.load(Ordering::Relaxed) {
        kick();
    }
}

/// Starts the network: the loopback interface and the thread. Once, before any socket is made.
///
/// # Errors
/// `ENOMEM`.
pub fn init() -> Result<()> {
    stack::with(stack::Stack::start);
    let tree = procfs::tree();
    for (name, text) in super::proc::FILES {
        tree.add_file(&format!("net/{name}"), move || Ok(text().into_bytes()));
    }
    super::sys::add("lo");
    sched::spawn_kernel("net", run)?;
    Ok(())
}

/// Adds an Ethernet interface; it gets the next name (`eth0`) and is down. `irq` is its interrupt.
///
/// # Errors
/// `ENOSPC` when there are enough, `EIO` when the interrupt cannot be enabled.
pub fn attach(device: &'static dyn NetDevice, irq: IrqNumber, trigger: Trigger) -> Result<()> {
    let name = stack::with(|s| s.add_device(device)).ok_or(Errno::ENOSPC)?;
    super::sys::add(name);
    let handler = move || {
        device.acknowledge_interrupt();
        kick();
    };
    if let Err(e) = sis_machine::irq::register(irq, trigger, Box::leak(Box::new(handler))) {
        sis_machine::error!("net: {name} has no interrupt: {e:?}");
        return Err(Errno::EIO);
    }
    sis_machine::info!("net: {name}: {} over {irq}", device.mac());
    // A frame may have come before anybody listened: its interrupt, left alone, would hide the next where the line is
    // edge-triggered, and nothing would ever be received.
    device.acknowledge_interrupt();
    kick();
    Ok(())
}

fn run() {
    loop {
        let next = stack::with(|s| s.next_ns());
        PLANNED_NS.store(next, Ordering::Relaxed);
        let deadline = if next == u64::MAX {
            Deadline::NEVER
        } else {
            Deadline::at_ns(next)
        };
        // A timer that was set since it was asked for is seen here.
        if stack::with(|s| s.next_ns()) >= next {
            let _ = WAKE.wait_until(deadline, || IS_PENDING.swap(false, Ordering::AcqRel).then_some(()));
        }
        PLANNED_NS.store(0, Ordering::Relaxed);
        loop {
            let taken = stack::with(|s| s.receive(BATCH));
            if taken < BATCH {
                break;
            }
            sched::cond_resched();
        }
        let now = time::now_ns();
        stack::with(|s| s.tick(now));
    }
}
