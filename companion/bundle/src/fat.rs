//! Just enough of FAT32 to find where on a partition the content of a file in its root begins (Microsoft's FAT specification,
//! 1.03). Every number comes from the disk: each is checked, and nothing is followed for longer than a root can be.

use std::io;
use std::ops::Range;

const SECTOR_BYTES: usize = 512;
const ENTRY_BYTES: usize = 32;
/// More clusters than the root of a partition that a loader reads has.
const ROOT_CLUSTERS_MAX: usize = 1024;
const FIRST_CLUSTER: u32 = 2;
/// Clusters of FAT32 have 28 bits; from here on they end a chain.
const CLUSTER_MASK: u32 = 0x0fff_ffff;
const CHAIN_END: u32 = 0x0fff_fff8;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const DELETED: u8 = 0xe5;

/// Reads all of a piece of the partition at a byte offset.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// Where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    cluster_bytes: u64,
    fat_offset: u64,
    data_offset: u64,
    root: u32,
    clusters: u32,
}

/// What is in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its short name, `AUTOBOOT.TXT`.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its first cluster; 0 for an empty file.
    pub cluster: u32,
    /// Bytes of a file.
    pub bytes: u32,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a sound FAT32: {what}"))
}

fn le(bytes: &[u8], at: Range<usize>) -> u32 {
    bytes
        .get(at)
        .unwrap_or_default()
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

impl Geometry {
    /// What the partition's first sector says.
    ///
    /// # Errors
    /// The reader's, and `InvalidData` for what is no FAT32 with sectors of 512 bytes.
    pub fn read(read: &mut ReadAt<'_>) -> io::Result<Self> {
        let mut sector = [0; SECTOR_BYTES];
        read(0, &mut sector)?;
        if sector[510..] != [0x55, 0xaa] || le(&sector, 11..13) as usize != SECTOR_BYTES {
            return Err(bad("the boot sector"));
        }
        let sectors_per_cluster = u64::from(sector[13]);
        let (reserved, fats) = (u64::from(le(&sector, 14..16)), u64::from(sector[16]));
        let (total, fat) = (u64::from(le(&sector, 32..36)), u64::from(le(&sector, 36..40)));
        let root = le(&sector, 44..48);
        // FAT12 and FAT16 have the length of the FAT elsewhere.
        if !sectors_per_cluster.is_power_of_two() || reserved == 0 || !(1..=2).contains(&fats) || fat == 0 {
            return Err(bad("the boot sector"));
        }
        let data = reserved + fats * fat;
        let clusters = total.checked_sub(data).ok_or_else(|| bad("its length"))? / sectors_per_cluster;
        let sector_bytes = SECTOR_BYTES as u64;
        let geometry = Self {
            cluster_bytes: sectors_per_cluster * sector_bytes,
            fat_offset: reserved * sector_bytes,
            data_offset: data * sector_bytes,
            root,
            clusters: u32::try_from(clusters)
                .ok()
                .filter(|clusters| u64::from(*clusters) * 4 <= fat * sector_bytes)
                .ok_or_else(|| bad("its length"))?,
        };
        geometry.offset_of(root)?;
        Ok(geometry)
    }

    /// Where a cluster begins.
    ///
    /// # Errors
    /// `InvalidData` for a number that is none.
    pub fn offset_of(&self, cluster: u32) -> io::Result<u64> {
        let number = cluster
            .checked_sub(FIRST_CLUSTER)
            .filter(|number| *number < self.clusters);
        let number = number.ok_or_else(|| bad("a cluster's number"))?;
        Ok(self.data_offset + u64::from(number) * self.cluster_bytes)
    }

    /// Everything in the root, in its order.
    ///
    /// # Errors
    /// The reader's, and `InvalidData`.
    pub fn root(&self, read: &mut ReadAt<'_>) -> io::Result<Vec<Entry>> {
        let (mut cluster, mut entries) = (self.root, Vec::new());
        let mut content = vec![0; self.cluster_bytes as usize];
        for _ in 0..ROOT_CLUSTERS_MAX {
            read(self.offset_of(cluster)?, &mut content)?;
            for entry in content.chunks_exact(ENTRY_BYTES) {
                match entry[0] {
                    0 => return Ok(entries),
                    DELETED => {}
                    // Labels, and pieces of long names, which have this bit too.
                    _ if entry[11] & ATTRIBUTE_LABEL != 0 => {}
                    _ => entries.push(Entry {
                        name: short_name(&entry[..11]),
                        is_folder: entry[11] & ATTRIBUTE_DIRECTORY != 0,
                        cluster: le(entry, 20..22) << 16 | le(entry, 26..28),
                        bytes: le(entry, 28..32),
                    }),
                }
            }
            let mut link = [0; 4];
            read(self.fat_offset + u64::from(cluster) * 4, &mut link)?;
            cluster = u32::from_le_bytes(link) & CLUSTER_MASK;
            if cluster >= CHAIN_END {
                return Ok(entries);
            }
        }
        Err(bad("a root without an end"))
    }
}

/// `AUTOBOOTTXT` as `AUTOBOOT.TXT`.
fn short_name(bytes: &[u8]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (base, extension) = bytes.split_at(8);
    match part(extension) {
        extension if extension.is_empty() => part(base),
        extension => format!("{}.{extension}", part(base)),
    }
}

/// Where on the partition the first sector of the file `name` in the root begins.
///
/// # Errors
/// The reader's, `InvalidData`, and `NotFound` for a file that is not there or empty.
pub fn find(name: &str, read: &mut ReadAt<'_>) -> io::Result<u64> {
    let geometry = Geometry::read(read)?;
    let entries = geometry.root(read)?;
    let found = entries
        .iter()
        .find(|entry| !entry.is_folder && entry.bytes > 0 && entry.name.eq_ignore_ascii_case(name));
    geometry.offset_of(found.ok_or(io::ErrorKind::NotFound)?.cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file system of 70,000 clusters, of which only what matters is there.
    fn volume() -> Vec<u8> {
        let mut bytes = vec![0; 2 << 20];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        let (reserved, fat, total) = (32u32, 547u32, 32 + 2 * 547 + 70_000u32);
        put(11, &512u16.to_le_bytes());
        put(13, &[1]);
        put(14, &(reserved as u16).to_le_bytes());
        put(16, &[2]);
        put(32, &total.to_le_bytes());
        put(36, &fat.to_le_bytes());
        put(44, &2u32.to_le_bytes());
        put(510, &[0x55, 0xaa]);
        // The root: cluster 2, then 5.
        put(32 * 512 + 8, &5u32.to_le_bytes());
        put(32 * 512 + 20, &0x0fff_ffffu32.to_le_bytes());
        let cluster = |number: usize| (32 + 2 * 547 + number - 2) * 512;
        let entry = |name: &[u8; 11], attributes: u8, first: u16, bytes: u32| {
            let mut entry = [0; 32];
            entry[..11].copy_from_slice(name);
            entry[11] = attributes;
            entry[26..28].copy_from_slice(&first.to_le_bytes());
            entry[28..].copy_from_slice(&bytes.to_le_bytes());
            entry
        };
        for number in 0..16 {
            put(cluster(2) + 32 * number, &entry(b"\xe5LD     TXT", 0x20, 9, 9));
        }
        put(cluster(2), &entry(b"SELECT     ", 0x08, 0, 0));
        put(cluster(5), &entry(b"OVERLAYS   ", 0x10, 9, 0));
        put(cluster(5) + 32, &entry(b"SLOTS   ENV", 0x20, 7, 512));
        bytes
    }

    fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> + '_ {
        move |at, out| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let from = at.checked_add(out.len()).and_then(|end| bytes.get(at..end));
            out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    #[test]
    fn a_file_of_the_root_is_found() {
        let bytes = volume();
        let offset = find("slots.env", &mut reader(&bytes)).expect("is there");
        assert_eq!(offset, (32 + 2 * 547 + 5) * 512);
        for absent in ["overlays", "select", "old.txt", "slots"] {
            let error = find(absent, &mut reader(&bytes)).expect_err("is not there");
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{absent}");
        }
    }

    #[test]
    fn a_root_without_an_end_ends() {
        let mut bytes = volume();
        bytes[32 * 512 + 8] = 2;
        let error = find("slots.env", &mut reader(&bytes)).expect_err("goes round");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn nothing_that_is_on_a_disk_makes_it_panic(changes in proptest::collection::vec((0usize..64 * 1024, any::<u8>()), 1..40)) {
            let mut bytes = volume();
            for (at, value) in changes {
                // The places that matter are few: the first two sectors, the FAT's first, and the root's.
                let at = match at % 4 { 0 => at % 64, 1 => 32 * 512 + at % 64, 2 => 1126 * 512 + at % 512, _ => 1129 * 512 + at % 512 };
                bytes[at] = value;
            }
            let _ = find("slots.env", &mut reader(&bytes));
        }
    }
}
