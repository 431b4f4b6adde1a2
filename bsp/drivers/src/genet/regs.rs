//! GENET's registers: Linux, `drivers/net/ethernet/broadcom/genet/bcmgenet.h`.

use tock_registers::register_bitfields;

use crate::reg::Reg;

register_bitfields![u32,
    /// SYS_REV_CTRL.
    pub(super) REV [
        MAJOR OFFSET(24) NUMBITS(4) []
    ],
    /// EXT_RGMII_OOB_CTRL.
    pub(super) OOB [
        ID_MODE_DIS OFFSET(16) NUMBITS(1) [],
        RGMII_MODE_EN OFFSET(6) NUMBITS(1) [],
        OOB_DISABLE OFFSET(5) NUMBITS(1) [],
        RGMII_LINK OFFSET(4) NUMBITS(1) []
    ],
    /// UMAC_CMD.
    pub(super) CMD [
        LCL_LOOP_EN OFFSET(15) NUMBITS(1) [],
        SW_RESET OFFSET(13) NUMBITS(1) [],
        HD_EN OFFSET(10) NUMBITS(1) [],
        SPEED OFFSET(2) NUMBITS(2) [],
        RX_EN OFFSET(1) NUMBITS(1) [],
        TX_EN OFFSET(0) NUMBITS(1) []
    ],
    /// A descriptor's length and status.
    pub(super) DESCRIPTOR [
        LENGTH OFFSET(16) NUMBITS(12) [],
        OWN OFFSET(15) NUMBITS(1) [],
        EOP OFFSET(14) NUMBITS(1) [],
        SOP OFFSET(13) NUMBITS(1) [],
        QTAG OFFSET(7) NUMBITS(6) [],
        APPEND_CRC OFFSET(6) NUMBITS(1) [],
        TOO_LONG OFFSET(4) NUMBITS(1) [],
        ODD_NIBBLE OFFSET(3) NUMBITS(1) [],
        RX_ERROR OFFSET(2) NUMBITS(1) [],
        CRC_ERROR OFFSET(1) NUMBITS(1) [],
        OVERFLOW OFFSET(0) NUMBITS(1) []
    ],
    /// The status and masks of the first interrupt.
    pub(super) IRQ [
        TX_DONE OFFSET(16) NUMBITS(1) [],
        RX_DONE OFFSET(13) NUMBITS(1) []
    ]
];

pub(super) const SYS_REV_CTRL: Reg<REV::Register> = Reg::at(0x000);
pub(super) const SYS_PORT_CTRL: Reg = Reg::at(0x004);
pub(super) const SYS_RBUF_FLUSH_CTRL: Reg = Reg::at(0x008);
pub(super) const EXT_RGMII_OOB_CTRL: Reg<OOB::Register> = Reg::at(0x08c);
pub(super) const INTRL2_STAT: Reg<IRQ::Register> = Reg::at(0x200);
pub(super) const INTRL2_CLEAR: Reg<IRQ::Register> = Reg::at(0x208);
pub(super) const INTRL2_MASK_SET: Reg<IRQ::Register> = Reg::at(0x210);
pub(super) const INTRL2_MASK_CLEAR: Reg<IRQ::Register> = Reg::at(0x214);
pub(super) const RBUF_CTRL: Reg = Reg::at(0x300);
pub(super) const RBUF_TBUF_SIZE_CTRL: Reg = Reg::at(0x3b4);
pub(super) const UMAC_CMD: Reg<CMD::Register> = Reg::at(0x808);
pub(super) const UMAC_MAC0: Reg = Reg::at(0x80c);
pub(super) const UMAC_MAC1: Reg = Reg::at(0x810);
pub(super) const UMAC_MAX_FRAME_LEN: Reg = Reg::at(0x814);
pub(super) const UMAC_TX_FLUSH: Reg = Reg::at(0xb34);
pub(super) const UMAC_MIB_CTRL: Reg = Reg::at(0xd80);

/// The first registers of each direction: its 256 descriptors.
pub(super) const RX: usize = 0x2000;
pub(super) const TX: usize = 0x4000;
/// From there on, its rings, and behind the last the registers of all of them.
pub(super) const RINGS: usize = 0xc00;
pub(super) const RING_BYTES: usize = 0x40;
pub(super) const DEFAULT_RING: usize = 16;
pub(super) const DMA_COMMON: usize = RINGS + (DEFAULT_RING + 1) * RING_BYTES;

/// In a ring's registers. The device's own pointer and index come first in the receive ring, the driver's in the other.
pub(super) const RING_RX_WRITE_PTR: usize = 0x00;
pub(super) const RING_RX_PROD_INDEX: usize = 0x08;
pub(super) const RING_RX_CONS_INDEX: usize = 0x0c;
pub(super) const RING_TX_READ_PTR: usize = 0x00;
pub(super) const RING_TX_CONS_INDEX: usize = 0x08;
pub(super) const RING_TX_PROD_INDEX: usize = 0x0c;
pub(super) const RING_BUF_SIZE: usize = 0x10;
pub(super) const RING_START_ADDR: usize = 0x14;
pub(super) const RING_END_ADDR: usize = 0x1c;
pub(super) const RING_MBUF_DONE_THRESH: usize = 0x24;
pub(super) const RING_FLOW: usize = 0x28;
pub(super) const RING_RX_READ_PTR: usize = 0x2c;
pub(super) const RING_TX_WRITE_PTR: usize = 0x2c;

/// In the registers of all rings.
pub(super) const DMA_RING_CFG: usize = 0x00;
pub(super) const DMA_CTRL: usize = 0x04;
pub(super) const DMA_SCB_BURST_SIZE: usize = 0x0c;
