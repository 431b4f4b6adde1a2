//! Puts the drivers together.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use sis_core::init::{ConsolePort, NetPort, Platform};
use sis_drivers::bcm_mailbox::{ClockId, Mailbox};
use sis_drivers::bcm_power::BcmPower;
use sis_drivers::framebuffer::Framebuffer;
use sis_drivers::gicv2::GicV2;
use sis_drivers::pl011::{LineRate, Pl011};
use sis_drivers::rng200::Rng200;
use sis_drivers::spin_table::SpinTable;
use sis_hal::{CpuPower, Display, Entropy, IrqController, Mpidr, PhysAddr, TemperatureSensor};
use sis_machine::firmware::SpinTableMemory;
use sis_machine::io::Mmio;
use sis_machine::mm::dma::DmaMemory;
use sis_machine::timer::MonotonicClock;
use sis_machine::{BootInfo, firmware, irq, log, tree};
use sis_soc_bcm2711 as soc;

use crate::map::{frame_buffer, registers};
use crate::usb;
use crate::{cards, ethernet};

/// Pixels of the console's display: legible on a television, and what every display can be driven with.
const DISPLAY_WIDTH: u32 = 1024;
const DISPLAY_HEIGHT: u32 = 768;

/// The firmware's mailbox.
pub(crate) type BoardMailbox = Mailbox<Mmio, DmaMemory, MonotonicClock>;

/// What the machine calls when memory works.
pub fn main(info: BootInfo) -> ! {
    let mailbox = mailbox(&info);
    let console = console(&info, mailbox);
    log::marker("UART: READY");
    if let Some(gic) = interrupt_controller(&info) {
        irq::set_controller(gic);
    }
    match irq::init_cpu() {
        Ok(()) => log::marker("GIC: INIT"),
        Err(e) => panic!("interrupt controller: {e}"),
    }
    set_power(&info);
    if let Some(mailbox) = mailbox {
        firmware::set_restart_argument_taker(mailbox);
    }
    let platform = Platform {
        name: String::from(info.fdt.root().str("model").unwrap_or("Raspberry Pi 4")),
        console,
        cpu_power: spin_table(&info),
        nets: networks(&info, mailbox),
        disks: cards::find(&info, mailbox),
        entropy: entropy(&info),
        wall_clock: None,
        temperature: mailbox.map(|m| m as &dyn TemperatureSensor),
        display: mailbox.and_then(|m| display(&info, m)),
    };
    sis_core::init::run(platform, info)
}

/// The socket on the board, then what is plugged into the USB port.
fn networks(info: &BootInfo, mailbox: Option<&BoardMailbox>) -> Vec<NetPort> {
    let mut nets: Vec<NetPort> = ethernet::network(info, mailbox).into_iter().collect();
    nets.extend(usb::network(info, mailbox));
    nets
}

/// The firmware's property mailbox, which knows the clocks.
fn mailbox(info: &BootInfo) -> Option<&'static BoardMailbox> {
    let at = tree::find_or_known(&info.fdt, &soc::MAILBOX);
    let window = registers(at.range(0).map(|(start, len)| (start, len.max(0x40))))?;
    let buffer = DmaMemory::new_below(4096, soc::LEGACY_DMA_LIMIT.as_u64(), soc::LEGACY_DMA_ALIAS)?;
    match Mailbox::new(window, buffer, MonotonicClock) {
        Ok(m) => Some(Box::leak(Box::new(m))),
        Err(e) => {
            sis_machine::error!("mailbox: {e}");
            None
        }
    }
}

/// What the firmware shows on HDMI. A display of another size is scaled to by the firmware.
fn display(info: &BootInfo, mailbox: &BoardMailbox) -> Option<&'static dyn Display> {
    let made = match mailbox.frame_buffer(DISPLAY_WIDTH, DISPLAY_HEIGHT) {
        Ok(made) => made,
        Err(e) => {
            sis_machine::info!("no display: {e}");
            return None;
        }
    };
    let memory = frame_buffer(info, soc::frame_buffer_address(made.bus_addr), made.size_bytes as usize)?;
    let (width, height) = (made.width as usize, made.height as usize);
    match Framebuffer::new(memory, width, height, made.pitch_bytes as usize) {
        Ok(display) => Some(Box::leak(Box::new(display))),
        Err(e) => {
            sis_machine::error!("display: {e}");
            None
        }
    }
}

fn console(info: &BootInfo, mailbox: Option<&'static BoardMailbox>) -> Option<ConsolePort> {
    let at = tree::find_or_known(&info.fdt, &soc::UART0);
    let port: &'static Pl011<_> = Box::leak(Box::new(Pl011::new(registers(at.range(0))?)));
    let clock_hz = mailbox
        .and_then(|m| m.clock_rate_hz(ClockId::Uart).ok())
        .filter(|hz| *hz > 0)
        .unwrap_or(soc::DEFAULT_UART_CLOCK_HZ);
    match port.init(LineRate::FirmwareOr {
        clock_hz,
        baud: 115_200,
    }) {
        Ok(()) => log::set_console(port),
        Err(e) => sis_machine::error!("console: {e}"),
    }
    Some(ConsolePort {
        device: port,
        irq: at.irq,
    })
}

fn interrupt_controller(info: &BootInfo) -> Option<&'static dyn IrqController> {
    let at = tree::find_or_known(&info.fdt, &soc::GIC);
    match GicV2::new(registers(at.range(0))?, registers(at.range(1))?) {
        Ok(gic) => Some(Box::leak(Box::new(gic))),
        Err(e) => panic!("GIC-400: {e}"),
    }
}

/// The cores wait in the firmware's spin table; there is no PSCI.
fn spin_table(info: &BootInfo) -> Option<&'static dyn CpuPower> {
    let cpus: Vec<(Mpidr, PhysAddr)> = info
        .fdt
        .cpus()
        .zip(soc::SPIN_TABLE)
        .map(|(cpu, known)| (Mpidr::new(cpu.mpidr), cpu.release_addr.map_or(known, PhysAddr)))
        .collect();
    Some(Box::leak(Box::new(SpinTable::new(SpinTableMemory, cpus))))
}

/// The watchdog block restarts the board, and tells the firmware to stay off.
fn set_power(info: &BootInfo) {
    let at = tree::find_or_known(&info.fdt, &soc::POWER);
    if let Some(window) = registers(at.range(0)) {
        firmware::set_power(Box::leak(Box::new(BcmPower::new(window, MonotonicClock))));
    }
}

/// The hardware generator; QEMU has none, and takes it out of the device tree.
fn entropy(info: &BootInfo) -> Vec<&'static dyn Entropy> {
    let mut out: Vec<&'static dyn Entropy> = Vec::new();
    if let Some(window) = tree::find(&info.fdt, &soc::RNG).and_then(|at| registers(at.range(0))) {
        out.push(Box::leak(Box::new(Rng200::new(window, MonotonicClock))));
    }
    out
}
