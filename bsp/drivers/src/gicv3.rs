//! The Arm GICv3 (and GICv4, without its virtual LPIs): distributor, one redistributor a CPU, and a CPU interface of
//! system registers.
//!
//! Source: Arm, *GIC Architecture Specification, GICv3 and GICv4*, IHI 0069H; section numbers below are its own.
//!
//! The driver uses affinity routing and non-secure group 1 throughout: what a kernel at EL1 sees both behind a secure
//! firmware and on a GIC with a single security state (`GICD_CTLR.DS` = 1, QEMU without `secure=on`). Not built: LPIs
//! and the ITS, extended PPIs and SPIs, more than one redistributor region.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sis_hal::{
    AcknowledgedIrq, Clock, CpuId, GicCpuInterface, IrqController, IrqError, IrqNumber, MAX_CPUS, Mpidr, Registers,
    SgiTarget, Timeout, Trigger, wait_until,
};

use self::regs::{GICD_CTLR, GICD_PIDR2, GICD_TYPER, GICR_CTLR, GICR_WAKER, SGI_FRAME};
use crate::busy::Busy;

mod regs;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

/// How long a register write may take to reach the CPU interfaces (RWP) and a redistributor to wake up. Linux waits a
/// second for the same; hardware takes well under a microsecond.
const TIMEOUT_NS: u64 = 100_000_000;

/// The priority of every interrupt: in the middle, and inside the non-secure half (4.8.1).
const PRIORITY: u8 = 0xa0;

/// Interrupts of a priority below this reach the CPU: all of ours.
const PRIORITY_MASK: u8 = 0xf0;

/// An `affinity` entry of a CPU that has not called [`IrqController::init_cpu`]. Not a legal [`Mpidr`].
const NO_AFFINITY: u64 = u64::MAX;

/// A GICv3.
pub struct GicV3<D, R, C, K> {
    distributor: D,
    redistributors: R,
    cpu_interface: C,
    clock: K,
    /// One past the last SPI.
    irq_limit: u32,
    /// Where each initialised CPU's redistributor starts in `redistributors`.
    frames: [AtomicUsize; MAX_CPUS],
    /// The affinity of each initialised CPU, or [`NO_AFFINITY`]; written last.
    affinities: [AtomicU64; MAX_CPUS],
    /// Held while a trigger register, which 16 interrupts share, is read and written back.
    configuring: Busy,
}

impl<D: Registers, R: Registers, C: GicCpuInterface, K: Clock> GicV3<D, R, C, K> {
    /// Takes over a GIC in any state: every shared interrupt disabled, in group 1, not pending, not active.
    ///
    /// `distributor` is the 64 KiB of GICD, `redistributors` the region of GICR frames of all CPUs. Called once, by the
    /// boot CPU, which then calls [`IrqController::init_cpu`] like every other.
    ///
    /// Which GIC a board has must be known (from the device tree) before: the identification that is checked here is in a
    /// page that a GICv2 does not have, where QEMU answers with an abort.
    pub fn new(distributor: D, redistributors: R, cpu_interface: C, clock: K) -> Result<Self, IrqError> {
        // GICv3 is 3, GICv4 is 4 (12.9.35); anything else, an empty bus included, is not ours to touch.
        if !matches!(GICD_PIDR2.read(&distributor).read(regs::PIDR2::ArchRev), 3 | 4) {
            return Err(IrqError::NotPresent);
        }
        // 32 x (N + 1), the special identifiers excluded (12.9.38).
        let lines = GICD_TYPER.read(&distributor).read(regs::TYPER::ITLinesNumber);
        let gic = Self {
            distributor,
            redistributors,
            cpu_interface,
            clock,
            irq_limit: (32 * (lines + 1)).min(IrqNumber::FIRST_SPECIAL),
            frames: [const { AtomicUsize::new(0) }; MAX_CPUS],
            affinities: [const { AtomicU64::new(NO_AFFINITY) }; MAX_CPUS],
            configuring: Busy::new(),
        };
        gic.init_distributor()?;
        Ok(gic)
    }

    fn init_distributor(&self) -> Result<(), IrqError> {
        let distributor = &self.distributor;
        GICD_CTLR.set(distributor, 0);
        self.wait_for_distributor()?;
        // The first bank of each array belongs to the redistributors.
        for bank in 1..self.irq_limit.div_ceil(32) as usize {
            regs::GICD_IGROUPR.nth(bank).set(distributor, u32::MAX);
            regs::GICD_IGRPMODR.nth(bank).set(distributor, 0);
            regs::GICD_ICENABLER.nth(bank).set(distributor, u32::MAX);
            regs::GICD_ICPENDR.nth(bank).set(distributor, u32::MAX);
            regs::GICD_ICACTIVER.nth(bank).set(distributor, u32::MAX);
        }
        self.wait_for_distributor()?;
        for word in 8..self.irq_limit.div_ceil(4) as usize {
            regs::GICD_IPRIORITYR
                .nth(word)
                .set(distributor, u32::from_ne_bytes([PRIORITY; 4]));
        }
        // The same two bits with one security state and in the non-secure view of two (12.9.4).
        GICD_CTLR.write(distributor, regs::CTLR::ARE::SET + regs::CTLR::EnableGrp1::SET);
        self.wait_for_distributor()?;
        Ok(())
    }

    fn wait_for_distributor(&self) -> Result<(), Timeout> {
        let is_done = || !GICD_CTLR.read(&self.distributor).is_set(regs::CTLR::RWP);
        wait_until(&self.clock, TIMEOUT_NS, is_done)
    }

    fn wait_for_redistributor(&self, frame: usize) -> Result<(), Timeout> {
        let ctlr = GICR_CTLR.in_frame(frame);
        wait_until(&self.clock, TIMEOUT_NS, || {
            !ctlr.read(&self.redistributors).is_set(regs::RCTLR::RWP)
        })
    }

    /// Finds the redistributor of the CPU with this affinity by walking the region (11.1, GICR_TYPER in 12.11.35).
    fn find_redistributor(&self, mpidr: Mpidr) -> Option<usize> {
        let mut frame = 0;
        while frame + regs::FRAMES_BYTES <= self.redistributors.size() {
            let typer = self.redistributors.read64(frame + regs::GICR_TYPER);
            if typer == u64::MAX {
                return None;
            }
            if (typer >> 32) as u32 == mpidr.packed() {
                return Some(frame);
            }
            if typer & regs::RTYPER_LAST != 0 {
                return None;
            }
            frame += if typer & regs::RTYPER_VLPIS != 0 {
                2 * regs::FRAMES_BYTES
            } else {
                regs::FRAMES_BYTES
            };
        }
        None
    }

    /// The affinity and redistributor of an initialised CPU.
    fn cpu(&self, cpu: CpuId) -> Result<(Mpidr, usize), IrqError> {
        let affinity = self
            .affinities
            .get(cpu.as_usize())
            .map(|affinity| affinity.load(Ordering::Acquire));
        let frame = self
            .frames
            .get(cpu.as_usize())
            .map(|frame| frame.load(Ordering::Relaxed));
        match (affinity, frame) {
            (Some(affinity), Some(frame)) if affinity != NO_AFFINITY => Ok((Mpidr::new(affinity), frame)),
            _ => Err(IrqError::NoSuchCpu(cpu)),
        }
    }

    /// Where the enable, trigger and priority bits of `irq` are, with its CPU's private ones in its redistributor.
    fn locate(&self, irq: IrqNumber, target: CpuId) -> Result<Place, IrqError> {
        let (mpidr, frame) = self.cpu(target)?;
        if irq.is_ppi() {
            Ok(Place::Redistributor { frame })
        } else if irq.is_spi() && irq.as_u32() < self.irq_limit {
            Ok(Place::Distributor { mpidr })
        } else {
            Err(IrqError::NoSuchInterrupt(irq))
        }
    }

    /// Stops `irq` from being signalled and waits until that holds.
    fn mask(&self, irq: IrqNumber, place: Place) -> Result<(), Timeout> {
        let bit = 1 << (irq.as_u32() % 32);
        match place {
            Place::Redistributor { frame } => {
                regs::GICR_ICENABLER0
                    .in_frame(frame + SGI_FRAME)
                    .set(&self.redistributors, bit);
                self.wait_for_redistributor(frame)
            }
            Place::Distributor { .. } => {
                regs::GICD_ICENABLER
                    .nth(irq.as_usize() / 32)
                    .set(&self.distributor, bit);
                self.wait_for_distributor()
            }
        }
    }

    /// Sets the trigger of a masked interrupt: two bits each, the upper one set for edges (12.9.9).
    fn set_trigger(&self, irq: IrqNumber, place: Place, trigger: Trigger) {
        let bit = 2 << (2 * (irq.as_u32() % 16));
        let change = |old: u32| {
            if trigger == Trigger::Edge {
                old | bit
            } else {
                old & !bit
            }
        };
        self.configuring.with(|| match place {
            Place::Redistributor { frame } => {
                let icfgr = regs::GICR_ICFGR0.nth(1).in_frame(frame + SGI_FRAME);
                icfgr.set(&self.redistributors, change(icfgr.get(&self.redistributors)));
            }
            Place::Distributor { .. } => {
                let icfgr = regs::GICD_ICFGR.nth(irq.as_usize() / 16);
                icfgr.set(&self.distributor, change(icfgr.get(&self.distributor)));
            }
        })
    }
}

/// Who holds an interrupt's settings.
#[derive(Clone, Copy)]
enum Place {
    /// The redistributor at this offset: a private interrupt.
    Redistributor { frame: usize },
    /// The distributor: a shared interrupt, with the CPU to route it to.
    Distributor { mpidr: Mpidr },
}

impl<D: Registers, R: Registers, C: GicCpuInterface, K: Clock> IrqController for GicV3<D, R, C, K> {
    fn name(&self) -> &'static str {
        "GICv3"
    }

    fn init_cpu(&self, cpu: CpuId, mpidr: Mpidr) -> Result<(), IrqError> {
        let (Some(frame_of_cpu), Some(affinity)) =
            (self.frames.get(cpu.as_usize()), self.affinities.get(cpu.as_usize()))
        else {
            return Err(IrqError::NoSuchCpu(cpu));
        };
        let frame = self.find_redistributor(mpidr).ok_or(IrqError::NoInterface(mpidr))?;
        let registers = &self.redistributors;

        // Wake the redistributor before anything of this CPU is touched (11.1).
        let waker = GICR_WAKER.in_frame(frame);
        waker.modify(registers, regs::WAKER::ProcessorSleep::CLEAR);
        wait_until(&self.clock, TIMEOUT_NS, || {
            !waker.read(registers).is_set(regs::WAKER::ChildrenAsleep)
        })?;

        let private = frame + SGI_FRAME;
        regs::GICR_ICENABLER0.in_frame(private).set(registers, u32::MAX);
        self.wait_for_redistributor(frame)?;
        regs::GICR_IGROUPR0.in_frame(private).set(registers, u32::MAX);
        regs::GICR_IGRPMODR0.in_frame(private).set(registers, 0);
        regs::GICR_ICPENDR0.in_frame(private).set(registers, u32::MAX);
        regs::GICR_ICACTIVER0.in_frame(private).set(registers, u32::MAX);
        for word in 0..8 {
            let priorities = u32::from_ne_bytes([PRIORITY; 4]);
            regs::GICR_IPRIORITYR
                .nth(word)
                .in_frame(private)
                .set(registers, priorities);
        }
        regs::GICR_ISENABLER0.in_frame(private).set(registers, regs::ALL_SGIS);

        if !self.cpu_interface.enable() {
            return Err(IrqError::NoInterface(mpidr));
        }
        self.cpu_interface.set_priority_mask(PRIORITY_MASK);
        frame_of_cpu.store(frame, Ordering::Relaxed);
        affinity.store(mpidr.as_u64(), Ordering::Release);
        Ok(())
    }

    fn enable(&self, irq: IrqNumber, trigger: Trigger, target: CpuId) -> Result<(), IrqError> {
        let place = self.locate(irq, target)?;
        // The trigger and the route may be changed only while the interrupt is disabled (12.9.9, 12.9.22).
        self.mask(irq, place)?;
        self.set_trigger(irq, place, trigger);
        let bit = 1 << (irq.as_u32() % 32);
        match place {
            Place::Redistributor { frame } => {
                regs::GICR_ISENABLER0
                    .in_frame(frame + SGI_FRAME)
                    .set(&self.redistributors, bit);
            }
            Place::Distributor { mpidr } => {
                self.distributor
                    .write64(regs::GICD_IROUTER + 8 * irq.as_usize(), mpidr.as_u64());
                regs::GICD_ISENABLER
                    .nth(irq.as_usize() / 32)
                    .set(&self.distributor, bit);
            }
        }
        Ok(())
    }

    fn disable(&self, irq: IrqNumber, target: CpuId) -> Result<(), IrqError> {
        let place = self.locate(irq, target)?;
        Ok(self.mask(irq, place)?)
    }

    fn acknowledge(&self) -> Option<AcknowledgedIrq> {
        // 24 bits (12.2.14); 1020 to 1023 are no interrupts and are not to be ended, LPIs are never enabled.
        let intid = self.cpu_interface.acknowledge() & 0x00ff_ffff;
        (intid < IrqNumber::FIRST_SPECIAL).then(|| AcknowledgedIrq::new(IrqNumber(intid), intid))
    }

    fn end_of_interrupt(&self, irq: AcknowledgedIrq) {
        self.cpu_interface.end_of_interrupt(irq.token());
    }

    fn send_sgi(&self, sgi: u8, target: SgiTarget) -> Result<(), IrqError> {
        let irq = IrqNumber::sgi(sgi);
        if !irq.is_sgi() {
            return Err(IrqError::NoSuchInterrupt(irq));
        }
        let value = match target {
            SgiTarget::Cpu(cpu) => regs::sgi1r_for_cpu(sgi, self.cpu(cpu)?.0),
            SgiTarget::AllButSelf => regs::sgi1r_for_others(sgi),
        };
        self.cpu_interface.send_sgi(value);
        Ok(())
    }
}
