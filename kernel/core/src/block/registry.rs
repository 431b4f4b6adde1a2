//! The disks there are, their names and numbers.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_hal::{BlockDevice, IrqNumber, SECTOR_BYTES, Trigger};
use sis_machine::sync::{Rank, SpinLock};

use super::disk::Disk;
use super::stats::Totals;
use super::volume::Volume;
use crate::fs::inode::make_dev;
use crate::{Errno, Result, init};

/// What kind of disk it is: decides its name and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// `vda`, major 254.
    Virtio,
    /// `mmcblk0`, major 179; the number is the slot's.
    Mmc(u32),
}

/// A disk of the board.
pub struct DiskPort {
    /// The device; its `poll` is the interrupt handler.
    pub device: &'static dyn BlockDevice,
    /// Its interrupt.
    pub irq: Option<(IrqNumber, Trigger)>,
    /// What it is.
    pub kind: DiskKind,
}

/// Major number of virtio disks: the first that Linux gives away on demand.
const VIRTIO_MAJOR: u32 = 254;
/// Minors of a virtio disk.
const VIRTIO_MINORS: u32 = 16;
/// Major number of cards (Linux's Documentation/admin-guide/devices.txt).
const MMC_MAJOR: u32 = 179;
/// Minors of a card.
const MMC_MINORS: u32 = 8;

static VOLUMES: SpinLock<Vec<Arc<Volume>>> = SpinLock::new(Rank::Leaf, Vec::new());

/// `a`, …, `z`, `aa`, …: the letters of the `n`th disk.
fn letters(mut n: u32) -> String {
    let mut out = Vec::new();
    loop {
        out.push(char::from(b'a' + (n % 26) as u8));
        if n < 26 {
            break;
        }
        n = n / 26 - 1;
    }
    out.iter().rev().collect()
}

/// Takes a disk over and gives it a name.
///
/// # Errors
/// `ENXIO` without an interrupt, `EIO` when it cannot be enabled, `ENOMEM`.
pub fn attach(port: &DiskPort) -> Result<Arc<Volume>> {
    let (irq, trigger) = port.irq.ok_or(Errno::ENXIO)?;
    let (name, number) = match port.kind {
        DiskKind::Virtio => {
            let before = all()
                .iter()
                .filter(|v| v.number() == 0 && v.name().starts_with("vd"))
                .count() as u32;
            (
                format!("vd{}", letters(before)),
                make_dev(VIRTIO_MAJOR, before * VIRTIO_MINORS),
            )
        }
        DiskKind::Mmc(slot) => (format!("mmcblk{slot}"), make_dev(MMC_MAJOR, slot * MMC_MINORS)),
    };
    let disk = Disk::start(name, port.device)?;
    sis_machine::irq::register(irq, trigger, init::leak(|| disk.interrupt())).map_err(|_| Errno::EIO)?;
    let volume = Arc::new(Volume::whole(disk, number));
    VOLUMES.lock().push(volume.clone());
    let l = disk.limits();
    sis_machine::info!(
        "block: {}: {} blocks of {} bytes ({} MiB){}, {} queue(s) of {}",
        disk.name(),
        l.sector_count / (u64::from(l.logical_block_bytes) / SECTOR_BYTES).max(1),
        l.logical_block_bytes,
        l.sector_count / 2048,
        if l.is_read_only { ", read-only" } else { "" },
        l.queue_count,
        l.queue_depth
    );
    Ok(volume)
}

/// Every disk and partition.
pub fn all() -> Vec<Arc<Volume>> {
    VOLUMES.lock().clone()
}

/// The disk or partition of a device number.
pub fn find(device_number: u64) -> Option<Arc<Volume>> {
    all().into_iter().find(|v| v.device_number() == device_number)
}

/// Reads and writes of all disks together; `None` without a disk.
pub fn totals() -> Option<Totals> {
    let mut sum: Option<Totals> = None;
    for v in all().iter().filter(|v| v.number() == 0) {
        let t = v.stats().totals();
        let s = sum.get_or_insert_default();
        s.reads += t.reads;
        s.writes += t.writes;
        s.read_bytes += t.read_bytes;
        s.written_bytes += t.written_bytes;
        s.errors += t.errors;
    }
    sum
}
