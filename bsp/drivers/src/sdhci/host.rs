//! The controller's registers, one action each, every wait bounded (SD Host Controller Simplified Specification 3.00,
//! chapter 3).

use core::sync::atomic::{AtomicU32, Ordering};

use sis_hal::{Clock, Registers, Timeout, delay_ns, wait_until};

use super::HostConfig;
use super::card::BusMode;
use super::command::{Command, Direction, Response};
use super::regs::{
    ADMA_ADDRESS, ARGUMENT, BLOCK, BLOCK_REG, BUFFER, CAPS, CAPS_REG, CAPS1, CAPS1_REG, CLOCK, CLOCK_REG, COMMAND_REG,
    CONTROL, CONTROL_REG, CONTROL2, CONTROL2_REG, PRESENT, PRESENT_REG, RESPONSE, SDMA_ADDRESS, SIGNAL_ENABLE, STATUS,
    STATUS_ENABLE, VERSION, VERSION_REG, event,
};

/// A reset takes microseconds; Linux waits as long.
const RESET_NS: u64 = 100_000_000;
/// The internal clock is stable within 150 ms (3.2.1, note).
const CLOCK_STABLE_NS: u64 = 150_000_000;
/// A command without data: 64 clocks at 100 kHz, and much more.
const COMMAND_NS: u64 = 100_000_000;
/// A card may be busy for as long as 500 ms after a command that is not a write (4.6.2.2).
const BUSY_NS: u64 = 1_000_000_000;
/// The command and data lines are free again between requests; a short wait for slow state machines.
const INHIBIT_NS: u64 = 10_000_000;
/// For the identification (6.6.6: 100 to 400 kHz).
pub(super) const IDENTIFY_HZ: u32 = 400_000;
/// Bytes of the registers.
const REGISTER_BYTES: usize = 0x100;

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    /// No card answers.
    NoResponse,
    /// The response or the data came damaged.
    Damaged,
    /// The data did not come, or the card stays busy.
    DataTimeout,
    /// The controller does not finish, or reports an error of its own.
    Controller,
    /// The card reported an error (its status).
    Card(u32),
}

/// How DMA can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaKind {
    /// Descriptors of 8 bytes with addresses of 32 bits.
    Adma32,
    /// Descriptors of 12 bytes with addresses of 64 bits.
    Adma64,
    /// One contiguous piece, 32 bits.
    Sdma,
}

/// What the controller can do, of which the board allows the use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostCaps {
    pub(super) base_clock_hz: u32,
    pub(super) has_3_3_v: bool,
    pub(super) has_high_speed: bool,
    pub(super) has_1_8_v_signal: bool,
    pub(super) has_sdr50: bool,
    pub(super) has_sdr104: bool,
    pub(super) has_ddr50: bool,
    pub(super) tunes_sdr50: bool,
    pub(super) is_version_3: bool,
    pub(super) dma: Option<DmaKind>,
}

/// A controller.
pub(super) struct Host<R, K> {
    registers: R,
    clock: K,
    pub(super) caps: HostCaps,
    /// The card's clock; 0 = off.
    card_hz: AtomicU32,
}

impl<R: Registers, K: Clock> Host<R, K> {
    /// Recognises a controller; `None` when there is none: an empty bus reads all ones or zeros.
    pub(super) fn probe(registers: R, clock: K, config: &HostConfig) -> Option<Self> {
        if registers.size() < REGISTER_BYTES {
            return None;
        }
        let version = VERSION_REG.get(&registers);
        let (mut low, mut high) = (CAPS_REG.get(&registers), CAPS1_REG.get(&registers));
        let is_empty = version == u32::MAX || (version == 0 && low == 0 && PRESENT_REG.get(&registers) == 0);
        if is_empty || PRESENT_REG.get(&registers) == u32::MAX {
            return None;
        }
        if let Some((known_low, known_high)) = config.capabilities {
            (low, high) = (known_low, known_high);
        }
        let caps = tock_registers::LocalRegisterCopy::<u32, CAPS::Register>::new(low);
        let caps1 = tock_registers::LocalRegisterCopy::<u32, CAPS1::Register>::new(high);
        let version = VERSION_REG.read(&registers).read(VERSION::SPECIFICATION);
        let is_version_3 = version >= 2;
        let base_mhz = caps.read(CAPS::BASE_CLOCK_MHZ) & if is_version_3 { 0xff } else { 0x3f };
        let base_clock_hz = config.base_clock_hz.unwrap_or(base_mhz * 1_000_000);
        let dma = if caps.is_set(CAPS::ADMA2) && version >= 1 {
            // Version 4 has a way of its own to 64 bits; its controllers still take 32.
            let is_64 = caps.is_set(CAPS::BUS_64) && version == 2;
            Some(if is_64 { DmaKind::Adma64 } else { DmaKind::Adma32 })
        } else if caps.is_set(CAPS::SDMA) {
            Some(DmaKind::Sdma)
        } else {
            None
        };
        let is_uhs = |field| is_version_3 && caps1.is_set(field);
        Some(Self {
            caps: HostCaps {
                base_clock_hz,
                has_3_3_v: caps.is_set(CAPS::V3_3),
                has_high_speed: caps.is_set(CAPS::HIGH_SPEED),
                has_1_8_v_signal: is_uhs(CAPS1::SDR50) || is_uhs(CAPS1::SDR104) || is_uhs(CAPS1::DDR50),
                has_sdr50: is_uhs(CAPS1::SDR50),
                has_sdr104: is_uhs(CAPS1::SDR104),
                has_ddr50: is_uhs(CAPS1::DDR50),
                tunes_sdr50: is_uhs(CAPS1::TUNE_SDR50),
                is_version_3,
                dma,
            },
            registers,
            clock,
            card_hz: AtomicU32::new(0),
        })
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(super) fn delay_ns(&self, duration_ns: u64) {
        delay_ns(&self.clock, duration_ns);
    }

    /// The card's clock in Hz.
    pub(super) fn card_hz(&self) -> u32 {
        self.card_hz.load(Ordering::Relaxed)
    }

    /// Writes a register. The Arasan controller loses a write that follows another within two of the card's clocks where
    /// these are slow (Linux, `sdhci-iproc.c`): four are waited for then.
    fn write<L: tock_registers::RegisterLongName>(&self, register: crate::reg::Reg<L>, value: u32) {
        register.set(&self.registers, value);
        match self.card_hz() {
            0 => {}
            hz if hz <= IDENTIFY_HZ => self.delay_ns(4_000_000_000 / u64::from(hz)),
            _ => {}
        }
    }

    /// Resets everything, and records events from then on.
    pub(super) fn reset(&self) -> Result<(), Timeout> {
        self.set_signals(false);
        self.card_hz.store(0, Ordering::Relaxed);
        self.reset_part(CLOCK::RESET_ALL::SET.value)?;
        STATUS.set(&self.registers, u32::MAX);
        STATUS_ENABLE.set(&self.registers, event::ALL | event::INSERTED | event::REMOVED);
        // The longest data time-out.
        CLOCK_REG.modify(&self.registers, CLOCK::TIMEOUT.val(14));
        Ok(())
    }

    /// Resets the command and data state machines after an error (3.10.1); ends DMA.
    pub(super) fn reset_lines(&self) -> Result<(), Timeout> {
        self.reset_part(CLOCK::RESET_CMD::SET.value)?;
        self.reset_part(CLOCK::RESET_DAT::SET.value)?;
        STATUS.set(&self.registers, event::ALL);
        Ok(())
    }

    fn reset_part(&self, bits: u32) -> Result<(), Timeout> {
        let registers = &self.registers;
        let kept = CLOCK_REG.get(registers);
        CLOCK_REG.set(registers, kept | bits);
        wait_until(&self.clock, RESET_NS, || CLOCK_REG.get(registers) & bits == 0)
    }

    /// Power for the card at 3.3 V, or none.
    pub(super) fn set_power(&self, is_on: bool) {
        let voltage = if self.caps.has_3_3_v {
            CONTROL::VOLTAGE::V3_3
        } else {
            CONTROL::VOLTAGE::V3_0
        };
        let rest = CONTROL::POWER::CLEAR + CONTROL::VOLTAGE.val(0);
        CONTROL_REG.modify(&self.registers, rest);
        if is_on {
            CONTROL_REG.modify(&self.registers, voltage);
            CONTROL_REG.modify(&self.registers, CONTROL::POWER::SET);
        }
    }

    /// Stops the card's clock.
    pub(super) fn stop_clock(&self) {
        self.write_clock(CLOCK::CARD_ENABLE::CLEAR);
        self.card_hz.store(0, Ordering::Relaxed);
    }

    /// Lets a stopped clock run on at `hz`, which it had before.
    pub(super) fn resume_clock(&self, hz: u32) {
        self.write_clock(CLOCK::CARD_ENABLE::SET);
        self.card_hz.store(hz, Ordering::Relaxed);
    }

    fn write_clock(&self, fields: tock_registers::fields::FieldValue<u32, CLOCK::Register>) {
        CLOCK_REG.modify(&self.registers, fields);
    }

    /// Sets the card's clock to the fastest that the divider gives and that is not above `hz` (3.2).
    pub(super) fn set_clock(&self, hz: u32) -> Result<(), Timeout> {
        let (divisor, real_hz) = self.divider(hz);
        self.stop_clock();
        let low = CLOCK::DIVIDER_LOW.val(divisor & 0xff) + CLOCK::DIVIDER_HIGH.val(divisor >> 8);
        self.write_clock(low + CLOCK::ENABLE::SET);
        let registers = &self.registers;
        wait_until(&self.clock, CLOCK_STABLE_NS, || {
            CLOCK_REG.read(registers).is_set(CLOCK::STABLE)
        })?;
        self.resume_clock(real_hz);
        Ok(())
    }

    /// The divider's setting, and what the card's clock then is: base / 2N, where N is any number up to 1023 (version 3)
    /// or a power of two up to 128; 0 is the base itself.
    fn divider(&self, hz: u32) -> (u32, u32) {
        let base = self.caps.base_clock_hz.max(1);
        if base <= hz {
            return (0, base);
        }
        let wanted = base.div_ceil(hz.max(1)).div_ceil(2).max(1);
        let divisor = if self.caps.is_version_3 {
            wanted.min(1023)
        } else {
            wanted.next_power_of_two().min(128)
        };
        (divisor, base / (2 * divisor))
    }

    /// The number of data lines and the timing of the bus.
    pub(super) fn set_bus(&self, is_four_bits: bool, mode: BusMode) {
        let width = CONTROL::WIDTH_4.val(u32::from(is_four_bits));
        let fast = CONTROL::HIGH_SPEED.val(u32::from(mode != BusMode::DefaultSpeed));
        CONTROL_REG.modify(&self.registers, width + fast);
        if self.caps.has_1_8_v_signal {
            // 2.2.24: the same numbers as the card's.
            let uhs = CONTROL2::UHS_MODE.val(u32::from(mode.access_mode()));
            CONTROL2_REG.modify(&self.registers, uhs + CONTROL2::PRESET::CLEAR);
        }
    }

    /// Which DMA the next transfer uses.
    pub(super) fn set_dma(&self, kind: DmaKind) {
        let select = match kind {
            DmaKind::Sdma => CONTROL::DMA::Sdma,
            DmaKind::Adma32 => CONTROL::DMA::Adma32,
            DmaKind::Adma64 => CONTROL::DMA::Adma64,
        };
        CONTROL_REG.modify(&self.registers, select);
    }

    /// Where the next transfer's descriptors are.
    pub(super) fn set_adma_address(&self, address: u64) {
        self.write(ADMA_ADDRESS, address as u32);
        self.write(ADMA_ADDRESS.nth(1), (address >> 32) as u32);
    }

    /// Where SDMA starts, or goes on; the number of blocks of an automatic CMD23.
    pub(super) fn set_sdma_address(&self, value: u32) {
        self.write(SDMA_ADDRESS, value);
    }

    /// Puts 1.8 V on the signal lines, or 3.3 V.
    pub(super) fn set_signal_1_8(&self, is_1_8: bool) {
        if self.caps.has_1_8_v_signal || !is_1_8 {
            CONTROL2_REG.modify(&self.registers, CONTROL2::SIGNAL_1_8.val(u32::from(is_1_8)));
        }
    }

    /// Whether the regulator kept 1.8 V.
    pub(super) fn is_signal_1_8(&self) -> bool {
        CONTROL2_REG.read(&self.registers).is_set(CONTROL2::SIGNAL_1_8)
    }

    /// The levels of DAT3..0.
    pub(super) fn data_levels(&self) -> u32 {
        PRESENT_REG.read(&self.registers).read(PRESENT::DAT_LEVEL)
    }

    /// Starts tuning (2.2.24, Execute Tuning), or gives it up and forgets what it found.
    pub(super) fn set_tuning(&self, is_on: bool) {
        CONTROL2_REG.modify(
            &self.registers,
            CONTROL2::EXECUTE_TUNING.val(u32::from(is_on)) + CONTROL2::SAMPLING::CLEAR,
        );
    }

    /// `None` while tuning goes on, else whether it found a sampling point.
    pub(super) fn tuning_result(&self) -> Option<bool> {
        let control = CONTROL2_REG.read(&self.registers);
        (!control.is_set(CONTROL2::EXECUTE_TUNING)).then(|| control.is_set(CONTROL2::SAMPLING))
    }

    /// A card is in the slot, as its contact says.
    pub(super) fn is_inserted(&self) -> bool {
        PRESENT_REG.read(&self.registers).is_set(PRESENT::INSERTED)
    }

    /// The card still has its power: a controller that detects no card takes it away by itself (2.2.11), which is to be
    /// believed even where nobody trusts its contact.
    pub(super) fn is_powered(&self) -> bool {
        CONTROL_REG.read(&self.registers).is_set(CONTROL::POWER)
    }

    /// The contact does not bounce; ends after a bound either way.
    pub(super) fn wait_for_stable_contact(&self) {
        let registers = &self.registers;
        let _ = wait_until(&self.clock, CLOCK_STABLE_NS, || {
            PRESENT_REG.read(registers).is_set(PRESENT::STABLE)
        });
    }

    /// The write-protect switch, as the slot says.
    pub(super) fn is_write_protected(&self) -> bool {
        !PRESENT_REG.read(&self.registers).is_set(PRESENT::WRITE_ENABLED)
    }

    /// The buffer can be read (a block has come) or written (there is room for one).
    pub(super) fn is_buffer_ready(&self, direction: Direction) -> bool {
        let present = PRESENT_REG.read(&self.registers);
        match direction {
            Direction::Read => present.is_set(PRESENT::READ_READY),
            Direction::Write => present.is_set(PRESENT::WRITE_READY),
        }
    }

    /// Reads a block, of a multiple of four bytes, out of the buffer.
    pub(super) fn read_buffer(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(4) {
            let word = BUFFER.get(&self.registers).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }

    /// Writes a block, of a multiple of four bytes, into the buffer.
    pub(super) fn write_buffer(&self, data: &[u8]) {
        for chunk in data.chunks(4) {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            BUFFER.set(&self.registers, u32::from_le_bytes(word));
        }
    }

    /// The events since the last call.
    pub(super) fn take_events(&self) -> u32 {
        let events = STATUS.get(&self.registers);
        if events != 0 && events != u32::MAX {
            STATUS.set(&self.registers, events);
        }
        events
    }

    /// Lets events interrupt, or not.
    pub(super) fn set_signals(&self, is_on: bool) {
        let with_contact = event::ALL | event::REMOVED;
        SIGNAL_ENABLE.set(&self.registers, if is_on { with_contact } else { 0 });
    }

    /// The first word of the response.
    pub(super) fn response(&self) -> u32 {
        RESPONSE.get(&self.registers)
    }

    /// The response to an automatic CMD12 (2.2.7, Table 2-11).
    pub(super) fn auto_response(&self) -> u32 {
        RESPONSE.nth(3).get(&self.registers)
    }

    /// The response of 136 bits as the card's register; the controller has taken the CRC, its lowest byte, away (2.2.7).
    fn long_response(&self) -> u128 {
        let mut value = 0;
        for index in (0..4).rev() {
            value = value << 32 | u128::from(RESPONSE.nth(index).get(&self.registers));
        }
        value << 8
    }

    /// Whether the lines that a command needs are free, after a short wait.
    fn wait_for_lines(&self, command: &Command) -> Result<(), Timeout> {
        let is_free = || {
            let present = PRESENT_REG.read(&self.registers);
            let needs_data = command.waits_for_transfer() && command.index != Command::STOP.index;
            !(present.is_set(PRESENT::CMD_INHIBIT) || needs_data && present.is_set(PRESENT::DAT_INHIBIT))
        };
        wait_until(&self.clock, INHIBIT_NS, is_free)
    }

    /// Issues a command and does not wait for its end.
    pub(super) fn issue(&self, command: &Command) -> Result<(), Timeout> {
        self.wait_for_lines(command)?;
        STATUS.set(&self.registers, event::ALL);
        if let Some(data) = command.data {
            let block = BLOCK::SIZE.val(u32::from(data.block_bytes))
                + BLOCK::BOUNDARY.val(7)
                + BLOCK::COUNT.val(u32::from(data.blocks));
            self.write(BLOCK_REG, block.value);
        }
        self.write(ARGUMENT, command.argument);
        self.write(COMMAND_REG, command.fields().value);
        Ok(())
    }

    /// Waits for one of `wanted`, or an error.
    fn wait_for(&self, wanted: u32, timeout_ns: u64) -> Result<(), CommandError> {
        let mut seen = 0;
        let waited = wait_until(&self.clock, timeout_ns, || {
            seen = STATUS.get(&self.registers);
            seen & (wanted | event::ERRORS) != 0
        });
        let failure = classify(seen);
        STATUS.set(&self.registers, seen & (wanted | event::ERRORS | event::ERROR));
        match (failure, waited) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(Timeout)) => Err(CommandError::Controller),
        }
    }

    /// Runs a command to its end, with the data of one block if it reads any. For the time before interrupts are used.
    pub(super) fn run(&self, command: &Command, out: &mut [u8]) -> Result<u128, CommandError> {
        let result = self.run_once(command, out);
        if result.is_err() {
            // What cannot be reset will fail at the next command.
            let _ = self.reset_lines();
        }
        result
    }

    fn run_once(&self, command: &Command, out: &mut [u8]) -> Result<u128, CommandError> {
        if self.issue(command).is_err() {
            // A card that was never there may leave the lines in any state.
            self.reset_lines().map_err(|Timeout| CommandError::Controller)?;
            self.issue(command).map_err(|Timeout| CommandError::Controller)?;
        }
        self.wait_for(event::COMMAND, COMMAND_NS)?;
        let response = match command.response {
            Response::Long => self.long_response(),
            _ => u128::from(self.response()),
        };
        if command.data.is_some() {
            self.wait_for(event::READ_READY, BUSY_NS)?;
            self.read_buffer(out);
        }
        if command.waits_for_transfer() {
            self.wait_for(event::TRANSFER, BUSY_NS)?;
        }
        Ok(response)
    }

    /// One round of tuning: the pattern is read, and the controller looks at it; no transfer complete follows
    /// (2.2.24, and Figure 2-29's note).
    pub(super) fn run_tuning_round(&self) -> Result<(), CommandError> {
        let result = self
            .issue(&Command::SEND_TUNING)
            .map_err(|Timeout| CommandError::Controller)
            .and_then(|()| self.wait_for(event::READ_READY, BUSY_NS));
        self.read_buffer(&mut [0; 64]);
        result
    }
}

/// What the error bits among `events` mean.
pub(super) fn classify(events: u32) -> Option<CommandError> {
    if events & event::ERRORS == 0 {
        return None;
    }
    Some(if events & (event::COMMAND_DAMAGED | event::DATA_DAMAGED) != 0 {
        CommandError::Damaged
    } else if events & event::COMMAND_TIMEOUT != 0 {
        CommandError::NoResponse
    } else if events & event::DATA_TIMEOUT != 0 {
        CommandError::DataTimeout
    } else {
        CommandError::Controller
    })
}
