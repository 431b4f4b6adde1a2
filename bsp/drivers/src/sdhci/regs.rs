//! Register layout (SD Host Controller Simplified Specification 3.00, chapter 2), as 32-bit words.
//!
//! The specification has 8- and 16-bit registers too; the BCM2711's buses take whole words only, and every controller
//! takes those, so neighbours are read and written together here.

use tock_registers::register_bitfields;

use crate::reg::Reg;

register_bitfields![u32,
    /// Block Size and Block Count, 2.2.2 and 2.2.3.
    pub(super) BLOCK [
        COUNT OFFSET(16) NUMBITS(16) [],
        /// Where SDMA stops and asks: 7 = every 512 KiB.
        BOUNDARY OFFSET(12) NUMBITS(3) [],
        SIZE OFFSET(0) NUMBITS(12) []
    ],
    /// Transfer Mode and Command, 2.2.5 and 2.2.6.
    pub(super) COMMAND [
        INDEX OFFSET(24) NUMBITS(6) [],
        TYPE OFFSET(22) NUMBITS(2) [
            Normal = 0,
            Abort = 3
        ],
        DATA OFFSET(21) NUMBITS(1) [],
        INDEX_CHECK OFFSET(20) NUMBITS(1) [],
        CRC_CHECK OFFSET(19) NUMBITS(1) [],
        RESPONSE OFFSET(16) NUMBITS(2) [
            None = 0,
            Bits136 = 1,
            Bits48 = 2,
            Bits48Busy = 3
        ],
        MULTI OFFSET(5) NUMBITS(1) [],
        READ OFFSET(4) NUMBITS(1) [],
        AUTO OFFSET(2) NUMBITS(2) [
            None = 0,
            Cmd12 = 1,
            Cmd23 = 2
        ],
        COUNT_ENABLE OFFSET(1) NUMBITS(1) [],
        DMA OFFSET(0) NUMBITS(1) []
    ],
    /// Present State, 2.2.9.
    pub(super) PRESENT [
        DAT_LEVEL OFFSET(20) NUMBITS(4) [],
        WRITE_ENABLED OFFSET(19) NUMBITS(1) [],
        STABLE OFFSET(17) NUMBITS(1) [],
        INSERTED OFFSET(16) NUMBITS(1) [],
        READ_READY OFFSET(11) NUMBITS(1) [],
        WRITE_READY OFFSET(10) NUMBITS(1) [],
        DAT_INHIBIT OFFSET(1) NUMBITS(1) [],
        CMD_INHIBIT OFFSET(0) NUMBITS(1) []
    ],
    /// Host Control 1, Power Control, Block Gap Control, Wakeup Control, 2.2.10 to 2.2.13.
    pub(super) CONTROL [
        VOLTAGE OFFSET(9) NUMBITS(3) [
            V1_8 = 5,
            V3_0 = 6,
            V3_3 = 7
        ],
        POWER OFFSET(8) NUMBITS(1) [],
        DMA OFFSET(3) NUMBITS(2) [
            Sdma = 0,
            Adma32 = 2,
            Adma64 = 3
        ],
        HIGH_SPEED OFFSET(2) NUMBITS(1) [],
        WIDTH_4 OFFSET(1) NUMBITS(1) []
    ],
    /// Clock Control, Timeout Control, Software Reset, 2.2.14 to 2.2.16.
    pub(super) CLOCK [
        RESET_DAT OFFSET(26) NUMBITS(1) [],
        RESET_CMD OFFSET(25) NUMBITS(1) [],
        RESET_ALL OFFSET(24) NUMBITS(1) [],
        /// The data time-out is 2^(13 + this) periods of the time-out clock; at most 14.
        TIMEOUT OFFSET(16) NUMBITS(4) [],
        DIVIDER_LOW OFFSET(8) NUMBITS(8) [],
        DIVIDER_HIGH OFFSET(6) NUMBITS(2) [],
        CARD_ENABLE OFFSET(2) NUMBITS(1) [],
        STABLE OFFSET(1) NUMBITS(1) [],
        ENABLE OFFSET(0) NUMBITS(1) []
    ],
    /// Auto CMD Error Status and Host Control 2, 2.2.23 and 2.2.24.
    pub(super) CONTROL2 [
        PRESET OFFSET(31) NUMBITS(1) [],
        SAMPLING OFFSET(23) NUMBITS(1) [],
        EXECUTE_TUNING OFFSET(22) NUMBITS(1) [],
        SIGNAL_1_8 OFFSET(19) NUMBITS(1) [],
        UHS_MODE OFFSET(16) NUMBITS(3) []
    ],
    /// Capabilities, 2.2.25, the lower word.
    pub(super) CAPS [
        BUS_64 OFFSET(28) NUMBITS(1) [],
        V1_8 OFFSET(26) NUMBITS(1) [],
        V3_0 OFFSET(25) NUMBITS(1) [],
        V3_3 OFFSET(24) NUMBITS(1) [],
        SDMA OFFSET(22) NUMBITS(1) [],
        HIGH_SPEED OFFSET(21) NUMBITS(1) [],
        ADMA2 OFFSET(19) NUMBITS(1) [],
        BASE_CLOCK_MHZ OFFSET(8) NUMBITS(8) [],
        TIMEOUT_IN_MHZ OFFSET(7) NUMBITS(1) [],
        TIMEOUT_CLOCK OFFSET(0) NUMBITS(6) []
    ],
    /// Capabilities, the upper word.
    pub(super) CAPS1 [
        TUNE_SDR50 OFFSET(13) NUMBITS(1) [],
        DDR50 OFFSET(2) NUMBITS(1) [],
        SDR104 OFFSET(1) NUMBITS(1) [],
        SDR50 OFFSET(0) NUMBITS(1) []
    ],
    /// Slot Interrupt Status and Host Controller Version, 2.2.28 and 2.2.29.
    pub(super) VERSION [
        /// 0 = 1.00, 1 = 2.00, 2 = 3.00, 3 = 4.00 and so on.
        SPECIFICATION OFFSET(16) NUMBITS(8) []
    ]
];

/// SDMA System Address; Argument 2 of an automatic CMD23, 2.2.1.
pub(super) const SDMA_ADDRESS: Reg = Reg::at(0x00);
/// Block Size, Block Count.
pub(super) const BLOCK_REG: Reg<BLOCK::Register> = Reg::at(0x04);
/// Argument 1, 2.2.4.
pub(super) const ARGUMENT: Reg = Reg::at(0x08);
/// Transfer Mode, Command: writing it issues the command.
pub(super) const COMMAND_REG: Reg<COMMAND::Register> = Reg::at(0x0c);
/// Response, 2.2.7: four words.
pub(super) const RESPONSE: Reg = Reg::at(0x10);
/// Buffer Data Port, 2.2.8.
pub(super) const BUFFER: Reg = Reg::at(0x20);
/// Present State.
pub(super) const PRESENT_REG: Reg<PRESENT::Register> = Reg::at(0x24);
/// Host Control 1 and neighbours.
pub(super) const CONTROL_REG: Reg<CONTROL::Register> = Reg::at(0x28);
/// Clock Control, Timeout Control, Software Reset.
pub(super) const CLOCK_REG: Reg<CLOCK::Register> = Reg::at(0x2c);
/// Normal and Error Interrupt Status, 2.2.17 and 2.2.18; writing a 1 clears the bit.
pub(super) const STATUS: Reg = Reg::at(0x30);
/// Which of them are recorded, 2.2.19 and 2.2.20.
pub(super) const STATUS_ENABLE: Reg = Reg::at(0x34);
/// Which of them interrupt, 2.2.21 and 2.2.22.
pub(super) const SIGNAL_ENABLE: Reg = Reg::at(0x38);
/// Auto CMD Error Status, Host Control 2.
pub(super) const CONTROL2_REG: Reg<CONTROL2::Register> = Reg::at(0x3c);
/// Capabilities.
pub(super) const CAPS_REG: Reg<CAPS::Register> = Reg::at(0x40);
/// Capabilities, upper word.
pub(super) const CAPS1_REG: Reg<CAPS1::Register> = Reg::at(0x44);
/// ADMA System Address, 2.2.27: two words.
pub(super) const ADMA_ADDRESS: Reg = Reg::at(0x58);
/// Slot Interrupt Status, Host Controller Version.
pub(super) const VERSION_REG: Reg<VERSION::Register> = Reg::at(0xfc);

/// Bits of [`STATUS`], [`STATUS_ENABLE`] and [`SIGNAL_ENABLE`].
pub(super) mod event {
    /// The response is there.
    pub(in super::super) const COMMAND: u32 = 1 << 0;
    /// The data is through, and the card is not busy any more.
    pub(in super::super) const TRANSFER: u32 = 1 << 1;
    /// SDMA has come to its boundary.
    pub(in super::super) const DMA: u32 = 1 << 3;
    /// The buffer takes a block.
    pub(in super::super) const WRITE_READY: u32 = 1 << 4;
    /// The buffer has a block.
    pub(in super::super) const READ_READY: u32 = 1 << 5;
    /// A card came.
    pub(in super::super) const INSERTED: u32 = 1 << 6;
    /// The card went.
    pub(in super::super) const REMOVED: u32 = 1 << 7;
    /// Any of the errors.
    pub(in super::super) const ERROR: u32 = 1 << 15;
    /// No response in 64 clocks.
    pub(in super::super) const COMMAND_TIMEOUT: u32 = 1 << 16;
    /// The response is damaged: CRC, end bit, index.
    pub(in super::super) const COMMAND_DAMAGED: u32 = 0b111 << 17;
    /// No data, or busy for too long.
    pub(in super::super) const DATA_TIMEOUT: u32 = 1 << 20;
    /// The data is damaged: CRC, end bit.
    pub(in super::super) const DATA_DAMAGED: u32 = 0b11 << 21;
    /// The automatic CMD12 or CMD23 failed.
    pub(in super::super) const AUTO_COMMAND: u32 = 1 << 24;
    /// A descriptor or a bus access of ADMA failed.
    pub(in super::super) const ADMA: u32 = 1 << 25;
    /// Tuning failed.
    pub(in super::super) const TUNING: u32 = 1 << 26;
    /// All error bits.
    pub(in super::super) const ERRORS: u32 = 0xffff_0000;

    /// What is recorded: everything above. The card's own interrupt (SDIO) and the block gap's are not ours.
    pub(in super::super) const ALL: u32 = COMMAND
        | TRANSFER
        | DMA
        | WRITE_READY
        | READ_READY
        | COMMAND_TIMEOUT
        | COMMAND_DAMAGED
        | DATA_TIMEOUT
        | DATA_DAMAGED
        | AUTO_COMMAND
        | ADMA
        | TUNING;
}
