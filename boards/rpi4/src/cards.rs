//! The two SD hosts: EMMC2 with the slot on the board, and the older EMMC, which has the wireless chip on a board and a
//! card under QEMU.

use alloc::boxed::Box;
use alloc::vec::Vec;

use sis_core::block::{DiskKind, DiskPort};
use sis_drivers::bcm_mailbox::ClockId;
use sis_drivers::sdhci::{CardError, CardPower, DmaSetup, HostConfig, PowerRefused, SdDisk, Sdhci};
use sis_hal::{BlockDevice, BusAddr, DeviceSpec, DmaBuffer, DmaWindow, PhysAddr};
use sis_machine::io::Mmio;
use sis_machine::mm::dma::DmaMemory;
use sis_machine::timer::MonotonicClock;
use sis_machine::{BootInfo, tree};
use sis_soc_bcm2711 as soc;

use crate::map::registers;
use crate::wiring::BoardMailbox;

/// Bytes for descriptors.
const TABLE_BYTES: usize = 4096;
/// Bytes for data that lies where a controller does not reach.
const BOUNCE_BYTES: usize = 256 * 1024;

/// One of the two, as its documentation has it.
struct Slot {
    spec: &'static DeviceSpec,
    clock: ClockId,
    default_clock_hz: u32,
    /// What the capability registers ought to say where there are none.
    capabilities: Option<(u32, u32)>,
    /// The firmware's expander switches its card's supply and voltage.
    has_regulators: bool,
}

/// In the order of their numbers: `mmcblk0` is the slot on the board.
const SLOTS: [Slot; 2] = [
    Slot {
        spec: &soc::EMMC2,
        clock: ClockId::Emmc2,
        default_clock_hz: soc::DEFAULT_EMMC2_CLOCK_HZ,
        capabilities: None,
        has_regulators: true,
    },
    Slot {
        spec: &soc::EMMC,
        clock: ClockId::Emmc,
        default_clock_hz: soc::DEFAULT_EMMC_CLOCK_HZ,
        capabilities: Some(soc::EMMC_CAPABILITIES),
        has_regulators: false,
    },
];

/// The expander's pins for the card on the board.
struct Regulators(&'static BoardMailbox);

impl CardPower for Regulators {
    fn set_power(&self, is_on: bool) -> Result<(), PowerRefused> {
        let pin = soc::EXPANDER_SD_POWER;
        self.0.set_expander_gpio(pin, is_on).map_err(|_| PowerRefused)
    }

    fn set_signal_1_8(&self, is_1_8: bool) -> Result<(), PowerRefused> {
        let pin = soc::EXPANDER_SD_1_8_V;
        self.0.set_expander_gpio(pin, is_1_8).map_err(|_| PowerRefused)
    }
}

/// The cards that are in the slots now.
pub(crate) fn find(info: &BootInfo, mailbox: Option<&'static BoardMailbox>) -> Vec<DiskPort> {
    let mut disks = Vec::new();
    for (number, slot) in (0..).zip(&SLOTS) {
        match attach(info, mailbox, slot) {
            Ok(Some((device, irq))) => disks.push(DiskPort {
                device,
                irq,
                kind: DiskKind::Mmc(number),
            }),
            Ok(None) => {}
            Err(CardError::NoCard) => sis_machine::info!("mmc{number}: no card"),
            Err(e) => sis_machine::error!("mmc{number}: {e}"),
        }
    }
    disks
}

type Attached = (&'static dyn BlockDevice, Option<(sis_hal::IrqNumber, sis_hal::Trigger)>);

/// `None` when the tree does not have the device.
fn attach(info: &BootInfo, mailbox: Option<&'static BoardMailbox>, slot: &Slot) -> Result<Option<Attached>, CardError> {
    let node = slot
        .spec
        .compatible
        .iter()
        .flat_map(|c| info.fdt.find_compatible(c))
        .find(|n| n.is_enabled());
    let Some(node) = node else { return Ok(None) };
    let at = tree::located(&node);
    let Some(window) = registers(at.range(0)) else {
        return Ok(None);
    };
    let has = |name: &str| node.property(name).is_some();
    let clock_hz = mailbox
        .and_then(|m| m.clock_rate_hz(slot.clock).ok())
        .filter(|hz| *hz > 0)
        .unwrap_or(slot.default_clock_hz);
    let config = HostConfig {
        base_clock_hz: Some(clock_hz),
        max_clock_hz: node.u32("max-frequency").unwrap_or(u32::MAX),
        has_four_bits: node.u32("bus-width").is_none_or(|bits| bits >= 4),
        has_card_detect: !has("broken-cd") && !has("non-removable"),
        has_write_protect: !has("disable-wp") && !has("non-removable"),
        has_auto_cmd23: false,
        capabilities: slot.capabilities,
    };
    let power: Option<&'static dyn CardPower> = match mailbox.filter(|_| slot.has_regulators) {
        Some(mailbox) => Some(Box::leak(Box::new(Regulators(mailbox)))),
        None => None,
    };
    let reach = reach(&node);
    let host = Sdhci::new(window, MonotonicClock, config, power, dma(reach))?;
    let disk: &'static SdDisk<Mmio, MonotonicClock, DmaMemory> = Box::leak(Box::new(host.attach()?));
    let card = disk.info();
    sis_machine::info!(
        "{}: {} card at {}, {} bits, {}",
        node.name(),
        if card.has_block_addresses { "SDHC" } else { "SD" },
        card.mode,
        if card.has_four_bits { 4 } else { 1 },
        host.dma_name(),
    );
    Ok(Some((disk, at.irq)))
}

/// Which memory the controller reaches: what the tree says of its bus, as revisions of the chip differ.
fn reach(node: &sis_algo::fdt::Node<'_>) -> DmaWindow {
    node.dma_range().map_or(soc::LEGACY_DMA_WINDOW, |range| DmaWindow {
        start: PhysAddr(range.start),
        len: range.len,
        bus_start: BusAddr(range.bus_start),
    })
}

/// Memory for DMA that the controller reaches.
fn dma(window: DmaWindow) -> Option<DmaSetup<DmaMemory>> {
    let limit = window.start.checked_add(window.len)?;
    let bus_offset = window.bus_start.as_u64().wrapping_sub(window.start.as_u64());
    let buffer = |len| DmaMemory::new_below(len, limit.as_u64(), bus_offset).filter(|b| b.len() >= len);
    Some(DmaSetup {
        window,
        table: buffer(TABLE_BYTES)?,
        bounce: buffer(BOUNCE_BYTES)?,
    })
}
