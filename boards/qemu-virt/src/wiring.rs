//! Puts the drivers together.

use alloc::boxed::Box;

use sis_drivers::gicv2::GicV2;
use sis_drivers::gicv3::GicV3;
use sis_drivers::pl011::{LineRate, Pl011};
use sis_drivers::psci::Psci;
use sis_hal::{FirmwareCall, IrqController};
use sis_machine::firmware::{Hvc, Smc};
use sis_machine::irq::SystemRegisters;
use sis_machine::timer::MonotonicClock;
use sis_machine::{BootInfo, firmware, irq, log, tree};
use sis_soc_qemu_virt as soc;

use crate::map::registers;

/// What the machine calls when memory works.
pub fn main(info: BootInfo) -> ! {
    let fdt = info.fdt;
    let uart = tree::find_or_known(&fdt, &soc::UART0);
    if let Some(regs) = registers(uart.range(0)) {
        let port: &'static Pl011<_> = Box::leak(Box::new(Pl011::new(regs)));
        // QEMU has no firmware that would have set the port up; an EFI on the flash would have.
        let rate = LineRate::FirmwareOr { clock_hz: soc::UART_CLOCK_HZ, baud: 115_200 };
        match port.init(rate) {
            Ok(()) => log::set_console(port),
            Err(e) => sis_machine::error!("console: {e}"),
        }
    }
    log::marker("UART: READY");
    if let Some(gic) = interrupt_controller(&info) {
        irq::set_controller(gic);
    }
    match irq::init_cpu() {
        Ok(()) => log::marker("GIC: INIT"),
        Err(e) => panic!("interrupt controller: {e}"),
    }
    sis_machine::info!("{} frames free", sis_machine::mm::frames::free_frames());
    panic!("end of the line");
}

fn interrupt_controller(info: &BootInfo) -> Option<&'static dyn IrqController> {
    if let Some(at) = tree::find(&info.fdt, &soc::GIC_V3) {
        let distributor = registers(at.range(0))?;
        // Two 64 KiB frames a CPU; the frames of the CPUs that exist come first.
        let most = sis_machine::cpu::MAX_CPUS * 0x2_0000;
        let redistributors = registers(at.range(1).map(|(start, len)| (start, len.min(most))))?;
        match GicV3::new(distributor, redistributors, SystemRegisters, MonotonicClock) {
            Ok(gic) => return Some(Box::leak(Box::new(gic))),
            Err(e) => panic!("GICv3: {e}"),
        }
    }
    let at = tree::find_or_known(&info.fdt, &soc::GIC_V2);
    match GicV2::new(registers(at.range(0))?, registers(at.range(1))?) {
        Ok(gic) => Some(Box::leak(Box::new(gic))),
        Err(e) => panic!("GICv2: {e}"),
    }
}
