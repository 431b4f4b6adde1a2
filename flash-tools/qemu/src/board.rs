//! `board.toml`: what a board is made of and how QEMU plays it.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A board, as `boards/<name>/board.toml` describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name: the folder's.
    pub name: String,
    /// What a person calls it.
    pub title: String,
    /// What to build.
    pub image: Image,
    /// A device tree to hand over, where the machine does not make one.
    #[serde(default, rename = "device-tree")]
    pub device_tree: Option<DeviceTree>,
    /// What is on the boot partition of a card besides these.
    #[serde(default)]
    pub card: Card,
    /// How QEMU plays it.
    pub qemu: Qemu,
}

/// The bootable image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Package with the binary of the same name.
    pub package: String,
    /// Target triple.
    pub target: String,
    /// Name of the image file.
    pub file: String,
}

/// A device tree from a foreign package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceTree {
    /// Name of the file in the build's folder.
    pub file: String,
    /// The package (it, or what it depends on, has the member).
    pub package: String,
    /// Path in the package; one `*` stands for one folder's name or a part of it.
    pub member: String,
}

/// What the partitions that a loader reads hold besides the image and the device tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Card {
    /// What starts the board from a card, and so how it is told which system to start.
    #[serde(default)]
    pub loader: Option<Loader>,
    /// Files of the board's folder `card/`.
    #[serde(default)]
    pub files: Vec<String>,
    /// Name of the file that the kernel's command line is read from, and what comes before the command line there.
    #[serde(default)]
    pub command_line: Option<CommandLine>,
    /// Words for the kernel that only a start from a card has.
    #[serde(default)]
    pub append: Option<String>,
    /// What is not ours, and the board does not start without.
    #[serde(default)]
    pub firmware: Option<Firmware>,
}

/// See [`Card::loader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// U-Boot, by a script: `card/boot.script` of the board's folder.
    UBoot,
    /// The Raspberry Pi's bootloader.
    Autoboot,
}

/// See [`Card::command_line`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandLine {
    /// Name of the file.
    pub file: String,
    /// Comes first.
    #[serde(default)]
    pub prefix: String,
}

/// Firmware from a package, or from a folder that a person names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Debian's package.
    pub package: String,
    /// The component of Debian that the package is in.
    pub component: String,
    /// Where the package has the files.
    pub folder: String,
    /// What the board needs.
    pub files: Vec<String>,
    /// What it can do without.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// How QEMU plays the board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Qemu {
    /// `-machine`.
    pub machine: String,
    /// Kernel command line.
    pub append: String,
    /// What starts a system from a card: a file of a package that `cargo sis setup` installs.
    #[serde(default)]
    pub loader: Option<PathBuf>,
    /// Arguments that are always there.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// `-device` of the network card, if it has one.
    #[serde(default)]
    pub network_device: Option<String>,
    /// `-device` of a disk, if the machine takes any.
    #[serde(default)]
    pub block_device: Option<String>,
    /// `-device` of the card in the board's slot; a disk's if none is named.
    #[serde(default)]
    pub card_device: Option<String>,
    /// What may be changed, with its default.
    #[serde(default)]
    pub settings: Settings,
}

/// What may be changed about the machine; `None` is what the machine fixes by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `-cpu`.
    pub cpu: Option<String>,
    /// `-smp`.
    pub smp: Option<u32>,
    /// `-m`.
    pub memory: Option<String>,
    /// The machine's `gic-version`.
    pub gic: Option<u32>,
    /// The machine's `virtualization`: entry at EL2.
    pub virtualization: Option<bool>,
}

/// Why a board could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// No such board.
    #[error("there is no board named {name:?}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is, comma-separated.
        known: String,
    },
    /// Its file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its file does not parse.
    #[error("{path}: {error}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
}

impl Board {
    /// The board named `name` of the workspace at `root`.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn load(root: &Path, name: &str) -> Result<Self, BoardError> {
        let path = root.join("boards").join(name).join("board.toml");
        let is_plain = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_plain || !path.is_file() {
            return Err(BoardError::Unknown {
                name: name.into(),
                known: Self::names(root)?.join(", "),
            });
        }
        let text = std::fs::read_to_string(&path).map_err(|error| BoardError::Read {
            path: path.clone(),
            error,
        })?;
        toml::from_str(&text).map_err(|error| BoardError::Syntax {
            path,
            error: Box::new(error),
        })
    }

    /// Names of the workspace's boards, sorted.
    ///
    /// # Errors
    /// [`BoardError::Read`] when `boards/` is not to be had.
    pub fn names(root: &Path) -> Result<Vec<String>, BoardError> {
        let path = root.join("boards");
        let entries = std::fs::read_dir(&path).map_err(|error| BoardError::Read { path, error })?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("board.toml").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }
}
