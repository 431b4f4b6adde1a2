//! Register layout (IHI 0048B, sections 4.3 and 4.4).

use tock_registers::register_bitfields;

use crate::reg::Reg;

register_bitfields![u32,
    /// GICD_CTLR, 4.3.1: bit 0, whatever group it stands for in our view.
    pub(super) CTLR [
        Enable OFFSET(0) NUMBITS(1) []
    ],
    /// GICD_TYPER, 4.3.2.
    pub(super) TYPER [
        CPUNumber OFFSET(5) NUMBITS(3) [],
        ITLinesNumber OFFSET(0) NUMBITS(5) []
    ],
    /// GICD_SGIR, 4.3.15.
    pub(super) SGIR [
        TargetListFilter OFFSET(24) NUMBITS(2) [
            List = 0,
            AllButSelf = 1
        ],
        CPUTargetList OFFSET(16) NUMBITS(8) [],
        SGIINTID OFFSET(0) NUMBITS(4) []
    ],
    /// GICD_ICPIDR2, 4.3.18.
    pub(super) PIDR2 [
        ArchRev OFFSET(4) NUMBITS(4) []
    ],
    /// GICC_CTLR, 4.4.1.
    pub(super) CCTLR [
        EOImode OFFSET(9) NUMBITS(1) [],
        Enable OFFSET(0) NUMBITS(1) []
    ],
    /// GICC_IAR, 4.4.4.
    pub(super) IAR [
        CPUID OFFSET(10) NUMBITS(3) [],
        InterruptID OFFSET(0) NUMBITS(10) []
    ]
];

/// GICD_CTLR.
pub(super) const GICD_CTLR: Reg<CTLR::Register> = Reg::at(0x000);
/// GICD_TYPER.
pub(super) const GICD_TYPER: Reg<TYPER::Register> = Reg::at(0x004);
/// `GICD_IGROUPR<n>`, a bit an interrupt; no effect in the non-secure view.
pub(super) const GICD_IGROUPR: Reg = Reg::at(0x080);
/// `GICD_ISENABLER<n>`; the first of each of these arrays is banked by CPU.
pub(super) const GICD_ISENABLER: Reg = Reg::at(0x100);
/// `GICD_ICENABLER<n>`.
pub(super) const GICD_ICENABLER: Reg = Reg::at(0x180);
/// `GICD_ICPENDR<n>`.
pub(super) const GICD_ICPENDR: Reg = Reg::at(0x280);
/// `GICD_ICACTIVER<n>`.
pub(super) const GICD_ICACTIVER: Reg = Reg::at(0x380);
/// `GICD_IPRIORITYR<n>`, a byte an interrupt.
pub(super) const GICD_IPRIORITYR: Reg = Reg::at(0x400);
/// `GICD_ITARGETSR<n>`, a byte an interrupt; the first eight are read-only and banked.
pub(super) const GICD_ITARGETSR: Reg = Reg::at(0x800);
/// `GICD_ICFGR<n>`, two bits an interrupt.
pub(super) const GICD_ICFGR: Reg = Reg::at(0xc00);
/// GICD_SGIR, write-only.
pub(super) const GICD_SGIR: Reg<SGIR::Register> = Reg::at(0xf00);
/// `GICD_CPENDSGIR<n>`, a byte an SGI, a bit a sender.
pub(super) const GICD_CPENDSGIR: Reg = Reg::at(0xf10);
/// GICD_ICPIDR2.
pub(super) const GICD_ICPIDR2: Reg<PIDR2::Register> = Reg::at(0xfe8);

/// GICC_CTLR.
pub(super) const GICC_CTLR: Reg<CCTLR::Register> = Reg::at(0x00);
/// GICC_PMR, the priority mask.
pub(super) const GICC_PMR: Reg = Reg::at(0x04);
/// GICC_BPR, the binary point; the lowest legal value is taken for 0.
pub(super) const GICC_BPR: Reg = Reg::at(0x08);
/// GICC_IAR.
pub(super) const GICC_IAR: Reg<IAR::Register> = Reg::at(0x0c);
/// GICC_EOIR.
pub(super) const GICC_EOIR: Reg = Reg::at(0x10);
/// GICC_IIDR.
pub(super) const GICC_IIDR: Reg = Reg::at(0xfc);

/// The enable bits of SGIs 0 to 15.
pub(super) const ALL_SGIS: u32 = 0x0000_ffff;
