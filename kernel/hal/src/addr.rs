//! Typed numbers that must not be mixed up: physical and bus addresses, interrupt and CPU numbers.

use core::fmt;

/// The most CPUs a board may have; sizes the per-CPU tables of drivers.
pub const MAX_CPUS: usize = 8;

/// A physical address as the CPU puts it on the bus after translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The address as a plain number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The address `bytes` further on; wraps at the end of the address space.
    #[must_use]
    pub const fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Bytes from `earlier` to this address, or `None` when `earlier` is the later one.
    pub const fn checked_offset_from(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// The next multiple of `align_bytes` at or below this address.
    ///
    /// `align_bytes` must be a power of two; anything else gives a meaningless address (and a panic with debug
    /// assertions).
    #[must_use]
    pub const fn align_down(self, align_bytes: u64) -> Self {
        debug_assert!(align_bytes.is_power_of_two());
        Self(self.0 & !(align_bytes.wrapping_sub(1)))
    }

    /// The next multiple of `align_bytes` at or above this address, or `None` past the end of the address space.
    ///
    /// `align_bytes` as in [`PhysAddr::align_down`].
    pub const fn checked_align_up(self, align_bytes: u64) -> Option<Self> {
        match self.0.checked_add(align_bytes.wrapping_sub(1)) {
            Some(address) => Some(Self(address).align_down(align_bytes)),
            None => None,
        }
    }

    /// Whether the address is a multiple of `align_bytes` (a power of two).
    pub const fn is_aligned(self, align_bytes: u64) -> bool {
        self.align_down(align_bytes).0 == self.0
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// An address as a bus master other than the CPU sees it.
///
/// On the BCM2711 the legacy masters see memory at an offset from the CPU's view, which is why this is not a
/// [`PhysAddr`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BusAddr(pub u64);

impl BusAddr {
    /// The address as a plain number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }
}

impl fmt::Display for BusAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bus {:#x}", self.0)
    }
}

/// A GIC interrupt identifier (INTID): 0-15 software-generated, 16-31 private to a CPU, 32-1019 shared.
///
/// A device tree's `interrupts` cells count from the start of their kind; [`IrqNumber::ppi`] and [`IrqNumber::spi`] add
/// the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct IrqNumber(pub u32);

impl IrqNumber {
    /// First private peripheral interrupt.
    pub const FIRST_PPI: u32 = 16;
    /// First shared peripheral interrupt.
    pub const FIRST_SPI: u32 = 32;
    /// First of the special identifiers (1020-1023), which name no interrupt.
    pub const FIRST_SPECIAL: u32 = 1020;

    /// The software-generated interrupt `index` (0-15).
    pub const fn sgi(index: u8) -> Self {
        Self(index as u32)
    }

    /// The private peripheral interrupt `index` as a device tree counts it (`interrupts = <1 index flags>`).
    pub const fn ppi(index: u32) -> Self {
        Self(Self::FIRST_PPI + index)
    }

    /// The shared peripheral interrupt `index` as a device tree counts it (`interrupts = <0 index flags>`).
    pub const fn spi(index: u32) -> Self {
        Self(Self::FIRST_SPI + index)
    }

    /// The number itself.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The number as a table index.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// Whether this is a software-generated interrupt.
    pub const fn is_sgi(self) -> bool {
        self.0 < Self::FIRST_PPI
    }

    /// Whether this is private to a CPU and raised by a peripheral (PPI).
    pub const fn is_ppi(self) -> bool {
        self.0 >= Self::FIRST_PPI && self.0 < Self::FIRST_SPI
    }

    /// Whether this is shared between CPUs (SPI).
    pub const fn is_spi(self) -> bool {
        self.0 >= Self::FIRST_SPI && self.0 < Self::FIRST_SPECIAL
    }
}

impl fmt::Display for IrqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "irq {}", self.0)
    }
}

/// A CPU as the kernel numbers it: 0 is the one that booted, the rest follow without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuId(pub u32);

impl CpuId {
    /// The CPU that booted the kernel.
    pub const BOOT: Self = Self(0);

    /// The number itself.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The number as a table index.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu{}", self.0)
    }
}

/// A CPU as the hardware names it: the affinity fields of `MPIDR_EL1` (Arm ARM, D19.2.101), the other bits cleared.
///
/// Also what a device tree's `/cpus/cpu@*/reg` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Mpidr(u64);

impl Mpidr {
    const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

    /// Keeps the affinity fields of a raw `MPIDR_EL1` value.
    pub const fn new(raw: u64) -> Self {
        Self(raw & Self::AFFINITY_MASK)
    }

    /// The affinity fields where `MPIDR_EL1` has them: Aff3 in bits 39:32, Aff2-0 in bits 23:0.
    ///
    /// This is also the layout of PSCI's `target_cpu` and of `GICD_IROUTER`.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Affinity level 0 (usually the core, or the thread of a core).
    pub const fn aff0(self) -> u8 {
        self.0 as u8
    }

    /// Affinity level 1.
    pub const fn aff1(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Affinity level 2.
    pub const fn aff2(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Affinity level 3.
    pub const fn aff3(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// The four levels packed as `GICR_TYPER.Affinity_Value` has them: Aff3.Aff2.Aff1.Aff0.
    pub const fn packed(self) -> u32 {
        ((self.aff3() as u32) << 24) | (self.0 as u32 & 0x00ff_ffff)
    }
}

impl fmt::Display for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.aff3(), self.aff2(), self.aff1(), self.aff0())
    }
}
