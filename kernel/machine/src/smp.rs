//! Starting the other CPUs.

use core::sync::atomic::Ordering;

use sis_hal::{CpuPower, Mpidr, PhysAddr};
use spin::Once;

use crate::cpu::MAX_CPUS;
use crate::mm::kspace;
use crate::mm::stack::KernelStack;
use crate::{boot, cpu, percpu, timer};

static SECONDARY_MAIN: Once<fn() -> !> = Once::new();

/// Starts the CPUs named by `others` (affinities), each of which then runs `main` on a stack of its own with interrupts
/// masked. Answers how many came up; each has a second to.
pub fn start(others: impl Iterator<Item = u64>, power: &dyn CpuPower, main: fn() -> !) -> usize {
    SECONDARY_MAIN.call_once(|| main);
    let entry = PhysAddr(kspace::image_pa(&raw const boot::sis_secondary_entry as usize) as u64);
    let mut started = 0;
    for (index, mpidr) in others.enumerate() {
        let id = index + 1;
        if id >= MAX_CPUS {
            crate::warn!("CPU with affinity {mpidr:#x} is beyond the {MAX_CPUS} that this kernel runs on");
            continue;
        }
        let Some(stack) = KernelStack::new() else { break };
        let slot = &boot::SIS_SECONDARIES[id];
        slot.stack_top.store(stack.top() as u64, Ordering::Relaxed);
        slot.id.store(id as u64, Ordering::Relaxed);
        slot.mpidr.store(mpidr, Ordering::Release);
        // The CPU keeps it for its idle task.
        core::mem::forget(stack);
        cpu::barrier_device();
        if let Err(e) = power.start_cpu(Mpidr::new(mpidr), entry, id as u64) {
            crate::error!("CPU {id} did not start: {e}");
            continue;
        }
        let limit = timer::now_ns() + 1_000_000_000;
        let data = percpu::of(id);
        while !data.is_some_and(|c| c.online.load(Ordering::Acquire)) && timer::now_ns() < limit {
            core::hint::spin_loop();
        }
        if data.is_some_and(|c| c.online.load(Ordering::Acquire)) {
            started += 1;
        } else {
            crate::error!("CPU {id} was started but did not come up within a second");
        }
    }
    started
}

/// First Rust code of a secondary CPU.
#[unsafe(no_mangle)]
extern "C" fn sis_secondary_start(id: u64) -> ! {
    percpu::install(id as usize);
    init_cpu();
    if crate::irq::init_cpu().is_err() {
        cpu::park_forever();
    }
    match SECONDARY_MAIN.get() {
        Some(main) => main(),
        None => cpu::park_forever(),
    }
}

/// What every CPU sets up for itself.
pub(crate) fn init_cpu() {
    timer::init_cpu();
    crate::mm::usercopy::init_cpu();
    crate::mm::uspace::leave_boot_map();
    if let Some(stack) = KernelStack::new() {
        percpu::get().emergency_stack_top.set(stack.top() as u64);
        core::mem::forget(stack);
    }
}

/// Marks this CPU as scheduling.
pub fn set_online() {
    percpu::get().online.store(true, Ordering::Release);
}
