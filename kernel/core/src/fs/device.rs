//! Device numbers and what answers them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use sis_machine::sync::{Rank, SpinLock};

use super::file::File;
use super::inode::{FileType, split_dev};
use crate::{Errno, Result};

/// Makes what an open of the device works on; the argument is open(2)'s flags.
pub type Factory = Arc<dyn Fn(u32) -> Result<Arc<dyn File>> + Send + Sync>;

type Key = (bool, u32, u32);

static DEVICES: SpinLock<BTreeMap<Key, Factory>> = SpinLock::new(Rank::Leaf, BTreeMap::new());

/// Says what answers opens of a device. `EBUSY` when the number is taken.
pub fn register(kind: FileType, major: u32, minor: u32, factory: Factory) -> Result<()> {
    let key = (kind == FileType::CharDevice, major, minor);
    let mut devices = DEVICES.lock();
    if devices.contains_key(&key) {
        return Err(Errno::EBUSY);
    }
    devices.insert(key, factory);
    Ok(())
}

/// Nothing answers opens of a device any more.
pub fn unregister(kind: FileType, major: u32, minor: u32) {
    let old = DEVICES.lock().remove(&(kind == FileType::CharDevice, major, minor));
    drop(old);
}

/// Opens a device; `ENXIO` when nothing answers.
pub fn open(kind: FileType, dev: u64, flags: u32) -> Result<Arc<dyn File>> {
    let (major, minor) = split_dev(dev);
    let factory = DEVICES
        .lock()
        .get(&(kind == FileType::CharDevice, major, minor))
        .cloned();
    match factory {
        Some(f) => f(flags),
        None => Err(Errno::ENXIO),
    }
}

/// /proc/devices: majors in use.
pub fn listing() -> alloc::string::String {
    let keys: alloc::vec::Vec<Key> = DEVICES.lock().keys().copied().collect();
    let mut out = alloc::string::String::new();
    for (is_char, title) in [(true, "Character devices:\n"), (false, "\nBlock devices:\n")] {
        out.push_str(title);
        let mut majors: alloc::vec::Vec<u32> = keys.iter().filter(|k| k.0 == is_char).map(|k| k.1).collect();
        majors.dedup();
        for m in majors {
            let name = match m {
                1 if is_char => "mem",
                4 | 5 if is_char => "tty",
                10 if is_char => "misc",
                179 if !is_char => "mmc",
                254 if !is_char => "virtblk",
                259 if !is_char => "blkext",
                _ => "device",
            };
            out.push_str(&alloc::format!("{m:>3} {name}\n"));
        }
    }
    out
}
