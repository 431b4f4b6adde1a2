//! What a card says of itself: OCR, CID, CSD, SCR, SD status, switch status (SD Physical Layer Simplified Specification,
//! chapter 5 and 4.3.10, 4.10.2). Functions of their bytes; nothing here is trusted further than it is checked.

use core::fmt;

/// Bits `high..=low` of a register as the specification numbers them.
const fn bits(register: u128, high: u32, low: u32) -> u32 {
    (register >> low) as u32 & (u32::MAX >> (31 - (high - low)))
}

/// Byte `index` of a block, or 0.
fn byte(block: &[u8], index: usize) -> u8 {
    block.get(index).copied().unwrap_or(0)
}

/// The card identification register (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cid(pub u128);

impl Cid {
    /// The manufacturer's number.
    pub fn manufacturer(self) -> u8 {
        bits(self.0, 127, 120) as u8
    }

    /// The product's name: five characters, those that are not printable ASCII replaced.
    pub fn product(self) -> [u8; 5] {
        let (_, tail) = ((), (self.0 >> 64) as u64);
        let bytes = tail.to_be_bytes();
        // OID is bits 119:104, PNM 103:64: the last five bytes of the upper half.
        let [_, _, _, a, b, c, d, e] = bytes;
        [a, b, c, d, e].map(|c| if c.is_ascii_graphic() || c == b' ' { c } else { b'?' })
    }

    /// The product's serial number.
    pub fn serial(self) -> u32 {
        bits(self.0, 55, 24)
    }
}

/// As Linux shows it in `/sys/block/mmcblk0/device/cid`.
impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What the card-specific data (5.3) say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csd {
    /// Sectors of 512 bytes.
    pub sector_count: u64,
    /// Command classes: bit 5 erase, bit 10 switch.
    pub classes: u16,
    /// Set once or for ever by software.
    pub is_write_protected: bool,
    /// Sectors that are erased at once.
    pub erase_sectors: u32,
}

impl Csd {
    /// Reads a CSD of version 1 (SDSC) or 2 (SDHC, SDXC); `None` for another version or a size that makes no sense.
    pub fn parse(csd: u128) -> Option<Self> {
        let sector_count = match bits(csd, 127, 126) {
            0 => {
                // 5.3.2: (C_SIZE + 1) * 2^(C_SIZE_MULT + 2) blocks of 2^READ_BL_LEN bytes; 9, 10 and 11 are legal.
                let block_shift = bits(csd, 83, 80);
                if !(9..=11).contains(&block_shift) {
                    return None;
                }
                (u64::from(bits(csd, 73, 62)) + 1) << (bits(csd, 49, 47) + 2 + block_shift - 9)
            }
            // 5.3.3: in units of 512 KiB.
            1 => (u64::from(bits(csd, 69, 48)) + 1) * 1024,
            _ => return None,
        };
        let erase_sectors = if bits(csd, 46, 46) == 1 {
            1
        } else {
            bits(csd, 45, 39) + 1
        };
        Some(Self {
            sector_count,
            classes: bits(csd, 95, 84) as u16,
            is_write_protected: bits(csd, 13, 12) != 0,
            erase_sectors,
        })
    }

    /// CMD6 works (class 10).
    pub fn has_switch(&self) -> bool {
        self.classes & 1 << 10 != 0
    }

    /// CMD32, 33 and 38 work (class 5).
    pub fn has_erase(&self) -> bool {
        self.classes & 1 << 5 != 0
    }
}

/// The configuration register (5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scr {
    /// Four data lines work.
    pub has_four_bits: bool,
    /// CMD23 works.
    pub has_block_count: bool,
    /// Version 1.10 or later: CMD6 may work.
    pub has_switch: bool,
}

impl Scr {
    /// Reads the eight bytes as they come over the bus; `None` for a structure that is not version 1.0.
    pub fn parse(bytes: [u8; 8]) -> Option<Self> {
        let scr = u128::from(u64::from_be_bytes(bytes));
        (bits(scr, 63, 60) == 0).then_some(Self {
            has_four_bits: bits(scr, 51, 48) & 0b100 != 0,
            has_block_count: bits(scr, 33, 33) == 1,
            has_switch: bits(scr, 59, 56) >= 1,
        })
    }
}

/// What matters of the SD status (4.10.2): how long erasing takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EraseTiming {
    /// Sectors of an allocation unit.
    pub unit_sectors: u32,
    /// Milliseconds a unit, rounded up.
    pub unit_ms: u32,
    /// Milliseconds once.
    pub offset_ms: u32,
}

impl EraseTiming {
    /// For cards that do not say: 4 MiB in the 250 ms that a write may take (4.6.2.2).
    pub const UNKNOWN: Self = Self {
        unit_sectors: 8192,
        unit_ms: 250,
        offset_ms: 250,
    };

    /// Reads the 64 bytes of ACMD13.
    pub fn parse(status: &[u8; 64]) -> Self {
        const AU_KIB: [u32; 16] = [
            0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 12_288, 16_384, 24_576, 32_768, 65_536,
        ];
        let unit_kib = AU_KIB.get(usize::from(byte(status, 10) >> 4)).copied().unwrap_or(0);
        let units = u32::from(byte(status, 11)) << 8 | u32::from(byte(status, 12));
        let timeout_s = u32::from(byte(status, 13) >> 2);
        if unit_kib == 0 || units == 0 || timeout_s == 0 {
            return Self::UNKNOWN;
        }
        Self {
            unit_sectors: unit_kib * 2,
            unit_ms: (timeout_s * 1000).div_ceil(units),
            offset_ms: u32::from(byte(status, 13) & 3) * 1000 + 250,
        }
    }

    /// Milliseconds that erasing `sectors` may take. A range that is not aligned touches a unit more.
    pub fn bound_ms(&self, sectors: u32) -> u32 {
        let units = sectors.div_ceil(self.unit_sectors.max(1)).saturating_add(1);
        units.saturating_mul(self.unit_ms).saturating_add(self.offset_ms)
    }

    /// The most sectors that are erased in `limit_ms`, whole units; 0 when a single one takes longer.
    pub fn sectors_within(&self, limit_ms: u32) -> u32 {
        let units = limit_ms.saturating_sub(self.offset_ms) / self.unit_ms.max(1);
        units.saturating_sub(1).saturating_mul(self.unit_sectors)
    }
}

/// The answer to CMD6 (4.3.10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SwitchStatus {
    /// Functions of group 1 (access mode) that the card has, a bit each.
    pub(super) access_modes: u16,
    /// The function of group 1 that is or would be selected; 15 = refused.
    pub(super) selected_access_mode: u8,
    /// Functions of group 4 (current limit).
    pub(super) current_limits: u16,
    /// Milliamperes it would draw; 0 = refused.
    pub(super) current_ma: u16,
}

impl SwitchStatus {
    /// Reads the 64 bytes.
    pub(super) fn parse(status: &[u8; 64]) -> Self {
        let word = |at: usize| u16::from(byte(status, at)) << 8 | u16::from(byte(status, at + 1));
        Self {
            current_ma: word(0),
            current_limits: word(6),
            access_modes: word(12),
            selected_access_mode: byte(status, 16) & 0xf,
        }
    }
}

/// How fast the bus to the card is (4.2.2.3, 3.9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusMode {
    /// 25 MHz, 3.3 V.
    DefaultSpeed,
    /// 50 MHz, 3.3 V.
    HighSpeed,
    /// 25 MHz, 1.8 V.
    Sdr12,
    /// 50 MHz, 1.8 V.
    Sdr25,
    /// 100 MHz, 1.8 V.
    Sdr50,
    /// 208 MHz, 1.8 V.
    Sdr104,
    /// 50 MHz, both edges, 1.8 V.
    Ddr50,
}

impl BusMode {
    /// The fastest clock.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::DefaultSpeed | Self::Sdr12 => 25_000_000,
            Self::HighSpeed | Self::Sdr25 | Self::Ddr50 => 50_000_000,
            Self::Sdr50 => 100_000_000,
            Self::Sdr104 => 208_000_000,
        }
    }

    /// The function of CMD6's group 1.
    pub const fn access_mode(self) -> u8 {
        match self {
            Self::DefaultSpeed | Self::Sdr12 => 0,
            Self::HighSpeed | Self::Sdr25 => 1,
            Self::Sdr50 => 2,
            Self::Sdr104 => 3,
            Self::Ddr50 => 4,
        }
    }

    /// It needs 1.8 V on the signal lines.
    pub const fn is_uhs(self) -> bool {
        !matches!(self, Self::DefaultSpeed | Self::HighSpeed)
    }
}

impl fmt::Display for BusMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DefaultSpeed => "default speed",
            Self::HighSpeed => "high speed",
            Self::Sdr12 => "SDR12",
            Self::Sdr25 => "SDR25",
            Self::Sdr50 => "SDR50",
            Self::Sdr104 => "SDR104",
            Self::Ddr50 => "DDR50",
        })
    }
}

/// Bits of the operation conditions register and of ACMD41's argument (4.2.3.1, 5.1).
pub(super) mod ocr {
    /// 3.2-3.4 V.
    pub(in super::super) const VOLTAGES_3_3: u32 = 0b11 << 20;
    /// S18R, S18A: 1.8 V on the signal lines.
    pub(in super::super) const SIGNAL_1_8: u32 = 1 << 24;
    /// XPC: up to 150 mA are there.
    pub(in super::super) const MORE_POWER: u32 = 1 << 28;
    /// HCS, CCS: addresses count blocks.
    pub(in super::super) const HIGH_CAPACITY: u32 = 1 << 30;
    /// The card has started.
    pub(in super::super) const READY: u32 = 1 << 31;
}
