//! Device registers in kernel address space.

use sis_hal::{PhysAddr, Registers, registers::access_is_valid};

use crate::mm::kspace;

/// A mapped window of device registers.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
    len: usize,
}

impl Mmio {
    /// Maps `len` bytes of device registers at `start`.
    ///
    /// # Safety
    /// (1) The range is device registers of this board, not memory, and accesses to it have no effect on memory that
    /// Rust knows other than through a driver's DMA buffers.
    pub unsafe fn map(start: PhysAddr, len: usize) -> Self {
        Self {
            base: kspace::map_device(start, len),
            len,
        }
    }

    /// The kernel address of its first byte.
    pub fn address(&self) -> usize {
        self.base
    }

    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        if access_is_valid(self.len, offset, core::mem::size_of::<T>()) {
            return Some((self.base + offset) as *mut T);
        }
        if cfg!(debug_assertions) {
            panic!("register access at {offset:#x} of a window of {:#x} bytes", self.len);
        }
        None
    }
}

macro_rules! access {
    ($read:ident, $write:ident, $t:ty, $ldr:literal, $str:literal, $reg:literal) => {
        #[inline]
        fn $read(&self, offset: usize) -> $t {
            let Some(at) = self.at::<$t>(offset) else { return <$t>::MAX };
            let v: u64;
            // SAFETY: (1) inside a mapped window of device registers; (2) a plain load, which a hypervisor can emulate.
            unsafe { core::arch::asm!(concat!($ldr, " {0", $reg, "}, [{1}]"), out(reg) v, in(reg) at, options(nostack)) };
            v as $t
        }
        #[inline]
        fn $write(&self, offset: usize, value: $t) {
            let Some(at) = self.at::<$t>(offset) else { return };
            // SAFETY: (1) as for the read; earlier stores to memory come first.
            unsafe {
                core::arch::asm!("dmb oshst", concat!($str, " {0", $reg, "}, [{1}]"), in(reg) u64::from(value), in(reg) at, options(nostack));
            }
        }
    };
}

impl Registers for Mmio {
    fn size(&self) -> usize {
        self.len
    }
    access!(read8, write8, u8, "ldrb", "strb", ":w");
    access!(read16, write16, u16, "ldrh", "strh", ":w");
    access!(read32, write32, u32, "ldr", "str", ":w");
    access!(read64, write64, u64, "ldr", "str", ":x");
}
