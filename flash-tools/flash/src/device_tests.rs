use super::{Device, Refusal, list};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Attributes below `sys/block`, and the three files of `proc`.
fn machine(attributes: &[(&str, &str)], mounts: &str, swaps: &str) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let put = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    for (path, text) in attributes {
        put(&root.path().join("sys/block").join(path), text);
    }
    put(&root.path().join("proc/self/mountinfo"), mounts);
    put(
        &root.path().join("proc/swaps"),
        &format!("Filename Type Size Used Priority\n{swaps}"),
    );
    root
}

/// A laptop: an encrypted root on sda2, a card in a reader, an empty reader.
const LAPTOP: [(&str, &str); 18] = [
    ("sda/dev", "8:0\n"),
    ("sda/size", "1000215216\n"),
    ("sda/sda1/dev", "8:1\n"),
    ("sda/sda1/partition", "1\n"),
    ("sda/sda2/dev", "8:2\n"),
    ("sda/sda2/partition", "2\n"),
    ("sda/sda2/holders/dm-0/x", ""),
    ("dm-0/dev", "253:0\n"),
    ("dm-0/dm/name", "root_crypt\n"),
    ("dm-0/slaves/sda2/x", ""),
    ("sdb/dev", "8:16\n"),
    ("sdb/size", "62333952\n"),
    ("sdb/removable", "1\n"),
    ("sdb/device/vendor", "Generic \n"),
    ("sdb/device/model", "SD/MMC          \n"),
    ("sdb/sdb1/dev", "8:17\n"),
    ("sdb/sdb1/partition", "1\n"),
    ("sdc/removable", "1\n"),
];
const ROOT: &str = "27 1 253:0 / / rw - ext4 /dev/mapper/root_crypt rw\n";

fn device(root: &TempDir, name: &str) -> Device {
    let devices = list(root.path()).expect("a list");
    devices
        .into_iter()
        .find(|device| device.name == name)
        .expect("the device")
}

#[test]
fn a_card_is_a_candidate_with_model_and_size() {
    let root = machine(&LAPTOP, ROOT, "");
    let card = device(&root, "sdb");
    assert_eq!(
        (card.model.as_str(), card.size_bytes),
        ("Generic SD/MMC", 62_333_952 * 512)
    );
    assert_eq!(card.partitions, ["sdb1"]);
    assert_eq!(card.refusal(false), None);
    assert_eq!(device(&root, "sdc").refusal(true), Some(Refusal::NoMedium));
    let names: Vec<_> = list(root.path())
        .expect("a list")
        .into_iter()
        .map(|device| device.name)
        .collect();
    assert_eq!(names, ["sda", "sdb", "sdc"], "what lies on others is no candidate");
}

#[test]
fn the_disk_below_an_encrypted_root_is_the_systems_whatever_is_forced() {
    let root = machine(&LAPTOP, ROOT, "");
    assert_eq!(device(&root, "sda").refusal(true), Some(Refusal::System("/".into())));
}

#[test]
fn a_mounted_card_is_refused_whatever_is_forced() {
    let mounts = format!("{ROOT}40 27 8:17 / /media/my\\040card rw - vfat /dev/sdb1 rw\n");
    let card = device(&machine(&LAPTOP, &mounts, ""), "sdb");
    assert_eq!(card.refusal(true), Some(Refusal::Mounted("/media/my card".into())));
}

#[test]
fn btrfs_has_a_number_of_its_own_and_names_its_device() {
    let mounts = "27 1 0:35 /@ / rw - btrfs /dev/sda1 rw\n";
    assert!(device(&machine(&LAPTOP, mounts, ""), "sda").is_system);
}

#[test]
fn swap_makes_a_system_disk_as_partition_and_as_file() {
    let partition = device(&machine(&LAPTOP, ROOT, "/dev/sdb1 partition 1 0 -2\n"), "sdb");
    assert_eq!(partition.refusal(true), Some(Refusal::System("swap /dev/sdb1".into())));
    let mounts = format!("{ROOT}40 27 8:17 / /data rw - ext4 /dev/sdb1 rw\n");
    assert!(device(&machine(&LAPTOP, &mounts, "/data/swap file 1 0 -2\n"), "sdb").is_system);
}

#[test]
fn a_root_in_a_loop_device_makes_the_disk_with_its_file_the_systems() {
    let mut attributes = LAPTOP.to_vec();
    attributes.extend([
        ("loop0/dev", "7:0\n"),
        ("loop0/size", "2048\n"),
        ("loop0/loop/backing_file", "/live/root.img\n"),
    ]);
    let mounts = "26 1 8:17 / /live rw - vfat /dev/sdb1 rw\n27 1 7:0 / / rw - ext4 /dev/loop0 rw\n";
    let root = machine(&attributes, mounts, "");
    assert!(device(&root, "loop0").is_system && device(&root, "sdb").is_system);
    assert!(!device(&root, "sda").is_system);
}

#[test]
fn what_other_devices_lie_on_is_in_use() {
    let mounts = "27 1 8:17 / / rw - ext4 /dev/sdb1 rw\n";
    assert_eq!(
        device(&machine(&LAPTOP, mounts, ""), "sda").refusal(true),
        Some(Refusal::InUse("dm-0".into()))
    );
}

#[test]
fn force_lifts_fixed_and_large_alone() {
    let attributes = [("sdd/dev", "8:48\n"), ("sdd/size", "1000215216\n")];
    let mut disk = device(&machine(&attributes, ROOT, ""), "sdd");
    assert_eq!((disk.refusal(false), disk.refusal(true)), (Some(Refusal::Fixed), None));
    disk.is_removable = true;
    assert_eq!((disk.refusal(false), disk.refusal(true)), (Some(Refusal::Large), None));
    disk.is_read_only = true;
    assert_eq!(disk.refusal(true), Some(Refusal::ReadOnly));
}

#[test]
fn without_a_list_of_mounts_there_is_no_list_of_devices() {
    let root = machine(&LAPTOP, ROOT, "");
    fs::remove_file(root.path().join("proc/self/mountinfo")).expect("it was there");
    assert!(list(root.path()).is_err());
}
