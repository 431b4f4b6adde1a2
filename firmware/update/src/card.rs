//! The card that the board was started from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sis_bundle::Slot;

use crate::UpdateError;

/// Names of partitions, as the partition table has them.
const SELECT: &str = "select";
const ROOTS: [(&str, Slot); 2] = [("slot-a", Slot::A), ("slot-b", Slot::B)];

/// Where the kernel and the image say what there is; other folders in tests.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/proc/mounts`.
    pub mounts: PathBuf,
    /// `/sys/class/block`.
    pub block: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/etc/sis`.
    pub etc: PathBuf,
    /// `/`.
    pub root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            mounts: "/proc/mounts".into(),
            block: "/sys/class/block".into(),
            dev: "/dev".into(),
            etc: "/etc/sis".into(),
            root: "/".into(),
        }
    }
}

/// What system runs: `release.json`, which the image has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The board's name.
    pub board: String,
    /// The system's version.
    pub version: semver::Version,
    /// Git revision that it was built from.
    pub revision: String,
    /// Names the kernel.
    pub build_id: String,
}

/// A card with two systems, of which one runs.
#[derive(Clone, Debug)]
pub struct Card {
    /// The slot that runs.
    pub running: Slot,
    /// What runs there.
    pub release: Release,
    /// PEM texts of the keys whose updates are taken.
    pub keys: Vec<String>,
    /// Devices by the names of their partitions.
    partitions: BTreeMap<String, PathBuf>,
}

/// The name of the device that a `/proc/mounts` text has as the root.
#[must_use]
pub fn root_device(table: &str) -> Option<&str> {
    table.lines().rev().find_map(|line| {
        let (source, rest) = line.split_once(' ')?;
        let is_root = rest.split(' ').next() == Some("/");
        source.strip_prefix("/dev/").filter(|_| is_root)
    })
}

/// A field of a `uevent` text.
fn field<'a>(uevent: &'a str, key: &str) -> Option<&'a str> {
    uevent
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The devices of the partitions beside `device`, by the partitions' names.
#[must_use]
pub fn partitions(places: &Places, device: &str) -> BTreeMap<String, PathBuf> {
    // Below the disk's own folder are its partitions.
    let disk = places.block.join(device).join("..");
    let entries = fs::read_dir(disk).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| fs::read_to_string(entry.path().join("uevent")).ok())
        .filter_map(|text| {
            let (name, device) = (field(&text, "PARTNAME")?, field(&text, "DEVNAME")?);
            Some((name.to_owned(), places.dev.join(device)))
        })
        .collect()
}

impl Card {
    /// Looks at the system that runs.
    ///
    /// # Errors
    /// [`UpdateError::NoCard`] where it was not started from such a card.
    pub fn find(places: &Places) -> Result<Self, UpdateError> {
        let none = |what: &str| UpdateError::NoCard(what.into());
        let table = fs::read_to_string(&places.mounts).unwrap_or_default();
        let device = root_device(&table).ok_or_else(|| none("its root is in memory"))?;
        let partitions = partitions(places, device);
        let path = places.dev.join(device);
        let is_root = |name: &str| partitions.get(name) == Some(&path);
        let running = ROOTS.iter().find(|(name, _)| is_root(name)).map(|(_, slot)| *slot);
        let running = running.ok_or_else(|| none("its root is not one of two slots"))?;
        let text = fs::read(places.etc.join("release.json"))
            .map_err(|error| none(&format!("it does not say what it is: {error}")))?;
        let release =
            serde_json::from_slice(&text).map_err(|error| none(&format!("its release.json is not sound: {error}")))?;
        let keys = fs::read_dir(places.etc.join("update-keys"))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .collect();
        Ok(Self {
            running,
            release,
            keys,
            partitions,
        })
    }

    /// The device of a partition.
    ///
    /// # Errors
    /// [`UpdateError::NoCard`] where there is none of that name.
    pub fn partition(&self, name: &str) -> Result<&Path, UpdateError> {
        let found = self.partitions.get(name).map(PathBuf::as_path);
        found.ok_or_else(|| UpdateError::NoCard(format!("it has no partition {name}")))
    }

    /// The device of the partition that the loader reads first.
    ///
    /// # Errors
    /// As [`Self::partition`].
    pub fn select(&self) -> Result<&Path, UpdateError> {
        self.partition(SELECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_s_device_is_the_last_that_covers_it() {
        let table = "rootfs / rootfs rw 0 0\n/dev/mmcblk0p3 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n\
                     /dev/vdb /mnt ext4 rw 0 0\n";
        assert_eq!(root_device(table), Some("mmcblk0p3"));
        assert_eq!(root_device("rootfs / rootfs rw 0 0\n/dev/vda /mnt ext4 rw 0 0\n"), None);
        assert_eq!(root_device("\nnonsense\n"), None);
    }

    #[test]
    fn a_partition_is_known_by_its_whole_name() {
        let text = "MAJOR=254\nMINOR=5\nDEVNAME=vda5\nDEVTYPE=partition\nPARTN=5\nPARTNAME=data\nPARTUUID=x\n";
        assert_eq!(field(text, "PARTNAME"), Some("data"));
        assert_eq!(field(text, "PARTN"), Some("5"));
        assert_eq!(field(text, "PART"), None);
    }
}
