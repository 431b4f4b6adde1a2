//! Which block devices there are, and which of them may be written.
//!
//! Everything is read below a root folder that holds `sys` and `proc`, so that tests bring their own machine.
//!
//! A *system disk* carries `/`, `/boot`, `/usr` (or what is below them by name, see [`SYSTEM_MOUNTS`]) or swap, itself,
//! through a partition, or through device mapper, MD or a loop device that lies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Mount points without which this machine does not run.
pub const SYSTEM_MOUNTS: [&str; 7] = ["/", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/usr", "/var"];
/// Larger devices are taken for something else than a card unless forced, in bytes.
pub const LARGE_BYTES: u64 = 256_000_000_000;
/// What `/sys/block/*/size` counts in, in bytes, whatever the device's own blocks are.
const SECTOR_BYTES: u64 = 512;

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name below `/dev`.
    pub name: String,
    /// `major:minor`.
    pub number: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Smallest unit that it writes, in bytes.
    pub logical_block_bytes: u64,
    /// Maker and model, as far as it tells.
    pub model: String,
    /// Serial number, as far as it tells.
    pub serial: Option<String>,
    /// Whether it is meant to be taken out: a card, or a disk on USB.
    pub is_removable: bool,
    /// Whether it refuses writes.
    pub is_read_only: bool,
    /// Whether a file is behind it.
    pub is_loop: bool,
    /// Names of its partitions.
    pub partitions: Vec<String>,
    /// Where it or its partitions are mounted, also through other devices.
    pub mounts: Vec<PathBuf>,
    /// Devices that lie on it, and swap.
    pub users: Vec<String>,
    /// Whether this machine runs from it.
    pub is_system: bool,
}

/// Why a device is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never lifted.
    #[error("this machine runs from it ({0})")]
    System(String),
    /// Never lifted; unmounting helps.
    #[error("it is mounted at {0}")]
    Mounted(String),
    /// Never lifted.
    #[error("it is in use by {0}")]
    InUse(String),
    /// Never lifted.
    #[error("it is write-protected")]
    ReadOnly,
    /// A reader without a card.
    #[error("there is no medium in it")]
    NoMedium,
    /// Lifted by force.
    #[error("it is not removable")]
    Fixed,
    /// Lifted by force.
    #[error("it is larger than {} GB, which a card seldom is", LARGE_BYTES / 1_000_000_000)]
    Large,
}

impl Refusal {
    /// Whether force lifts it.
    #[must_use]
    pub const fn yields_to_force(&self) -> bool {
        matches!(self, Self::Fixed | Self::Large)
    }
}

impl Device {
    /// Why this device must not be written, the gravest reason first; `None` if it may. `is_forced` lifts
    /// [`Refusal::Fixed`] and [`Refusal::Large`] and nothing else.
    #[must_use]
    pub fn refusal(&self, is_forced: bool) -> Option<Refusal> {
        let mounts = || {
            let mounts: Vec<_> = self.mounts.iter().map(|at| at.display().to_string()).collect();
            mounts.join(", ")
        };
        let refusal = if self.is_system {
            Refusal::System(if self.mounts.is_empty() {
                self.users.join(", ")
            } else {
                mounts()
            })
        } else if !self.mounts.is_empty() {
            Refusal::Mounted(mounts())
        } else if !self.users.is_empty() {
            Refusal::InUse(self.users.join(", "))
        } else if self.size_bytes == 0 {
            Refusal::NoMedium
        } else if self.is_read_only {
            Refusal::ReadOnly
        } else if !self.is_removable && !self.is_loop {
            Refusal::Fixed
        } else if self.size_bytes > LARGE_BYTES {
            Refusal::Large
        } else {
            return None;
        };
        Some(refusal).filter(|refusal| !(is_forced && refusal.yields_to_force()))
    }
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    number: String,
    at: PathBuf,
    source: String,
}

/// What is known of the machine while the list is made.
struct Machine {
    block: PathBuf,
    mounts: Vec<Mount>,
    /// From a disk's or partition's name, and from its number, to the disk's name.
    disk_of: BTreeMap<String, String>,
}

/// The disks below `root` (`/` on a real machine), by name. RAM disks and optical drives are left out, and so is what
/// lies on other disks (device mapper, MD).
///
/// # Errors
/// `sys/block` or `proc/self/mountinfo` cannot be read. Nothing may be written then: what is mounted is not known.
pub fn list(root: &Path) -> io::Result<Vec<Device>> {
    let block = root.join("sys/block");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&block)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut machine = Machine {
        block,
        mounts: parse_mounts(&std::fs::read_to_string(root.join("proc/self/mountinfo"))?),
        disk_of: BTreeMap::new(),
    };
    for name in &names {
        for part in machine.partitions(name).into_iter().chain([String::new()]) {
            let number = read(&machine.block.join(name).join(&part).join("dev"));
            let own = if part.is_empty() { name.clone() } else { part };
            machine.disk_of.extend([(own, name.clone()), (number, name.clone())]);
        }
        let mapped = read(&machine.block.join(name).join("dm/name"));
        if !mapped.is_empty() {
            machine.disk_of.insert(format!("mapper/{mapped}"), name.clone());
        }
    }

    let mut devices: BTreeMap<String, Device> = names
        .iter()
        .filter(|name| {
            !["ram", "zram", "sr", "fd", "dm-", "md", "nbd"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .map(|name| (name.clone(), machine.describe(name)))
        .collect();
    machine.mark_mounts(&mut devices);
    machine.mark_swaps(
        &std::fs::read_to_string(root.join("proc/swaps")).unwrap_or_default(),
        &mut devices,
    );
    Ok(devices.into_values().collect())
}

impl Machine {
    fn partitions(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(self.block.join(name))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("partition").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        found
    }

    fn describe(&self, name: &str) -> Device {
        let at = self.block.join(name);
        let number = |file: &str| read(&at.join(file)).parse::<u64>().unwrap_or(0);
        // Where the link leads names the bus: .../usb1/1-2/... or .../mmc_host/...
        let path = at.canonicalize().unwrap_or_default().display().to_string();
        let is_card = name.starts_with("mmcblk") && read(&at.join("device/type")) != "MMC";
        let partitions = self.partitions(name);
        let mut users: Vec<String> = names_in(&at.join("holders"));
        for part in &partitions {
            users.extend(names_in(&at.join(part).join("holders")));
        }
        let words = [
            read(&at.join("device/vendor")),
            read(&at.join("device/model")),
            read(&at.join("device/name")),
        ];
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        Device {
            number: read(&at.join("dev")),
            size_bytes: number("size").saturating_mul(SECTOR_BYTES),
            logical_block_bytes: number("queue/logical_block_size").max(SECTOR_BYTES),
            model: words.join(" "),
            serial: Some(read(&at.join("device/serial"))).filter(|serial| !serial.is_empty()),
            is_removable: number("removable") == 1 || path.contains("/usb") || is_card,
            is_read_only: number("ro") == 1,
            is_loop: name.starts_with("loop"),
            name: name.into(),
            partitions,
            mounts: Vec::new(),
            users,
            is_system: false,
        }
    }

    /// The disks that `name` (a disk, also one of device mapper, or a loop device) lies on, itself among them.
    fn below(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![name.to_owned()];
        while let Some(name) = waiting.pop() {
            let Some(disk) = self.disk_of.get(&name).filter(|disk| !found.contains(*disk)) else {
                continue;
            };
            found.insert(disk.clone());
            waiting.extend(names_in(&self.block.join(disk).join("slaves")));
            let file = read(&self.block.join(disk).join("loop/backing_file"));
            if !file.is_empty() {
                waiting.extend(self.mount_of(Path::new(&file)).map(|mount| self.node_of(mount)));
            }
        }
        found
    }

    /// The name or number of the device that is mounted. File systems with numbers of their own (btrfs) name their
    /// device as the source.
    fn node_of(&self, mount: &Mount) -> String {
        if self.disk_of.contains_key(&mount.number) {
            return mount.number.clone();
        }
        mount.source.strip_prefix("/dev/").unwrap_or_default().to_owned()
    }

    /// The mount that a path is in; of several at one place the last covers the others.
    fn mount_of(&self, path: &Path) -> Option<&Mount> {
        self.mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.at))
            .max_by_key(|mount| mount.at.components().count())
    }

    fn mark_mounts(&self, devices: &mut BTreeMap<String, Device>) {
        for mount in &self.mounts {
            let is_system = SYSTEM_MOUNTS.iter().any(|at| mount.at == Path::new(at));
            for disk in self.below(&self.node_of(mount)) {
                if let Some(device) = devices.get_mut(&disk) {
                    device.is_system |= is_system;
                    if !device.mounts.contains(&mount.at) {
                        device.mounts.push(mount.at.clone());
                    }
                }
            }
        }
    }

    fn mark_swaps(&self, swaps: &str, devices: &mut BTreeMap<String, Device>) {
        for line in swaps.lines().skip(1) {
            let path = unescape(line.split_whitespace().next().unwrap_or_default());
            let node = match path.strip_prefix("/dev/") {
                Some(node) => Some(node.to_owned()),
                None => self.mount_of(Path::new(&path)).map(|mount| self.node_of(mount)),
            };
            for disk in node.iter().flat_map(|node| self.below(node)) {
                if let Some(device) = devices.get_mut(&disk) {
                    device.is_system = true;
                    device.users.push(format!("swap {path}"));
                }
            }
        }
    }
}

/// `proc_pid_mountinfo(5)`: number in the third field, mount point in the fifth, the source second after the dash.
fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(2);
            Some(Mount {
                number: fields.next()?.into(),
                at: unescape(fields.nth(1)?).into(),
                source: unescape(system.split(' ').nth(1)?),
            })
        })
        .collect()
}

/// Blanks and backslashes are written in octal: `\040`.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(piece.get(3..).unwrap_or_default());
            }
            None => {
                out.push('\\');
                out.push_str(piece);
            }
        }
    }
    out
}

/// An attribute without the blanks around it; empty if there is none.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
