//! A user thread's life: run in user mode, answer what it traps for, look at signals, again.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_abi::signal::{SIGBUS, SIGFPE, SIGILL, SIGTRAP, SigInfo, code};
use sis_machine::user::{Trap, UserContext};
use sis_machine::{cpu, percpu};

use super::signal::deliver::{self, Interrupted};
use super::thread::Thread;
use super::{exit, signal};
use crate::syscall::{Call, table};
use crate::time::now_ns;
use crate::{Errno, sched};

/// Runs a thread from its first instruction to its end.
pub(crate) fn main(thread: Arc<Thread>, mut user: UserContext) {
    loop {
        // Looked at with interrupts masked: whoever gives the thread work after this interrupts the CPU, and that
        // interrupt is taken in user mode at once.
        cpu::irq_disable();
        if thread.work() != 0 {
            cpu::irq_enable();
            if !deliver::do_work(&thread, &mut user, None, false) {
                break;
            }
            continue;
        }
        if sched::needs_resched() {
            cpu::irq_enable();
            sched::cond_resched();
            continue;
        }
        let cpu = percpu::get();
        let entered = now_ns();
        let irq_before = cpu.irq_ns.load(Ordering::Relaxed);
        let trap = user.run();
        // It has not left this CPU: what that spent in interrupt handlers meanwhile is not the program's.
        let in_irq = cpu.irq_ns.load(Ordering::Relaxed).wrapping_sub(irq_before);
        let in_user = now_ns().wrapping_sub(entered).saturating_sub(in_irq);
        thread.user_ns.fetch_add(in_user, Ordering::Relaxed);
        sched::account_user(in_user);
        if trap == Trap::Syscall {
            if !system_call(&thread, &mut user) {
                break;
            }
        } else {
            other(&thread, &user, trap);
        }
    }
    exit::finish(&thread);
    thread.detach();
}

/// Answers a call. False when the thread must end.
#[inline]
fn system_call(thread: &Arc<Thread>, user: &mut UserContext) -> bool {
    super::fault::keep_reserve(thread);
    let x0 = user.x[0];
    let mut call = Call {
        thread,
        user,
        registers_replaced: false,
    };
    let result = table::dispatch(&mut call);
    let is_replaced = call.registers_replaced;
    let mut interrupted = None;
    let mut is_interrupted = false;
    match result {
        _ if is_replaced => {}
        Ok(value) => user.x[0] = value as u64,
        Err(error) => {
            user.x[0] = error.to_return() as u64;
            if is_restart(error) {
                interrupted = Some(Interrupted { error, x0 });
                is_interrupted = true;
            } else {
                is_interrupted = error == Errno::EINTR;
            }
        }
    }
    if thread.work() == 0 && interrupted.is_none() {
        return true;
    }
    deliver::do_work(thread, user, interrupted, is_interrupted)
}

/// Whether programs never see this number.
fn is_restart(error: Errno) -> bool {
    matches!(
        error,
        Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND | Errno::ERESTART_RESTARTBLOCK
    )
}

/// Faults and the like.
fn other(thread: &Arc<Thread>, user: &UserContext, trap: Trap) {
    let info = match trap {
        Trap::Interrupt | Trap::Syscall => return,
        Trap::PageFault {
            address, write, exec, ..
        } => match super::fault::resolve(thread, address, write, exec) {
            None => return,
            Some(info) => info,
        },
        Trap::Alignment { address } => SigInfo::fault(SIGBUS, code::BUS_ADRALN, address as u64),
        Trap::Undefined { .. } => SigInfo::fault(SIGILL, code::ILL_ILLOPC, user.pc),
        Trap::Breakpoint { .. } => SigInfo::fault(SIGTRAP, code::TRAP_BRKPT, user.pc),
        Trap::FloatingPoint => SigInfo::fault(SIGFPE, code::FPE_FLTUNK, user.pc),
        Trap::BusError { address } => SigInfo::fault(SIGBUS, code::BUS_OBJERR, address as u64),
    };
    signal::force(thread, info);
}
