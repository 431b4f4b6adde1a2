//! Puts the drivers together.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use sis_core::block::{DiskKind, DiskPort};
use sis_core::init::{ConsolePort, NetPort, Platform};
use sis_drivers::gicv2::GicV2;
use sis_drivers::gicv3::GicV3;
use sis_drivers::pl011::{LineRate, Pl011};
use sis_drivers::pl031::Pl031;
use sis_drivers::psci::Psci;
use sis_hal::{CpuPower, Entropy, FirmwareCall, IrqController, Power, WallClock};
use sis_machine::firmware::{Hvc, Smc};
use sis_machine::irq::SystemRegisters;
use sis_machine::timer::MonotonicClock;
use sis_machine::virtio::{self, Device};
use sis_machine::{BootInfo, firmware, irq, log, tree};
use sis_soc_qemu_virt as soc;

use crate::map::registers;

/// What the machine calls when memory works.
pub fn main(info: BootInfo) -> ! {
    let console = console(&info);
    log::marker("UART: READY");
    if let Some(gic) = interrupt_controller(&info) {
        irq::set_controller(gic);
    }
    match irq::init_cpu() {
        Ok(()) => log::marker("GIC: INIT"),
        Err(e) => panic!("interrupt controller: {e}"),
    }
    let mut nets = Vec::new();
    let mut disks = Vec::new();
    let mut entropy: Vec<&'static dyn Entropy> = Vec::new();
    for node in info.fdt.find_compatible(soc::VIRTIO_MMIO_COMPATIBLE) {
        let at = tree::located(&node);
        let Some(window) = registers(at.range(0)) else { continue };
        match virtio::probe(window) {
            Ok(Some(Device::Net(device))) => nets.push(NetPort { device, irq: at.irq }),
            Ok(Some(Device::Block(device))) => disks.push(DiskPort {
                device,
                irq: at.irq,
                kind: DiskKind::Virtio,
            }),
            Ok(Some(Device::Rng(device))) => entropy.push(device),
            Ok(Some(Device::Other(id))) => sis_machine::info!("virtio device of type {id}: no driver"),
            Ok(None) => {}
            Err(e) => sis_machine::error!("virtio: {e}"),
        }
    }
    let platform = Platform {
        name: String::from("QEMU virt"),
        console,
        cpu_power: psci(&info),
        nets,
        disks,
        entropy,
        wall_clock: wall_clock(&info),
        temperature: None,
        display: None,
    };
    sis_core::init::run(platform, info)
}

fn console(info: &BootInfo) -> Option<ConsolePort> {
    let at = tree::find_or_known(&info.fdt, &soc::UART0);
    let port: &'static Pl011<_> = Box::leak(Box::new(Pl011::new(registers(at.range(0))?)));
    // QEMU has no firmware that would have set the port up; an EFI on the flash would have.
    let rate = LineRate::FirmwareOr {
        clock_hz: soc::UART_CLOCK_HZ,
        baud: 115_200,
    };
    match port.init(rate) {
        Ok(()) => log::set_console(port),
        Err(e) => sis_machine::error!("console: {e}"),
    }
    Some(ConsolePort {
        device: port,
        irq: at.irq,
    })
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

/// PSCI starts CPUs and switches the machine off.
fn psci(info: &BootInfo) -> Option<&'static dyn CpuPower> {
    let node = soc::PSCI_COMPATIBLE
        .iter()
        .flat_map(|c| info.fdt.find_compatible(c))
        .next()?;
    match node.str("method") {
        Some("smc") => with_psci(Smc),
        _ => with_psci(Hvc),
    }
}

fn with_psci(conduit: impl FirmwareCall + 'static) -> Option<&'static dyn CpuPower> {
    match Psci::new(conduit) {
        Ok(psci) => {
            let psci: &'static Psci<_> = Box::leak(Box::new(psci));
            firmware::set_power(psci as &dyn Power);
            Some(psci)
        }
        Err(e) => {
            sis_machine::error!("PSCI: {e}");
            None
        }
    }
}

fn wall_clock(info: &BootInfo) -> Option<&'static dyn WallClock> {
    let at = tree::find(&info.fdt, &soc::RTC)?;
    let clock = Pl031::probe(registers(at.range(0))?)?;
    Some(Box::leak(Box::new(clock)))
}
