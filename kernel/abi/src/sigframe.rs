//! The frame that a signal leaves on the user's stack, as Linux lays it out for AArch64 (arch/arm64/kernel/signal.c, uapi asm/sigcontext.h).
//!
//! From low to high addresses: `siginfo_t` (128 bytes), then `struct ucontext` with the interrupted registers, whose last 4096 bytes hold a
//! list of records: floating-point state, the syndrome of a fault, the end. A frame record for the unwinder (x29, x30) follows the frame;
//! putting it there, and the handler's registers, is the caller's matter.

use thiserror::Error;

use crate::{
    Layout,
    layout::{field, set_field},
    macros::{constants, flags, layout},
    signal::SigSet,
};

/// `sizeof(struct rt_sigframe)`: siginfo and ucontext.
pub const FRAME_BYTES: usize = 4688;

/// Bytes of the frame that are ever written: to the end of the records that the kernel makes. The rest of the area for records, most of the
/// frame, is a program's to fill.
pub const WRITTEN_BYTES: usize =
    UCONTEXT_OFFSET + MCONTEXT_OFFSET + RESERVED_OFFSET + FPSIMD_BYTES as usize + ESR_BYTES as usize + END_BYTES;

/// Where in the frame the ucontext is.
pub const UCONTEXT_OFFSET: usize = 128;

/// The size of the frame record behind the frame.
pub const FRAME_RECORD_BYTES: usize = 16;

/// Offsets in the ucontext.
const STACK_OFFSET: usize = 16;
const MASK_OFFSET: usize = 40;
const MCONTEXT_OFFSET: usize = 176;

/// Offsets in the mcontext.
const REGISTERS_OFFSET: usize = 8;
const RESERVED_OFFSET: usize = 288;
const RESERVED_BYTES: usize = 4096;

const FPSIMD_MAGIC: u32 = 0x4650_8001;
const FPSIMD_BYTES: u32 = 528;
const ESR_MAGIC: u32 = 0x4553_5201;
const ESR_BYTES: u32 = 16;
const END_BYTES: usize = 16;

/// The smallest alternate stack on AArch64 (`MINSIGSTKSZ`).
pub const MINSIGSTKSZ: u64 = 5120;

/// The default alternate stack on AArch64 (`SIGSTKSZ`).
pub const SIGSTKSZ: u64 = 16384;

flags! {
    /// sigaltstack(2).
    pub struct SigStackFlags: u32, "SS_" {
        ONSTACK = 1;
        DISABLE = 2;
        AUTODISARM = 1 << 31;
    }
}

constants! { HOW_LIST, u32, "sigprocmask(2)";
    SIG_BLOCK = 0;
    SIG_UNBLOCK = 1;
    SIG_SETMASK = 2;
}

layout! {
    /// sigaltstack(2).
    pub struct SigAltStack = "stack_t", 24 {
        /// The lowest address.
        ss_sp: u64 = 0,
        /// [`SigStackFlags`].
        ss_flags: u32 = 8,
        /// The size in bytes.
        ss_size: u64 = 16,
    }
}

layout! {
    /// The general registers of an interrupted program (the beginning of `struct sigcontext` without the fault address).
    pub struct GeneralRegisters = "struct user_pt_regs", 272 {
        /// x0 to x30.
        regs: [u64; 31] = 0,
        /// The stack pointer.
        sp: u64 = 248,
        /// The program counter.
        pc: u64 = 256,
        /// The processor state (NZCV and more).
        pstate: u64 = 264,
    }
}

layout! {
    /// The floating-point and SIMD registers (the end of `struct fpsimd_context`).
    pub struct FpRegisters = "struct user_fpsimd_state", 528 {
        /// v0 to v31.
        vregs: [u128; 32] = 0,
        /// The status register.
        fpsr: u32 = 512,
        /// The control register.
        fpcr: u32 = 516,
    }
}

/// What a signal frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalFrame {
    /// `siginfo_t`.
    pub info: [u8; 128],
    /// The alternate stack at the time of the signal.
    pub stack: SigAltStack,
    /// The signals that were blocked.
    pub mask: SigSet,
    /// The address of a fault, zero for other signals.
    pub fault_address: u64,
    /// The syndrome of a fault (ESR_EL1 as Linux shows it).
    pub esr: Option<u64>,
    /// x0 to x30, sp, pc, pstate.
    pub registers: GeneralRegisters,
    /// v0 to v31, fpsr, fpcr.
    pub fp: FpRegisters,
}

/// Why a frame that a program returns with is not accepted; the answer is SIGSEGV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// There are fewer bytes than [`WRITTEN_BYTES`].
    #[error("the signal frame is cut short")]
    Truncated,
    /// A record is malformed, unknown or repeated.
    #[error("the signal frame has a malformed record")]
    BadRecord,
    /// The floating-point registers are missing.
    #[error("the signal frame has no floating-point registers")]
    NoFpRegisters,
}

impl SignalFrame {
    /// Writes the frame's beginning over the first [`WRITTEN_BYTES`] bytes; `None`, and nothing written, when there are fewer.
    ///
    /// # Errors
    /// None other than the missing room.
    #[must_use = "nothing is written when there is no room"]
    pub fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let bytes = bytes.get_mut(..WRITTEN_BYTES)?;
        bytes.fill(0);
        bytes.get_mut(..self.info.len())?.copy_from_slice(&self.info);
        let context = bytes.get_mut(UCONTEXT_OFFSET..)?;
        set_field(context, STACK_OFFSET, &self.stack);
        set_field(context, MASK_OFFSET, &self.mask.0);
        let machine = context.get_mut(MCONTEXT_OFFSET..)?;
        set_field(machine, 0, &self.fault_address);
        set_field(machine, REGISTERS_OFFSET, &self.registers);
        let records = machine.get_mut(RESERVED_OFFSET..)?;
        set_field(records, 0, &[FPSIMD_MAGIC, FPSIMD_BYTES, self.fp.fpsr, self.fp.fpcr]);
        set_field(records, 16, &self.fp.vregs);
        if let Some(esr) = self.esr {
            let record = records.get_mut(FPSIMD_BYTES as usize..)?;
            set_field(record, 0, &[ESR_MAGIC, ESR_BYTES]);
            set_field(record, 8, &esr);
        }
        // The end is a record of zeros, which is there already.
        Some(())
    }

    /// Reads the frame that a program returns with, from its first [`WRITTEN_BYTES`] bytes at least: a program that has put records of its own
    /// there may need all [`FRAME_BYTES`] to be understood. Registers are as the program left them: it is for the caller to refuse a `pstate` that
    /// user mode must not have, and signals in the mask that cannot be blocked.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are no frame that Linux would accept.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() < WRITTEN_BYTES {
            return Err(FrameError::Truncated);
        }
        let machine = UCONTEXT_OFFSET + MCONTEXT_OFFSET;
        let at = |offset| bytes.get(offset..).ok_or(FrameError::Truncated);
        let records = at(machine + RESERVED_OFFSET)?;
        let (fp, esr) = parse_records(records)?;
        Ok(Self {
            info: *bytes.first_chunk().ok_or(FrameError::Truncated)?,
            stack: field(bytes, UCONTEXT_OFFSET + STACK_OFFSET).ok_or(FrameError::Truncated)?,
            mask: SigSet(field(bytes, UCONTEXT_OFFSET + MASK_OFFSET).ok_or(FrameError::Truncated)?),
            fault_address: field(bytes, machine).ok_or(FrameError::Truncated)?,
            esr,
            registers: field(bytes, machine + REGISTERS_OFFSET).ok_or(FrameError::Truncated)?,
            fp,
        })
    }
}

/// Walks the records (`parse_user_sigframe` of Linux): each has a magic, a size that is a multiple of 16, and lies within the area.
fn parse_records(records: &[u8]) -> Result<(FpRegisters, Option<u64>), FrameError> {
    let records = records.get(..RESERVED_BYTES).unwrap_or(records);
    let mut fp = None;
    let mut esr = None;
    let mut at = 0;
    loop {
        let [magic, size] = field::<[u32; 2]>(records, at).ok_or(FrameError::BadRecord)?;
        let record = records
            .get(at..)
            .and_then(|rest| rest.get(..size as usize))
            .ok_or(FrameError::BadRecord)?;
        match magic {
            0 if size == 0 => break,
            FPSIMD_MAGIC if size == FPSIMD_BYTES && fp.is_none() => {
                let [fpsr, fpcr] = field(record, 8).ok_or(FrameError::BadRecord)?;
                fp = Some(FpRegisters {
                    vregs: field(record, 16).ok_or(FrameError::BadRecord)?,
                    fpsr,
                    fpcr,
                });
            }
            ESR_MAGIC if size == ESR_BYTES && esr.is_none() => esr = field(record, 8),
            _ => return Err(FrameError::BadRecord),
        }
        at += size as usize;
    }
    Ok((fp.ok_or(FrameError::NoFpRegisters)?, esr))
}

const _: () = {
    assert!(FRAME_BYTES == UCONTEXT_OFFSET + MCONTEXT_OFFSET + RESERVED_OFFSET + RESERVED_BYTES);
    assert!(REGISTERS_OFFSET + GeneralRegisters::SIZE <= RESERVED_OFFSET);
};

#[cfg(test)]
mod tests;
