//! A simulated SD card. Panics on what a driver must not do; answers as a card does where a driver may.

use std::vec::Vec;

/// CURRENT_STATE (physical layer, 4.10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimState {
    /// After CMD0.
    Idle,
    /// After ACMD41.
    Ready,
    /// After CMD2.
    Ident,
    /// After CMD3.
    Standby,
    /// Selected.
    Transfer,
    /// Sending.
    Data,
    /// Receiving.
    Receive,
    /// Programming.
    Program,
}

/// What a card does with a command.
pub(super) enum Reply {
    /// No answer.
    Silence,
    /// An answer of 48 or 136 bits (without CRC).
    Answer(u128),
    /// An answer, then a block of the card's registers.
    Register(u128, Vec<u8>),
    /// An answer, then the medium from this byte on.
    Medium(u128, usize),
    /// An answer, then busy.
    Busy(u128),
}

/// The card.
#[derive(Debug)]
pub struct SimCard {
    /// The medium.
    pub medium: Vec<u8>,
    /// Where it is in its life.
    pub state: SimState,
    /// Addresses count blocks.
    pub is_high_capacity: bool,
    /// It is older than version 2: it does not know CMD8.
    pub is_version_1: bool,
    /// CSD's TMP_WRITE_PROTECT.
    pub is_write_protected: bool,
    /// Functions of CMD6's group 1.
    pub access_modes: u16,
    /// It can go to 1.8 V.
    pub has_1_8: bool,
    /// SCR's CMD23 bit.
    pub has_block_count: bool,
    /// ACMD41s until it is ready; `None` = never.
    pub start_delay: Option<u32>,
    /// Its signals are at 1.8 V.
    pub is_1_8: bool,
    /// Four lines are in use.
    pub is_four_bits: bool,
    /// The function of group 1 in use.
    pub access_mode: u8,
    /// Status bits of the next answers that carry a status.
    pub status_bits: u32,
    /// The bytes that were erased, in order.
    pub erased: Vec<core::ops::Range<usize>>,
    is_app: bool,
    has_checked: bool,
    erase: [Option<usize>; 2],
    pub(super) count: Option<u32>,
}

/// The address that the card takes.
const RCA: u32 = 0x1234;

fn put(register: &mut u128, high: u32, low: u32, value: u128) {
    assert!(value < 1 << (high - low + 1));
    *register |= value << low;
}

impl SimCard {
    /// A card of version 2 with four bits, high speed and CMD23, of `sectors` sectors: a multiple of 1024.
    pub fn new(sectors: usize) -> Self {
        assert_eq!(sectors % 1024, 0);
        Self {
            medium: std::vec![0; sectors * 512],
            state: SimState::Idle,
            is_high_capacity: true,
            is_version_1: false,
            is_write_protected: false,
            access_modes: 0b11,
            has_1_8: false,
            has_block_count: true,
            start_delay: Some(2),
            is_1_8: false,
            is_four_bits: false,
            access_mode: 0,
            status_bits: 0,
            erased: Vec::new(),
            is_app: false,
            has_checked: false,
            erase: [None; 2],
            count: None,
        }
    }

    /// Power has been away.
    pub(super) fn power_on(&mut self) {
        self.state = SimState::Idle;
        (self.is_app, self.has_checked, self.is_1_8, self.is_four_bits) = (false, false, false, false);
        (self.access_mode, self.status_bits, self.count) = (0, 0, None);
    }

    /// The fastest clock that it takes now.
    pub(super) fn clock_hz_max(&self) -> u32 {
        match (self.state, self.access_mode) {
            (SimState::Idle | SimState::Ready | SimState::Ident, _) => 400_000,
            (_, 0) => 25_000_000,
            (_, 1 | 4) => 50_000_000,
            (_, 2) => 100_000_000,
            _ => 208_000_000,
        }
    }

    fn csd(&self) -> u128 {
        let mut csd = 0;
        let sectors = self.medium.len() as u128 / 512;
        put(&mut csd, 95, 84, 0b0101_1011_0101);
        put(&mut csd, 46, 46, 1);
        put(&mut csd, 12, 12, u128::from(self.is_write_protected));
        if self.is_high_capacity {
            put(&mut csd, 127, 126, 1);
            put(&mut csd, 69, 48, sectors / 1024 - 1);
        } else {
            // (C_SIZE + 1) * 2^(5 + 2) * 2^(10 - 9).
            put(&mut csd, 83, 80, 10);
            put(&mut csd, 49, 47, 5);
            put(&mut csd, 73, 62, sectors / 256 - 1);
        }
        csd
    }

    fn scr(&self) -> Vec<u8> {
        let mut scr = 0u128;
        put(&mut scr, 59, 56, if self.is_version_1 { 0 } else { 2 });
        put(&mut scr, 51, 48, 0b101);
        put(&mut scr, 33, 33, u128::from(self.has_block_count));
        (scr as u64).to_be_bytes().to_vec()
    }

    fn status(&mut self) -> u128 {
        let state = match self.state {
            SimState::Idle => 0,
            SimState::Ready => 1,
            SimState::Ident => 2,
            SimState::Standby => 3,
            SimState::Transfer => 4,
            SimState::Data => 5,
            SimState::Receive => 6,
            SimState::Program => 7,
        };
        let app = u32::from(self.is_app) << 5;
        let ready = u32::from(self.state == SimState::Transfer) << 8;
        u128::from(core::mem::take(&mut self.status_bits) | state << 9 | ready | app)
    }

    fn illegal(&mut self) -> Reply {
        self.status_bits |= 1 << 22;
        Reply::Silence
    }

    /// The byte of the medium that an argument means.
    fn address(&mut self, argument: u32) -> Option<usize> {
        let at = argument as usize * if self.is_high_capacity { 512 } else { 1 };
        assert_eq!(at % 512, 0, "an address inside a block");
        if at < self.medium.len() {
            return Some(at);
        }
        self.status_bits |= 1 << 31;
        None
    }

    /// A command comes over the bus.
    pub(super) fn command(&mut self, index: u8, argument: u32) -> Reply {
        use SimState::{Data, Ident, Idle, Program, Ready, Receive, Standby, Transfer};
        let is_app = core::mem::take(&mut self.is_app);
        let is_addressed = argument >> 16 == RCA;
        match (is_app, index, self.state) {
            (_, 0, _) => {
                let is_1_8 = self.is_1_8;
                self.power_on();
                self.is_1_8 = is_1_8;
                Reply::Silence
            }
            (_, 8, Idle) if !self.is_version_1 => {
                assert_eq!(argument & !0xff, 0x100, "not 3.3 V");
                self.has_checked = true;
                Reply::Answer(u128::from(argument))
            }
            (_, 55, Idle | Standby | Transfer) if self.state == Idle || is_addressed => {
                self.is_app = true;
                Reply::Answer(self.status())
            }
            (true, 41, Idle) => {
                let is_ready = match &mut self.start_delay {
                    Some(0) => true,
                    Some(left) => {
                        *left -= 1;
                        false
                    }
                    None => false,
                };
                assert!(argument >> 20 & 3 == 3, "no voltage offered");
                let is_high = self.is_high_capacity && argument >> 30 & 1 == 1;
                assert!(argument >> 30 & 1 == 0 || self.has_checked, "HCS without CMD8");
                let mut ocr = 0x00ff_8000;
                if is_ready && (is_high || !self.is_high_capacity) {
                    self.state = Ready;
                    let can_switch = self.has_1_8 && argument >> 24 & 1 == 1 && !self.is_1_8;
                    ocr |= 1 << 31 | u32::from(is_high) << 30 | u32::from(can_switch) << 24;
                }
                Reply::Answer(u128::from(ocr))
            }
            (_, 11, Ready) if self.has_1_8 => Reply::Answer(self.status()),
            (_, 2, Ready) => {
                self.state = Ident;
                Reply::Answer(0x0353_4453_494d_3031_1001_0203_0401_3500)
            }
            (_, 3, Ident | Standby) => {
                self.state = Standby;
                Reply::Answer(u128::from(RCA << 16 | 0x500))
            }
            (_, 9, Standby) if is_addressed => Reply::Answer(self.csd()),
            (_, 7, Standby) if is_addressed => {
                let status = self.status();
                self.state = Transfer;
                Reply::Busy(status)
            }
            (false, 13, Standby | Transfer | Data | Receive | Program) if is_addressed => Reply::Answer(self.status()),
            (false, 16, Transfer) => {
                assert_eq!(argument, 512);
                Reply::Answer(self.status())
            }
            (true, 51, Transfer) => Reply::Register(self.status(), self.scr()),
            (true, 13, Transfer) => {
                let mut block = std::vec![0; 64];
                // AU of 64 KiB, 16 of them erased in 1 s.
                (block[10], block[12], block[13]) = (0x30, 16, 1 << 2);
                Reply::Register(self.status(), block)
            }
            (true, 6, Transfer) => {
                self.is_four_bits = argument == 2;
                Reply::Answer(self.status())
            }
            (false, 6, Transfer) if !self.is_version_1 => {
                let (is_set, function) = (argument >> 31 == 1, (argument & 0xf) as u8);
                let has = function == 0xf || self.access_modes >> function & 1 == 1;
                let selected = match (has, function) {
                    (false, _) => 0xf,
                    (true, 0xf) => self.access_mode,
                    (true, function) => function,
                };
                let mut block = std::vec![0; 64];
                (block[1], block[12]) = (100, (self.access_modes >> 8) as u8);
                (block[13], block[16]) = (self.access_modes as u8, selected);
                if is_set && has {
                    self.access_mode = selected;
                }
                Reply::Register(self.status(), block)
            }
            (_, 19, Transfer) => Reply::Register(self.status(), std::vec![0xa5; 64]),
            (_, 23, Transfer) if self.has_block_count => {
                self.count = Some(argument);
                Reply::Answer(self.status())
            }
            (_, 17 | 18, Transfer) => match self.address(argument) {
                Some(at) => {
                    let status = self.status();
                    self.state = Data;
                    Reply::Medium(status, at)
                }
                None => Reply::Answer(self.status()),
            },
            (_, 24 | 25, Transfer) => match self.address(argument) {
                Some(at) if !self.is_write_protected => {
                    let status = self.status();
                    self.state = Receive;
                    Reply::Medium(status, at)
                }
                Some(_) => {
                    self.status_bits |= 1 << 26;
                    Reply::Answer(self.status())
                }
                None => Reply::Answer(self.status()),
            },
            (_, 12, Data | Receive) => {
                let status = self.status();
                self.state = Transfer;
                Reply::Busy(status)
            }
            (_, 32 | 33, Transfer) => {
                let at = self.address(argument);
                self.erase[usize::from(index - 32)] = at;
                Reply::Answer(self.status())
            }
            (_, 38, Transfer) => {
                let [Some(first), Some(last)] = core::mem::take(&mut self.erase) else {
                    panic!("CMD38 without CMD32 and CMD33");
                };
                assert!(first <= last);
                self.medium[first..last + 512].fill(0xff);
                self.erased.push(first..last + 512);
                Reply::Busy(self.status())
            }
            _ => self.illegal(),
        }
    }
}
