//! Debian's own fio, sqlite3 and git, unmodified dynamic programs, do their work and find what they wrote: in memory, and on
//! a disk after the power was cut.

use std::path::{Path, PathBuf};
use std::process::Command;

use sis_harness::{
    Archive, Board, Boot, Failure, Node, Result, SECOND, Wanted, add_disk_modules, archive_of, debian_tree,
    linux_kernel, workspace,
};
use sis_suites::disks::{assert_clean, tool};
use sis_suites::{VIRT, power_off, run_checks, to_shell, virt};

const PROGRAMS: Wanted<'_> = Wanted {
    packages: &["busybox-static", "fio", "git", "sqlite3"],
    programs: &["bin/busybox", "usr/bin/fio", "usr/bin/git", "usr/bin/sqlite3"],
    files: &["usr/bin/git-upload-pack", "usr/share/git-core/templates"],
};

const SCRIPTS: [(&str, &str); 2] = [
    ("work.sh", include_str!("debian_programs/work.sh")),
    ("verify.sh", include_str!("debian_programs/verify.sh")),
];
/// As many things the scripts check.
const DONE: usize = 10;
const VERIFIED: usize = 4;

fn work(board: &mut Board, run: &str, folder: &str) -> Result<()> {
    run_checks(board, &format!("{run} sh /work.sh {folder}"), DONE, 300 * SECOND)
}

fn verify(board: &mut Board, run: &str, folder: &str) -> Result<()> {
    run_checks(board, &format!("{run} sh /verify.sh {folder}"), VERIFIED, 120 * SECOND)
}

#[test]
fn debians_programs_work_in_memory() -> Result<()> {
    let mut archive = archive_of(&debian_tree("programs", &PROGRAMS)?)?;
    for (name, text) in SCRIPTS {
        let script = Node::File(text.as_bytes().to_vec());
        archive.add(&format!("/{name}"), script, 0o755).map_err(Failure::new)?;
    }
    let mut board = to_shell(virt()?.smp(2).memory("1G").overlay(archive))?;
    board.run_ok("mkdir /tmp/work", 20 * SECOND)?;
    work(&mut board, "", "/tmp/work")?;
    verify(&mut board, "", "/tmp/work")
}

/// A disk with the programs, the scripts and an empty folder `data`.
fn disk(folder: &Path) -> Result<PathBuf> {
    let stage = folder.join("stage");
    // Links instead of copies: the tree is 100 MB.
    tool(
        Command::new("cp")
            .arg("-al")
            .arg(debian_tree("programs", &PROGRAMS)?)
            .arg(&stage),
    )?;
    for name in ["dev", "proc", "tmp", "data"] {
        std::fs::create_dir_all(stage.join(name)).map_err(Failure::new)?;
    }
    for (name, text) in SCRIPTS {
        std::fs::write(stage.join(name), text).map_err(Failure::new)?;
    }
    let image = folder.join("disk.img");
    tool(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .args([&stage, &image])
            .arg("320M"),
    )?;
    Ok(image)
}

/// Boots with the disk mounted at `/mnt`.
fn mounted(boot: Boot, commands: &[String], image: &Path) -> Result<Board> {
    let disk = format!("driver=file,node-name=disk,filename={}", image.display());
    let boot = boot.smp(2).memory("512M");
    let mut board = to_shell(boot.qemu(&["-blockdev", &disk, "-device", "virtio-blk-device,drive=disk"]))?;
    for command in commands {
        board.run_ok(command, 20 * SECOND)?;
    }
    board.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    board.run_ok(
        "mount -t devtmpfs dev /mnt/dev && mount -t proc proc /mnt/proc",
        20 * SECOND,
    )?;
    Ok(board)
}

/// The programs run from the disk and write to it; the power is cut; all of it is there, and the disk is sound.
fn survives(kernel: &str, boot: impl Fn() -> Result<(Boot, Vec<String>)>) -> Result<()> {
    // Beside the programs: links to them are made there.
    let folder = workspace().join(format!("target/sis/disks/debian-{kernel}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(Failure::new)?;
    let image = disk(&folder)?;
    let inside = "chroot /mnt /bin/busybox";

    let (first, commands) = boot()?;
    let mut board = mounted(first, &commands, &image)?;
    board.run_ok(&format!("{inside} --install -s /bin"), 60 * SECOND)?;
    work(&mut board, inside, "/data")?;
    // QEMU is killed: the last thing that the script did was sync(2).
    drop(board);

    let (second, commands) = boot()?;
    let mut board = mounted(second, &commands, &image)?;
    verify(&mut board, inside, "/data")?;
    board.run_ok("umount /mnt/proc && umount /mnt/dev && umount /mnt", 60 * SECOND)?;
    power_off(board)?;
    assert_clean(&image, 0)?;
    std::fs::remove_dir_all(folder).map_err(Failure::new)
}

#[test]
fn what_they_write_to_a_disk_survives_a_power_cut_on_linux() -> Result<()> {
    survives("linux", || {
        let mut archive = Archive::default();
        let commands = add_disk_modules(&mut archive)?;
        let boot = Boot::new(VIRT).kernel(linux_kernel()?).append("rdinit=/init");
        Ok((boot.overlay(archive), commands))
    })
}

#[test]
fn what_they_write_to_a_disk_survives_a_power_cut() -> Result<()> {
    survives("sis", || Ok((Boot::new(VIRT).no_network(), Vec::new())))
}
