//! `card.json`: what a card's image holds, from what. It is what is signed.

use super::layout::Place;
use crate::manifest::{FileRecord, PackageRecord};
use serde::{Deserialize, Serialize};

/// Version of the shape of [`CardManifest`].
pub const SCHEMA: u32 = 1;

/// What an image of a card consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The board's name.
    pub board: String,
    /// The workspace's version.
    pub version: String,
    /// Git revision that the kernel and the root were built from.
    pub revision: String,
    /// Names the kernel.
    pub build_id: String,
    /// Cargo profile of the kernel.
    pub profile: String,
    /// The image.
    pub image: FileRecord,
    /// Its block map.
    pub bmap: FileRecord,
    /// The disk's identification.
    pub disk: String,
    /// By number.
    pub partitions: Vec<PartitionRecord>,
    /// What is in `boot-a`, by path.
    pub boot: Vec<FileRecord>,
    /// The root archive whose content is in `slot-a`.
    pub root: FileRecord,
    /// Where the board's firmware comes from; none where it needs none.
    pub firmware: Option<String>,
    /// Foreign packages that parts were taken from.
    pub packages: Vec<PackageRecord>,
    /// What made the ext4 file systems.
    pub mke2fs: String,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// From 1.
    pub number: u32,
    /// Its name in the table.
    pub name: String,
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its own identification, as `root=PARTUUID=` takes it.
    pub partuuid: String,
    /// Its file system, as Linux names it.
    pub filesystem: String,
    /// SHA-256 of all of it, lower-case hexadecimal.
    pub sha256: String,
}

impl PartitionRecord {
    pub(super) fn new(place: &Place, sha256: String) -> Self {
        Self {
            number: place.role as u32,
            name: place.role.name().into(),
            offset: place.offset,
            size: place.bytes,
            partuuid: place.part_uuid.to_string(),
            filesystem: place.role.filesystem().into(),
            sha256,
        }
    }
}
