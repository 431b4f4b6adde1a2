//! The Arm GICv2 (GIC-400 on the BCM2711, QEMU's `virt` with `gic-version=2`): a distributor and a memory-mapped CPU
//! interface that is banked by CPU.
//!
//! Source: Arm, *GIC Architecture Specification, version 2.0*, IHI 0048B; section numbers below are its own.
//!
//! # Groups
//!
//! Behind a secure firmware a kernel at EL1 or EL2 sees the non-secure view: only group 1 exists, bit 0 of `GICD_CTLR` and
//! `GICC_CTLR` enables it, and writes to `GICD_IGROUPR` do nothing (4.3.1, 4.4.1). On a GIC without the security
//! extensions (QEMU) the same bit 0 enables group 0, which is where clearing `GICD_IGROUPR` puts every interrupt. One code
//! path is right for both. A kernel that is entered in the *secure* state must have its interrupts moved to group 1
//! before it leaves that state; that is the firmware's part, not this driver's.

use core::sync::atomic::{AtomicU8, Ordering, fence};

use sis_hal::{
    AcknowledgedIrq, CpuId, IrqController, IrqError, IrqNumber, MAX_CPUS, Mpidr, Registers, SgiTarget, Trigger,
};

use self::regs::{GICC_CTLR, GICC_EOIR, GICC_IAR, GICC_PMR, GICD_CTLR, GICD_SGIR, GICD_TYPER};
use crate::busy::Busy;

mod regs;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

/// The priority of every interrupt: in the middle (3.3), and a multiple of the coarsest step (16 levels).
const PRIORITY: u8 = 0xa0;

/// Interrupts of a priority below this reach the CPU: all of ours.
const PRIORITY_MASK: u32 = 0xf0;

/// A GICv2.
pub struct GicV2<D, C> {
    distributor: D,
    cpu_interface: C,
    /// One past the last SPI.
    irq_limit: u32,
    /// The number of CPU interfaces that the distributor has.
    interface_count: u32,
    /// The bit of each initialised CPU in `GICD_ITARGETSR` and `GICD_SGIR`; 0 = not initialised.
    target_masks: [AtomicU8; MAX_CPUS],
    /// Held while a trigger register, which 16 interrupts share, is read and written back.
    configuring: Busy,
}

impl<D: Registers, C: Registers> GicV2<D, C> {
    /// Takes over a GIC in any state: every shared interrupt disabled, not pending, not active.
    ///
    /// `distributor` is the 4 KiB of GICD, `cpu_interface` the first 4 KiB (or more) of GICC, which every CPU reaches at
    /// the same address. Called once, by the boot CPU, which then calls [`IrqController::init_cpu`] like every other.
    pub fn new(distributor: D, cpu_interface: C) -> Result<Self, IrqError> {
        let typer = GICD_TYPER.read(&distributor);
        // Bits 31:16 are reserved (4.3.2): not all ones unless nobody answers. An absent device may also read as 0, as
        // may this register on a GIC with 32 interrupts and one CPU, which then still has an identification.
        let iidr = regs::GICC_IIDR.get(&cpu_interface);
        if typer.get() >> 16 == 0xffff || iidr == u32::MAX || (iidr == 0 && typer.get() == 0) {
            return Err(IrqError::NotPresent);
        }
        // A GICv3's distributor answers at the same offsets; it is not for this driver (Archrev, 4.3.18).
        let arch_rev = regs::GICD_ICPIDR2.read(&distributor).read(regs::PIDR2::ArchRev);
        if arch_rev > 2 {
            return Err(IrqError::NotPresent);
        }
        let lines = typer.read(regs::TYPER::ITLinesNumber);
        let gic = Self {
            distributor,
            cpu_interface,
            irq_limit: (32 * (lines + 1)).min(IrqNumber::FIRST_SPECIAL),
            interface_count: typer.read(regs::TYPER::CPUNumber) + 1,
            target_masks: [const { AtomicU8::new(0) }; MAX_CPUS],
            configuring: Busy::new(),
        };
        gic.init_distributor();
        Ok(gic)
    }

    fn init_distributor(&self) {
        let distributor = &self.distributor;
        GICD_CTLR.set(distributor, 0);
        // The first bank of each array belongs to the CPU that reads it.
        for bank in 1..self.irq_limit.div_ceil(32) as usize {
            regs::GICD_ICENABLER.nth(bank).set(distributor, u32::MAX);
            regs::GICD_IGROUPR.nth(bank).set(distributor, 0);
            regs::GICD_ICPENDR.nth(bank).set(distributor, u32::MAX);
            regs::GICD_ICACTIVER.nth(bank).set(distributor, u32::MAX);
        }
        for word in 8..self.irq_limit.div_ceil(4) as usize {
            regs::GICD_IPRIORITYR
                .nth(word)
                .set(distributor, u32::from_ne_bytes([PRIORITY; 4]));
        }
        GICD_CTLR.write(distributor, regs::CTLR::Enable::SET);
    }

    /// The bit that stands for the calling CPU: each byte of the first eight `GICD_ITARGETSR` reads as it (4.3.12).
    ///
    /// The bytes of interrupts that do not exist read as 0, so all of them are looked at. With a single CPU the register
    /// is not there at all.
    fn own_mask(&self) -> Option<u8> {
        let bytes = (0..8).fold(0, |all, word| {
            all | regs::GICD_ITARGETSR.nth(word).get(&self.distributor)
        });
        let mask = bytes.to_ne_bytes().into_iter().fold(0, |all, byte| all | byte);
        match mask {
            0 if self.interface_count == 1 => Some(1),
            mask if mask.is_power_of_two() => Some(mask),
            _ => None,
        }
    }

    fn mask_of(&self, cpu: CpuId) -> Result<u8, IrqError> {
        match self
            .target_masks
            .get(cpu.as_usize())
            .map(|mask| mask.load(Ordering::Acquire))
        {
            Some(mask) if mask != 0 => Ok(mask),
            _ => Err(IrqError::NoSuchCpu(cpu)),
        }
    }

    /// The bit of `target`, after checking that `irq` exists and can be reached from here.
    fn check(&self, irq: IrqNumber, target: CpuId) -> Result<u8, IrqError> {
        let mask = self.mask_of(target)?;
        let is_reachable = if irq.is_ppi() {
            self.own_mask() == Some(mask)
        } else if irq.is_spi() && irq.as_u32() < self.irq_limit {
            true
        } else {
            return Err(IrqError::NoSuchInterrupt(irq));
        };
        if is_reachable {
            Ok(mask)
        } else {
            Err(IrqError::NoSuchCpu(target))
        }
    }

    /// Stops `irq` from being signalled. The read makes sure that the write has arrived.
    fn mask(&self, irq: IrqNumber) {
        let clear = regs::GICD_ICENABLER.nth(irq.as_usize() / 32);
        clear.set(&self.distributor, 1 << (irq.as_u32() % 32));
        clear.get(&self.distributor);
    }

    /// Sets the trigger of a masked interrupt: two bits each, the upper one set for edges (4.3.13). Fixed for most PPIs.
    fn set_trigger(&self, irq: IrqNumber, trigger: Trigger) {
        let bit = 2 << (2 * (irq.as_u32() % 16));
        let icfgr = regs::GICD_ICFGR.nth(irq.as_usize() / 16);
        self.configuring.with(|| {
            let old = icfgr.get(&self.distributor);
            let new = if trigger == Trigger::Edge {
                old | bit
            } else {
                old & !bit
            };
            icfgr.set(&self.distributor, new);
        })
    }
}

impl<D: Registers, C: Registers> IrqController for GicV2<D, C> {
    fn name(&self) -> &'static str {
        "GICv2"
    }

    fn init_cpu(&self, cpu: CpuId, mpidr: Mpidr) -> Result<(), IrqError> {
        let Some(target_mask) = self.target_masks.get(cpu.as_usize()) else {
            return Err(IrqError::NoSuchCpu(cpu));
        };
        let own_mask = self.own_mask().ok_or(IrqError::NoInterface(mpidr))?;
        let distributor = &self.distributor;
        regs::GICD_ICENABLER.set(distributor, u32::MAX);
        regs::GICD_IGROUPR.set(distributor, 0);
        // Pending SGIs are cleared by their own register, a byte each (4.3.16).
        regs::GICD_ICPENDR.set(distributor, u32::MAX);
        for word in 0..4 {
            regs::GICD_CPENDSGIR.nth(word).set(distributor, u32::MAX);
        }
        regs::GICD_ICACTIVER.set(distributor, u32::MAX);
        for word in 0..8 {
            regs::GICD_IPRIORITYR
                .nth(word)
                .set(distributor, u32::from_ne_bytes([PRIORITY; 4]));
        }
        regs::GICD_ISENABLER.set(distributor, regs::ALL_SGIS);

        GICC_PMR.set(&self.cpu_interface, PRIORITY_MASK);
        regs::GICC_BPR.set(&self.cpu_interface, 0);
        // One-step end of interrupt (EOImode 0); the bypass bits are the firmware's choice (4.4.1).
        GICC_CTLR.modify(
            &self.cpu_interface,
            regs::CCTLR::Enable::SET + regs::CCTLR::EOImode::CLEAR,
        );
        target_mask.store(own_mask, Ordering::Release);
        Ok(())
    }

    fn enable(&self, irq: IrqNumber, trigger: Trigger, target: CpuId) -> Result<(), IrqError> {
        let target_mask = self.check(irq, target)?;
        // The trigger may be changed only while the interrupt is disabled (4.3.13).
        self.mask(irq);
        self.set_trigger(irq, trigger);
        if irq.is_spi() {
            self.distributor
                .write8(regs::GICD_ITARGETSR.offset() + irq.as_usize(), target_mask);
        }
        regs::GICD_ISENABLER
            .nth(irq.as_usize() / 32)
            .set(&self.distributor, 1 << (irq.as_u32() % 32));
        Ok(())
    }

    fn disable(&self, irq: IrqNumber, target: CpuId) -> Result<(), IrqError> {
        self.check(irq, target)?;
        self.mask(irq);
        Ok(())
    }

    fn acknowledge(&self) -> Option<AcknowledgedIrq> {
        // Bits 12:10 name the CPU that sent an SGI and must come back with the end of the interrupt (4.4.4, 4.4.5).
        let value = GICC_IAR.read(&self.cpu_interface);
        let number = IrqNumber(value.read(regs::IAR::InterruptID));
        (number.as_u32() < IrqNumber::FIRST_SPECIAL).then(|| AcknowledgedIrq::new(number, value.get()))
    }

    fn end_of_interrupt(&self, irq: AcknowledgedIrq) {
        GICC_EOIR.set(&self.cpu_interface, irq.token());
    }

    fn send_sgi(&self, sgi: u8, target: SgiTarget) -> Result<(), IrqError> {
        let irq = IrqNumber::sgi(sgi);
        if !irq.is_sgi() {
            return Err(IrqError::NoSuchInterrupt(irq));
        }
        let receivers = match target {
            SgiTarget::Cpu(cpu) => {
                regs::SGIR::TargetListFilter::List + regs::SGIR::CPUTargetList.val(u32::from(self.mask_of(cpu)?))
            }
            SgiTarget::AllButSelf => regs::SGIR::TargetListFilter::AllButSelf,
        };
        // What was written before must be seen by a CPU that takes the interrupt.
        fence(Ordering::Release);
        GICD_SGIR.write(&self.distributor, receivers + regs::SGIR::SGIINTID.val(u32::from(sgi)));
        Ok(())
    }
}
