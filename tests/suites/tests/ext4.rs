//! ext4 on a disk: what mke2fs makes is mounted, what is written is what debugfs reads, and e2fsck finds nothing; the root
//! itself on a disk.

use std::path::Path;
use std::process::Command;

use sis_harness::{Board, Boot, Drive, Failure, Result, SECOND, workspace};
use sis_suites::disks::{self, DiskFile, md5, says, tool};
use sis_suites::{guest, power_off, run_checks, to_shell, virt};

/// A file system on a disk of its own.
struct Image(DiskFile);

impl Image {
    /// What mke2fs(8) makes of `arguments`.
    fn new(size: &str, arguments: &[&str]) -> Result<Self> {
        let image = Self(DiskFile::empty(0)?);
        tool(
            Command::new("mke2fs")
                .args(["-q", "-F"])
                .args(arguments)
                .arg(image.path())
                .arg(size),
        )?;
        Ok(image)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn drive(&self) -> Drive {
        self.0.drive()
    }

    /// What debugfs(8) reads from a file.
    fn cat(&self, path: &str) -> Result<Vec<u8>> {
        tool(
            Command::new("debugfs")
                .arg("-R")
                .arg(format!("cat {path}"))
                .arg(self.path()),
        )
    }

    /// e2fsck(8) has nothing to replay and nothing to mend.
    fn assert_clean(&self) -> Result<()> {
        disks::assert_clean(self.path(), 0)
    }
}

fn board(cpus: u32, image: &Image) -> Result<Board> {
    to_shell(virt()?.smp(cpus).no_network().overlay(guest()?).disk(image.drive()))
}

#[test]
fn what_mke2fs_put_there_is_read_and_what_is_written_is_sound() -> Result<()> {
    let stage = workspace().join(format!("target/sis/disks/stage-{}", std::process::id()));
    std::fs::create_dir_all(stage.join("deep/er")).map_err(Failure::new)?;
    let big: Vec<u8> = (0..3_000_017u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(stage.join("deep/er/big"), &big).map_err(Failure::new)?;
    std::os::unix::fs::symlink("deep/er/big", stage.join("link")).map_err(Failure::new)?;
    let sum = md5(&stage.join("deep/er/big"))?;
    let image = Image::new("96M", &["-t", "ext4", "-d", &stage.to_string_lossy()])?;
    std::fs::remove_dir_all(&stage).map_err(Failure::new)?;

    let mut board = board(4, &image)?;
    board.run_ok(
        "mkdir /tmp/m && mount -t ext4 /dev/vda /tmp/m && cd /tmp/m",
        60 * SECOND,
    )?;
    says(&mut board, "md5sum < link | cut -d' ' -f1", &sum)?;
    says(&mut board, "grep -c '^/dev/vda /tmp/m ext4 rw' /proc/mounts", "1")?;
    says(
        &mut board,
        "mount -t ext4 /dev/vda /tmp/m 2>&1 | grep -o 'resource busy'",
        "resource busy",
    )?;
    // Four at once, each with its own folder of files that are made, renamed, linked and removed.
    let work = "for w in 1 2 3 4; do (mkdir w$w; i=0; while [ $i -lt 60 ]; do echo $w-$i > w$w/f$i; mv w$w/f$i w$w/g$i; \
                ln w$w/g$i w$w/h$i; [ $((i % 3)) = 0 ] && rm w$w/g$i; i=$((i+1)); done; cp link w$w/copy) & done; wait";
    board.run_ok(work, 180 * SECOND)?;
    says(&mut board, "ls w1 w2 w3 w4 | grep -c '^[gh]'", "400")?;
    says(&mut board, "md5sum w?/copy | cut -d' ' -f1 | sort -u", &sum)?;
    // A hole, an end cut off, and an end added.
    board.run_ok(
        "dd if=/dev/zero of=holey bs=1 count=0 seek=9M 2>/dev/null && echo end >> holey && cp link cut && truncate -s 1000001 cut",
        60 * SECOND,
    )?;
    says(
        &mut board,
        "[ $(du -k holey | cut -f1) -lt 64 ] && echo sparse",
        "sparse",
    )?;
    // No more room, and room again.
    says(
        &mut board,
        "dd if=/dev/zero of=full bs=64k 2>&1 | grep -c 'No space left'; rm full; echo again > after && cat after",
        "1\nagain",
    )?;
    // In use while it is unmounted; then not.
    says(&mut board, "umount /tmp/m 2>/dev/null || echo busy", "busy")?;
    board.run_ok("cd / && umount /tmp/m", 60 * SECOND)?;
    power_off(board)?;

    image.assert_clean()?;
    assert!(image.cat("/w3/copy")? == big, "the copy has other bytes");
    assert!(image.cat("/cut")?.as_slice() == big.get(..1_000_001).unwrap_or_default());
    assert_eq!(image.cat("/w2/h7")?, b"2-7\n");
    let holey = image.cat("/holey")?;
    assert_eq!(
        (holey.len(), holey.get(holey.len() - 4..)),
        ((9 << 20) + 4, Some(&b"end\n"[..]))
    );
    Ok(())
}

#[test]
fn a_cut_of_the_power_loses_nothing_that_was_synced() -> Result<()> {
    let image = Image::new("64M", &["-t", "ext4"])?;
    let mut first = board(2, &image)?;
    first.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    first.run_ok(
        "cd /mnt; for i in $(seq 200); do echo $i > f$i; done; sync; for i in $(seq 200 400); do echo $i > f$i; done",
        120 * SECOND,
    )?;
    // QEMU is killed.
    drop(first);

    let mut second = board(2, &image)?;
    second.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    let check =
        "cd /mnt; for i in $(seq 199); do [ \"$(cat f$i)\" = $i ] || echo lost $i; done; cd /; umount /mnt; echo done";
    says(&mut second, check, "done")?;
    power_off(second)?;
    image.assert_clean()
}

#[test]
fn ext2_and_ext3_are_mounted_too() -> Result<()> {
    for kind in ["ext2", "ext3"] {
        let image = Image::new("32M", &["-t", kind])?;
        let mut board = board(2, &image)?;
        board.run_ok(&format!("mount -t {kind} /dev/vda /mnt"), 60 * SECOND)?;
        says(&mut board, "awk '$2 == \"/mnt\" { print $3 }' /proc/mounts", kind)?;
        board.run_ok("cp -a /etc /mnt/ && umount /mnt", 60 * SECOND)?;
        says(
            &mut board,
            &format!(
                "mount -t {kind} -o ro /dev/vda /mnt && diff -r /etc /mnt/etc && touch /mnt/x 2>/dev/null || echo refused"
            ),
            "refused",
        )?;
        board.run_ok("umount /mnt", 60 * SECOND)?;
        power_off(board)?;
        image.assert_clean()?;
    }
    Ok(())
}

#[test]
fn what_is_no_file_system_is_refused() -> Result<()> {
    let image = Image::new("16M", &["-t", "ext4"])?;
    // The superblock says something else.
    image.0.write_at(1024, &[0xa5; 1024])?;
    let mut board = board(2, &image)?;
    // What the kernel says of it does not come between.
    board.run_ok("dmesg -n 1", 20 * SECOND)?;
    says(
        &mut board,
        "mount -t ext4 /dev/vda /mnt 2>&1 | grep -o 'Invalid argument'",
        "Invalid argument",
    )?;
    says(
        &mut board,
        "mount -t ext4 -o nosuchoption /dev/vda /mnt 2>&1 | grep -o 'Invalid argument'",
        "Invalid argument",
    )
}

#[test]
fn the_root_may_be_on_a_disk() -> Result<()> {
    let image = Image::new("128M", &["-t", "ext4"])?;
    // The root of the initramfs is put there by the board itself.
    let mut installer = board(2, &image)?;
    installer.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    installer.run_ok(
        "for f in /*; do case $f in /dev|/proc|/sys|/tmp|/mnt|/run) mkdir /mnt$f;; *) cp -a $f /mnt/;; esac; done; \
         mv /mnt/init /mnt/sbin/init; umount /mnt",
        180 * SECOND,
    )?;
    power_off(installer)?;
    image.assert_clean()?;

    let from_disk = || -> Result<Boot> {
        let boot = virt()?.smp(2).no_network().no_initrd().disk(image.drive());
        Ok(boot.append("root=/dev/vda rw"))
    };
    let mut board = to_shell(from_disk()?)?;
    says(
        &mut board,
        "awk '$2 == \"/\" { print $1, $3, substr($4, 1, 2) }' /proc/mounts",
        "/dev/vda ext4 rw",
    )?;
    board.run_ok("echo kept > /etc/kept", 20 * SECOND)?;
    power_off(board)?;
    image.assert_clean()?;
    assert_eq!(image.cat("/etc/kept")?, b"kept\n");

    let mut again = to_shell(from_disk()?)?;
    says(&mut again, "cat /etc/kept", "kept")?;
    power_off(again)?;
    image.assert_clean()
}

#[test]
fn every_case_of_the_interface_holds_on_it() -> Result<()> {
    let image = Image::new("256M", &["-t", "ext4"])?;
    let mut board = board(4, &image)?;
    board.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    run_checks(&mut board, "SIS_GUEST_DIR=/mnt sis-guest all", 300, 600 * SECOND)?;
    says(&mut board, "ls -A /mnt", "lost+found")?;
    board.run_ok("umount /mnt", 60 * SECOND)?;
    power_off(board)?;
    image.assert_clean()
}

#[test]
fn names_that_were_looked_up_do_not_fill_the_memory() -> Result<()> {
    const FOLDERS: usize = 40;
    const FILES: usize = 1000;
    let stage = workspace().join(format!("target/sis/disks/names-{}", std::process::id()));
    for folder in 0..FOLDERS {
        let folder = stage.join(format!("folder{folder}"));
        std::fs::create_dir_all(&folder).map_err(Failure::new)?;
        for file in 0..FILES {
            std::fs::write(folder.join(format!("file{file}")), "").map_err(Failure::new)?;
        }
    }
    let image = Image::new("128M", &["-t", "ext4", "-N", "50000", "-d", &stage.to_string_lossy()])?;
    std::fs::remove_dir_all(&stage).map_err(Failure::new)?;

    let boot = virt()?.smp(2).memory("128M").no_network();
    let mut board = to_shell(boot.disk(image.drive()))?;
    board.run_ok("mount -t ext4 /dev/vda /mnt", 60 * SECOND)?;
    let free = |board: &mut Board| -> Result<u64> {
        let text = board.run_ok("awk '/^MemAvailable/ { print $2 }' /proc/meminfo", 20 * SECOND)?;
        text.trim().parse().map_err(Failure::new)
    };
    let before = free(&mut board)?;
    for _ in 0..2 {
        // Not only the names: each file is looked up.
        says(
            &mut board,
            "find /mnt -type f -size -1 | wc -l",
            &format!("{}", FOLDERS * FILES),
        )?;
    }
    // A second for the file system's thread.
    board.run_ok("sleep 2", 20 * SECOND)?;
    let kept = before.saturating_sub(free(&mut board)?);
    assert!(kept < 24 << 10, "{kept} KiB are kept for names");
    board.run_ok("umount /mnt", 60 * SECOND)?;
    power_off(board)?;
    image.assert_clean()
}

#[test]
fn files_larger_than_the_memory_are_written_and_read_whole() -> Result<()> {
    let image = Image::new("512M", &["-t", "ext4"])?;
    let boot = virt()?.smp(4).memory("128M").no_network().overlay(guest()?);
    let mut board = to_shell(boot.disk(image.drive()))?;
    board.run_ok("mount -t ext4 /dev/vda /mnt && cd /mnt", 60 * SECOND)?;
    // Two writers, while a program takes and gives back half of the memory.
    let write = "sis-guest touch 48 >/dev/null & (dd if=/dev/urandom bs=1M count=160 2>/dev/null | tee a | md5sum | cut -d' ' -f1 >a.sum) & \
                 (dd if=/dev/urandom bs=7k count=10000 2>/dev/null | tee b | md5sum | cut -d' ' -f1 >b.sum); wait; echo $(cat a.sum b.sum)";
    let sums = board.run_ok(write, 300 * SECOND)?;
    let last = sums.trim().lines().last().unwrap_or_default().to_owned();
    assert_eq!(last.split_whitespace().count(), 2, "{sums}");
    let read = "for f in a b a; do md5sum <$f | cut -d' ' -f1; done | tr '\\n' ' '";
    let (a, b) = last.split_once(' ').unwrap_or_default();
    says(&mut board, read, &format!("{a} {b} {a}"))?;
    says(&mut board, "dmesg | grep -c 'Out of memory'", "0")?;
    board.run_ok("cd / && umount /mnt", 120 * SECOND)?;
    power_off(board)?;
    image.assert_clean()?;
    for (name, sum) in [("a", a), ("b", b)] {
        let copy = image.path().with_extension(name);
        tool(
            Command::new("debugfs")
                .arg("-R")
                .arg(format!("dump /{name} {}", copy.display()))
                .arg(image.path()),
        )?;
        assert_eq!(md5(&copy)?, sum, "what the disk has of {name}");
        std::fs::remove_file(copy).map_err(Failure::new)?;
    }
    Ok(())
}
