//! The boot partitions: FAT32. Every time is FAT's first, as no other is told to the library.

use super::layout::Place;
use super::window::Window;
use super::{BootFile, CardError};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::io::{self, Write};

/// The smallest cluster, so that a small partition has as many as FAT32 needs.
const CLUSTER_BYTES: u32 = 512;

/// Makes the file system of `place` with `files` in it.
pub(super) fn write(window: Window<'_>, place: &Place, files: &[BootFile]) -> Result<(), CardError> {
    let failed = |what: &str, error: io::Error| CardError::Fat {
        partition: place.role.name(),
        what: what.into(),
        error,
    };
    let mut window = window;
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_BYTES)
        .volume_id(place.fs_uuid.as_fields().0)
        .volume_label(label(place.role.name()));
    fatfs::format_volume(&mut window, options).map_err(|error| failed("formatting", error))?;
    let volume = FileSystem::new(window, FsOptions::new()).map_err(|error| failed("mounting", error))?;
    let mut sorted: Vec<&BootFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for file in sorted {
        write_file(&volume, file).map_err(|error| failed(&file.path, error))?;
    }
    // Counts the free clusters, so that the file system says how many they are.
    volume.stats().map_err(|error| failed("counting", error))?;
    volume.unmount().map_err(|error| failed("unmounting", error))
}

fn write_file(volume: &FileSystem<Window<'_>>, file: &BootFile) -> io::Result<()> {
    let root = volume.root_dir();
    for (at, _) in file.path.match_indices('/') {
        // Answers the folder that is there, where there is one.
        root.create_dir(&file.path[..at])?;
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
