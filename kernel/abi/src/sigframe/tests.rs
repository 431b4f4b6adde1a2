//! Frames that come back as they went, and frames that a program tampered with.

use std::vec;

use super::{
    ESR_MAGIC, FPSIMD_MAGIC, FRAME_BYTES, FpRegisters, FrameError, GeneralRegisters, MCONTEXT_OFFSET, RESERVED_OFFSET,
    SigAltStack, SignalFrame, UCONTEXT_OFFSET, WRITTEN_BYTES,
};
use crate::signal::SigSet;

const RECORDS: usize = UCONTEXT_OFFSET + MCONTEXT_OFFSET + RESERVED_OFFSET;

fn frame(esr: Option<u64>) -> SignalFrame {
    let mut regs = [0; 31];
    let mut vregs = [0; 32];
    for (index, register) in regs.iter_mut().enumerate() {
        *register = index as u64 + 1000;
    }
    for (index, register) in vregs.iter_mut().enumerate() {
        *register = (index as u128) << 100 | 5;
    }
    SignalFrame {
        info: [9; 128],
        stack: SigAltStack {
            ss_sp: 0x1000,
            ss_flags: 1,
            ss_size: 0x4000,
        },
        mask: SigSet(0x1234_5678_9abc_def0),
        fault_address: 0xdead_beef,
        esr,
        registers: GeneralRegisters {
            regs,
            sp: 0x7fff_0000,
            pc: 0x40_0000,
            pstate: 0x6000_0000,
        },
        fp: FpRegisters {
            vregs,
            fpsr: 0x0800_0001,
            fpcr: 0x0100_0000,
        },
    }
}

#[test]
fn a_frame_comes_back() {
    for frame in [frame(None), frame(Some(0x9200_0046))] {
        let mut bytes = vec![0xff; FRAME_BYTES + 1];
        frame.write(&mut bytes).unwrap();
        assert_eq!(bytes[WRITTEN_BYTES], 0xff);
        assert_eq!(SignalFrame::parse(&bytes), Ok(frame.clone()));
        assert_eq!(SignalFrame::parse(&bytes[..WRITTEN_BYTES]), Ok(frame));
        // Where asm/sigcontext.h has them.
        assert_eq!(bytes[128 + 176..][..8], 0xdead_beef_u64.to_le_bytes());
        assert_eq!(bytes[128 + 176 + 8..][..8], 1000u64.to_le_bytes());
        assert_eq!(bytes[128 + 176 + 264..][..8], 0x40_0000u64.to_le_bytes());
    }
    assert_eq!(frame(None).write(&mut [0; WRITTEN_BYTES - 1]), None);
    assert_eq!(SignalFrame::parse(&[0; WRITTEN_BYTES - 1]), Err(FrameError::Truncated));
}

#[test]
fn a_record_that_leaves_the_bytes_is_refused() {
    let mut bytes = [0; FRAME_BYTES];
    frame(Some(1)).write(&mut bytes).unwrap();
    // In the place of the end there is something that is no record.
    bytes[RECORDS + 544..][..4].copy_from_slice(&1u32.to_le_bytes());
    assert_eq!(SignalFrame::parse(&bytes[..WRITTEN_BYTES]), Err(FrameError::BadRecord));
    bytes[RECORDS + 544..][..4].fill(0);
    bytes[RECORDS + 4..][..4].copy_from_slice(&4096u32.to_le_bytes());
    assert_eq!(SignalFrame::parse(&bytes), Err(FrameError::BadRecord));
}

#[test]
fn tampering_is_refused() {
    let parse = |changes: &[(usize, u32)]| {
        let mut bytes = [0; FRAME_BYTES];
        frame(Some(1)).write(&mut bytes).unwrap();
        for (at, value) in changes {
            bytes[RECORDS + at..][..4].copy_from_slice(&value.to_le_bytes());
        }
        SignalFrame::parse(&bytes).err()
    };
    assert_eq!(parse(&[]), None);
    assert_eq!(parse(&[(0, 0), (4, 0)]), Some(FrameError::NoFpRegisters));
    assert_eq!(parse(&[(0, 0)]), Some(FrameError::BadRecord));
    assert_eq!(parse(&[(0, 1)]), Some(FrameError::BadRecord));
    assert_eq!(parse(&[(4, 512)]), Some(FrameError::BadRecord));
    assert_eq!(parse(&[(4, u32::MAX)]), Some(FrameError::BadRecord));
    assert_eq!(
        parse(&[(528, FPSIMD_MAGIC), (532, 528)]),
        Some(FrameError::BadRecord),
        "twice"
    );
    assert_eq!(
        parse(&[(544, ESR_MAGIC), (548, 16)]),
        Some(FrameError::BadRecord),
        "twice"
    );
    assert_eq!(parse(&[(548, 1)]), Some(FrameError::BadRecord));
    // The syndrome is not needed.
    assert_eq!(parse(&[(528, 0), (532, 0)]), None);
}
