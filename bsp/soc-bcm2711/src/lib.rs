//! The BCM2711 of the Raspberry Pi 4: where devices are, which interrupts they raise, how bus addresses translate.
//!
//! Where the device tree speaks, the tree is right (the firmware edits it); these numbers are the fallback, and what the
//! first character is printed with. Sources: *BCM2711 ARM Peripherals*, 2022-01-18 (its section is given as "manual"),
//! Linux 6.1's `bcm2711.dtsi`, `bcm283x.dtsi` and `bcm2711-rpi-4-b.dts`, and the Raspberry Pi firmware's `armstub8.S`.
#![no_std]
#![forbid(unsafe_code)]

use sis_hal::{BusAddr, DeviceSpec, DmaWindow, IrqLine, IrqNumber, PhysAddr, RegisterRange};

/// The device tree's `/compatible` of the board.
pub const BOARD_COMPATIBLE: &[&str] = &["raspberrypi,4-model-b", "brcm,bcm2711"];

/// Manual, 1.2.4: low peripheral mode, which the firmware selects. Bus address 0x7e00_0000 appears here.
pub const PERIPHERALS_BASE: PhysAddr = PhysAddr(0xfe00_0000);

/// Manual, chapter 11: the console on the header's pins 8 and 10, with `dtoverlay=disable-bt`.
///
/// Four more ports follow it at 0x400, 0x600, 0x800 and 0xa00, on the same interrupt.
pub const UART0: DeviceSpec = DeviceSpec {
    compatible: &["arm,pl011"],
    registers: &[RegisterRange::new(0xfe20_1000, 0x200)],
    irqs: &[IrqLine::level_spi(121)],
};

/// Manual, 2.1: the registers that switch the auxiliary block's devices on. Shares its interrupt with them.
pub const AUX: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-aux"],
    registers: &[RegisterRange::new(0xfe21_5000, 0x8)],
    irqs: &[IrqLine::level_spi(93)],
};

/// Manual, 2.2: the mini-UART.
pub const MINI_UART: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-aux-uart"],
    registers: &[RegisterRange::new(0xfe21_5040, 0x40)],
    irqs: &[IrqLine::level_spi(93)],
};

/// Manual, 6.5.1: the GIC-400, distributor and CPU interface (0xff84_1000 in low peripheral mode).
pub const GIC: DeviceSpec = DeviceSpec {
    compatible: &["arm,gic-400"],
    registers: &[
        RegisterRange::new(0xff84_1000, 0x1000),
        RegisterRange::new(0xff84_2000, 0x2000),
    ],
    irqs: &[],
};

/// The mailbox to the VideoCore (not in the manual; the firmware's wiki, "Mailboxes").
pub const MAILBOX: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-mbox"],
    registers: &[RegisterRange::new(0xfe00_b880, 0x40)],
    irqs: &[IrqLine::level_spi(33)],
};

/// Power management, reset and watchdog (not in the manual).
pub const POWER: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-pm", "brcm,bcm2835-pm", "brcm,bcm2835-pm-wdt"],
    registers: &[RegisterRange::new(0xfe10_0000, 0x114)],
    irqs: &[],
};

/// The USB 2.0 controller of the USB-C port (not in the manual). Its role is the tree's `dr_mode`.
pub const USB: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2708-usb", "brcm,bcm2835-usb"],
    registers: &[RegisterRange::new(0xfe98_0000, 0x1_0000)],
    irqs: &[IrqLine::level_spi(73)],
};

/// The random number generator (not in the manual). QEMU's `raspi4b` has none, and takes the node out of the tree: touch
/// it only when the tree has it.
pub const RNG: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-rng200"],
    registers: &[RegisterRange::new(0xfe10_4000, 0x28)],
    irqs: &[],
};

/// Manual, chapter 5: the pins.
pub const GPIO: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-gpio"],
    registers: &[RegisterRange::new(0xfe20_0000, 0xf4)],
    irqs: &[
        IrqLine::level_spi(113),
        IrqLine::level_spi(114),
        IrqLine::level_spi(115),
        IrqLine::level_spi(116),
    ],
};

/// The voltage and temperature monitor (not in the manual); the thermometer is its child `brcm,bcm2711-thermal`. As with
/// [`RNG`], only when the tree has it.
pub const THERMAL: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-avs-monitor"],
    registers: &[RegisterRange::new(0xfd5d_2000, 0xf00)],
    irqs: &[],
};

/// Manual, chapter 10: the free-running 1 MHz system timer. Channels 0 and 2 are the firmware's.
pub const SYSTEM_TIMER: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-system-timer"],
    registers: &[RegisterRange::new(0xfe00_3000, 0x1000)],
    irqs: &[
        IrqLine::level_spi(64),
        IrqLine::level_spi(65),
        IrqLine::level_spi(66),
        IrqLine::level_spi(67),
    ],
};

/// The SD host of the card slot on the board.
pub const EMMC2: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-emmc2"],
    registers: &[RegisterRange::new(0xfe34_0000, 0x100)],
    irqs: &[IrqLine::level_spi(126)],
};

/// The older SD host: the wireless chip on the board, the card under QEMU. Shares its interrupt with [`EMMC2`].
pub const EMMC: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-sdhci"],
    registers: &[RegisterRange::new(0xfe30_0000, 0x100)],
    irqs: &[IrqLine::level_spi(126)],
};

/// The gigabit Ethernet controller.
pub const GENET: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2711-genet-v5"],
    registers: &[RegisterRange::new(0xfd58_0000, 0x1_0000)],
    irqs: &[IrqLine::level_spi(157), IrqLine::level_spi(158)],
};

/// Where [`GENET`]'s PHY answers on the MDIO bus (`bcm2711-rpi-4-b.dts`, `/scb/ethernet@7d580000/mdio@e14`).
pub const GENET_PHY_ADDRESS: u32 = 1;

/// How much memory the masters of the system's own bus reach, without an offset ([`GENET`]; the tree's `/scb/dma-ranges`).
pub const SCB_DMA_LIMIT: PhysAddr = PhysAddr(0xfc00_0000);

/// The USB 2.0 controller behind the USB-C socket, and QEMU's only USB.
pub const USB_DWC2: DeviceSpec = DeviceSpec {
    compatible: &["brcm,bcm2835-usb"],
    registers: &[RegisterRange::new(0xfe98_0000, 0x1_0000)],
    irqs: &[IrqLine::level_spi(73)],
};

/// The EL1 physical timer, PPI 14 (`bcm2711.dtsi`, `/timer`; manual, 6.3).
pub const TIMER_PHYS_IRQ: IrqNumber = IrqNumber::ppi(14);

/// The virtual timer, PPI 11.
pub const TIMER_VIRT_IRQ: IrqNumber = IrqNumber::ppi(11);

/// What `CNTFRQ_EL0` reads after the firmware's stub: the 54 MHz crystal. QEMU has 62.5 MHz: read the register.
pub const TIMER_HZ: u64 = 54_000_000;

/// The PL011's clock as the firmware sets it by default (`init_uart_clock`). Ask the mailbox for the real one.
pub const DEFAULT_UART_CLOCK_HZ: u32 = 48_000_000;

/// The core clock, which the mini-UART's divisor counts (manual, 2.2.1), at the Pi 4's default `core_freq`. It moves with
/// the load unless the firmware pins it: ask the mailbox for the real one.
pub const DEFAULT_CORE_CLOCK_HZ: u32 = 500_000_000;

/// Where the cores wait, by core number (`armstub8.S`, `spin_cpu0` on; `cpu-release-addr` in the device tree).
pub const SPIN_TABLE: [PhysAddr; 4] = [PhysAddr(0xd8), PhysAddr(0xe0), PhysAddr(0xe8), PhysAddr(0xf0)];

/// The `enable-method` of the CPUs that goes with [`SPIN_TABLE`].
pub const SPIN_TABLE_METHOD: &str = "spin-table";

/// Bytes of memory from 0 on that belong to the firmware's stub and its spin table.
pub const STUB_BYTES: u64 = 0x1000;

/// Where the first gigabyte of memory appears to the legacy masters: mailbox, legacy DMA, DWC2 (manual, 1.2.4; the
/// tree's `/soc/dma-ranges`), past the VideoCore's own cache.
pub const LEGACY_DMA_ALIAS: u64 = 0xc000_0000;

/// How much memory the legacy masters reach.
pub const LEGACY_DMA_LIMIT: PhysAddr = PhysAddr(0x4000_0000);

/// Where the CPU sees what the VideoCore allocated: bus addresses carry its cache's alias in their upper two bits (firmware's
/// wiki, "Accessing mailboxes").
pub const fn frame_buffer_address(bus: BusAddr) -> PhysAddr {
    PhysAddr(bus.0 & (LEGACY_DMA_LIMIT.0 - 1))
}

/// What the legacy masters reach, and where they see it.
pub const LEGACY_DMA_WINDOW: DmaWindow = DmaWindow {
    start: PhysAddr(0),
    len: LEGACY_DMA_LIMIT.as_u64(),
    bus_start: BusAddr(LEGACY_DMA_ALIAS),
};

/// [`EMMC2`]'s clock as the firmware sets it. Ask the mailbox for the real one.
pub const DEFAULT_EMMC2_CLOCK_HZ: u32 = 100_000_000;

/// [`EMMC`]'s clock at most (it is divided from the core's): too much makes the card's slower, which is safe.
pub const DEFAULT_EMMC_CLOCK_HZ: u32 = 500_000_000;

/// What [`EMMC`]'s capability registers, which it does not have, ought to say: 3.3 V, high speed, no DMA of its own (Linux,
/// `sdhci-iproc.c`, the BCM2835's data).
pub const EMMC_CAPABILITIES: (u32, u32) = (1 << 24 | 1 << 21, 0);

/// The pin of the firmware's expander that puts 1.8 V on the card's signal lines (`bcm2711-rpi-4-b.dts`, `sd_io_1v8_reg`).
pub const EXPANDER_SD_1_8_V: u32 = 128 + 4;

/// The pin of the firmware's expander that supplies the card (`sd_vcc_reg`).
pub const EXPANDER_SD_POWER: u32 = 128 + 6;

/// Where a peripheral's bus address, as device trees and firmware give it, is for the CPU (manual, 1.2.4; the tree's
/// `/soc/ranges` and `/scb/ranges`), or `None` when it is no peripheral's.
pub const fn peripheral_phys_addr(bus: BusAddr) -> Option<PhysAddr> {
    match bus.as_u64() {
        at @ 0x7e00_0000..0x7f80_0000 => Some(PhysAddr(at - 0x7e00_0000 + 0xfe00_0000)),
        at @ 0x7c00_0000..0x7e00_0000 => Some(PhysAddr(at - 0x7c00_0000 + 0xfc00_0000)),
        at @ 0x4000_0000..0x4080_0000 => Some(PhysAddr(at - 0x4000_0000 + 0xff80_0000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{GIC, LEGACY_DMA_WINDOW, UART0, peripheral_phys_addr};
    use sis_hal::{BusAddr, IrqNumber, PhysAddr};

    #[test]
    fn peripherals_translate_as_the_device_tree_says() {
        assert_eq!(
            peripheral_phys_addr(BusAddr(0x7e20_1000)),
            Some(UART0.registers[0].base)
        );
        assert_eq!(peripheral_phys_addr(BusAddr(0x4004_1000)), Some(GIC.registers[0].base));
        assert_eq!(peripheral_phys_addr(BusAddr(0x7d58_0000)), Some(PhysAddr(0xfd58_0000)));
        assert_eq!(peripheral_phys_addr(BusAddr(0x7f80_0000)), None);
        assert_eq!(peripheral_phys_addr(BusAddr(0xc000_0000)), None);
        assert_eq!(UART0.irqs[0].irq, IrqNumber(153));
    }

    #[test]
    fn legacy_masters_reach_one_gigabyte() {
        assert_eq!(
            LEGACY_DMA_WINDOW.bus_addr(PhysAddr(0x1000), 0x1000),
            Some(BusAddr(0xc000_1000))
        );
        assert_eq!(
            LEGACY_DMA_WINDOW.bus_addr(PhysAddr(0x3fff_f000), 0x1000),
            Some(BusAddr(0xffff_f000))
        );
        assert_eq!(LEGACY_DMA_WINDOW.bus_addr(PhysAddr(0x3fff_f000), 0x1001), None);
        assert_eq!(LEGACY_DMA_WINDOW.bus_addr(PhysAddr(u64::MAX), 2), None);
    }
}
