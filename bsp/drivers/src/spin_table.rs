//! Starting CPUs that wait in a spin table, as the Raspberry Pi's firmware leaves them.
//!
//! Source: *Devicetree Specification* 0.4, 3.8.1 (`cpu-release-addr`) and Linux, `Documentation/arm64/booting.rst`: each
//! CPU waits in `WFE` for its release address to become non-zero, then jumps there with the MMU and caches off.

use core::sync::atomic::{AtomicBool, Ordering};

use sis_hal::{CpuPower, MAX_CPUS, Mpidr, PhysAddr, ReleaseMemory, StartCpuError};

#[cfg(test)]
mod tests;

/// A waiting CPU.
#[derive(Debug)]
struct Waiting {
    mpidr: Mpidr,
    release: PhysAddr,
    is_released: AtomicBool,
}

/// The waiting CPUs of a board.
#[derive(Debug)]
pub struct SpinTable<M> {
    memory: M,
    cpus: [Option<Waiting>; MAX_CPUS],
}

impl<M: ReleaseMemory> SpinTable<M> {
    /// A table of CPUs with their release addresses, from the device tree. Those beyond [`MAX_CPUS`] are left waiting.
    pub fn new(memory: M, cpus: impl IntoIterator<Item = (Mpidr, PhysAddr)>) -> Self {
        let mut cpus = cpus.into_iter();
        let waiting = |_| {
            cpus.next().map(|(mpidr, release)| Waiting {
                mpidr,
                release,
                is_released: AtomicBool::new(false),
            })
        };
        Self {
            memory,
            cpus: core::array::from_fn(waiting),
        }
    }
}

impl<M: ReleaseMemory> CpuPower for SpinTable<M> {
    /// `context` has no way to the CPU and is ignored, as the trait allows.
    fn start_cpu(&self, mpidr: Mpidr, entry: PhysAddr, _context: u64) -> Result<(), StartCpuError> {
        // Zero means "go on waiting", and an instruction is four bytes.
        if entry.as_u64() == 0 || !entry.is_aligned(4) {
            return Err(StartCpuError::BadEntry(entry));
        }
        let waiting = self.cpus.iter().flatten().find(|cpu| cpu.mpidr == mpidr);
        let cpu = waiting.ok_or(StartCpuError::NoSuchCpu(mpidr))?;
        // A CPU that has left does not look again: a second release would be lost without a word.
        if cpu.is_released.swap(true, Ordering::AcqRel) {
            return Err(StartCpuError::AlreadyOn(mpidr));
        }
        if !self.memory.write_release(cpu.release, entry.as_u64()) {
            cpu.is_released.store(false, Ordering::Release);
            return Err(StartCpuError::BadRelease(cpu.release));
        }
        Ok(())
    }
}
