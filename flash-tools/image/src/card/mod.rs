//! Images of whole cards: a partition table, FAT32 for the firmware, ext4 for two systems and for data.
//!
//! ```text
//! 1 select   FAT32  what the loader reads first: which system starts
//! 2 boot-a   FAT32  what it reads then: kernel, device tree, settings
//! 3 boot-b   FAT32  empty
//! 4 slot-a   ext4   the root
//! 5 slot-b   ext4   empty
//! 6 data     ext4   empty
//! ```
//!
//! No root rights and no loop devices: everything writes into a plain file. It is sparse and never held in memory. The
//! same inputs and the same mke2fs give the same bytes: identifications come from the board's name, every time is
//! [`ext4::TIME_SECONDS`], and nothing else of the machine gets in.
//!
//! The block map names what the file systems use, zeros included, and not just what the file has no holes at: a card
//! held something before, and what a file system takes for zeros must be zeros.

pub mod blocks;
pub mod bmap;
pub mod bundle;
pub mod ext4;
mod fat;
pub mod inject;
pub mod layout;
pub mod record;
pub mod script;
pub mod start;
mod table;
mod window;

use crate::root::Archive;
use blocks::Blocks;
use layout::{ALIGN_BYTES, CARD_BYTES_MIN, Layout, Role};
use record::PartitionRecord;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;
use window::Window;

/// What is read at once to be hashed.
const READ_BYTES: usize = 1 << 20;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// A size that no card can have.
    #[error(
        "a card of {0} bytes: it must be a multiple of {align} MiB and at least {least} MiB",
        align = ALIGN_BYTES >> 20,
        least = CARD_BYTES_MIN >> 20
    )]
    Size(u64),
    /// A file could not be read or written.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The partition table could not be written.
    #[error("the partition table: {0}")]
    Table(String),
    /// A FAT file system could not be written; `WriteZero` is a full one.
    #[error("{partition}: {what}: {error}")]
    Fat {
        /// The partition's name.
        partition: &'static str,
        /// The file, or what was done.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// An ext4 file system could not be written.
    #[error("{partition}: {path}: {error}")]
    Ext4 {
        /// The partition's name.
        partition: &'static str,
        /// The file.
        path: String,
        /// Why.
        error: sis_ext4::Error,
    },
    /// An update could not be written.
    #[error("the update: {0}")]
    Bundle(#[from] sis_bundle::BundleError),
    /// A program of e2fsprogs could not be started.
    #[error("{program} could not be started: {error}; install e2fsprogs (cargo sis setup does)")]
    NoTool {
        /// Which.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// A program of e2fsprogs failed.
    #[error("{program} failed: {said}")]
    Tool {
        /// Which.
        program: String,
        /// Its words.
        said: String,
    },
}

/// A file of a boot partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// Path there, without a leading slash.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What goes onto a card.
#[derive(Debug)]
pub struct Contents<'a> {
    /// Files of `select`.
    pub select: &'a [BootFile],
    /// Files of `boot-a`.
    pub boot: &'a [BootFile],
    /// The root in `slot-a`.
    pub root: &'a Archive,
}

/// An image that was made.
#[derive(Debug)]
pub struct Made {
    /// SHA-256 of the whole image, lower-case hexadecimal.
    pub sha256: String,
    /// The partitions, by number.
    pub partitions: Vec<PartitionRecord>,
    /// Its blocks that mean something.
    pub mapped: Blocks,
    /// Those of each partition, by number, counted from the image's start.
    pub mapped_of: Vec<Blocks>,
    /// Its block map.
    pub bmap: String,
    /// What made the ext4 file systems.
    pub mke2fs: String,
}

/// Makes the image at `path`, a new file. `progress` is told the name of what comes next.
///
/// # Errors
/// [`CardError`]; the file at `path` is of no use then.
pub fn build(
    path: &Path,
    layout: &Layout,
    contents: &Contents<'_>,
    progress: &mut dyn FnMut(&str),
) -> Result<Made, CardError> {
    let io_error = |error| CardError::Io {
        what: path.display().to_string(),
        error,
    };
    let mke2fs = ext4::version()?;
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(io_error)?;
    file.set_len(layout.bytes).map_err(io_error)?;
    let table = RefCell::default();
    progress("partition table");
    table::write(&file, layout, &table)?;
    let mut mapped = table.into_inner();
    let mut mapped_of = Vec::new();
    for place in &layout.places {
        progress(place.role.name());
        let window = Window::new(&file, place.offset, place.bytes);
        let own = match place.role {
            Role::Select => fat::write(window, place, contents.select)?,
            Role::BootA => fat::write(window, place, contents.boot)?,
            Role::BootB => fat::write(window, place, &[])?,
            Role::SlotA => {
                ext4::format(path, place)?;
                ext4::populate(window, contents.root)?;
                ext4::used(path, place)?
            }
            Role::SlotB | Role::Data => {
                ext4::format(path, place)?;
                ext4::used(path, place)?
            }
        };
        for (first, end) in own.runs() {
            mapped.add(first, end);
        }
        mapped_of.push(own);
    }
    progress("checksums");
    let mut partitions = Vec::new();
    for place in &layout.places {
        let sha256 = bmap::sha256_of(&file, place.offset, place.offset + place.bytes).map_err(io_error)?;
        partitions.push(PartitionRecord::new(place, sha256));
    }
    Ok(Made {
        sha256: bmap::sha256_of(&file, 0, layout.bytes).map_err(io_error)?,
        partitions,
        bmap: bmap::render(&file, layout.bytes, &mapped).map_err(io_error)?,
        mapped,
        mapped_of,
        mke2fs,
    })
}
