//! The Arm PrimeCell UART (PL011), the first serial port of QEMU's `virt` and of the Raspberry Pi.
//!
//! Source: Arm, *PrimeCell UART (PL011) Technical Reference Manual*, DDI 0183G; section numbers below are its own.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::{ConsoleDevice, Registers, Timeout};

use self::regs::{CR, DATA, DR, ECR, FBRD, FLAGS, FR, IBRD, ICR, IFLS, IMSC, INTERRUPTS, LCR_H, LEVELS, LINE};
use crate::transmit::{self, Transmitter};

mod regs;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

/// Deepest receive FIFO of any revision (section 3.3.6 and r1p5's 32 bytes): bounds how many damaged bytes are skipped
/// in one read.
const MAX_FIFO_DEPTH: usize = 32;

/// What the port is set to at [`Pl011::init`]; always 8 data bits, no parity, one stop bit, no flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRate {
    /// Keep the divisor that the firmware programmed; an error where none did (QEMU has no firmware).
    KeepFirmware,
    /// Keep the divisor that the firmware programmed, or program it where none did.
    FirmwareOr {
        /// As in [`LineRate::Set`].
        clock_hz: u32,
        /// As in [`LineRate::Set`].
        baud: u32,
    },
    /// Program the divisor.
    Set {
        /// The port's reference clock (UARTCLK), which firmware may have changed: ask for it, do not assume it.
        clock_hz: u32,
        /// Bits a second on the line.
        baud: u32,
    },
}

/// Why the port was not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pl011Error {
    /// Nothing answers at the given address.
    NotPresent,
    /// The baud rate cannot be made from the clock: the divisor must be between 1 and 65535 (section 3.3.6).
    BadRate {
        /// The clock asked for.
        clock_hz: u32,
        /// The rate asked for.
        baud: u32,
    },
    /// [`LineRate::KeepFirmware`], but no firmware has programmed a divisor.
    NoFirmwareRate,
    /// The transmitter did not come to rest in time.
    Timeout,
}

impl fmt::Display for Pl011Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("no PL011 at the given address"),
            Self::BadRate { clock_hz, baud } => write!(f, "a clock of {clock_hz} Hz cannot make {baud} baud"),
            Self::NoFirmwareRate => f.write_str("the firmware has not set a baud rate; give a clock and a rate"),
            Self::Timeout => f.write_str("the UART's transmitter did not come to rest"),
        }
    }
}

impl core::error::Error for Pl011Error {}

/// What went wrong on the line since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineErrors {
    /// Times that received bytes were lost because nobody read them in time.
    pub overruns: u32,
    /// Bytes thrown away for a wrong stop bit or parity, or because they were a break.
    pub damaged: u32,
    /// Bytes not sent because the port did not take them in time.
    pub unsent: u32,
}

/// A PL011.
pub struct Pl011<R> {
    registers: R,
    transmitter: Transmitter,
    overruns: AtomicU32,
    damaged: AtomicU32,
}

impl<R: Registers> Pl011<R> {
    /// A driver over `registers` (at least 0x48 bytes) that leaves the port as it is: good for the first characters of a
    /// boot, where the firmware has set the port up.
    pub const fn new(registers: R) -> Self {
        Self {
            registers,
            transmitter: Transmitter::new(),
            overruns: AtomicU32::new(0),
            damaged: AtomicU32::new(0),
        }
    }

    /// Sets the port up from whatever state it is in: lets the transmitter finish, switches interrupts, DMA and flow
    /// control off, empties the FIFOs, and enables both directions with FIFOs on.
    ///
    /// Not to be called while another CPU writes.
    pub fn init(&self, rate: LineRate) -> Result<(), Pl011Error> {
        let registers = &self.registers;
        // FR has 9 bits (section 3.3.3).
        if FR.get(registers) & 0xffff_0000 != 0 {
            return Err(Pl011Error::NotPresent);
        }
        let has_rate = IBRD.get(registers) != 0;
        let divisor = match rate {
            LineRate::KeepFirmware if has_rate => None,
            LineRate::KeepFirmware => return Err(Pl011Error::NoFirmwareRate),
            LineRate::FirmwareOr { .. } if has_rate => None,
            LineRate::FirmwareOr { clock_hz, baud } | LineRate::Set { clock_hz, baud } => {
                Some(Divisor::new(clock_hz, baud).ok_or(Pl011Error::BadRate { clock_hz, baud })?)
            }
        };
        IMSC.set(registers, 0);
        self.wait_for(|flags| !flags.is_set(FLAGS::BUSY))
            .map_err(|Timeout| Pl011Error::Timeout)?;

        // Section 3.3.8: disable, wait for the current character (above), flush the FIFO by clearing FEN, reprogram.
        CR.set(registers, 0);
        LCR_H.set(registers, 0);
        regs::DMACR.set(registers, 0);
        if let Some(divisor) = divisor {
            IBRD.set(registers, divisor.integer);
            FBRD.set(registers, divisor.fraction);
        }
        // Section 3.3.6: the divisors take effect with the write of LCR_H that follows them.
        LCR_H.write(registers, LINE::WLEN::EightBits + LINE::FEN::SET);
        IFLS.write(registers, LEVELS::RXIFLSEL::OneEighth + LEVELS::TXIFLSEL::Half);
        ECR.set(registers, 0);
        ICR.set(registers, regs::ALL_INTERRUPTS);
        CR.write(
            registers,
            regs::CONTROL::UARTEN::SET + regs::CONTROL::TXE::SET + regs::CONTROL::RXE::SET,
        );
        self.transmitter.reset();
        Ok(())
    }

    /// What went wrong on the line since start.
    pub fn line_errors(&self) -> LineErrors {
        LineErrors {
            overruns: self.overruns.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            unsent: self.transmitter.unsent(),
        }
    }

    fn wait_for(&self, is_ready: impl Fn(regs::Flags) -> bool) -> Result<(), Timeout> {
        transmit::poll(|| is_ready(FR.read(&self.registers)))
    }
}

impl<R: Registers> ConsoleDevice for Pl011<R> {
    fn name(&self) -> &'static str {
        "PL011"
    }

    fn write_byte_blocking(&self, byte: u8) -> Result<(), Timeout> {
        let has_room = || !FR.read(&self.registers).is_set(FLAGS::TXFF);
        self.transmitter
            .send(has_room, || DR.set(&self.registers, u32::from(byte)))
    }

    fn try_read(&self) -> Option<u8> {
        for _ in 0..=MAX_FIFO_DEPTH {
            if FR.read(&self.registers).is_set(FLAGS::RXFE) {
                return None;
            }
            let data = DR.read(&self.registers);
            if data.is_set(DATA::OE) {
                // The byte that carries the mark is good; later ones were lost (section 3.3.1).
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
            if data.is_set(DATA::BE) || data.is_set(DATA::FE) || data.is_set(DATA::PE) {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            return Some(data.read(DATA::DATA) as u8);
        }
        None
    }

    fn enable_rx_interrupt(&self) {
        // RT fires when bytes below the FIFO level have waited for 32 bit times (section 2.8).
        IMSC.write(&self.registers, INTERRUPTS::RX::SET + INTERRUPTS::RT::SET);
    }

    fn acknowledge_interrupt(&self) {
        ICR.set(&self.registers, regs::ALL_INTERRUPTS);
    }

    fn flush(&self) -> Result<(), Timeout> {
        self.wait_for(|flags| !flags.is_set(FLAGS::BUSY))
    }
}

/// The baud rate divisor: UARTCLK / (16 x baud), with a fraction of 64ths (section 3.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Divisor {
    integer: u32,
    fraction: u32,
}

impl Divisor {
    fn new(clock_hz: u32, baud: u32) -> Option<Self> {
        let baud = u64::from(baud);
        // 64 x clock / (16 x baud), rounded to the nearest.
        let in_64ths = (u64::from(clock_hz) * 4 + baud / 2).checked_div(baud)?;
        let (integer, fraction) = (in_64ths >> 6, in_64ths & 0x3f);
        let is_legal = (1..0xffff).contains(&integer) || (integer == 0xffff && fraction == 0);
        is_legal.then_some(Self {
            integer: integer as u32,
            fraction: fraction as u32,
        })
    }
}
