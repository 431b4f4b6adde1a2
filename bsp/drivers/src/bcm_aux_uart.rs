//! The mini-UART of the BCM2835 to BCM2711's auxiliary block.
//!
//! Source: Broadcom, *BCM2711 ARM Peripherals*, 2022-01-18, sections 2.1 and 2.2, with the corrections of the eLinux wiki's
//! "BCM2835 datasheet errata" (the interrupt enables are the other way round, 8-bit mode needs both low bits of LCR). Its
//! divisor counts the VideoCore's core clock, which moves with the load unless the firmware pins it: ask the mailbox for
//! the rate, and prefer the PL011 where the board leaves it free.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::{ConsoleDevice, Registers, Timeout};
use tock_registers::register_bitfields;

use crate::reg::Reg;
use crate::transmit::{self, Transmitter};

#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// AUX_ENABLES, 2.1.1.
    ENABLES [
        MINI_UART OFFSET(0) NUMBITS(1) []
    ],
    /// AUX_MU_IER, 2.2.2 and the errata.
    IER [
        REQUIRED OFFSET(2) NUMBITS(2) [],
        RECEIVE OFFSET(0) NUMBITS(1) []
    ],
    /// AUX_MU_IIR when written, 2.2.2.
    IIR [
        CLEAR_TRANSMIT OFFSET(2) NUMBITS(1) [],
        CLEAR_RECEIVE OFFSET(1) NUMBITS(1) []
    ],
    /// AUX_MU_LCR, 2.2.2 and the errata.
    LCR [
        DATA_SIZE OFFSET(0) NUMBITS(2) [
            EightBits = 3
        ]
    ],
    /// AUX_MU_LSR, 2.2.2.
    LSR [
        TRANSMITTER_IDLE OFFSET(6) NUMBITS(1) [],
        TRANSMITTER_READY OFFSET(5) NUMBITS(1) [],
        OVERRUN OFFSET(1) NUMBITS(1) [],
        DATA_READY OFFSET(0) NUMBITS(1) []
    ],
    /// AUX_MU_CNTL, 2.2.2.
    CNTL [
        TRANSMIT OFFSET(1) NUMBITS(1) [],
        RECEIVE OFFSET(0) NUMBITS(1) []
    ]
];

/// In the auxiliary block's own registers.
const AUX_ENABLES: Reg<ENABLES::Register> = Reg::at(0x04);

const MU_IO: Reg = Reg::at(0x00);
const MU_IER: Reg<IER::Register> = Reg::at(0x04);
const MU_IIR: Reg<IIR::Register> = Reg::at(0x08);
const MU_LCR: Reg<LCR::Register> = Reg::at(0x0c);
const MU_MCR: Reg = Reg::at(0x10);
const MU_LSR: Reg<LSR::Register> = Reg::at(0x14);
const MU_CNTL: Reg<CNTL::Register> = Reg::at(0x20);
const MU_BAUD: Reg = Reg::at(0x28);

/// Why the port was not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiniUartError {
    /// Nothing answers at the given address, or the port did not switch on.
    NotPresent,
    /// The baud rate cannot be made from the clock: clock / (8 x baud) must be between 1 and 65536.
    BadRate {
        /// The clock asked for.
        clock_hz: u32,
        /// The rate asked for.
        baud: u32,
    },
}

impl fmt::Display for MiniUartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("no mini-UART at the given address"),
            Self::BadRate { clock_hz, baud } => write!(f, "a clock of {clock_hz} Hz cannot make {baud} baud"),
        }
    }
}

impl core::error::Error for MiniUartError {}

/// A mini-UART.
pub struct MiniUart<R> {
    registers: R,
    transmitter: Transmitter,
    overruns: AtomicU32,
}

impl<R: Registers> MiniUart<R> {
    /// A driver over the port's own `registers` (0x40 bytes) that leaves it as the firmware has set it up.
    pub const fn new(registers: R) -> Self {
        Self {
            registers,
            transmitter: Transmitter::new(),
            overruns: AtomicU32::new(0),
        }
    }

    /// Switches the port on in the auxiliary block's registers `aux` and sets it to `baud`, 8 data bits, no parity, one
    /// stop bit, no flow control. Anything in the FIFOs is lost.
    ///
    /// Not to be called while another CPU writes, or changes another device of the block.
    pub fn init(&self, aux: &impl Registers, clock_hz: u32, baud: u32) -> Result<(), MiniUartError> {
        let divisor = divisor(clock_hz, baud).ok_or(MiniUartError::BadRate { clock_hz, baud })?;
        let registers = &self.registers;
        let enables = AUX_ENABLES.get(aux);
        // Three bits (2.1.1).
        if enables >> 3 != 0 {
            return Err(MiniUartError::NotPresent);
        }
        // The port's registers cannot be accessed before this.
        AUX_ENABLES.modify(aux, ENABLES::MINI_UART::SET);
        if !AUX_ENABLES.read(aux).is_set(ENABLES::MINI_UART) {
            return Err(MiniUartError::NotPresent);
        }
        MU_IER.set(registers, 0);
        MU_CNTL.set(registers, 0);
        MU_LCR.write(registers, LCR::DATA_SIZE::EightBits);
        MU_MCR.set(registers, 0);
        MU_IIR.write(registers, IIR::CLEAR_TRANSMIT::SET + IIR::CLEAR_RECEIVE::SET);
        MU_BAUD.set(registers, divisor);
        MU_CNTL.write(registers, CNTL::TRANSMIT::SET + CNTL::RECEIVE::SET);
        self.transmitter.reset();
        Ok(())
    }

    /// Times that received bytes were lost because nobody read them in time.
    pub fn overruns(&self) -> u32 {
        self.overruns.load(Ordering::Relaxed)
    }
}

impl<R: Registers> ConsoleDevice for MiniUart<R> {
    fn name(&self) -> &'static str {
        "mini-UART"
    }

    fn write_byte_blocking(&self, byte: u8) -> Result<(), Timeout> {
        let has_room = || MU_LSR.read(&self.registers).is_set(LSR::TRANSMITTER_READY);
        self.transmitter
            .send(has_room, || MU_IO.set(&self.registers, u32::from(byte)))
    }

    fn try_read(&self) -> Option<u8> {
        let status = MU_LSR.read(&self.registers);
        if status.is_set(LSR::OVERRUN) {
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
        status.is_set(LSR::DATA_READY).then(|| MU_IO.get(&self.registers) as u8)
    }

    fn enable_rx_interrupt(&self) {
        // Without the middle two bits no interrupt comes, whatever the manual calls them.
        MU_IER.write(&self.registers, IER::REQUIRED::SET + IER::RECEIVE::SET);
    }

    /// Nothing to do: the line is high exactly while received bytes wait, and reading them silences it.
    fn acknowledge_interrupt(&self) {}

    fn flush(&self) -> Result<(), Timeout> {
        transmit::poll(|| MU_LSR.read(&self.registers).is_set(LSR::TRANSMITTER_IDLE))
    }
}

/// AUX_MU_BAUD: clock / (8 x (divisor + 1)), rounded to the nearest (2.2.1).
fn divisor(clock_hz: u32, baud: u32) -> Option<u32> {
    let eighth = u64::from(baud) * 8;
    let periods = (u64::from(clock_hz) + eighth / 2).checked_div(eighth)?;
    (1..=0x1_0000).contains(&periods).then(|| periods as u32 - 1)
}
