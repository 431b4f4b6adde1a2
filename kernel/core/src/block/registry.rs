//! The disks there are, their names and numbers.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_hal::{BlockDevice, IrqNumber, SECTOR_BYTES, Trigger};
use sis_machine::sync::{Rank, SpinGuard, SpinLock};

use super::disk::Disk;
use super::stats::Totals;
use super::volume::Volume;
use super::{node, partitions, show};
use crate::fs::devfs;
use crate::fs::inode::{make_dev, split_dev};
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

/// Permission bits of nodes in /dev.
const MODE: u32 = 0o600;

/// Device numbers that belong to a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) major: u32,
    pub(super) first_minor: u32,
    pub(super) minors: u32,
}

impl DiskKind {
    const fn numbers(self, index: u32) -> Numbers {
        let (major, minors) = match self {
            Self::Virtio => (VIRTIO_MAJOR, VIRTIO_MINORS),
            Self::Mmc(_) => (MMC_MAJOR, MMC_MINORS),
        };
        Numbers {
            major,
            first_minor: index * minors,
            minors,
        }
    }
}

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

/// Takes a disk over, gives it a name, and looks for partitions on it.
///
/// # Errors
/// `ENXIO` without an interrupt, `EIO` when it cannot be enabled, `ENOMEM`, `EBUSY` when its number is taken.
pub fn attach(port: &DiskPort) -> Result<Arc<Volume>> {
    let (irq, trigger) = port.irq.ok_or(Errno::ENXIO)?;
    let (name, index) = match port.kind {
        DiskKind::Virtio => {
            let is_one = |v: &&Arc<Volume>| v.number() == 0 && v.name().starts_with("vd");
            let before = all().iter().filter(is_one).count() as u32;
            (format!("vd{}", letters(before)), before)
        }
        DiskKind::Mmc(slot) => (format!("mmcblk{slot}"), slot),
    };
    let numbers = port.kind.numbers(index);
    let disk = Disk::start(name, port.device)?;
    sis_machine::irq::register(irq, trigger, init::leak(|| disk.interrupt())).map_err(|_| Errno::EIO)?;
    // What happened before anybody listened.
    disk.interrupt();
    let volume = Arc::new(Volume::whole(disk, make_dev(numbers.major, numbers.first_minor)));
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
    add(&volume);
    partitions::find(&volume, numbers);
    Ok(volume)
}

/// Makes a disk or partition known: node, /sys.
pub(super) fn add(volume: &Arc<Volume>) {
    let (major, minor) = split_dev(volume.device_number());
    if let Err(e) = devfs::register_block(volume.name(), major, minor, MODE, node::factory(volume))
        && e != Errno::EEXIST
    {
        sis_machine::error!("{}: no node in /dev: {e}", volume.name());
    }
    show::add(volume);
    VOLUMES.lock().push(volume.clone());
}

/// Forgets a disk's partitions; `EBUSY` while one is in use.
pub(super) fn remove_partitions(whole: &Volume) -> Result<()> {
    let is_its = |v: &Arc<Volume>| core::ptr::eq(v.disk(), whole.disk()) && v.number() != 0;
    let gone: Vec<Arc<Volume>> = {
        let mut volumes = VOLUMES.lock();
        if whole.users().is_claimed() || volumes.iter().any(|v| is_its(v) && v.users().is_used()) {
            return Err(Errno::EBUSY);
        }
        let gone = volumes.iter().filter(|v| is_its(v)).cloned().collect();
        volumes.retain(|v| !is_its(v));
        gone
    };
    for v in gone {
        let (major, minor) = split_dev(v.device_number());
        devfs::unregister_block(v.name(), major, minor);
        show::remove(&v);
    }
    Ok(())
}

/// The numbers of a disk.
pub(super) fn numbers_of(whole: &Volume) -> Option<Numbers> {
    let (major, first_minor) = split_dev(whole.device_number());
    let minors = match major {
        VIRTIO_MAJOR => VIRTIO_MINORS,
        MMC_MAJOR => MMC_MINORS,
        _ => return None,
    };
    Some(Numbers {
        major,
        first_minor,
        minors,
    })
}

/// The list, while nobody changes it.
pub(super) fn lock() -> SpinGuard<'static, Vec<Arc<Volume>>> {
    VOLUMES.lock()
}

/// Every disk and partition.
pub fn all() -> Vec<Arc<Volume>> {
    VOLUMES.lock().clone()
}

/// The disk or partition of a device number.
pub fn find(device_number: u64) -> Option<Arc<Volume>> {
    all().into_iter().find(|v| v.device_number() == device_number)
}

/// The disk or partition that a word names: `/dev/vda1`, `PARTUUID=…`, `PARTLABEL=…`, or its device number as `254:1`
/// (Linux's root=).
pub fn named(word: &str) -> Option<Arc<Volume>> {
    let all = all();
    let by = |is_it: &dyn Fn(&Volume) -> bool| all.iter().find(|v| is_it(v)).cloned();
    if let Some(name) = word.strip_prefix("/dev/") {
        return by(&|v| v.name() == name);
    }
    if let Some(uuid) = word.strip_prefix("PARTUUID=") {
        return by(&|v| v.info().is_some_and(|i| i.uuid.eq_ignore_ascii_case(uuid)));
    }
    if let Some(label) = word.strip_prefix("PARTLABEL=") {
        return by(&|v| v.info().is_some_and(|i| i.name == label));
    }
    let (major, minor) = word.split_once(':')?;
    let number = make_dev(major.parse().ok()?, minor.parse().ok()?);
    by(&|v| v.device_number() == number)
}

/// Has every disk put what it has taken on stable storage (sync(2), before the power goes). Failures are logged.
pub fn flush_all() {
    for v in all().iter().filter(|v| v.number() == 0 && !v.disk().is_gone()) {
        // The block layer has logged it; sync(2) has no way to say it.
        let _ = v.flush();
    }
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
