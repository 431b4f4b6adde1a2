//! The partitions that loaders read: FAT32. Every time is FAT's first, as no other is told to the library.

use super::blocks::Blocks;
use super::layout::Place;
use super::window::Window;
use super::{BootFile, CardError};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use sis_bundle::fat::Geometry;
use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// The smallest cluster, so that a small partition has as many as FAT32 needs.
const CLUSTER_BYTES: u32 = 512;
/// First byte of an entry that stands for nothing.
const DELETED: u8 = 0xe5;

/// Makes the file system of `place` with `files` in it, and answers the blocks that it uses.
pub(super) fn write(window: Window<'_>, place: &Place, files: &[BootFile]) -> Result<Blocks, CardError> {
    let failed = |what: &str, error: io::Error| CardError::Fat {
        partition: place.role.name(),
        what: what.into(),
        error,
    };
    let written = RefCell::default();
    let mut window = window.noting(&written);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_BYTES)
        .volume_id(place.fs_uuid.as_fields().0)
        .volume_label(label(place.role.name()));
    let mut end = window.clone();
    fatfs::format_volume(&mut window, options).map_err(|error| failed("formatting", error))?;
    let volume = FileSystem::new(window, FsOptions::new()).map_err(|error| failed("mounting", error))?;
    let mut sorted: Vec<&BootFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for file in sorted {
        write_file(&volume, file).map_err(|error| failed(&file.path, error))?;
    }
    // Counts the free clusters, so that the file system says how many they are.
    volume.stats().map_err(|error| failed("counting", error))?;
    volume.unmount().map_err(|error| failed("unmounting", error))?;
    mend_folders(&mut end).map_err(|error| failed("folders", error))?;
    Ok(written.into_inner())
}

/// The library gives `.` and `..` long names and has `..` name the root's cluster: the specification says no long names, and 0
/// for the root (6.5). The short entries move to the front, and those of the long names become deleted ones.
fn mend_folders(window: &mut Window<'_>) -> io::Result<()> {
    const ENTRY: usize = 32;
    let mut read = |at, out: &mut [u8]| window.seek(SeekFrom::Start(at)).and_then(|_| window.read_exact(out));
    let geometry = Geometry::read(&mut read)?;
    let folders: Vec<_> = geometry
        .root(&mut read)?
        .into_iter()
        .filter(|entry| entry.is_folder)
        .collect();
    for folder in folders {
        let at = geometry.offset_of(folder.cluster)?;
        let mut head = [0; 4 * ENTRY];
        window.seek(SeekFrom::Start(at))?;
        window.read_exact(&mut head)?;
        let is_as_expected = head[ENTRY..].starts_with(b".          ") && head[3 * ENTRY..].starts_with(b"..         ");
        if !is_as_expected {
            return Err(io::Error::other("the library writes folders in another way"));
        }
        head.copy_within(ENTRY..2 * ENTRY, 0);
        head.copy_within(3 * ENTRY.., ENTRY);
        // First cluster: its upper half at 20, its lower at 26.
        for byte in [20, 21, 26, 27] {
            head[ENTRY + byte] = 0;
        }
        head[2 * ENTRY..].fill(0);
        (head[2 * ENTRY], head[3 * ENTRY]) = (DELETED, DELETED);
        window.seek(SeekFrom::Start(at))?;
        window.write_all(&head)?;
    }
    Ok(())
}

fn write_file(volume: &FileSystem<Window<'_>>, file: &BootFile) -> io::Result<()> {
    let root = volume.root_dir();
    if let Some((folder, name)) = file.path.split_once('/') {
        if name.contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "folders in folders are not made",
            ));
        }
        // Answers the folder that is there, where there is one.
        root.create_dir(folder)?;
    }
    let mut entry = root.create_file(&file.path)?;
    entry.write_all(&file.bytes)?;
    entry.flush()
}

/// A volume's label: eleven capitals, filled with blanks.
fn label(name: &str) -> [u8; 11] {
    let mut label = [b' '; 11];
    for (to, from) in label.iter_mut().zip(name.bytes()) {
        *to = from.to_ascii_uppercase();
    }
    label
}
