//! A simulated GICv2 with up to eight CPUs: the distributor and the banked CPU interfaces share one state.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use sis_hal::{IrqNumber, Trigger};

use crate::sim::{Device, Sim};

const IRQ_COUNT: usize = 192;

/// The settings of one interrupt, or of one CPU's copy of a private one.
#[derive(Clone, Copy, Debug)]
struct Irq {
    is_enabled: bool,
    is_pending: bool,
    is_active: bool,
    is_group1: bool,
    is_edge: bool,
    priority: u8,
    targets: u8,
}

impl Irq {
    const LEFT_BEHIND: Self = Self {
        is_enabled: true,
        is_pending: true,
        is_active: true,
        is_group1: true,
        is_edge: true,
        priority: 0,
        targets: 0xff,
    };
}

#[derive(Clone, Debug)]
struct Cpu {
    /// The interface's number, which need not follow the CPU's.
    interface: u8,
    private: [Irq; 32],
    /// Senders (a bit an interface) of each pending SGI.
    senders: [u8; 16],
    control: u32,
    priority_mask: u32,
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
    /// The driver sees the non-secure view: every interrupt is in group 1 and the group registers read as 0.
    pub is_nonsecure_view: bool,
    /// GICD_ITARGETSR0-7 read as this instead of the CPU's bit.
    pub own_mask: Option<u8>,
    /// GICD_ICPIDR2.
    pub pidr2: u32,
    /// What was given to GICC_EOIR, in order.
    pub ended: Vec<u32>,
}

/// A simulated GIC; clones share it.
#[derive(Clone, Debug)]
pub struct SimGicV2(Arc<Mutex<State>>);

/// The distributor's registers.
#[derive(Debug)]
pub struct Distributor(SimGicV2);

/// The calling CPU's interface.
#[derive(Debug)]
pub struct CpuInterface(SimGicV2);

impl SimGicV2 {
    /// A GIC whose CPUs have these interface numbers, in the state a careless firmware leaves.
    pub fn new(interfaces: &[u8]) -> Self {
        let cpu = |interface: &u8| Cpu {
            interface: *interface,
            private: [Irq::LEFT_BEHIND; 32],
            senders: [0xff; 16],
            control: 0x1e0,
            priority_mask: 0,
            active: Vec::new(),
        };
        Self(Arc::new(Mutex::new(State {
            cpus: interfaces.iter().map(cpu).collect(),
            shared: std::vec![Irq::LEFT_BEHIND; IRQ_COUNT - 32],
            control: 0,
            current: 0,
            is_nonsecure_view: false,
            own_mask: None,
            pidr2: 0x2b,
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

    /// The CPU interface's registers.
    pub fn cpu_interface(&self) -> Sim<CpuInterface> {
        Sim::new(CpuInterface(self.clone()))
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

    /// How a shared interrupt is set up to signal.
    pub fn trigger(&self, irq: IrqNumber) -> Trigger {
        if self.state().shared[irq.as_usize() - 32].is_edge {
            Trigger::Edge
        } else {
            Trigger::Level
        }
    }

    /// GICC_CTLR of `cpu`.
    pub fn cpu_control(&self, cpu: usize) -> u32 {
        self.state().cpus[cpu].control
    }
}

impl State {
    fn deliverable(&self, cpu: usize) -> BTreeSet<u32> {
        let this = &self.cpus[cpu];
        if self.control & 1 == 0 || this.control & 1 == 0 {
            return BTreeSet::new();
        }
        let is_ready = |irq: &Irq| {
            irq.is_enabled
                && !irq.is_active
                && irq.is_group1 == self.is_nonsecure_view
                && u32::from(irq.priority) < this.priority_mask
        };
        let private = this.private.iter().enumerate().filter(|(id, irq)| {
            is_ready(irq)
                && if *id < 16 {
                    this.senders[*id] != 0
                } else {
                    irq.is_pending
                }
        });
        let is_here = |irq: &Irq| irq.targets & (1 << this.interface) != 0;
        let shared = self
            .shared
            .iter()
            .enumerate()
            .filter(|(_, irq)| is_ready(irq) && irq.is_pending && is_here(irq));
        private
            .map(|(id, _)| id as u32)
            .chain(shared.map(|(id, _)| id as u32 + 32))
            .collect()
    }

    fn irq(&mut self, intid: usize) -> Option<&mut Irq> {
        match intid {
            0..32 => self.cpus[self.current].private.get_mut(intid),
            _ => self.shared.get_mut(intid - 32),
        }
    }

    fn write_array(&mut self, offset: usize, value: u32) {
        let base = offset & !0x7f;
        let is_nonsecure = self.is_nonsecure_view;
        let (first, per_word) = match offset {
            0x080..0x400 => ((offset - base) / 4 * 32, 32),
            0x400..0x7fc => (offset - 0x400, 4),
            0xc00..0xd00 => ((offset - 0xc00) * 4, 16),
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        };
        let width = (32 / per_word) as u32;
        for index in 0..per_word {
            let field = (value >> (index as u32 * width)) & (u32::MAX >> (32 - width));
            let Some(irq) = self.irq(first + index) else { continue };
            match offset {
                0x080..0x100 if is_nonsecure => {}
                0x080..0x100 => irq.is_group1 = field == 1,
                0x100..0x180 => irq.is_enabled |= field == 1,
                0x180..0x200 => irq.is_enabled &= field == 0,
                0x280..0x300 => irq.is_pending &= field == 0,
                0x380..0x400 => irq.is_active &= field == 0,
                0x400..0x800 => irq.priority = field as u8,
                _ if first + index < 32 => {}
                _ => {
                    let is_edge = field & 2 != 0;
                    assert!(
                        !irq.is_enabled || irq.is_edge == is_edge,
                        "trigger changed while enabled"
                    );
                    irq.is_edge = is_edge;
                }
            }
        }
    }
}

impl Device for Distributor {
    const SIZE: usize = 0x1000;

    fn read(&mut self, offset: usize) -> u32 {
        let mut state = self.0.state();
        match offset {
            0x000 => state.control,
            0x004 => (((state.cpus.len() as u32) - 1) << 5) | (IRQ_COUNT as u32 / 32 - 1),
            0x180..0x200 => {
                let first = (offset - 0x180) * 8;
                (0..32).fold(0, |word, bit| {
                    let is_enabled = state.irq(first + bit).is_some_and(|irq| irq.is_enabled);
                    word | (u32::from(is_enabled) << bit)
                })
            }
            0x800..0x820 => {
                let own = 1 << state.cpus[state.current].interface;
                let mask = if state.cpus.len() == 1 { 0 } else { own };
                let mask = state.own_mask.unwrap_or(mask);
                // Only some of the private interrupts exist; the bytes of the others read as 0.
                if !(0x810..0x818).contains(&offset) {
                    u32::from_le_bytes([mask; 4])
                } else {
                    0
                }
            }
            0xc00..0xd00 => {
                let first = (offset - 0xc00) * 4;
                (0..16).fold(0, |word, index| {
                    let is_edge = state.irq(first + index).is_some_and(|irq| irq.is_edge);
                    word | (u32::from(is_edge) << (2 * index + 1))
                })
            }
            0xfe8 => state.pidr2,
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.state();
        let current = state.current;
        match offset {
            0x000 => state.control = value,
            0xf00 => {
                let sender = 1 << state.cpus[current].interface;
                let sgi = value as usize & 0xf;
                let filter = (value >> 24) & 3;
                assert!(filter < 3, "reserved target filter");
                for (index, cpu) in state.cpus.iter_mut().enumerate() {
                    let is_target = match filter {
                        0 => (value >> 16) & (1 << cpu.interface) != 0,
                        1 => index != current,
                        _ => index == current,
                    };
                    if is_target {
                        cpu.senders[sgi] |= sender;
                    }
                }
            }
            0xf10..0xf20 => {
                for (index, byte) in value.to_le_bytes().into_iter().enumerate() {
                    state.cpus[current].senders[offset - 0xf10 + index] &= !byte;
                }
            }
            _ => state.write_array(offset, value),
        }
    }

    fn write_byte(&mut self, offset: usize, value: u8) {
        assert!((0x820..0xc00).contains(&offset), "no byte access at {offset:#x}");
        let mut state = self.0.state();
        let irq = state
            .irq(offset - 0x800)
            .expect("target of an interrupt that does not exist");
        assert!(!irq.is_enabled, "target changed while enabled");
        irq.targets = value;
    }
}

impl Device for CpuInterface {
    const SIZE: usize = 0x2000;

    fn read(&mut self, offset: usize) -> u32 {
        let mut state = self.0.state();
        let current = state.current;
        match offset {
            0x00 => state.cpus[current].control,
            0x0c => {
                if !state.cpus[current].active.is_empty() {
                    return 1023;
                }
                let Some(intid) = state.deliverable(current).first().copied() else {
                    return 1023;
                };
                let cpu = &mut state.cpus[current];
                let value = if intid < 16 {
                    let senders = &mut cpu.senders[intid as usize];
                    let sender = senders.trailing_zeros();
                    *senders &= !(1 << sender);
                    intid | (sender << 10)
                } else {
                    intid
                };
                cpu.active.push(value);
                if let Some(irq) = state.irq(intid as usize) {
                    irq.is_pending = false;
                    irq.is_active = true;
                }
                value
            }
            0xfc => 0x0202_143b,
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.state();
        let current = state.current;
        match offset {
            0x00 => state.cpus[current].control = value,
            0x04 => state.cpus[current].priority_mask = value,
            0x08 => {}
            0x10 => {
                assert_eq!(
                    state.cpus[current].active.pop(),
                    Some(value),
                    "ended what was not active"
                );
                if let Some(irq) = state.irq(value as usize & 0x3ff) {
                    irq.is_active = false;
                }
                state.ended.push(value);
            }
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}
