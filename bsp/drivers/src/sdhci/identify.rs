//! From an empty slot to a card in its transfer state (SD Physical Layer Simplified Specification, 4.2 and 4.3.10; SD
//! Host Controller Simplified Specification, 3.6 to 3.8). Waits; for task context.

use core::fmt;

use sis_hal::{Clock, Registers, Timeout};

use super::card::{BusMode, Cid, Csd, EraseTiming, Scr, SwitchStatus, ocr};
use super::command::{CardState, CardStatus, Command, Response};
use super::host::{CommandError, Host, IDENTIFY_HZ};
use super::{CardPower, HostConfig};

/// CMD8's check pattern.
const CHECK_PATTERN: u8 = 0xaa;
/// A card starts within a second (4.2.3).
const START_NS: u64 = 1_000_000_000;
/// Between two questions whether it has.
const START_STEP_NS: u64 = 1_000_000;
/// Power must have been away for a millisecond below 0.5 V (6.4.1.2); capacitors take longer.
const POWER_OFF_NS: u64 = 20_000_000;
/// Power is stable and 74 clocks are over before the first command (6.4.1.1); boards' regulators take longer.
const POWER_ON_NS: u64 = 5_000_000;
/// The card's clock stays off for 5 ms while the voltage changes, and the card answers within 1 ms (4.2.4.2).
const VOLTAGE_NS: u64 = 6_000_000;
const VOLTAGE_ANSWER_NS: u64 = 2_000_000;
/// Most rounds of tuning (2.2.24).
pub(super) const TUNING_ROUNDS: u8 = 40;
/// Tries of a command whose answer came damaged.
const TRIES: usize = 3;

/// Why there is no usable card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardError {
    /// The slot is empty, or what is in it answers to nothing.
    NoCard,
    /// The card works at no voltage that the slot has.
    Voltage,
    /// It did not start within a second.
    DoesNotStart,
    /// It is of a kind that is not supported: MMC, SDUC, or with registers of an unknown version.
    Unsupported,
    /// It stopped answering, or answered nonsense, at this command.
    Command(u8),
    /// The controller does not work: a reset or its clock takes too long.
    Controller,
    /// A card is attached already, or is being identified.
    Busy,
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("there is no card"),
            Self::Voltage => f.write_str("the card does not work at 3.3 V"),
            Self::DoesNotStart => f.write_str("the card does not start"),
            Self::Unsupported => f.write_str("cards of this kind are not supported"),
            Self::Command(index) => write!(f, "the card does not answer CMD{index} as it should"),
            Self::Controller => f.write_str("the controller does not work"),
            Self::Busy => f.write_str("there is a card already"),
        }
    }
}

impl core::error::Error for CardError {}

impl From<Timeout> for CardError {
    fn from(_: Timeout) -> Self {
        Self::Controller
    }
}

/// What is known of an attached card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// Its identification.
    pub cid: Cid,
    /// Its data.
    pub csd: Csd,
    /// Its configuration.
    pub scr: Scr,
    /// Addresses count blocks (SDHC, SDXC), not bytes (SDSC).
    pub has_block_addresses: bool,
    /// The slot's switch, or the card itself, forbids writing.
    pub is_read_only: bool,
    /// The bus as it was set up; errors may have made the clock slower since.
    pub mode: BusMode,
    /// Four data lines are used.
    pub has_four_bits: bool,
    /// How long erasing takes.
    pub erase: EraseTiming,
    /// Its relative address.
    pub(super) rca: u16,
    /// The mode needs tuning.
    pub(super) is_tuned: bool,
}

/// One identification.
pub(super) struct Identification<'a, R, K> {
    pub(super) host: &'a Host<R, K>,
    pub(super) config: &'a HostConfig,
    pub(super) power: Option<&'a dyn CardPower>,
}

/// How one try ended.
enum Failure {
    /// The card refused 1.8 V half-way; it needs its power off.
    Voltage,
    /// For good.
    Card(CardError),
}

impl<T: Into<CardError>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Card(error.into())
    }
}

impl<R: Registers, K: Clock> Identification<'_, R, K> {
    /// Brings the card up, as fast as card, controller and board allow.
    pub(super) fn run(&self) -> Result<CardInfo, CardError> {
        let can_switch = self.power.is_some() && self.host.caps.has_1_8_v_signal;
        match self.attempt(can_switch) {
            Err(Failure::Voltage) => match self.attempt(false) {
                Err(Failure::Voltage) => Err(CardError::Voltage),
                Err(Failure::Card(error)) => Err(error),
                Ok(card) => Ok(card),
            },
            Err(Failure::Card(error)) => Err(error),
            Ok(card) => Ok(card),
        }
    }

    fn attempt(&self, with_1_8: bool) -> Result<CardInfo, Failure> {
        let host = self.host;
        host.reset()?;
        if self.config.has_card_detect {
            host.wait_for_stable_contact();
            if !host.is_inserted() {
                return Err(CardError::NoCard.into());
            }
        }
        self.power_cycle();
        host.set_bus(false, BusMode::DefaultSpeed);
        host.set_clock(IDENTIFY_HZ)?;
        host.delay_ns(POWER_ON_NS);
        let has_block_addresses = self.start(with_1_8)?;
        let cid = Cid(self.command(&Command::ALL_SEND_CID)?);
        let rca = (self.command(&Command::SEND_RELATIVE_ADDR)? >> 16) as u16;
        let csd = Csd::parse(self.command(&Command::send_csd(rca))?).ok_or(CardError::Unsupported)?;
        self.command(&Command::select(rca))?;
        host.set_clock(BusMode::DefaultSpeed.clock_hz().min(self.config.max_clock_hz))?;
        let mut scr = [0; 8];
        self.app_data(rca, &Command::SEND_SCR, &mut scr)?;
        let scr = Scr::parse(scr).ok_or(CardError::Unsupported)?;
        let has_four_bits = scr.has_four_bits && self.config.has_four_bits;
        if has_four_bits {
            self.app(rca, &Command::FOUR_BITS)?;
            host.set_bus(true, BusMode::DefaultSpeed);
        }
        if !has_block_addresses {
            self.command(&Command::set_block_bytes(512))?;
        }
        let mut status = [0; 64];
        let erase = match self.app_data(rca, &Command::SD_STATUS, &mut status) {
            Ok(()) => EraseTiming::parse(&status),
            Err(_) => EraseTiming::UNKNOWN,
        };
        let is_locked = self.config.has_write_protect && host.is_write_protected();
        let mut card = CardInfo {
            cid,
            csd,
            scr,
            has_block_addresses,
            is_read_only: is_locked || csd.is_write_protected,
            mode: if host.is_signal_1_8() {
                BusMode::Sdr12
            } else {
                BusMode::DefaultSpeed
            },
            has_four_bits,
            erase,
            rca,
            is_tuned: false,
        };
        self.speed_up(&mut card)?;
        self.check(&card)?;
        Ok(card)
    }

    fn power_cycle(&self) {
        let host = self.host;
        if let Some(power) = self.power {
            // Nothing depends on the regulators being switchable; a card that stays at 1.8 V will not answer.
            let _ = power.set_power(false);
            host.set_power(false);
            host.delay_ns(POWER_OFF_NS);
            let _ = power.set_signal_1_8(false);
            let _ = power.set_power(true);
        }
        host.set_signal_1_8(false);
        host.set_power(true);
        host.delay_ns(POWER_ON_NS);
    }

    /// CMD0, CMD8, ACMD41: to the ready state. Answers whether addresses count blocks.
    fn start(&self, with_1_8: bool) -> Result<bool, Failure> {
        let host = self.host;
        self.command(&Command::GO_IDLE)?;
        host.delay_ns(START_STEP_NS);
        let is_version_2 = match host.run(&Command::send_if_cond(CHECK_PATTERN), &mut []) {
            Ok(response) if response as u32 & 0xfff == 0x100 | u32::from(CHECK_PATTERN) => true,
            // It does not work at this voltage (4.3.13).
            Ok(_) => return Err(CardError::Voltage.into()),
            // A card of version 1, or none.
            Err(_) => false,
        };
        let mut wanted = ocr::VOLTAGES_3_3;
        if is_version_2 {
            wanted |= ocr::HIGH_CAPACITY | ocr::MORE_POWER;
            if with_1_8 {
                wanted |= ocr::SIGNAL_1_8;
            }
        }
        let begin_ns = host.now_ns();
        let response = loop {
            let response = self.op_cond(wanted)?;
            if response & ocr::VOLTAGES_3_3 == 0 {
                return Err(CardError::Voltage.into());
            }
            if response & ocr::READY != 0 {
                break response;
            }
            if host.now_ns().saturating_sub(begin_ns) > START_NS {
                return Err(CardError::DoesNotStart.into());
            }
            host.delay_ns(START_STEP_NS);
        };
        if with_1_8 && response & ocr::SIGNAL_1_8 != 0 {
            self.switch_voltage()?;
        }
        Ok(is_version_2 && response & ocr::HIGH_CAPACITY != 0)
    }

    /// ACMD41; a slot without an answer is empty.
    fn op_cond(&self, wanted: u32) -> Result<u32, CardError> {
        let mut last = CommandError::NoResponse;
        for _ in 0..TRIES {
            let result = self
                .host
                .run(&Command::app(0), &mut [])
                .and_then(|_| self.host.run(&Command::send_op_cond(wanted), &mut []));
            match result {
                Ok(response) => return Ok(response as u32),
                Err(error) => last = error,
            }
        }
        Err(match last {
            CommandError::NoResponse => CardError::NoCard,
            CommandError::Controller => CardError::Controller,
            _ => CardError::Command(Command::send_op_cond(0).index),
        })
    }

    /// CMD11 and what follows (host controller 3.6.1; physical layer 4.2.4.2): card and host change together, with the
    /// clock off; each shows by the data lines that it has.
    fn switch_voltage(&self) -> Result<(), Failure> {
        let (host, Some(power)) = (self.host, self.power) else {
            return Ok(());
        };
        let hz = host.card_hz();
        host.run(&Command::VOLTAGE_SWITCH, &mut [])
            .map_err(|_| Failure::Voltage)?;
        host.stop_clock();
        if host.data_levels() != 0 {
            return Err(Failure::Voltage);
        }
        power.set_signal_1_8(true).map_err(|_| Failure::Voltage)?;
        host.set_signal_1_8(true);
        host.delay_ns(VOLTAGE_NS);
        if !host.is_signal_1_8() {
            return Err(Failure::Voltage);
        }
        host.resume_clock(hz);
        host.delay_ns(VOLTAGE_ANSWER_NS);
        if host.data_levels() == 0xf {
            Ok(())
        } else {
            Err(Failure::Voltage)
        }
    }

    /// CMD6: the fastest mode that all three have; the next one when the card or the tuning refuses.
    fn speed_up(&self, card: &mut CardInfo) -> Result<(), CardError> {
        if !card.scr.has_switch || !card.csd.has_switch() {
            return Ok(());
        }
        let is_1_8 = card.mode.is_uhs();
        let Ok(offered) = self.switch(false, 0xff_ffff) else {
            return Ok(());
        };
        let caps = &self.host.caps;
        let candidates = [
            (BusMode::Sdr104, caps.has_sdr104),
            (BusMode::Ddr50, caps.has_ddr50),
            (BusMode::Sdr50, caps.has_sdr50),
            (BusMode::Sdr25, true),
            (BusMode::HighSpeed, caps.has_high_speed),
        ];
        for (mode, has) in candidates {
            let is_offered = offered.access_modes & 1 << mode.access_mode() != 0;
            // All modes above 25 MHz of 1.8 V need four lines (physical layer, 3.9.3).
            let fits = mode.is_uhs() == is_1_8 && (card.has_four_bits || !mode.is_uhs());
            if has && is_offered && fits && self.enter(card, mode, &offered)? {
                return Ok(());
            }
        }
        if is_1_8 {
            self.host.set_bus(card.has_four_bits, BusMode::Sdr12);
        }
        Ok(())
    }

    /// Switches card and host to a mode. `false`: not possible, and the bus is slow again.
    fn enter(&self, card: &mut CardInfo, mode: BusMode, offered: &SwitchStatus) -> Result<bool, CardError> {
        let host = self.host;
        if mode.is_uhs() {
            // Group 4: 400 mA where the card has the step. A card that refuses stays at 200 mA.
            let limit = if offered.current_limits & 0b10 != 0 { 1 } else { 0 };
            let _ = self.switch(true, 0xff_0fff | limit << 12);
        }
        let function = u32::from(mode.access_mode());
        let is_switched = match self.switch(true, 0xff_fff0 | function) {
            Ok(status) => u32::from(status.selected_access_mode) == function,
            Err(_) => false,
        };
        if !is_switched {
            return Ok(false);
        }
        // The card changes within 8 clocks after the data; the host's clock is off while its own bus changes.
        host.stop_clock();
        host.set_bus(card.has_four_bits, mode);
        host.set_clock(mode.clock_hz().min(self.config.max_clock_hz))?;
        let needs_tuning = mode == BusMode::Sdr104 || (mode == BusMode::Sdr50 && host.caps.tunes_sdr50);
        let works = (!needs_tuning || self.tune()) && self.switch(false, 0xff_ffff).is_ok();
        if works {
            (card.mode, card.is_tuned) = (mode, needs_tuning);
            return Ok(true);
        }
        // Back to what worked: slow enough that no mode's timing matters.
        host.set_tuning(false);
        let _ = host.reset_lines();
        host.set_clock(BusMode::DefaultSpeed.clock_hz().min(self.config.max_clock_hz))?;
        if self.switch(true, 0xff_fff0).is_err() {
            return Err(CardError::Command(6));
        }
        host.stop_clock();
        host.set_bus(card.has_four_bits, card.mode);
        host.set_clock(BusMode::DefaultSpeed.clock_hz().min(self.config.max_clock_hz))?;
        Ok(false)
    }

    /// Looks for a sampling point with CMD19.
    fn tune(&self) -> bool {
        self.host.set_tuning(true);
        for _ in 0..TUNING_ROUNDS {
            if self.host.run_tuning_round().is_err() {
                return false;
            }
            if let Some(is_found) = self.host.tuning_result() {
                return is_found;
            }
        }
        false
    }

    /// The card is selected and waits.
    fn check(&self, card: &CardInfo) -> Result<(), CardError> {
        let status = CardStatus(self.command(&Command::send_status(card.rca))? as u32);
        if status.state() == CardState::Transfer {
            Ok(())
        } else {
            Err(CardError::Command(13))
        }
    }

    fn switch(&self, set: bool, functions: u32) -> Result<SwitchStatus, CardError> {
        let mut status = [0; 64];
        self.data(&Command::switch(set, functions), &mut status)?;
        Ok(SwitchStatus::parse(&status))
    }

    /// A command, again when its answer came damaged.
    fn command(&self, command: &Command) -> Result<u128, CardError> {
        self.data(command, &mut [])
    }

    fn data(&self, command: &Command, out: &mut [u8]) -> Result<u128, CardError> {
        let mut last = CommandError::Controller;
        for _ in 0..TRIES {
            let result = self
                .host
                .run(command, out)
                .and_then(|response| checked(command, response));
            match result {
                Ok(response) => return Ok(response),
                Err(error) => last = error,
            }
            // CMD2 and CMD3 change the card's state; when they fail, all is to be started anew.
            if last != CommandError::Damaged || command.index <= 3 {
                break;
            }
        }
        Err(match last {
            CommandError::Controller => CardError::Controller,
            _ => CardError::Command(command.index),
        })
    }

    fn app(&self, rca: u16, command: &Command) -> Result<u128, CardError> {
        self.app_into(rca, command, &mut [])
    }

    fn app_data(&self, rca: u16, command: &Command, out: &mut [u8]) -> Result<(), CardError> {
        self.app_into(rca, command, out).map(|_| ())
    }

    fn app_into(&self, rca: u16, command: &Command, out: &mut [u8]) -> Result<u128, CardError> {
        let mut result = Err(CardError::Command(command.index));
        for _ in 0..TRIES {
            self.command(&Command::app(rca))?;
            result = self
                .host
                .run(command, out)
                .and_then(|response| checked(command, response))
                .map_err(|_| CardError::Command(command.index));
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// An R1 answer that complains is an error. R2, R3, R6 and R7 have no status of this form.
fn checked(command: &Command, response: u128) -> Result<u128, CommandError> {
    let has_status = matches!(command.response, Response::Short | Response::ShortBusy) && command.index > 3;
    let status = CardStatus(response as u32);
    if has_status && command.index != 8 && status.fault().is_some() {
        return Err(CommandError::Card(status.0));
    }
    Ok(response)
}
