//! The frame that a handler finds on its stack, and the way back (rt_sigreturn(2)).

use alloc::sync::Arc;
use core::fmt;

use sis_abi::sigframe::{
    FRAME_BYTES, FRAME_RECORD_BYTES, FpRegisters, GeneralRegisters, SigAltStack, SigStackFlags, SignalFrame,
    WRITTEN_BYTES,
};
use sis_abi::signal::{Detail, SIGSEGV, SaFlags, SigAction, SigInfo};
use sis_machine::mm::usercopy;
use sis_machine::user::{self, FpState, UserContext};

use super::stack::AltStack;
use crate::process::thread::Thread;
use crate::{Errno, Result};

const PSTATE_FLAGS: u64 = 0xf000_0000;
/// Bits that say anything but "EL0, AArch64, nothing masked".
const PSTATE_FORBIDDEN: u64 = 0x3df;

/// Puts a frame on the stack and makes the registers those at the handler's entry.
pub(crate) fn push(thread: &Arc<Thread>, regs: &mut UserContext, info: &SigInfo, action: &SigAction) -> Result<()> {
    let alt = *thread.alt_stack.lock();
    let mut sp = regs.sp as usize;
    if action.flags.contains(SaFlags::ONSTACK) && alt.size != 0 && !alt.contains(sp) {
        sp = alt.base.checked_add(alt.size).ok_or(Errno::EFAULT)?;
    }
    let record_at = sp.checked_sub(FRAME_RECORD_BYTES).ok_or(Errno::EFAULT)? & !15;
    let frame_at = record_at.checked_sub(FRAME_BYTES).ok_or(Errno::EFAULT)?;
    // A frame that would overflow the alternate stack is not put anywhere (sigaltstack(2)).
    if alt.contains(regs.sp as usize) && frame_at < alt.base {
        return Err(Errno::EFAULT);
    }
    let saved = *thread.saved_mask.lock();
    let frame = SignalFrame {
        info: info.to_bytes(),
        stack: to_abi(&alt, regs.sp as usize),
        mask: saved.unwrap_or(thread.blocked()),
        fault_address: match info.detail {
            Detail::Fault { address } => address,
            _ => 0,
        },
        esr: None,
        registers: GeneralRegisters {
            regs: regs.x,
            sp: regs.sp,
            pc: regs.pc,
            pstate: regs.pstate & PSTATE_FLAGS,
        },
        fp: fp_to_abi(user::fp_snapshot()),
    };
    let mut bytes = [0; WRITTEN_BYTES];
    frame.write(&mut bytes).ok_or(Errno::EFAULT)?;
    copy_out(frame_at, &bytes)?;
    let mut record = [0; FRAME_RECORD_BYTES];
    let (fp, lr) = record.split_at_mut(8);
    fp.copy_from_slice(&regs.x[29].to_le_bytes());
    lr.copy_from_slice(&regs.x[30].to_le_bytes());
    copy_out(record_at, &record)?;
    if alt.is_autodisarm {
        *thread.alt_stack.lock() = AltStack::NONE;
    }
    regs.x[0] = info.signal.number() as u64;
    regs.x[1] = frame_at as u64;
    regs.x[2] = (frame_at + sis_abi::sigframe::UCONTEXT_OFFSET) as u64;
    regs.x[29] = record_at as u64;
    regs.x[30] = if action.flags.contains(SaFlags::RESTORER) {
        action.restorer
    } else {
        thread.vm().vdso_sigreturn() as u64
    };
    regs.sp = frame_at as u64;
    regs.pc = action.handler;
    regs.pstate &= PSTATE_FLAGS;
    Ok(())
}

/// rt_sigreturn(2): registers, mask and alternate stack as the frame at the stack pointer says. A bad frame is SIGSEGV.
pub(crate) fn sigreturn(thread: &Arc<Thread>, regs: &mut UserContext) {
    *thread.restart.lock() = None;
    if pop(thread, regs).is_err() {
        super::force(
            thread,
            SigInfo::fault(SIGSEGV, sis_abi::signal::code::SI_KERNEL, regs.sp),
        );
    }
}

fn pop(thread: &Arc<Thread>, regs: &mut UserContext) -> Result<()> {
    let at = regs.sp as usize;
    if !at.is_multiple_of(16) {
        return Err(Errno::EFAULT);
    }
    let mut bytes = [0; WRITTEN_BYTES];
    // What lies beyond the kernel's own records is read only if the program has put records of its own there.
    copy_in(at, &mut bytes)?;
    let frame = match SignalFrame::parse(&bytes) {
        Ok(frame) => frame,
        Err(_) => parse_whole(at)?,
    };
    let r = &frame.registers;
    if r.pstate & PSTATE_FORBIDDEN != 0 {
        return Err(Errno::EINVAL);
    }
    regs.x = r.regs;
    regs.sp = r.sp;
    regs.pc = r.pc;
    regs.pstate = r.pstate & PSTATE_FLAGS;
    user::fp_replace(&FpState {
        v: frame.fp.vregs,
        fpcr: u64::from(frame.fp.fpcr),
        fpsr: u64::from(frame.fp.fpsr),
    });
    thread.set_blocked(frame.mask);
    // As Linux: what the frame says of the stack is taken if it is valid, and else left alone.
    let _ = set_alt_stack(thread, &frame.stack, regs.sp as usize);
    Ok(())
}

/// Reads all of a frame; apart, so that the usual way back needs no stack for it.
#[cold]
#[inline(never)]
fn parse_whole(at: usize) -> Result<SignalFrame> {
    let mut bytes = [0; FRAME_BYTES];
    copy_in(at, &mut bytes)?;
    SignalFrame::parse(&bytes).map_err(|_| Errno::EINVAL)
}

fn fp_to_abi(fp: FpState) -> FpRegisters {
    FpRegisters {
        vregs: fp.v,
        fpsr: fp.fpsr as u32,
        fpcr: fp.fpcr as u32,
    }
}

/// The alternate stack as sigaltstack(2) and frames tell it.
pub(crate) fn to_abi(alt: &AltStack, sp: usize) -> SigAltStack {
    let mut flags = SigStackFlags::empty();
    if alt.size == 0 {
        flags |= SigStackFlags::DISABLE;
    } else if alt.contains(sp) {
        flags |= SigStackFlags::ONSTACK;
    }
    if alt.is_autodisarm {
        flags |= SigStackFlags::AUTODISARM;
    }
    SigAltStack {
        ss_sp: alt.base as u64,
        ss_flags: flags.bits(),
        ss_size: alt.size as u64,
    }
}

/// sigaltstack(2).
///
/// # Errors
/// `EPERM` while running on it, `EINVAL` for unknown flags, `ENOMEM` when it is too small.
pub(crate) fn set_alt_stack(thread: &Thread, new: &SigAltStack, sp: usize) -> Result<()> {
    let mut alt = thread.alt_stack.lock();
    if alt.size != 0 && alt.contains(sp) {
        return Err(Errno::EPERM);
    }
    let flags = SigStackFlags::from_bits(new.ss_flags).ok_or(Errno::EINVAL)?;
    let mode = flags.difference(SigStackFlags::AUTODISARM);
    if mode != SigStackFlags::DISABLE && mode != SigStackFlags::ONSTACK && !mode.is_empty() {
        return Err(Errno::EINVAL);
    }
    let is_autodisarm = flags.contains(SigStackFlags::AUTODISARM);
    *alt = if mode == SigStackFlags::DISABLE {
        AltStack {
            is_autodisarm,
            ..AltStack::NONE
        }
    } else {
        if new.ss_size < sis_abi::sigframe::MINSIGSTKSZ {
            return Err(Errno::ENOMEM);
        }
        AltStack {
            base: new.ss_sp as usize,
            size: new.ss_size as usize,
            is_autodisarm,
        }
    };
    Ok(())
}

fn copy_out(at: usize, bytes: &[u8]) -> Result<()> {
    usercopy::copy_out(at, bytes).map_err(|_| Errno::EFAULT)
}

fn copy_in(at: usize, bytes: &mut [u8]) -> Result<()> {
    usercopy::copy_in(at, bytes).map_err(|_| Errno::EFAULT)
}

/// Where a fault was; `None` for signals that tell no address.
pub(crate) fn fault_address(info: &SigInfo) -> Option<u64> {
    match info.detail {
        Detail::Fault { address } => Some(address),
        _ => None,
    }
}

/// Says where a fault was, for messages.
pub(crate) struct Fault<'a>(pub(crate) &'a SigInfo);

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.detail {
            Detail::Fault { address } => write!(f, " at address {address:#x} (code {})", self.0.code),
            _ => Ok(()),
        }
    }
}
