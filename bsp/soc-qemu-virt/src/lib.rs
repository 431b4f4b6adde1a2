//! QEMU's `virt` machine: where devices are and which interrupts they raise, where the device tree does not say.
//!
//! QEMU hands every guest a device tree, and the tree wins; these numbers are what a kernel can fall back on (and what it
//! prints its first character with, before it has read anything). Source: QEMU 10.0, `hw/arm/virt.c`, tables
//! `base_memmap` and `a15irqmap` and the `create_*` functions (their names are given below), and `include/hw/arm/virt.h`.
#![no_std]
#![forbid(unsafe_code)]

use sis_hal::{DeviceSpec, IrqLine, IrqNumber, PhysAddr, RegisterRange};

/// `VIRT_MEM`: RAM starts here, and only here.
pub const RAM_BASE: PhysAddr = PhysAddr(0x4000_0000);

/// `VIRT_UART0`: the PL011 console.
pub const UART0: DeviceSpec = DeviceSpec {
    compatible: &["arm,pl011"],
    registers: &[RegisterRange::new(0x0900_0000, 0x1000)],
    irqs: &[IrqLine::level_spi(1)],
};

/// The PL011's reference clock: `create_fdt`, node `/apb-pclk`.
pub const UART_CLOCK_HZ: u32 = 24_000_000;

/// `VIRT_RTC`: the PL031 clock.
pub const RTC: DeviceSpec = DeviceSpec {
    compatible: &["arm,pl031"],
    registers: &[RegisterRange::new(0x0901_0000, 0x1000)],
    irqs: &[IrqLine::level_spi(2)],
};

/// `VIRT_GIC_DIST` and `VIRT_GIC_REDIST`: the interrupt controller with `gic-version=3` (and `max` on most hosts).
///
/// The redistributor region has room for 123 CPUs; the frames of the CPUs that exist come first.
pub const GIC_V3: DeviceSpec = DeviceSpec {
    compatible: &["arm,gic-v3"],
    registers: &[
        RegisterRange::new(0x0800_0000, 0x1_0000),
        RegisterRange::new(0x080a_0000, 0xf6_0000),
    ],
    irqs: &[],
};

/// `VIRT_GIC_DIST` and `VIRT_GIC_CPU`: the interrupt controller with `gic-version=2`.
pub const GIC_V2: DeviceSpec = DeviceSpec {
    compatible: &["arm,cortex-a15-gic", "arm,gic-400"],
    registers: &[
        RegisterRange::new(0x0800_0000, 0x1_0000),
        RegisterRange::new(0x0801_0000, 0x1_0000),
    ],
    irqs: &[],
};

/// `VIRT_FW_CFG`: QEMU's own configuration device.
pub const FW_CFG: DeviceSpec = DeviceSpec {
    compatible: &["qemu,fw-cfg-mmio"],
    registers: &[RegisterRange::new(0x0902_0000, 0x18)],
    irqs: &[],
};

/// The `compatible` string of every virtio transport.
pub const VIRTIO_MMIO_COMPATIBLE: &str = "virtio,mmio";

/// `NUM_VIRTIO_TRANSPORTS`. QEMU fills them from the last to the first.
pub const VIRTIO_MMIO_COUNT: usize = 32;

/// `VIRT_MMIO`: the `index`th virtio transport (`create_virtio_devices`), or `None` from [`VIRTIO_MMIO_COUNT`] on.
///
/// The interrupts are edges: the device tree says so, and the transport holds its line until it is acknowledged.
pub const fn virtio_mmio(index: usize) -> Option<(RegisterRange, IrqLine)> {
    if index >= VIRTIO_MMIO_COUNT {
        return None;
    }
    let range = RegisterRange::new(0x0a00_0000 + 0x200 * index as u64, 0x200);
    Some((range, IrqLine::edge_spi(16 + index as u32)))
}

/// `ARCH_TIMER_NS_EL1_IRQ`: the EL1 physical timer, PPI 14.
pub const TIMER_PHYS_IRQ: IrqNumber = IrqNumber::ppi(14);

/// `ARCH_TIMER_VIRT_IRQ`: the virtual timer, PPI 11.
pub const TIMER_VIRT_IRQ: IrqNumber = IrqNumber::ppi(11);

/// The device tree's `/psci` node. Its `method` says `hvc`, or `smc` with `virtualization=on` (`fdt_add_psci_node`).
pub const PSCI_COMPATIBLE: &[&str] = &["arm,psci-1.0", "arm,psci-0.2"];

#[cfg(test)]
mod tests {
    use super::{VIRTIO_MMIO_COUNT, virtio_mmio};
    use sis_hal::{IrqNumber, PhysAddr, Trigger};

    #[test]
    fn virtio_transports_are_where_the_device_tree_of_qemu_has_them() {
        let (range, line) = virtio_mmio(0).unwrap();
        assert_eq!((range.base, range.size_bytes), (PhysAddr(0x0a00_0000), 0x200));
        assert_eq!((line.irq, line.trigger), (IrqNumber(48), Trigger::Edge));
        let (range, line) = virtio_mmio(31).unwrap();
        assert_eq!((range.base, line.irq), (PhysAddr(0x0a00_3e00), IrqNumber::spi(0x2f)));
        assert_eq!(virtio_mmio(VIRTIO_MMIO_COUNT), None);
    }
}
