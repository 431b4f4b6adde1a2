//! Giving a card that was written what is its own: files on its data partition.

use super::CardError;
use super::ext4::{TIME, write_file};
use super::layout::Role;
use super::window::Window;
use sis_algo::partition::{Geometry, scan};
use sis_ext4::{Device, Ino, Kind, MountOptions, NewFile, Volume};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file of the data partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Path there, without a leading slash; folders on the way are made, for their owner alone.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub permissions: u16,
}

/// Puts `files` onto the data partition of the card (or the image of one) `card`, of `bytes` bytes, in the place of what is
/// there, and syncs it.
///
/// # Errors
/// [`CardError`]: a card without such a partition, or one that is full.
pub fn inject(card: &File, bytes: u64, files: &[DataFile]) -> Result<(), CardError> {
    let geometry = Geometry {
        block_bytes: 512,
        block_count: bytes / 512,
    };
    let read = |block: u64, out: &mut [u8]| card.read_exact_at(out, block * 512);
    let name = Role::Data.name();
    let no_table = |what: &dyn std::fmt::Display| CardError::Table(what.to_string());
    let table = scan(geometry, read).map_err(|error| no_table(&format!("{error:?}")))?;
    let found = table.and_then(|table| table.partitions.into_iter().find(|partition| partition.name == name));
    let place =
        found.ok_or_else(|| no_table(&format!("it has no partition called {name}: is this a card of ours?")))?;
    let window = Window::new(card, place.first_sector * 512, place.sector_count * 512);

    let at = |path: &str| {
        let path = format!("/{path}");
        move |error| CardError::Ext4 {
            partition: Role::Data.name(),
            path,
            error,
        }
    };
    let (mut volume, _) = Volume::mount(window, &MountOptions::default(), TIME).map_err(at(""))?;
    for file in files {
        let new = |kind, permissions| NewFile {
            kind,
            permissions,
            uid: 0,
            gid: 0,
            device: Device::default(),
        };
        let mut folder = Ino::ROOT;
        let mut parts: Vec<&str> = file.path.split('/').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            folder = match volume.lookup(folder, part.as_bytes()) {
                Ok((ino, _)) => ino,
                Err(sis_ext4::Error::NotFound) => {
                    let made = volume.create(folder, part.as_bytes(), &new(Kind::Directory, 0o700), TIME);
                    made.map_err(at(&file.path))?.ino
                }
                Err(error) => return Err(at(&file.path)(error)),
            };
        }
        match volume.unlink(folder, last.as_bytes(), TIME) {
            Err(sis_ext4::Error::NotFound) => {}
            Ok(gone) if gone.was_last => volume.evict(gone.ino, TIME).map_err(at(&file.path))?,
            other => drop(other.map_err(at(&file.path))?),
        }
        let made = volume.create(folder, last.as_bytes(), &new(Kind::Regular, file.permissions), TIME);
        write_file(&mut volume, made.map_err(at(&file.path))?.ino, &file.bytes).map_err(at(&file.path))?;
    }
    volume.unmount(TIME).1.map_err(at(""))?;
    card.sync_all().map_err(|error: io::Error| CardError::Io {
        what: "the card".into(),
        error,
    })
}
