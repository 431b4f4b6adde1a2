//! Interrupt controllers.

use core::fmt;

use crate::addr::{CpuId, IrqNumber, Mpidr};
use crate::clock::Timeout;

/// How a device signals on its interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Active while the line is high: the handler must silence the device before the end of the interrupt.
    Level,
    /// One interrupt a rising edge.
    Edge,
}

/// Who gets a software-generated interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiTarget {
    /// One CPU, which may be the sender.
    Cpu(CpuId),
    /// Every CPU that is running, except the sender.
    AllButSelf,
}

/// An interrupt that this CPU has taken and must end with [`IrqController::end_of_interrupt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an acknowledged interrupt blocks others of its priority until it is ended"]
pub struct AcknowledgedIrq {
    number: IrqNumber,
    token: u32,
}

impl AcknowledgedIrq {
    /// For controllers: `token` is what the controller wants back at the end (GICv2 keeps the SGI's sender in it).
    pub const fn new(number: IrqNumber, token: u32) -> Self {
        Self { number, token }
    }

    /// Which interrupt; for a software-generated one [`IrqNumber::is_sgi`] holds and the number is the SGI's.
    pub const fn number(self) -> IrqNumber {
        self.number
    }

    /// What the controller gave at acknowledge time.
    pub const fn token(self) -> u32 {
        self.token
    }
}

/// An interrupt controller of every CPU of a board.
///
/// [`acknowledge`](Self::acknowledge), [`end_of_interrupt`](Self::end_of_interrupt) and
/// [`init_cpu`](Self::init_cpu) speak of the CPU that calls them: call them with interrupts off, so that the caller does
/// not move. The other methods may be called anywhere, with interrupts off too.
pub trait IrqController: Send + Sync {
    /// A short name for the log, such as `GICv3`.
    fn name(&self) -> &'static str;

    /// Prepares the calling CPU: its private interrupts disabled, software-generated ones enabled, signalling on.
    ///
    /// Each CPU calls it once, before it enables interrupts; from then on it can be a target.
    fn init_cpu(&self, cpu: CpuId, mpidr: Mpidr) -> Result<(), IrqError>;

    /// Enables `irq`. A private interrupt (PPI) is enabled on `target`, a shared one (SPI) is routed to it.
    ///
    /// A GICv2 can reach only the calling CPU's private interrupts: there, `target` must then be the caller. Not for
    /// interrupt handlers: interrupts that share a register wait for each other here.
    fn enable(&self, irq: IrqNumber, trigger: Trigger, target: CpuId) -> Result<(), IrqError>;

    /// Disables `irq`; a private one on `target` (as in [`enable`](Self::enable)), a shared one wherever it goes. When
    /// this returns, no new one will be signalled; one that a CPU has acknowledged already still has to be ended.
    fn disable(&self, irq: IrqNumber, target: CpuId) -> Result<(), IrqError>;

    /// Takes the pending interrupt of highest priority, or `None` when there is none (a spurious interrupt: return from
    /// the exception, end nothing).
    fn acknowledge(&self) -> Option<AcknowledgedIrq>;

    /// Ends what [`acknowledge`](Self::acknowledge) gave, on the same CPU, in reverse order when nested.
    fn end_of_interrupt(&self, irq: AcknowledgedIrq);

    /// Sends the software-generated interrupt `sgi` (0-15).
    ///
    /// Writes to memory that came before are visible to a CPU that takes the interrupt.
    fn send_sgi(&self, sgi: u8, target: SgiTarget) -> Result<(), IrqError>;
}

/// Why an interrupt controller refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqError {
    /// The controller has no such interrupt (or it is one whose kind does not fit the call).
    NoSuchInterrupt(IrqNumber),
    /// The CPU is not known to the controller: beyond [`MAX_CPUS`](crate::MAX_CPUS), or not yet initialised.
    NoSuchCpu(CpuId),
    /// No redistributor or CPU interface answers for this CPU.
    NoInterface(Mpidr),
    /// The device at this address is not the controller that the driver is for.
    NotPresent,
    /// The controller did not finish an operation in time.
    Timeout,
}

impl fmt::Display for IrqError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchInterrupt(irq) => write!(f, "the interrupt controller has no {irq} for this use"),
            Self::NoSuchCpu(cpu) => write!(f, "{cpu} is not known to the interrupt controller; initialise it first"),
            Self::NoInterface(mpidr) => write!(f, "the interrupt controller has no interface for the CPU {mpidr}"),
            Self::NotPresent => f.write_str("no such interrupt controller at the given address"),
            Self::Timeout => f.write_str("the interrupt controller did not finish in time"),
        }
    }
}

impl core::error::Error for IrqError {}

impl From<Timeout> for IrqError {
    fn from(_: Timeout) -> Self {
        Self::Timeout
    }
}

/// The CPU's own part of a GICv3, which is system registers: implemented where those may be touched, simulated in tests.
///
/// Each method speaks of the calling CPU (GICv3 architecture, IHI 0069, chapter 12.2). Group 1, non-secure as seen from
/// EL1.
pub trait GicCpuInterface: Send + Sync {
    /// Switches the system-register interface on (`ICC_SRE_EL1.SRE`), selects one-step end of interrupt
    /// (`ICC_CTLR_EL1.EOImode` = 0), all preemption levels (`ICC_BPR1_EL1` = 0), and enables group 1
    /// (`ICC_IGRPEN1_EL1`). Answers `false` when the CPU has no such interface (the `SRE` bit does not stick).
    fn enable(&self) -> bool;

    /// Lets interrupts of a priority value below `mask` through (`ICC_PMR_EL1`).
    fn set_priority_mask(&self, mask: u8);

    /// Reads `ICC_IAR1_EL1`, then makes sure the acknowledge has taken effect (`DSB SY`).
    fn acknowledge(&self) -> u32;

    /// Writes `ICC_EOIR1_EL1`, then `ISB`.
    fn end_of_interrupt(&self, intid: u32);

    /// Makes earlier stores visible (`DSB ISHST`), writes `ICC_SGI1R_EL1`, then `ISB`.
    fn send_sgi(&self, sgi1r: u64);
}

impl<C: GicCpuInterface + ?Sized> GicCpuInterface for &C {
    fn enable(&self) -> bool {
        (**self).enable()
    }
    fn set_priority_mask(&self, mask: u8) {
        (**self).set_priority_mask(mask);
    }
    fn acknowledge(&self) -> u32 {
        (**self).acknowledge()
    }
    fn end_of_interrupt(&self, intid: u32) {
        (**self).end_of_interrupt(intid);
    }
    fn send_sgi(&self, sgi1r: u64) {
        (**self).send_sgi(sgi1r);
    }
}
