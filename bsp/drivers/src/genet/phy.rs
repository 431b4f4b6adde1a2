//! The PHY behind the MDIO bus (IEEE 802.3 clause 22.2.4, 28, 40.5).

use sis_hal::{Clock, Registers, wait_until};
use tock_registers::register_bitfields;

use super::GenetError;
use crate::reg::Reg;

register_bitfields![u32,
    /// UMAC_MDIO_CMD.
    MDIO [
        START_BUSY OFFSET(29) NUMBITS(1) [],
        READ_FAIL OFFSET(28) NUMBITS(1) [],
        OPERATION OFFSET(26) NUMBITS(2) [
            Write = 1,
            Read = 2
        ],
        PHY OFFSET(21) NUMBITS(5) [],
        REGISTER OFFSET(16) NUMBITS(5) [],
        DATA OFFSET(0) NUMBITS(16) []
    ]
];

const MDIO_CMD: Reg<MDIO::Register> = Reg::at(0xe14);
/// 64 bits at 2.5 MHz are 26 µs.
const TIMEOUT_NS: u64 = 10_000_000;

const CONTROL: u32 = 0;
const STATUS: u32 = 1;
const ADVERTISED: u32 = 4;
const PARTNER: u32 = 5;
const CONTROL_1000: u32 = 9;
const STATUS_1000: u32 = 10;

const CONTROL_AUTO_NEGOTIATE: u16 = 1 << 12;
const CONTROL_RESTART: u16 = 1 << 9;
const STATUS_LINK: u16 = 1 << 2;
const STATUS_NEGOTIATED: u16 = 1 << 5;
const ABILITY_10: u16 = 1 << 5;
const ABILITY_10_FULL: u16 = 1 << 6;
const ABILITY_100: u16 = 1 << 7;
const ABILITY_100_FULL: u16 = 1 << 8;
const CONTROL_1000_HALF: u16 = 1 << 8;
const CONTROL_1000_FULL: u16 = 1 << 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    Mbit10,
    Mbit100,
    Mbit1000,
}

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) speed: Speed,
    pub(super) is_full_duplex: bool,
}

fn exchange(registers: &impl Registers, clock: &impl Clock, command: u32) -> Result<u32, GenetError> {
    let is_idle = || !MDIO_CMD.read(registers).is_set(MDIO::START_BUSY);
    wait_until(clock, TIMEOUT_NS, is_idle).map_err(|_| GenetError::NoPhy)?;
    MDIO_CMD.set(registers, command);
    MDIO_CMD.set(registers, command | MDIO::START_BUSY::SET.value);
    wait_until(clock, TIMEOUT_NS, is_idle).map_err(|_| GenetError::NoPhy)?;
    Ok(MDIO_CMD.get(registers))
}

fn read(registers: &impl Registers, clock: &impl Clock, phy: u32, register: u32) -> Result<u16, GenetError> {
    let command = MDIO::OPERATION::Read + MDIO::PHY.val(phy) + MDIO::REGISTER.val(register);
    let answer = exchange(registers, clock, command.value)?;
    if answer & MDIO::READ_FAIL::SET.value != 0 {
        return Err(GenetError::NoPhy);
    }
    Ok(answer as u16)
}

fn write(
    registers: &impl Registers,
    clock: &impl Clock,
    phy: u32,
    register: u32,
    value: u16,
) -> Result<(), GenetError> {
    let command =
        MDIO::OPERATION::Write + MDIO::PHY.val(phy) + MDIO::REGISTER.val(register) + MDIO::DATA.val(u32::from(value));
    exchange(registers, clock, command.value).map(drop)
}

/// Has it find out what the other end can, unless it knows already.
pub(super) fn start(registers: &impl Registers, clock: &impl Clock, phy: u32) -> Result<(), GenetError> {
    let status = read(registers, clock, phy, STATUS)?;
    // All ones: nobody drives the bus. No PHY has all abilities that there are.
    if status == u16::MAX {
        return Err(GenetError::NoPhy);
    }
    let control = read(registers, clock, phy, CONTROL)?;
    if control & CONTROL_AUTO_NEGOTIATE != 0 && status & STATUS_NEGOTIATED != 0 {
        return Ok(());
    }
    let control = control | CONTROL_AUTO_NEGOTIATE | CONTROL_RESTART;
    write(registers, clock, phy, CONTROL, control)
}

/// The link as it is now; `None` where there is none, or the ends have not agreed yet.
pub(super) fn link(registers: &impl Registers, clock: &impl Clock, phy: u32) -> Result<Option<Link>, GenetError> {
    let get = |register| read(registers, clock, phy, register);
    // A link that was lost stays lost in the register until it is read once.
    get(STATUS)?;
    let status = get(STATUS)?;
    if status == u16::MAX || status & STATUS_LINK == 0 || status & STATUS_NEGOTIATED == 0 {
        return Ok(None);
    }
    // What we offer is two bits below where the partner's answer is.
    let both_1000 = get(CONTROL_1000)? & get(STATUS_1000)? >> 2;
    let both = get(ADVERTISED)? & get(PARTNER)?;
    let (speed, is_full_duplex) = match () {
        () if both_1000 & CONTROL_1000_FULL != 0 => (Speed::Mbit1000, true),
        () if both_1000 & CONTROL_1000_HALF != 0 => (Speed::Mbit1000, false),
        () if both & ABILITY_100_FULL != 0 => (Speed::Mbit100, true),
        () if both & ABILITY_100 != 0 => (Speed::Mbit100, false),
        () if both & ABILITY_10_FULL != 0 => (Speed::Mbit10, true),
        () if both & ABILITY_10 != 0 => (Speed::Mbit10, false),
        () => return Ok(None),
    };
    Ok(Some(Link { speed, is_full_duplex }))
}
