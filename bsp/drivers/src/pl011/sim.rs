//! A simulated PL011 with a finite transmitter, a receive FIFO and the interrupt registers.

use std::collections::VecDeque;
use std::vec::Vec;

use crate::sim::Device;

const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_TXFE: u32 = 1 << 7;
const INT_RX: u32 = 1 << 4;
const LCR_FEN: u32 = 1 << 4;

/// The simulated port. Panics when the divisors or the line control are changed while the port is enabled, which the
/// manual forbids (DDI 0183G, 3.3.7).
#[derive(Debug)]
pub struct SimPl011 {
    /// Everything that has left on the wire.
    pub sent: Vec<u8>,
    /// Bytes received and not read yet, with the error bits of UARTDR (8-11).
    pub receive: VecDeque<u32>,
    /// Bytes waiting to be sent.
    pub transmit: VecDeque<u8>,
    /// Reads of the flag register between two bytes leaving; `None` = the transmitter is dead.
    pub reads_per_byte: Option<u32>,
    /// The divisors in effect (integer, fraction).
    pub divisor: (u32, u32),
    /// UARTCR.
    pub control: u32,
    /// UARTLCR_H.
    pub line: u32,
    /// UARTIMSC.
    pub mask: u32,
    /// UARTRIS.
    pub raw: u32,
    /// UARTDMACR.
    pub dma: u32,
    /// UARTIBRD, in effect with the next write of UARTLCR_H.
    pub ibrd: u32,
    /// UARTFBRD, likewise.
    pub fbrd: u32,
    /// Reads of the flag register since a byte left.
    pub reads: u32,
}

impl Default for SimPl011 {
    fn default() -> Self {
        Self {
            sent: Vec::new(),
            receive: VecDeque::new(),
            transmit: VecDeque::new(),
            reads_per_byte: Some(1),
            divisor: (0, 0),
            control: 0x300,
            line: 0,
            mask: 0,
            raw: 0,
            dma: 0,
            ibrd: 0,
            fbrd: 0,
            reads: 0,
        }
    }
}

impl SimPl011 {
    /// As firmware leaves it: enabled with hardware flow control, at the given divisor.
    pub fn with_firmware_divisor(integer: u32, fraction: u32) -> Self {
        Self {
            control: 0xc301,
            line: 0x70,
            ibrd: integer,
            fbrd: fraction,
            divisor: (integer, fraction),
            ..Self::default()
        }
    }

    /// A byte arrives on the line (with UARTDR's error bits).
    pub fn arrive(&mut self, data: u32) {
        self.receive.push_back(data);
        self.raw |= INT_RX;
    }

    /// The state of the interrupt line.
    pub fn is_interrupting(&self) -> bool {
        self.raw & self.mask != 0
    }

    fn depth(&self) -> usize {
        if self.line & LCR_FEN != 0 { 16 } else { 1 }
    }

    fn is_enabled(&self) -> bool {
        self.control & 1 != 0
    }

    fn tick(&mut self) {
        let Some(reads_per_byte) = self.reads_per_byte else {
            return;
        };
        self.reads += 1;
        if self.reads >= reads_per_byte {
            self.reads = 0;
            self.sent.extend(self.transmit.pop_front());
        }
    }
}

impl Device for SimPl011 {
    const SIZE: usize = 0x1000;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => {
                let data = self.receive.pop_front().unwrap_or(0);
                if self.receive.is_empty() {
                    self.raw &= !INT_RX;
                }
                data
            }
            0x18 => {
                self.tick();
                let mut flags = 0;
                flags |= if self.transmit.is_empty() { FR_TXFE } else { FR_BUSY };
                flags |= if self.transmit.len() >= self.depth() {
                    FR_TXFF
                } else {
                    0
                };
                flags |= if self.receive.is_empty() { FR_RXFE } else { 0 };
                flags
            }
            0x24 => self.ibrd,
            0x28 => self.fbrd,
            0x2c => self.line,
            0x30 => self.control,
            0x38 => self.mask,
            0x3c => self.raw,
            0x40 => self.raw & self.mask,
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => {
                assert!(self.transmit.len() < self.depth(), "a byte was written to a full FIFO");
                self.transmit.push_back(value as u8);
            }
            0x04 => {}
            0x24 => self.ibrd = value,
            0x28 => self.fbrd = value,
            0x2c => {
                assert!(!self.is_enabled(), "line control changed while enabled");
                if value & LCR_FEN == 0 {
                    self.receive.clear();
                }
                self.line = value;
                self.divisor = (self.ibrd, self.fbrd);
            }
            0x30 => {
                assert!(
                    value & 1 != 0 || self.transmit.is_empty(),
                    "disabled in the middle of a byte"
                );
                self.control = value;
            }
            0x34 => {}
            0x38 => self.mask = value,
            0x44 => self.raw &= !value,
            0x48 => self.dma = value,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}
