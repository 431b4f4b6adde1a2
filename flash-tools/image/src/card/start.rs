//! What the Raspberry Pi's firmware would start from a card: for machines that play the board without its firmware.

use super::CardError;
use super::layout::{Layout, Role};
use super::window::Window;
use fatfs::{FileSystem, FsOptions};
use sis_bundle::Slot;
use sis_bundle::selection::{Kind, Selection};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longer than any file that a boot partition has.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The system that it belongs to.
    pub slot: Slot,
    /// The kernel image.
    pub kernel: Vec<u8>,
    /// The device tree, before the firmware changes it.
    pub device_tree: Vec<u8>,
    /// The kernel's command line.
    pub command_line: String,
}

impl Start {
    /// Leaves kernel and device tree in `folder`, for a machine that takes files; where they are.
    ///
    /// # Errors
    /// The file system's own.
    pub fn save(&self, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
        let (kernel, tree) = (folder.join("card-kernel"), folder.join("card-device-tree"));
        std::fs::create_dir_all(folder)?;
        std::fs::write(&kernel, &self.kernel)?;
        std::fs::write(&tree, &self.device_tree)?;
        Ok((kernel, tree))
    }
}

/// Reads the card at `image` as the firmware does: `autoboot.txt` of the first partition names another, whose `config.txt` names
/// the kernel and the device tree. It is a card of `board`. `is_trial`: the restart before had the flag `tryboot`.
///
/// # Errors
/// [`CardError`] for a card that the firmware would not start.
pub fn as_firmware(image: &Path, board: &str, is_trial: bool) -> Result<Start, CardError> {
    let failed = |error| CardError::Io {
        what: image.display().to_string(),
        error,
    };
    let file = File::open(image).map_err(failed)?;
    let layout = Layout::new(board, file.metadata().map_err(failed)?.len())?;
    let read = |role: Role, name: &str| {
        let place = layout.place(role);
        let window = Window::new(&file, place.offset, place.bytes);
        read_file(window, name).map_err(|error| CardError::Fat {
            partition: role.name(),
            what: name.into(),
            error,
        })
    };
    let kind = Kind::Autoboot;
    let selection = kind
        .parse(&read(Role::Select, kind.file())?)
        .ok_or_else(|| CardError::Fat {
            partition: Role::Select.name(),
            what: kind.file().into(),
            error: io::Error::new(io::ErrorKind::InvalidData, "it names no slot"),
        })?;
    let Selection { committed, .. } = selection;
    let slot = if is_trial { committed.other() } else { committed };
    let role = match slot {
        Slot::A => Role::BootA,
        Slot::B => Role::BootB,
    };
    let settings = String::from_utf8_lossy(&read(role, "config.txt")?).into_owned();
    let named = |key: &str| {
        let value = settings
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let missing = || CardError::Fat {
            partition: role.name(),
            what: "config.txt".into(),
            error: io::Error::new(io::ErrorKind::InvalidData, format!("it names no {key}")),
        };
        read(role, value.ok_or_else(missing)?)
    };
    let command_line = String::from_utf8_lossy(&read(role, "cmdline.txt")?).trim().to_owned();
    Ok(Start {
        slot,
        kernel: named("kernel")?,
        device_tree: named("device_tree")?,
        command_line,
    })
}

fn read_file(window: Window<'_>, name: &str) -> io::Result<Vec<u8>> {
    let volume = FileSystem::new(window, FsOptions::new().update_accessed_date(false))?;
    let mut bytes = Vec::new();
    let entry = volume.root_dir().open_file(name)?;
    entry.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
