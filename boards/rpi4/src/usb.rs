//! What is plugged into the USB-C port: an Ethernet adapter.

use alloc::boxed::Box;
use alloc::vec::Vec;

use sis_core::init::NetPort;
use sis_drivers::bcm_mailbox::PowerDevice;
use sis_drivers::dwc2::{CONTROL_BUFFER_BYTES, Dwc2, NET_BUFFER_BYTES, UsbNet};
use sis_drivers::usb::descriptor::DeviceDescriptor;
use sis_drivers::usb::enumerate::Visitor;
use sis_drivers::usb::{CdcEther, Device, UsbError, enumerate};
use sis_machine::io::Mmio;
use sis_machine::mm::dma::DmaMemory;
use sis_machine::timer::MonotonicClock;
use sis_machine::{BootInfo, tree};
use sis_soc_bcm2711 as soc;

use crate::map::registers;
use crate::wiring::BoardMailbox;

type Host = Dwc2<Mmio, DmaMemory, MonotonicClock>;

/// The first Ethernet adapter.
pub(crate) fn network(info: &BootInfo, mailbox: Option<&BoardMailbox>) -> Vec<NetPort> {
    let mut out = Vec::new();
    match adapter(info, mailbox) {
        Ok(Some(port)) => out.push(port),
        Ok(None) | Err(UsbError::NoDevice) => {}
        Err(UsbError::DeviceMode) => sis_machine::info!(
            "usb: the USB-C port works as a device; dtoverlay=dwc2,dr_mode=host in config.txt makes it a host"
        ),
        Err(e) => sis_machine::error!("usb: {e}"),
    }
    out
}

fn adapter(info: &BootInfo, mailbox: Option<&BoardMailbox>) -> Result<Option<NetPort>, UsbError> {
    let Some(node) = soc::USB
        .compatible
        .iter()
        .flat_map(|c| info.fdt.find_compatible(c))
        .find(|n| n.is_enabled())
    else {
        return Ok(None);
    };
    let at = tree::located(&node);
    let (Some(window), Some(irq)) = (registers(at.range(0)), at.irq) else {
        return Ok(None);
    };
    if let Some(Err(e)) = mailbox.map(|m| m.power_on(PowerDevice::Usb)) {
        sis_machine::warn!("usb: the firmware was asked for power: {e}");
    }
    let host = Host::new(
        window,
        memory(CONTROL_BUFFER_BYTES)?,
        MonotonicClock,
        node.str("dr_mode") == Some("host"),
    )?;
    let speed = host.reset_port()?;
    let mut search = Search {
        host: &host,
        found: None,
    };
    enumerate(&host, speed, &mut search)?;
    let Some(cdc) = search.found else {
        return Ok(None);
    };
    let device = Box::leak(Box::new(UsbNet::new(host, cdc, memory(NET_BUFFER_BYTES)?)?));
    Ok(Some(NetPort { device, irq: Some(irq) }))
}

/// Memory that the controller reaches.
fn memory(len: usize) -> Result<DmaMemory, UsbError> {
    DmaMemory::new_below(len, soc::LEGACY_DMA_LIMIT.as_u64(), soc::LEGACY_DMA_ALIAS).ok_or(UsbError::BadBuffer)
}

struct Search<'a> {
    host: &'a Host,
    found: Option<CdcEther>,
}

impl Visitor for Search<'_> {
    fn device(&mut self, device: &Device, descriptor: &DeviceDescriptor) -> bool {
        let (vendor, product) = (descriptor.vendor, descriptor.product);
        match CdcEther::configure(self.host, device, descriptor) {
            Ok(Some(cdc)) => {
                self.found = Some(cdc);
                return true;
            }
            Ok(None) => sis_machine::info!("usb: {vendor:04x}:{product:04x}: no driver"),
            Err(e) => sis_machine::error!("usb: {vendor:04x}:{product:04x}: {e}"),
        }
        false
    }

    fn failed(&mut self, error: UsbError) {
        sis_machine::error!("usb: {error}");
    }
}
