use super::{Loss, dump, files, is_mended, path_with_sbin, replay, sound};
use crate::machine::format;
use crate::states::{Reached, Run};
use std::path::PathBuf;
use std::process::Command;

fn run(seed: u64, reached: [Reached; 4]) -> Run {
    Run { seed, reached }
}

fn image(spoil: impl FnOnce(&mut crate::disk::Disk)) -> (PathBuf, tempfile::TempDir) {
    let mut disk = format(4096, &[]).expect("is made");
    spoil(&mut disk);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("image");
    disk.save(&path).expect("is saved");
    (path, folder)
}

#[test]
fn a_fresh_file_system_is_sound_and_stays_so() {
    let (path, _folder) = image(|_| {});
    assert_eq!(replay(&path).expect("runs"), Ok(()));
    assert_eq!(sound(&path).expect("runs"), Ok(()));
    assert_eq!(files(&path, &[run(1, [Reached::default(); 4])]).expect("runs"), Ok(()));
}

#[test]
fn damage_is_found_by_both() {
    // The first group's inode bitmap: 4 KiB blocks, so behind superblock, descriptors and their reserve.
    let spoil = |disk: &mut crate::disk::Disk| {
        let descriptor = disk.read(4096, 64);
        let bitmap = u32::from_le_bytes(descriptor[4..8].try_into().expect("four"));
        disk.write(u64::from(bitmap) * 4096, &[0; 8]);
    };
    let (path, _folder) = image(spoil);
    assert!(matches!(sound(&path).expect("runs"), Err(Loss::Unsound(_))));
    assert!(matches!(replay(&path).expect("runs"), Err(Loss::Repaired(_))));
    assert_eq!(sound(&path).expect("runs"), Ok(()), "it is repaired now");
}

#[test]
fn a_disk_that_is_still_in_use_is_not_sound() {
    let (path, _folder) = image(|disk| {
        let state = disk.read(1024 + 0x3a, 1)[0];
        disk.write(1024 + 0x3a, &[state & !1]);
    });
    assert!(matches!(sound(&path).expect("runs"), Err(Loss::Unsound(_))));
}

#[test]
fn a_worker_whose_folder_is_gone_has_lost_it() {
    let (path, _folder) = image(|_| {});
    let mut reached = [Reached::default(); 4];
    reached[2].has_begun = true;
    let runs = [run(1, [Reached::default(); 4]), run(2, reached)];
    let loss = files(&path, &runs).expect("runs").expect_err("is lost");
    assert!(matches!(loss, Loss::Files { seed: 2, worker: 2, .. }), "{loss}");
}

/// An extent that is allocated and not yet written reads as zeros, whatever is in its blocks.
#[test]
fn blocks_that_were_never_written_read_as_zeros() {
    let (path, _folder) = image(|_| {});
    let command = "write /dev/null f\nsif f size 8192\nfallocate f 0 1\nmkdir run9-worker0\nln f run9-worker0/f";
    let script = path.with_extension("script");
    std::fs::write(&script, command).expect("is written");
    let status = Command::new("debugfs")
        .args(["-w", "-f"])
        .args([&script, &path])
        .env("PATH", path_with_sbin())
        .output()
        .expect("runs")
        .status;
    assert!(status.success());
    let tree = path.with_extension("tree");
    assert_eq!(dump(&path, &tree).expect("runs"), Ok(()));
    assert_eq!(std::fs::read(tree.join("run9-worker0/f")).expect("is there"), [0; 8192]);
}

#[test]
fn only_the_superblocks_sums_may_be_mended() {
    let sums = "Free blocks count wrong (14320, counted=13993).\nFix? yes\n\nFree inodes count wrong (1, counted=2).\nFix? yes\n";
    assert!(!is_mended(sums));
    assert!(!is_mended(
        "recovering journal\nClearing orphaned inode 12 (uid=0, gid=0, mode=0100644, size=0)\n"
    ));
    assert!(is_mended(
        "Free blocks count wrong for group #0 (1, counted=2).\nFix? yes\n"
    ));
    assert!(is_mended("Inode 12, i_blocks is 8, should be 16.  Fix? yes\n"));
    assert!(is_mended(
        "Entry 'x' in / (2) has deleted/unused inode 12.  Clear? yes\n"
    ));
}
