//! Commands and what comes back (SD Physical Layer Simplified Specification, 4.7 and 4.9).

use tock_registers::fields::FieldValue;

use super::regs::COMMAND;

/// How a card answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// Not at all.
    None,
    /// R1, R6, R7: 48 bits with index and CRC.
    Short,
    /// R1b: as R1, and then busy on DAT0.
    ShortBusy,
    /// R3: 48 bits without index and CRC.
    Ocr,
    /// R2: 136 bits.
    Long,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the card.
    Read,
    /// To the card.
    Write,
}

/// What is added to a transfer of several blocks to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auto {
    /// Nothing.
    None,
    /// CMD12 after it.
    Stop,
    /// CMD23 before it, with the number of blocks.
    Count,
}

/// The data that goes with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) direction: Direction,
    pub(super) block_bytes: u16,
    pub(super) blocks: u16,
    pub(super) is_dma: bool,
    pub(super) auto: Auto,
}

/// A command as it goes into the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) index: u8,
    pub(super) argument: u32,
    pub(super) response: Response,
    pub(super) data: Option<Data>,
}

impl Command {
    const fn new(index: u8, argument: u32, response: Response) -> Self {
        Self {
            index,
            argument,
            response,
            data: None,
        }
    }

    /// A command that reads one small block through the buffer.
    const fn reading(index: u8, argument: u32, bytes: u16) -> Self {
        Self {
            data: Some(Data {
                direction: Direction::Read,
                block_bytes: bytes,
                blocks: 1,
                is_dma: false,
                auto: Auto::None,
            }),
            ..Self::new(index, argument, Response::Short)
        }
    }

    /// CMD0: every card to its idle state.
    pub(super) const GO_IDLE: Self = Self::new(0, 0, Response::None);
    /// CMD2: who is there?
    pub(super) const ALL_SEND_CID: Self = Self::new(2, 0, Response::Long);
    /// CMD3: take an address.
    pub(super) const SEND_RELATIVE_ADDR: Self = Self::new(3, 0, Response::Short);
    /// CMD11: prepare for 1.8 V.
    pub(super) const VOLTAGE_SWITCH: Self = Self::new(11, 0, Response::Short);
    /// CMD12: end a transfer.
    pub(super) const STOP: Self = Self::new(12, 0, Response::ShortBusy);
    /// CMD38: erase what CMD32 and CMD33 said.
    pub(super) const ERASE: Self = Self::new(38, 0, Response::ShortBusy);
    /// ACMD51: the card's configuration register.
    pub(super) const SEND_SCR: Self = Self::reading(51, 0, 8);
    /// ACMD13: the card's 512 bits of status.
    pub(super) const SD_STATUS: Self = Self::reading(13, 0, 64);
    /// CMD19: the tuning pattern, where the bus is four bits wide.
    pub(super) const SEND_TUNING: Self = Self::reading(19, 0, 64);

    /// CMD8: are 2.7-3.6 V (1) right, and is the check pattern the same?
    pub(super) const fn send_if_cond(pattern: u8) -> Self {
        Self::new(8, 1 << 8 | pattern as u32, Response::Short)
    }

    /// ACMD41.
    pub(super) const fn send_op_cond(argument: u32) -> Self {
        Self::new(41, argument, Response::Ocr)
    }

    /// CMD55: the next is an application command.
    pub(super) const fn app(rca: u16) -> Self {
        Self::new(55, (rca as u32) << 16, Response::Short)
    }

    /// CMD9: the card's data.
    pub(super) const fn send_csd(rca: u16) -> Self {
        Self::new(9, (rca as u32) << 16, Response::Long)
    }

    /// CMD7: this card from now on.
    pub(super) const fn select(rca: u16) -> Self {
        Self::new(7, (rca as u32) << 16, Response::ShortBusy)
    }

    /// CMD13: the card's status.
    pub(super) const fn send_status(rca: u16) -> Self {
        Self::new(13, (rca as u32) << 16, Response::Short)
    }

    /// CMD13, after which the controller waits until the card is not busy. The card does not know of that; the
    /// controller watches DAT0 after any response that it is told to (2.2.6, Response Type Select).
    pub(super) const fn send_status_and_wait(rca: u16) -> Self {
        Self::new(13, (rca as u32) << 16, Response::ShortBusy)
    }

    /// CMD16: bytes of a block, for SDSC.
    pub(super) const fn set_block_bytes(bytes: u32) -> Self {
        Self::new(16, bytes, Response::Short)
    }

    /// ACMD6: four data lines.
    pub(super) const FOUR_BITS: Self = Self::new(6, 2, Response::Short);

    /// CMD6: asks for (or, with `set`, switches to) functions, one hexadecimal digit a group (4.3.10).
    pub(super) const fn switch(set: bool, functions: u32) -> Self {
        Self::reading(6, (set as u32) << 31 | (functions & 0xff_ffff), 64)
    }

    /// CMD32 and CMD33: the first and last block to erase.
    pub(super) const fn erase_bound(is_last: bool, address: u32) -> Self {
        Self::new(if is_last { 33 } else { 32 }, address, Response::Short)
    }

    /// CMD17, CMD18, CMD24, CMD25.
    pub(super) const fn transfer(address: u32, data: Data) -> Self {
        let index = match (data.direction, data.blocks) {
            (Direction::Read, 1) => 17,
            (Direction::Read, _) => 18,
            (Direction::Write, 1) => 24,
            (Direction::Write, _) => 25,
        };
        Self {
            index,
            argument: address,
            response: Response::Short,
            data: Some(data),
        }
    }

    /// Whether the card may hold DAT0 low afterwards.
    pub(super) fn waits_for_transfer(&self) -> bool {
        self.data.is_some() || self.response == Response::ShortBusy
    }

    /// What the Transfer Mode and Command registers say.
    pub(super) fn fields(&self) -> FieldValue<u32, COMMAND::Register> {
        let mut fields = COMMAND::INDEX.val(u32::from(self.index));
        fields += match self.response {
            Response::None => COMMAND::RESPONSE::None,
            Response::Short => COMMAND::RESPONSE::Bits48 + COMMAND::CRC_CHECK::SET + COMMAND::INDEX_CHECK::SET,
            Response::ShortBusy => COMMAND::RESPONSE::Bits48Busy + COMMAND::CRC_CHECK::SET + COMMAND::INDEX_CHECK::SET,
            Response::Ocr => COMMAND::RESPONSE::Bits48,
            Response::Long => COMMAND::RESPONSE::Bits136 + COMMAND::CRC_CHECK::SET,
        };
        if self.index == Self::STOP.index {
            fields += COMMAND::TYPE::Abort;
        }
        if let Some(data) = self.data {
            fields += COMMAND::DATA::SET;
            if data.direction == Direction::Read {
                fields += COMMAND::READ::SET;
            }
            if data.blocks > 1 {
                fields += COMMAND::MULTI::SET + COMMAND::COUNT_ENABLE::SET;
            }
            if data.is_dma {
                fields += COMMAND::DMA::SET;
            }
            fields += match data.auto {
                Auto::None => COMMAND::AUTO::None,
                Auto::Stop => COMMAND::AUTO::Cmd12,
                Auto::Count => COMMAND::AUTO::Cmd23,
            };
        }
        fields
    }
}

/// The card status that R1 carries (4.10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CardStatus(pub(super) u32);

/// The states of a card (4.10.1, CURRENT_STATE) that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardState {
    /// Ready for the next transfer.
    Transfer,
    /// Sending data.
    Data,
    /// Receiving data.
    Receive,
    /// Programming.
    Program,
    /// Any other: it is not the card that was selected, or it has lost its power.
    Lost,
}

impl CardStatus {
    const OUT_OF_RANGE: u32 = 1 << 31;
    const WRITE_PROTECTED: u32 = 1 << 26;
    const LOCKED: u32 = 1 << 25;
    const ECC_FAILED: u32 = 1 << 21;
    const CONTROLLER: u32 = 1 << 20;
    const ERROR: u32 = 1 << 19;
    /// Address, block length, erase sequence and parameter, CRC of the command, illegal command, CSD overwrite, erase
    /// over protected blocks, authentication.
    const PROTOCOL: u32 = 1 << 30 | 1 << 29 | 1 << 28 | 1 << 27 | 1 << 23 | 1 << 22 | 1 << 16 | 1 << 15 | 1 << 3;

    pub(super) fn state(self) -> CardState {
        match self.0 >> 9 & 0xf {
            4 => CardState::Transfer,
            5 => CardState::Data,
            6 => CardState::Receive,
            7 => CardState::Program,
            _ => CardState::Lost,
        }
    }

    /// READY_FOR_DATA: its buffer is empty.
    pub(super) fn is_ready(self) -> bool {
        self.0 & 1 << 8 != 0
    }

    /// What the error bits say; `None` = none is set.
    pub(super) fn fault(self) -> Option<CardFault> {
        let has = |bits: u32| self.0 & bits != 0;
        if has(Self::OUT_OF_RANGE) {
            Some(CardFault::OutOfRange)
        } else if has(Self::WRITE_PROTECTED | Self::LOCKED) {
            Some(CardFault::Protected)
        } else if has(Self::ECC_FAILED | Self::CONTROLLER | Self::ERROR) {
            Some(CardFault::Medium)
        } else if has(Self::PROTOCOL) {
            Some(CardFault::Protocol)
        } else {
            None
        }
    }
}

/// A complaint in a card's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardFault {
    /// The address is not on the card.
    OutOfRange,
    /// The card is locked or write-protected.
    Protected,
    /// The card's memory or its controller failed.
    Medium,
    /// The card did not expect the command, or received it damaged.
    Protocol,
}
