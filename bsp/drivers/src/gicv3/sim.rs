//! A simulated GICv3 with up to [`MAX_CPUS`] CPUs: distributor, redistributors and the CPU interfaces' system registers
//! share one state, so that an interrupt can be raised on one side and acknowledged on the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use sis_hal::{GicCpuInterface, IrqNumber, MAX_CPUS, Mpidr, Trigger};

use crate::sim::{Device, Sim};

const SPI_COUNT: usize = 256;
const IRQ_COUNT: usize = 32 + SPI_COUNT;
const FRAMES: usize = 0x2_0000;

/// The settings of one interrupt, or of one CPU's copy of a private one.
#[derive(Clone, Copy, Debug)]
struct Irq {
    is_enabled: bool,
    is_pending: bool,
    is_active: bool,
    is_group1: bool,
    is_group_modified: bool,
    is_edge: bool,
    priority: u8,
    route: u64,
}

impl Irq {
    /// As firmware may leave it: everything on, everything wrong.
    const LEFT_BEHIND: Self = Self {
        is_enabled: true,
        is_pending: true,
        is_active: true,
        is_group1: false,
        is_group_modified: true,
        is_edge: true,
        priority: 0,
        route: 0,
    };
}

/// One simulated CPU's part.
#[derive(Clone, Debug)]
struct Cpu {
    mpidr: Mpidr,
    private: [Irq; 32],
    is_asleep: bool,
    is_on: bool,
    priority_mask: u8,
    active: Vec<u32>,
}

/// The state that all views share.
#[derive(Debug)]
pub struct State {
    cpus: Vec<Cpu>,
    shared: Vec<Irq>,
    control: u32,
    /// Which CPU executes; set it before calling the driver "on" another CPU.
    pub current: usize,
    /// Reads of a control register that still show a write in flight after one; `None` = for ever.
    pub rwp_reads: Option<u32>,
    rwp_left: u32,
    /// The redistributors never report that they are awake.
    pub never_wakes: bool,
    /// The CPUs have no system-register interface.
    pub has_no_sre: bool,
    /// GICD_PIDR2.
    pub pidr2: u32,
    /// Redistributors have the GICv4 frames too (GICR_TYPER.VLPIS).
    pub has_vlpis: bool,
    /// The INTIDs that were given to ICC_EOIR1_EL1, in order.
    pub ended: Vec<u32>,
}

/// A simulated GIC; clones share it.
#[derive(Clone, Debug)]
pub struct SimGicV3(Arc<Mutex<State>>);

/// The distributor's registers.
#[derive(Debug)]
pub struct Distributor(SimGicV3);

/// The redistributors' registers.
#[derive(Debug)]
pub struct Redistributors(SimGicV3);

impl SimGicV3 {
    /// A GIC for CPUs of these affinities, in the state a careless firmware leaves.
    pub fn new(affinities: &[Mpidr]) -> Self {
        assert!(affinities.len() <= MAX_CPUS);
        let cpu = |mpidr: &Mpidr| Cpu {
            mpidr: *mpidr,
            private: [Irq::LEFT_BEHIND; 32],
            is_asleep: true,
            is_on: false,
            priority_mask: 0,
            active: Vec::new(),
        };
        Self(Arc::new(Mutex::new(State {
            cpus: affinities.iter().map(cpu).collect(),
            shared: std::vec![Irq::LEFT_BEHIND; SPI_COUNT],
            control: 0,
            current: 0,
            rwp_reads: Some(2),
            rwp_left: 0,
            never_wakes: false,
            has_no_sre: false,
            pidr2: 0x3b,
            has_vlpis: false,
            ended: Vec::new(),
        })))
    }

    /// The shared state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The distributor's registers.
    pub fn distributor(&self) -> Sim<Distributor> {
        Sim::new(Distributor(self.clone()))
    }

    /// The redistributors' registers.
    pub fn redistributors(&self) -> Sim<Redistributors> {
        Sim::new(Redistributors(self.clone()))
    }

    /// A device raises a shared interrupt.
    pub fn raise(&self, irq: IrqNumber) {
        self.state().shared[irq.as_usize() - 32].is_pending = true;
    }

    /// A device of `cpu` raises a private interrupt.
    pub fn raise_private(&self, cpu: usize, irq: IrqNumber) {
        self.state().cpus[cpu].private[irq.as_usize()].is_pending = true;
    }

    /// The interrupts that `cpu` would be handed now.
    pub fn deliverable(&self, cpu: usize) -> BTreeSet<u32> {
        self.state().deliverable(cpu)
    }

    /// How `irq` is set up to signal (of `cpu`'s copy when it is private).
    pub fn trigger(&self, cpu: usize, irq: IrqNumber) -> Trigger {
        let is_edge = match irq.as_usize() {
            private @ 0..32 => self.state().cpus[cpu].private[private].is_edge,
            shared => self.state().shared[shared - 32].is_edge,
        };
        if is_edge { Trigger::Edge } else { Trigger::Level }
    }
}

impl State {
    fn deliverable(&self, cpu: usize) -> BTreeSet<u32> {
        let this = &self.cpus[cpu];
        // ARE and EnableGrp1 in the distributor, the CPU's own switch, and a redistributor that is awake.
        if self.control & 0x12 != 0x12 || !this.is_on || this.is_asleep {
            return BTreeSet::new();
        }
        let is_ready = |irq: &Irq| {
            irq.is_enabled
                && irq.is_pending
                && !irq.is_active
                && irq.is_group1
                && !irq.is_group_modified
                && irq.priority < this.priority_mask
        };
        let private = this.private.iter().enumerate().filter(|(_, irq)| is_ready(irq));
        let is_here = |irq: &Irq| irq.route == this.mpidr.as_u64();
        let shared = self
            .shared
            .iter()
            .enumerate()
            .filter(|(_, irq)| is_ready(irq) && is_here(irq));
        private
            .map(|(id, _)| id as u32)
            .chain(shared.map(|(id, _)| id as u32 + 32))
            .collect()
    }

    fn irq(&mut self, cpu: usize, intid: u32) -> &mut Irq {
        match intid as usize {
            private @ 0..32 => &mut self.cpus[cpu].private[private],
            shared => &mut self.shared[shared - 32],
        }
    }

    fn start_write(&mut self) {
        self.rwp_left = self.rwp_reads.unwrap_or(u32::MAX);
    }

    fn is_write_in_flight(&mut self) -> bool {
        let is_in_flight = self.rwp_left > 0;
        if self.rwp_reads.is_some() {
            self.rwp_left = self.rwp_left.saturating_sub(1);
        }
        is_in_flight
    }
}

/// Applies a write to one of the arrays that hold a few bits an interrupt; `first` is the number of `irqs[0]`.
fn write_array(irqs: &mut [Irq], first: usize, offset: usize, value: u32) {
    let one_bit = |base: usize| (offset - base) / 4 * 32;
    let mut each = |from: usize, per_word: usize, set: &mut dyn FnMut(&mut Irq, u32)| {
        for index in 0..per_word {
            let bits = (32 / per_word) as u32;
            let field = (value >> (index as u32 * bits)) & (u32::MAX >> (32 - bits));
            if let Some(irq) = (from + index).checked_sub(first).and_then(|index| irqs.get_mut(index)) {
                set(irq, field);
            }
        }
    };
    match offset {
        0x080..0x100 => each(one_bit(0x080), 32, &mut |irq, bit| irq.is_group1 = bit == 1),
        0x100..0x180 => each(one_bit(0x100), 32, &mut |irq, bit| irq.is_enabled |= bit == 1),
        0x180..0x200 => each(one_bit(0x180), 32, &mut |irq, bit| irq.is_enabled &= bit == 0),
        0x280..0x300 => each(one_bit(0x280), 32, &mut |irq, bit| irq.is_pending &= bit == 0),
        0x380..0x400 => each(one_bit(0x380), 32, &mut |irq, bit| irq.is_active &= bit == 0),
        0x400..0x800 => each(offset - 0x400, 4, &mut |irq, byte| irq.priority = byte as u8),
        0xc00..0xd00 => each((offset - 0xc00) * 4, 16, &mut |irq, bits| {
            let is_edge = bits & 2 != 0;
            assert!(
                !irq.is_enabled || irq.is_edge == is_edge,
                "trigger changed while enabled"
            );
            irq.is_edge = is_edge;
        }),
        0xd00..0xd80 => each(one_bit(0xd00), 32, &mut |irq, bit| irq.is_group_modified = bit == 1),
        _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
    }
}

fn read_triggers(irqs: &[Irq], from: usize) -> u32 {
    let bits = irqs.iter().skip(from).take(16).enumerate();
    bits.fold(0, |word, (index, irq)| {
        word | (u32::from(irq.is_edge) << (2 * index + 1))
    })
}

impl Device for Distributor {
    const SIZE: usize = 0x1_0000;

    fn read(&mut self, offset: usize) -> u32 {
        let mut state = self.0.state();
        match offset {
            0x0000 => state.control | (u32::from(state.is_write_in_flight()) << 31),
            0x0004 => (IRQ_COUNT / 32 - 1) as u32,
            0xffe8 => state.pidr2,
            0x0c08..0x0d00 => read_triggers(&state.shared, (offset - 0xc08) * 4),
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.state();
        match offset {
            0x0000 => {
                state.control = value;
                state.start_write();
            }
            0x6100..0x6900 => {
                assert!(
                    state.control & 0x10 != 0,
                    "routes mean nothing without affinity routing"
                );
                let irq = &mut state.shared[(offset - 0x6100) / 8];
                assert!(!irq.is_enabled, "route changed while enabled");
                let (keep, shift) = if offset.is_multiple_of(8) {
                    (u64::MAX << 32, 0)
                } else {
                    (u64::MAX >> 32, 32)
                };
                irq.route = (irq.route & keep) | (u64::from(value) << shift);
            }
            _ => {
                write_array(&mut state.shared, 32, offset, value);
                if (0x180..0x200).contains(&offset) {
                    state.start_write();
                }
            }
        }
    }
}

impl Device for Redistributors {
    const SIZE: usize = MAX_CPUS * 2 * FRAMES;

    fn read(&mut self, offset: usize) -> u32 {
        let mut state = self.0.state();
        let stride = if state.has_vlpis { 2 * FRAMES } else { FRAMES };
        let (cpu, at) = (offset / stride, offset % stride);
        assert!(cpu < state.cpus.len(), "walked past the last redistributor");
        let is_last = cpu + 1 == state.cpus.len();
        let this = &state.cpus[cpu];
        match at {
            0x0000 => u32::from(state.is_write_in_flight()) << 3,
            0x0008 => (u32::from(is_last) << 4) | (u32::from(state.has_vlpis) << 1),
            0x000c => this.mpidr.packed(),
            0x0014 => u32::from(this.is_asleep) * 6,
            0x1_0c04 => read_triggers(&this.private, 16),
            _ => panic!("the driver has no business reading {at:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.state();
        let stride = if state.has_vlpis { 2 * FRAMES } else { FRAMES };
        let (cpu, at) = (offset / stride, offset % stride);
        match at {
            0x0014 => state.cpus[cpu].is_asleep = value & 2 != 0 || state.never_wakes,
            0x1_0000.. => {
                assert!(!state.cpus[cpu].is_asleep, "the redistributor was asleep");
                write_array(&mut state.cpus[cpu].private, 0, at - 0x1_0000, value);
                if at == 0x1_0180 {
                    state.start_write();
                }
            }
            _ => panic!("the driver has no business writing {value:#x} to {at:#x}"),
        }
    }
}

impl GicCpuInterface for SimGicV3 {
    fn enable(&self) -> bool {
        let mut state = self.state();
        let current = state.current;
        state.cpus[current].is_on = !state.has_no_sre;
        !state.has_no_sre
    }

    fn set_priority_mask(&self, mask: u8) {
        let mut state = self.state();
        let current = state.current;
        state.cpus[current].priority_mask = mask;
    }

    fn acknowledge(&self) -> u32 {
        let mut state = self.state();
        let current = state.current;
        // All interrupts have one priority: while one is active, none is handed out.
        if !state.cpus[current].active.is_empty() {
            return 1023;
        }
        let Some(intid) = state.deliverable(current).first().copied() else {
            return 1023;
        };
        let irq = state.irq(current, intid);
        irq.is_pending = false;
        irq.is_active = true;
        state.cpus[current].active.push(intid);
        intid
    }

    fn end_of_interrupt(&self, intid: u32) {
        let mut state = self.state();
        let current = state.current;
        assert_eq!(
            state.cpus[current].active.pop(),
            Some(intid),
            "ended what was not active"
        );
        state.irq(current, intid).is_active = false;
        state.ended.push(intid);
    }

    fn send_sgi(&self, sgi1r: u64) {
        let mut state = self.state();
        let current = state.current;
        let sgi = (sgi1r >> 24) as usize & 0xf;
        let is_to_others = sgi1r & (1 << 40) != 0;
        for (index, cpu) in state.cpus.iter_mut().enumerate() {
            let same_cluster = u64::from(cpu.mpidr.aff3()) == (sgi1r >> 48) & 0xff
                && u64::from(cpu.mpidr.aff2()) == (sgi1r >> 32) & 0xff
                && u64::from(cpu.mpidr.aff1()) == (sgi1r >> 16) & 0xff
                && u64::from(cpu.mpidr.aff0() / 16) == (sgi1r >> 44) & 0xf;
            let listed = same_cluster && sgi1r & (1 << (cpu.mpidr.aff0() % 16)) != 0;
            if if is_to_others { index != current } else { listed } {
                cpu.private[sgi].is_pending = true;
            }
        }
    }
}
