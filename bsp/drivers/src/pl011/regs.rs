//! Register layout (DDI 0183G, section 3.2 and 3.3).

use tock_registers::{LocalRegisterCopy, register_bitfields};

use crate::reg::Reg;

register_bitfields![u32,
    /// UARTDR, 3.3.1: a received byte carries its own error marks.
    pub(super) DATA [
        OE OFFSET(11) NUMBITS(1) [],
        BE OFFSET(10) NUMBITS(1) [],
        PE OFFSET(9) NUMBITS(1) [],
        FE OFFSET(8) NUMBITS(1) [],
        DATA OFFSET(0) NUMBITS(8) []
    ],
    /// UARTFR, 3.3.3.
    pub(super) FLAGS [
        TXFE OFFSET(7) NUMBITS(1) [],
        RXFF OFFSET(6) NUMBITS(1) [],
        TXFF OFFSET(5) NUMBITS(1) [],
        RXFE OFFSET(4) NUMBITS(1) [],
        BUSY OFFSET(3) NUMBITS(1) []
    ],
    /// UARTLCR_H, 3.3.7.
    pub(super) LINE [
        WLEN OFFSET(5) NUMBITS(2) [
            EightBits = 3
        ],
        FEN OFFSET(4) NUMBITS(1) []
    ],
    /// UARTCR, 3.3.8.
    pub(super) CONTROL [
        CTSEN OFFSET(15) NUMBITS(1) [],
        RTSEN OFFSET(14) NUMBITS(1) [],
        RXE OFFSET(9) NUMBITS(1) [],
        TXE OFFSET(8) NUMBITS(1) [],
        UARTEN OFFSET(0) NUMBITS(1) []
    ],
    /// UARTIFLS, 3.3.9: how full a FIFO is when it interrupts.
    pub(super) LEVELS [
        RXIFLSEL OFFSET(3) NUMBITS(3) [
            OneEighth = 0
        ],
        TXIFLSEL OFFSET(0) NUMBITS(3) [
            Half = 2
        ]
    ],
    /// UARTIMSC, UARTRIS, UARTMIS, UARTICR: 3.3.10 to 3.3.13.
    pub(super) INTERRUPTS [
        RT OFFSET(6) NUMBITS(1) [],
        RX OFFSET(4) NUMBITS(1) []
    ]
];

/// Every interrupt, for UARTICR (bits 10:0).
pub(super) const ALL_INTERRUPTS: u32 = 0x7ff;

/// A copy of UARTFR.
pub(super) type Flags = LocalRegisterCopy<u32, FLAGS::Register>;

/// UARTDR.
pub(super) const DR: Reg<DATA::Register> = Reg::at(0x00);
/// UARTECR: any write clears the receive errors.
pub(super) const ECR: Reg = Reg::at(0x04);
/// UARTFR.
pub(super) const FR: Reg<FLAGS::Register> = Reg::at(0x18);
/// UARTIBRD, integer part of the divisor.
pub(super) const IBRD: Reg = Reg::at(0x24);
/// UARTFBRD, fraction of the divisor in 64ths.
pub(super) const FBRD: Reg = Reg::at(0x28);
/// UARTLCR_H.
pub(super) const LCR_H: Reg<LINE::Register> = Reg::at(0x2c);
/// UARTCR.
pub(super) const CR: Reg<CONTROL::Register> = Reg::at(0x30);
/// UARTIFLS.
pub(super) const IFLS: Reg<LEVELS::Register> = Reg::at(0x34);
/// UARTIMSC: a set bit lets the interrupt through.
pub(super) const IMSC: Reg<INTERRUPTS::Register> = Reg::at(0x38);
/// UARTICR: writing a set bit clears the interrupt.
pub(super) const ICR: Reg<INTERRUPTS::Register> = Reg::at(0x44);
/// UARTDMACR.
pub(super) const DMACR: Reg = Reg::at(0x48);
