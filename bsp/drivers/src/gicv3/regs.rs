//! Register layout (IHI 0069H, sections 12.8 to 12.11, and 12.2 for the system registers).

use sis_hal::Mpidr;
use tock_registers::register_bitfields;

use crate::reg::Reg;

register_bitfields![u32,
    /// GICD_CTLR, 12.9.4: the bits that mean the same with one security state and in the non-secure view of two.
    pub(super) CTLR [
        RWP OFFSET(31) NUMBITS(1) [],
        ARE OFFSET(4) NUMBITS(1) [],
        EnableGrp1 OFFSET(1) NUMBITS(1) []
    ],
    /// GICD_TYPER, 12.9.38.
    pub(super) TYPER [
        ITLinesNumber OFFSET(0) NUMBITS(5) []
    ],
    /// GICD_PIDR2, 12.1.1.
    pub(super) PIDR2 [
        ArchRev OFFSET(4) NUMBITS(4) []
    ],
    /// GICR_CTLR, 12.11.2.
    pub(super) RCTLR [
        RWP OFFSET(3) NUMBITS(1) []
    ],
    /// GICR_WAKER, 12.11.42.
    pub(super) WAKER [
        ChildrenAsleep OFFSET(2) NUMBITS(1) [],
        ProcessorSleep OFFSET(1) NUMBITS(1) []
    ]
];

/// GICD_CTLR.
pub(super) const GICD_CTLR: Reg<CTLR::Register> = Reg::at(0x0000);
/// GICD_TYPER.
pub(super) const GICD_TYPER: Reg<TYPER::Register> = Reg::at(0x0004);
/// `GICD_IGROUPR<n>`, a bit an interrupt: 1 = group 1.
pub(super) const GICD_IGROUPR: Reg = Reg::at(0x0080);
/// `GICD_ISENABLER<n>`.
pub(super) const GICD_ISENABLER: Reg = Reg::at(0x0100);
/// `GICD_ICENABLER<n>`.
pub(super) const GICD_ICENABLER: Reg = Reg::at(0x0180);
/// `GICD_ICPENDR<n>`.
pub(super) const GICD_ICPENDR: Reg = Reg::at(0x0280);
/// `GICD_ICACTIVER<n>`.
pub(super) const GICD_ICACTIVER: Reg = Reg::at(0x0380);
/// `GICD_IPRIORITYR<n>`, a byte an interrupt.
pub(super) const GICD_IPRIORITYR: Reg = Reg::at(0x0400);
/// `GICD_ICFGR<n>`, two bits an interrupt.
pub(super) const GICD_ICFGR: Reg = Reg::at(0x0c00);
/// `GICD_IGRPMODR<n>`: 0 with IGROUPR 1 = non-secure group 1.
pub(super) const GICD_IGRPMODR: Reg = Reg::at(0x0d00);
/// `GICD_IROUTER<n>`, 64 bits an interrupt, in the layout of MPIDR_EL1; those of interrupts below 32 do not exist.
pub(super) const GICD_IROUTER: usize = 0x6000;
/// GICD_PIDR2.
pub(super) const GICD_PIDR2: Reg<PIDR2::Register> = Reg::at(0xffe8);

/// GICR_CTLR, in the redistributor's first frame.
pub(super) const GICR_CTLR: Reg<RCTLR::Register> = Reg::at(0x0000);
/// GICR_TYPER, 64 bits, first frame: the affinity in bits 63:32.
pub(super) const GICR_TYPER: usize = 0x0008;
/// GICR_TYPER.VLPIS: two more frames follow.
pub(super) const RTYPER_VLPIS: u64 = 1 << 1;
/// GICR_TYPER.Last: no redistributor follows in this region.
pub(super) const RTYPER_LAST: u64 = 1 << 4;
/// GICR_WAKER, first frame.
pub(super) const GICR_WAKER: Reg<WAKER::Register> = Reg::at(0x0014);
/// Bytes of the two frames of one redistributor (12.8).
pub(super) const FRAMES_BYTES: usize = 0x2_0000;
/// Where the second frame starts, which holds the SGIs' and PPIs' settings.
pub(super) const SGI_FRAME: usize = 0x1_0000;
/// GICR_IGROUPR0, second frame, as the rest.
pub(super) const GICR_IGROUPR0: Reg = Reg::at(0x0080);
/// GICR_ISENABLER0.
pub(super) const GICR_ISENABLER0: Reg = Reg::at(0x0100);
/// GICR_ICENABLER0.
pub(super) const GICR_ICENABLER0: Reg = Reg::at(0x0180);
/// GICR_ICPENDR0.
pub(super) const GICR_ICPENDR0: Reg = Reg::at(0x0280);
/// GICR_ICACTIVER0.
pub(super) const GICR_ICACTIVER0: Reg = Reg::at(0x0380);
/// `GICR_IPRIORITYR<n>`.
pub(super) const GICR_IPRIORITYR: Reg = Reg::at(0x0400);
/// GICR_ICFGR0 (SGIs, fixed) and, after it, GICR_ICFGR1 (PPIs).
pub(super) const GICR_ICFGR0: Reg = Reg::at(0x0c00);
/// GICR_IGRPMODR0.
pub(super) const GICR_IGRPMODR0: Reg = Reg::at(0x0d00);

/// The enable bits of SGIs 0 to 15.
pub(super) const ALL_SGIS: u32 = 0x0000_ffff;

/// ICC_SGI1R_EL1 (12.2.22) for one CPU: its cluster by Aff3-1, the CPU as one of 16 from `RS` x 16 on.
pub(super) fn sgi1r_for_cpu(sgi: u8, target: Mpidr) -> u64 {
    let range_selector = u64::from(target.aff0() / 16);
    let target_list = 1_u64 << (target.aff0() % 16);
    (u64::from(target.aff3()) << 48)
        | (range_selector << 44)
        | (u64::from(target.aff2()) << 32)
        | (u64::from(sgi) << 24)
        | (u64::from(target.aff1()) << 16)
        | target_list
}

/// ICC_SGI1R_EL1 for every CPU but the sender: `IRM` set, the affinity ignored.
pub(super) fn sgi1r_for_others(sgi: u8) -> u64 {
    (1 << 40) | (u64::from(sgi) << 24)
}
