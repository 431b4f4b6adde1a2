//! The Ethernet socket.

use alloc::boxed::Box;

use sis_core::init::NetPort;
use sis_drivers::genet::{BUFFER_BYTES, Genet, GenetError};
use sis_hal::MacAddr;
use sis_machine::mm::dma::DmaMemory;
use sis_machine::timer::MonotonicClock;
use sis_machine::{BootInfo, tree};
use sis_soc_bcm2711 as soc;

use crate::map::registers;
use crate::wiring::BoardMailbox;

/// The controller, where the device tree has one: QEMU, which does not model it, takes it out, and its addresses abort there.
pub(crate) fn network(info: &BootInfo, mailbox: Option<&BoardMailbox>) -> Option<NetPort> {
    let mut nodes = soc::GENET.compatible.iter().flat_map(|c| info.fdt.find_compatible(c));
    let node = nodes.find(|node| node.is_enabled())?;
    let at = tree::located(&node);
    let window = registers(at.range(0))?;
    // The firmware writes the board's address into the tree.
    let from_tree = node
        .property("local-mac-address")
        .and_then(|bytes| bytes.try_into().ok());
    let from_firmware = || mailbox.and_then(|mailbox| mailbox.mac_address().ok());
    let Some(mac) = from_tree
        .map(MacAddr)
        .filter(|mac| mac.0 != [0; 6])
        .or_else(from_firmware)
    else {
        sis_machine::error!("genet: nobody says what its address is");
        return None;
    };
    let memory = DmaMemory::new_below(BUFFER_BYTES, soc::SCB_DMA_LIMIT.as_u64(), 0);
    let made = memory
        .ok_or(GenetError::BadBuffer)
        .and_then(|memory| Genet::new(window, memory, MonotonicClock, mac, soc::GENET_PHY_ADDRESS));
    match made {
        Ok(genet) => Some(NetPort {
            device: Box::leak(Box::new(genet)),
            irq: at.irq,
        }),
        Err(e) => {
            sis_machine::error!("genet: {e}");
            None
        }
    }
}
