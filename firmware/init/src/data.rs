//! The data partition: what outlives the systems of a card. Where the disk that the root is on has a partition named
//! `data`, it is mounted on `/data`.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

/// Its name in the partition table.
const NAME: &str = "data";
const AT: &str = "/data";

/// Mounts it and returns what there is to say, a sentence; `None` where there is none. Nothing here is fatal.
pub(crate) fn mount_data() -> Option<String> {
    let table = fs::read_to_string("/proc/mounts").ok()?;
    let root = root_device(&table)?;
    // Below the disk's own folder are its partitions.
    let disk = Path::new("/sys/class/block").join(root).join("..");
    let device = fs::read_dir(disk)
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_to_string(entry.path().join("uevent")).ok())
        .find_map(|text| device_of(&text, NAME).map(str::to_owned))?;
    if let Err(error) = fs::create_dir_all(AT) {
        return Some(format!("cannot make {AT}: {error}"));
    }
    let source = format!("/dev/{device}");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Some(match mount(source.as_str(), AT, "ext4", flags, None) {
        Ok(()) => format!("{source} is mounted on {AT}"),
        Err(error) => format!("cannot mount {source} on {AT}: {error}"),
    })
}

/// The name of the device that a `/proc/mounts` text has as the root.
fn root_device(table: &str) -> Option<&str> {
    table.lines().rev().find_map(|line| {
        let (source, rest) = line.split_once(' ')?;
        let is_root = rest.split(' ').next() == Some("/");
        source.strip_prefix("/dev/").filter(|_| is_root)
    })
}

/// The device's name in a partition's `uevent` text, if the partition has this name.
fn device_of<'a>(uevent: &'a str, name: &str) -> Option<&'a str> {
    let field = |key: &str| {
        uevent
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    field("DEVNAME").filter(|_| field("PARTNAME") == Some(name))
}

#[cfg(test)]
mod tests {
    use super::{device_of, root_device};

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
        assert_eq!(device_of(text, "data"), Some("vda5"));
        assert_eq!(device_of(text, "dat"), None);
        assert_eq!(device_of("DEVNAME=vda\nDEVTYPE=disk\n", "data"), None);
    }
}
