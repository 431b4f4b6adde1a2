//! A simulated SD host controller (3.00) with a card, which refuses by panic what the specifications forbid, and can be
//! told to fail.

use std::collections::VecDeque;
use std::vec::Vec;

use sis_hal::DmaBuffer;

use crate::sim::{Device, SimDma};

mod card;

use card::Reply;
pub use card::{SimCard, SimState};

/// What goes wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    NoResponse,
    /// The answer's CRC is wrong; the card did what it was told.
    ResponseCrc,
    /// The data's CRC is wrong after half of the blocks.
    DataCrc,
    /// The data stops coming after half of the blocks.
    DataTimeout,
    /// The card stays busy for ever after it.
    Stuck,
    /// The card goes after half of the blocks.
    Removal,
    /// The controller does not like the descriptors.
    Adma,
    /// These bits in the card's status.
    Status(u32),
    /// No event at all.
    Nothing,
}

/// The word of block size and count.
const BLOCK: usize = 1;
const COMMAND: u32 = 1;
const TRANSFER: u32 = 1 << 1;
const DMA: u32 = 1 << 3;
const WRITE_READY: u32 = 1 << 4;
const READ_READY: u32 = 1 << 5;
const REMOVED: u32 = 1 << 7;
const ERROR: u32 = 1 << 15;
const COMMAND_TIMEOUT: u32 = 1 << 16;
const COMMAND_CRC: u32 = 1 << 17;
const DATA_TIMEOUT: u32 = 1 << 20;
const DATA_CRC: u32 = 1 << 21;
const ADMA_ERROR: u32 = 1 << 25;
const INSERTED: u32 = 1 << 16;
const WRITE_ENABLED: u32 = 1 << 19;

/// Data on its way.
#[derive(Debug)]
struct Moving {
    is_read: bool,
    block_bytes: usize,
    blocks_left: usize,
    /// Where on the medium; `None`: a register of the card.
    at: Option<usize>,
    ends_itself: bool,
    is_auto_stop: bool,
    /// The block in the buffer, and how much of it has been read or written.
    buffer: Vec<u8>,
    done: usize,
    is_ready: bool,
    fault_at: Option<(usize, Fault)>,
}

/// The controller.
#[derive(Debug)]
pub struct SimSdhci {
    /// The card in the slot.
    pub card: Option<SimCard>,
    /// The switch of the slot.
    pub is_write_enabled: bool,
    /// Capabilities: both words.
    pub capabilities: [u32; 2],
    /// The version register's upper half.
    pub version: u32,
    /// The next command of this index fails like this; first come, first served.
    pub faults: VecDeque<(u8, Fault)>,
    /// Events come one by one, when [`SimSdhci::tick`] says.
    pub is_slow: bool,
    /// Commands as they came.
    pub commands: Vec<(u8, u32)>,
    /// Rounds that tuning takes; `None` = it never ends, 0 = fails at once.
    pub tuning_rounds: Option<u32>,
    /// A card's data lines stay low after CMD11.
    pub voltage_is_stuck: bool,
    /// A reset never ends.
    pub reset_is_stuck: bool,
    /// Clocks that the card had with data, in Hz.
    pub clocks: Vec<u32>,
    /// Transfers by (ADMA, SDMA, buffer).
    pub transfers: [u32; 3],
    memory: Vec<&'static SimDma>,
    regs: [u32; 64],
    later: VecDeque<u32>,
    moving: Option<Moving>,
    is_stuck: bool,
    is_switching: bool,
    rounds: u32,
    sdma_left: Option<usize>,
}

impl SimSdhci {
    /// A controller of version 3 with ADMA2, SDMA, high speed and a base clock of 100 MHz.
    pub fn new(card: Option<SimCard>) -> Self {
        Self {
            card,
            is_write_enabled: true,
            capabilities: [0x0168_64b2, 0],
            version: 2,
            faults: VecDeque::new(),
            is_slow: false,
            commands: Vec::new(),
            tuning_rounds: Some(3),
            voltage_is_stuck: false,
            reset_is_stuck: false,
            clocks: Vec::new(),
            transfers: [0; 3],
            memory: Vec::new(),
            regs: [0; 64],
            later: VecDeque::new(),
            moving: None,
            is_stuck: false,
            is_switching: false,
            rounds: 0,
            sdma_left: None,
        }
    }

    /// Memory that the controller may touch.
    pub fn add_memory(&mut self, memory: &'static SimDma) {
        // The newest of several at one address is meant.
        self.memory.insert(0, memory);
    }

    /// The interrupt line.
    pub fn is_interrupting(&self) -> bool {
        self.regs[0x30 / 4] & self.regs[0x38 / 4] != 0
    }

    /// Lets the next event happen; `false` when there is none.
    pub fn tick(&mut self) -> bool {
        let Some(events) = self.later.pop_front() else {
            return false;
        };
        self.raise(events);
        true
    }

    /// A card that stayed busy is done after all.
    pub fn unstick(&mut self) {
        self.is_stuck = false;
        if let Some(card) = &mut self.card {
            card.state = SimState::Transfer;
        }
    }

    /// Pulls the card out, and the controller sees it.
    pub fn remove_card_and_power(&mut self) {
        self.regs[0x28 / 4] &= !(1 << 8);
        self.regs[0x2c / 4] &= !(1 << 2);
        self.remove_card();
    }

    /// Pulls the card out.
    pub fn remove_card(&mut self) {
        self.card = None;
        self.moving = None;
        self.later.clear();
        self.raise(REMOVED);
    }

    fn raise(&mut self, events: u32) {
        let error = if events & 0xffff_0000 != 0 { ERROR } else { 0 };
        self.regs[0x30 / 4] |= (events & self.regs[0x34 / 4]) | error;
    }

    fn soon(&mut self, events: u32) {
        if self.is_slow {
            self.later.push_back(events);
        } else {
            self.raise(events);
        }
    }

    fn clock_hz(&self) -> u32 {
        let clock = self.regs[0x2c / 4];
        if clock & 0b101 != 0b101 {
            return 0;
        }
        let divisor = clock >> 8 & 0xff | (clock >> 6 & 3) << 8;
        let base = (self.capabilities[0] >> 8 & 0xff) * 1_000_000;
        if divisor == 0 { base } else { base / (2 * divisor) }
    }

    fn with_memory(&self, bus: u64, len: usize, action: impl FnOnce(&mut [u8])) {
        let inside = |m: &&&'static SimDma| {
            let start = m.bus_addr().as_u64();
            bus >= start && bus + len as u64 <= start + m.len() as u64
        };
        let memory = self.memory.iter().find(inside);
        let memory = memory.unwrap_or_else(|| panic!("DMA outside its memory: {len} bytes at {bus:#x}"));
        let start = (bus - memory.bus_addr().as_u64()) as usize;
        action(&mut memory.device_view()[start..start + len]);
    }

    /// The pieces that the descriptors name.
    fn descriptors(&self) -> Vec<(u64, usize)> {
        let is_64 = self.regs[0x28 / 4] >> 3 & 3 == 3;
        let mut at = u64::from(self.regs[0x58 / 4]) | u64::from(self.regs[0x5c / 4]) << 32;
        assert_eq!(at % 4, 0, "descriptors not aligned");
        let mut pieces = Vec::new();
        loop {
            let mut words = [0u32; 3];
            let bytes = if is_64 { 12 } else { 8 };
            self.with_memory(at, bytes, |memory| {
                for (word, bytes) in words.iter_mut().zip(memory.chunks(4)) {
                    *word = u32::from_le_bytes(bytes.try_into().unwrap());
                }
            });
            let [head, low, high] = words;
            assert_eq!(head & 1, 1, "an invalid descriptor");
            assert_eq!(head >> 4 & 3, 2, "not a transfer");
            let len = if head >> 16 == 0 { 65_536 } else { head >> 16 };
            let bus = u64::from(low) | u64::from(high) << 32;
            assert_eq!(bus % if is_64 { 8 } else { 4 }, 0, "data not aligned");
            pieces.push((bus, len as usize));
            if head >> 1 & 1 == 1 {
                return pieces;
            }
            assert!(pieces.len() < 4096, "descriptors without end");
            at += bytes as u64;
        }
    }

    fn set_response(&mut self, answer: u128, is_long: bool) {
        let value = if is_long { answer >> 8 } else { answer };
        for word in 0..4 {
            self.regs[0x10 / 4 + word] = (value >> (32 * word)) as u32;
        }
    }

    fn issue(&mut self, word: u32) {
        let index = (word >> 24 & 0x3f) as u8;
        let argument = self.regs[0x08 / 4];
        let has_data = word >> 21 & 1 == 1;
        let response = word >> 16 & 3;
        self.commands.push((index, argument));
        assert_ne!(self.clock_hz(), 0, "CMD{index} without a clock");
        assert_eq!(self.regs[0x28 / 4] >> 8 & 1, 1, "CMD{index} without power");
        let is_busy = self.moving.is_some() || self.is_stuck;
        assert!(
            !is_busy || index == 12 || (index == 13 && !has_data),
            "CMD{index} while the data lines are in use"
        );
        let fault_at = self.faults.iter().position(|(at, _)| *at == index);
        let fault = fault_at.and_then(|at| self.faults.remove(at)).map(|(_, fault)| fault);
        let is_1_8 = self.regs[0x3c / 4] >> 19 & 1 == 1;
        let hz = self.clock_hz();
        let is_auto_count = has_data && word >> 2 & 3 == 2;
        let blocks = self.regs[BLOCK] >> 16;
        let count = self.regs[0];
        let Some(card) = self.card.as_mut().filter(|card| card.is_1_8 == is_1_8) else {
            // A command without an answer is sent all the same.
            self.raise(if response == 0 { COMMAND } else { COMMAND_TIMEOUT });
            return;
        };
        assert!(hz <= card.clock_hz_max(), "CMD{index} at {hz} Hz in {:?}", card.state);
        if let Some(Fault::Status(bits)) = fault {
            card.status_bits |= bits;
        }
        if is_auto_count {
            assert_eq!(count, blocks, "CMD23's argument");
            assert!(matches!(card.command(23, count), Reply::Answer(_)));
        }
        if fault == Some(Fault::NoResponse) {
            self.raise(COMMAND_TIMEOUT);
            return;
        }
        if fault == Some(Fault::Nothing) {
            return;
        }
        let before = card.state;
        let reply = card.command(index, argument);
        if index == 11 && card.has_1_8 {
            self.is_switching = true;
        }
        let (answer, what) = match reply {
            Reply::Silence if response == 0 => {
                self.soon(COMMAND);
                return;
            }
            Reply::Silence => {
                self.raise(COMMAND_TIMEOUT);
                return;
            }
            Reply::Answer(answer) => (answer, None),
            Reply::Busy(answer) => {
                assert_eq!(response, 3, "CMD{index} is followed by busy");
                (answer, None)
            }
            Reply::Register(answer, block) => (answer, Some((Some(block), None))),
            Reply::Medium(answer, at) => (answer, Some((None, Some(at)))),
        };
        if fault == Some(Fault::ResponseCrc) {
            self.raise(COMMAND_CRC);
            return;
        }
        self.set_response(answer, response == 1);
        if index == 12 {
            self.moving = None;
        }
        let mut events = COMMAND;
        if response == 3 {
            if before == SimState::Program && self.is_stuck || fault == Some(Fault::Stuck) {
                self.is_stuck = true;
                self.raise(COMMAND);
                self.soon(DATA_TIMEOUT);
                return;
            }
            events |= TRANSFER;
        }
        let Some((register, at)) = what else {
            self.soon(events);
            return;
        };
        assert!(has_data, "CMD{index} has data");
        self.raise(COMMAND);
        self.transfer(word, register, at, fault);
    }

    fn transfer(&mut self, word: u32, register: Option<Vec<u8>>, at: Option<usize>, fault: Option<Fault>) {
        let block_reg = self.regs[BLOCK];
        let is_multi = word >> 5 & 1 == 1;
        let blocks_left = if is_multi { (block_reg >> 16) as usize } else { 1 };
        let card = self.card.as_ref().expect("checked by the caller");
        let index = (word >> 24 & 0x3f) as u8;
        assert_eq!(is_multi, matches!(index, 18 | 25), "multi-block bit of CMD{index}");
        assert!(!is_multi || word >> 1 & 1 == 1, "several blocks without a count");
        assert_eq!(
            self.regs[0x28 / 4] >> 1 & 1 == 1,
            card.is_four_bits,
            "width of CMD{index}"
        );
        if card.is_1_8 && index != 6 {
            assert_eq!(
                self.regs[0x3c / 4] >> 16 & 7,
                u32::from(card.access_mode),
                "mode of CMD{index}"
            );
        }
        let hz = self.clock_hz();
        self.clocks.push(hz);
        let moving = Moving {
            is_read: word >> 4 & 1 == 1,
            block_bytes: (block_reg & 0xfff) as usize,
            blocks_left,
            at,
            ends_itself: !is_multi || word >> 2 & 3 == 2,
            is_auto_stop: word >> 2 & 3 == 1,
            buffer: register.unwrap_or_default(),
            done: 0,
            is_ready: false,
            fault_at: match fault {
                Some(Fault::Status(_)) | None => None,
                Some(fault) => Some((blocks_left / 2, fault)),
            },
        };
        if moving.at.is_some() {
            assert_eq!(moving.block_bytes, 512);
        } else {
            assert_eq!(moving.block_bytes, moving.buffer.len());
        }
        self.moving = Some(moving);
        if index == 19 && self.regs[0x3c / 4] >> 22 & 1 == 1 {
            self.tune();
        } else if word & 1 == 0 {
            self.transfers[2] += u32::from(at.is_some());
            self.next_block();
        } else if self.regs[0x28 / 4] >> 3 & 3 == 0 {
            self.transfers[1] += 1;
            self.sdma_left = Some(blocks_left * 512);
            self.go_on_with_sdma();
        } else {
            self.transfers[0] += 1;
            self.all_by_adma();
        }
    }

    fn tune(&mut self) {
        self.rounds += 1;
        self.moving = None;
        if self.tuning_rounds.is_some_and(|wanted| self.rounds >= wanted) {
            self.regs[0x3c / 4] &= !(1 << 22);
            if self.tuning_rounds != Some(0) {
                self.regs[0x3c / 4] |= 1 << 23;
            }
        }
        if let Some(card) = &mut self.card {
            card.state = SimState::Transfer;
        }
        self.soon(READ_READY);
    }

    fn all_by_adma(&mut self) {
        let pieces = self.descriptors();
        let moving = self.moving.as_ref().expect("set by the caller");
        let total: usize = pieces.iter().map(|(_, len)| len).sum();
        assert_eq!(total, moving.blocks_left * 512, "descriptors for another length");
        if let Some((_, Fault::Adma)) = moving.fault_at {
            self.moving = None;
            self.soon(ADMA_ERROR);
            return;
        }
        for (bus, len) in pieces {
            for offset in (0..len).step_by(512) {
                if !self.one_by_dma(bus + offset as u64) {
                    return;
                }
            }
        }
    }

    fn go_on_with_sdma(&mut self) {
        let mut bus = u64::from(self.regs[0]);
        assert_eq!(bus % 4, 0, "SDMA not aligned");
        while let Some(left) = self.sdma_left.filter(|left| *left > 0) {
            if !self.one_by_dma(bus) {
                self.sdma_left = None;
                return;
            }
            self.sdma_left = Some(left - 512);
            bus += 512;
            if bus % (512 * 1024) == 0 && left > 512 {
                self.regs[0] = bus as u32;
                self.soon(DMA);
                return;
            }
        }
        self.sdma_left = None;
    }

    /// Moves a block; `false` when the transfer has failed.
    fn one_by_dma(&mut self, bus: u64) -> bool {
        let Some(moving) = &self.moving else { return false };
        let (at, is_read) = (moving.at.expect("DMA of a register"), moving.is_read);
        if is_read {
            let block = self.card.as_ref().expect("there").medium[at..at + 512].to_vec();
            self.with_memory(bus, 512, |memory| memory.copy_from_slice(&block));
        } else {
            let mut block = [0; 512];
            self.with_memory(bus, 512, |memory| block.copy_from_slice(memory));
            self.card.as_mut().expect("there").medium[at..at + 512].copy_from_slice(&block);
        }
        self.block_moved()
    }

    /// Counts a block; ends the transfer with the last, or with its fault.
    fn block_moved(&mut self) -> bool {
        let moving = self.moving.as_mut().expect("a block of a transfer");
        moving.blocks_left -= 1;
        if let Some(at) = &mut moving.at {
            *at += 512;
        }
        if let Some((_, fault)) = moving.fault_at.filter(|(at, _)| *at == moving.blocks_left) {
            let is_read = moving.is_read;
            self.fail(fault, is_read);
            return false;
        }
        if moving.blocks_left > 0 {
            return true;
        }
        let (ends, stops) = (moving.ends_itself, moving.is_auto_stop);
        self.moving = None;
        let card = self.card.as_mut().expect("there");
        if stops {
            let Reply::Busy(status) = card.command(12, 0) else {
                panic!("an automatic CMD12 in {:?}", card.state);
            };
            self.regs[0x1c / 4] = status as u32;
        } else if ends {
            card.state = SimState::Transfer;
        }
        self.soon(TRANSFER);
        true
    }

    fn fail(&mut self, fault: Fault, is_read: bool) {
        self.moving = None;
        match fault {
            Fault::DataCrc => self.soon(DATA_CRC),
            Fault::DataTimeout => self.soon(DATA_TIMEOUT),
            Fault::Removal => self.remove_card(),
            Fault::Stuck => {
                self.is_stuck = true;
                self.card.as_mut().expect("there").state = SimState::Program;
                self.soon(DATA_TIMEOUT);
            }
            other => panic!("{other:?} is no fault of data (read: {is_read})"),
        }
    }

    /// The buffer gets a block, or room for one.
    fn next_block(&mut self) {
        let Some(moving) = &mut self.moving else { return };
        moving.done = 0;
        moving.is_ready = true;
        if let (Some(at), Some(card)) = (moving.at, &self.card) {
            moving.buffer = if moving.is_read {
                card.medium[at..at + 512].to_vec()
            } else {
                Vec::new()
            };
        }
        let event = if moving.is_read { READ_READY } else { WRITE_READY };
        self.soon(event);
    }

    fn buffer_word(&mut self, value: Option<u32>) -> u32 {
        let Some(moving) = self.moving.as_mut().filter(|moving| moving.is_ready) else {
            // After a round of tuning the pattern may be read, or not.
            return 0;
        };
        assert_eq!(moving.is_read, value.is_none(), "the buffer in the wrong direction");
        let mut word = 0;
        match value {
            Some(value) => moving.buffer.extend(value.to_le_bytes()),
            None => word = u32::from_le_bytes(moving.buffer[moving.done..moving.done + 4].try_into().unwrap()),
        }
        moving.done += 4;
        if moving.done == moving.block_bytes {
            moving.is_ready = false;
            if let (Some(at), false, Some(card)) = (moving.at, moving.is_read, &mut self.card) {
                card.medium[at..at + 512].copy_from_slice(&moving.buffer);
            }
            if self.block_moved() {
                self.next_block();
            }
        }
        word
    }

    fn present(&self) -> u32 {
        let is_moving = self.moving.is_some() || self.is_stuck;
        let buffer = self.moving.as_ref().filter(|moving| moving.is_ready);
        let ready = buffer.map_or(0, |moving| if moving.is_read { 1 << 11 } else { 1 << 10 });
        let levels = if self.is_switching || self.is_stuck { 0 } else { 0xf };
        let card = if self.card.is_some() {
            INSERTED | 0b110 << 16
        } else {
            1 << 17
        };
        let lock = if self.is_write_enabled { WRITE_ENABLED } else { 0 };
        u32::from(is_moving) << 1 | ready | levels << 20 | card | lock
    }

    fn set_clock(&mut self, value: u32) {
        let was_hz = self.clock_hz();
        if self.reset_is_stuck && value >> 24 & 7 != 0 {
            self.regs[0x2c / 4] = value;
            return;
        }
        if value >> 24 & 1 == 1 {
            // SD Bus Power is one of the bits that it clears.
            if let Some(card) = self.card.as_mut().filter(|_| self.regs[0x28 / 4] >> 8 & 1 == 1) {
                card.power_on();
            }
            self.regs = [0; 64];
            (self.moving, self.is_stuck, self.is_switching) = (None, false, false);
            self.later.clear();
            return;
        }
        if value >> 25 & 3 != 0 {
            self.later.clear();
            if value >> 26 & 1 == 1 {
                self.moving = None;
                self.sdma_left = None;
                self.is_stuck = self.card.as_ref().is_some_and(|c| c.state == SimState::Program);
            }
        }
        self.regs[0x2c / 4] = value & 0x00ff_ffff | (value & 1) << 1;
        let is_divider_changed = was_hz != 0 && self.clock_hz() != 0 && self.clock_hz() != was_hz;
        assert!(!is_divider_changed, "the divider changed while the card's clock ran");
        if was_hz == 0 && self.clock_hz() != 0 && self.is_switching {
            self.is_switching = self.voltage_is_stuck;
            if let Some(card) = &mut self.card {
                card.is_1_8 = true;
            }
        }
    }
}

impl Device for SimSdhci {
    const SIZE: usize = 0x100;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x20 => self.buffer_word(None),
            0x24 => self.present(),
            0x40 => self.capabilities[0],
            0x44 => self.capabilities[1],
            0xfc => self.version << 16,
            _ => self.regs[offset / 4],
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => {
                self.regs[0] = value;
                if self.sdma_left.is_some() {
                    self.go_on_with_sdma();
                }
            }
            0x0c => {
                self.regs[0x0c / 4] = value;
                self.issue(value);
            }
            0x20 => {
                self.buffer_word(Some(value));
            }
            0x28 => {
                let was_on = self.regs[0x28 / 4] >> 8 & 1 == 1;
                self.regs[0x28 / 4] = value;
                if was_on
                    && value >> 8 & 1 == 0
                    && let Some(card) = &mut self.card
                {
                    card.power_on();
                }
            }
            0x2c => self.set_clock(value),
            0x30 => self.regs[0x30 / 4] &= !value,
            0x3c => {
                let started = value >> 22 & 1 == 1 && self.regs[0x3c / 4] >> 22 & 1 == 0;
                if started {
                    self.rounds = 0;
                }
                self.regs[0x3c / 4] = value;
            }
            0x40 | 0x44 | 0x24 | 0xfc => panic!("{offset:#x} cannot be written"),
            _ => self.regs[offset / 4] = value,
        }
        // The error bit is the sum of the others.
        if self.regs[0x30 / 4] & 0xffff_0000 == 0 {
            self.regs[0x30 / 4] &= !ERROR;
        }
    }
}
