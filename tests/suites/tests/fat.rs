//! FAT32 on a disk: what mkfs.fat and mtools make is mounted, what is written is what mtools reads, and fsck.fat finds nothing;
//! what it does is what Linux does.

use std::collections::BTreeMap;
use std::process::Command;

use sis_harness::{Archive, Board, Boot, Failure, Node, Result, SECOND, add_fat_modules, linux_kernel};
use sis_suites::disks::{DiskFile, says, tool};
use sis_suites::{VIRT, guest_bytes, power_off, to_shell, virt};

const SCRIPT: &str = include_str!("fat/behaviour.sh");

/// A disk with what mkfs.fat(8) makes, with so many sectors a cluster.
fn fat(mebibytes: u64, sectors: u32) -> Result<DiskFile> {
    let disk = DiskFile::empty(mebibytes << 20)?;
    let sectors = sectors.to_string();
    let arguments = ["-F", "32", "-s", &sectors, "-n", "SISBOOT"];
    tool(Command::new("mkfs.fat").args(arguments).arg(disk.path()))?;
    Ok(disk)
}

/// What mtools reads from a file.
fn cat(disk: &DiskFile, path: &str) -> Result<Vec<u8>> {
    let mut mtype = Command::new("mtype");
    mtype.env("LC_ALL", "C.UTF-8").arg("-i").arg(disk.path());
    tool(mtype.arg(format!("::{path}")))
}

/// fsck.fat(8) has nothing to mend.
fn assert_clean(disk: &DiskFile) -> Result<()> {
    let said = tool(Command::new("fsck.fat").args(["-n", "-v"]).arg(disk.path()))?;
    let said = String::from_utf8_lossy(&said);
    for word in ["Dirty bit", "differ", "summary wrong", "Reclaimed"] {
        if said.contains(word) {
            return Err(Failure::new(format_args!("fsck.fat: {said}")));
        }
    }
    Ok(())
}

fn board(image: &DiskFile) -> Result<Board> {
    to_shell(virt()?.smp(2).no_network().disk(image.drive()))
}

const MOUNT: &str = "mkdir -p /tmp/m && mount -t vfat /dev/vda /tmp/m";

#[test]
fn what_mtools_put_there_is_read_and_what_is_written_is_sound() -> Result<()> {
    let image = fat(64, 1)?;
    let folder = tempfile::tempdir().map_err(Failure::new)?;
    let big: Vec<u8> = (0..3_000_017u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let source = folder.path().join("big");
    std::fs::write(&source, &big).map_err(Failure::new)?;
    tool(
        Command::new("mmd")
            .arg("-i")
            .arg(image.path())
            .arg("::overlays and more"),
    )?;
    tool(
        Command::new("mcopy")
            .arg("-i")
            .arg(image.path())
            .arg(&source)
            .arg("::overlays and more/a big file.bin"),
    )?;
    let sum = sis_suites::disks::md5(&source)?;

    let mut board = board(&image)?;
    board.run_ok(MOUNT, 60 * SECOND)?;
    board.run_ok("cd /tmp/m", 5 * SECOND)?;
    says(
        &mut board,
        "md5sum < 'Overlays and more/A BIG FILE.bin' | cut -d' ' -f1",
        &sum,
    )?;
    says(&mut board, "ls", "overlays and more")?;
    says(
        &mut board,
        "mount -t ext4 /dev/vda /mnt 2>&1 | grep -o 'resource busy'",
        "resource busy",
    )?;
    // Many files, so that directories grow, and some go again.
    board.run_ok(
        "mkdir many && for i in $(seq 300); do echo content $i > \"many/file with number $i.txt\"; done",
        120 * SECOND,
    )?;
    board.run_ok(
        "for i in $(seq 1 2 300); do rm \"many/file with number $i.txt\"; done",
        60 * SECOND,
    )?;
    board.run_ok("cp 'overlays and more/a big file.bin' COPY.BIN", 60 * SECOND)?;
    says(&mut board, "ls many | wc -l", "150")?;
    board.run_ok("cd / && umount /tmp/m", 60 * SECOND)?;
    assert_clean(&image)?;
    if cat(&image, "COPY.BIN")? != big {
        return Err(board.failure("mtools reads something else from the copy"));
    }
    if cat(&image, "many/file with number 300.txt")? != b"content 300\n" {
        return Err(board.failure("mtools reads something else from a small file"));
    }
    // Mounted again, twice at once and read-only.
    board.run_ok("mount -t vfat -o ro /dev/vda /tmp/m", 60 * SECOND)?;
    says(
        &mut board,
        "cmp '/tmp/m/overlays and more/a big file.bin' /tmp/m/copy.bin && echo same",
        "same",
    )?;
    says(
        &mut board,
        "touch /tmp/m/x 2>&1 | sed 's/.*: //'",
        "Read-only file system",
    )?;
    board.run_ok("umount /tmp/m", 60 * SECOND)?;
    power_off(board)
}

#[test]
fn unknown_options_and_damaged_disks_are_refused_and_say_why() -> Result<()> {
    let image = fat(64, 1)?;
    // A cluster of the root's that nobody has, after the table's first two entries: the root ends nowhere.
    image.write_at(32 * 512 + 8, &[0; 4])?;
    let mut board = board(&image)?;
    // What the log says is read from it, and not in between.
    board.run_ok("dmesg -n 1; mkdir /tmp/m", 5 * SECOND)?;
    says(
        &mut board,
        "mount -t vfat -o nonsense /dev/vda /tmp/m 2>&1 | grep -o 'Invalid argument'",
        "Invalid argument",
    )?;
    says(
        &mut board,
        "mount -t vfat /dev/vda /tmp/m 2>&1 | sed 's/.*: //'",
        "Structure needs cleaning",
    )?;
    says(
        &mut board,
        "dmesg | grep -c 'fat: vda: damaged (a chain goes through free clusters): fsck.fat -a mends it'",
        "1",
    )?;
    power_off(board)
}

/// What was synchronised before the power went is there; the file system mounts and works.
#[test]
fn what_was_synchronised_survives_a_power_cut() -> Result<()> {
    let image = fat(64, 2)?;
    let mut first = board(&image)?;
    first.run_ok(MOUNT, 60 * SECOND)?;
    first.run_ok(
        "cd /tmp/m && mkdir 'a directory' && for i in $(seq 40); do seq $i 2000 > \"a directory/kept $i\"; done && sync",
        120 * SECOND,
    )?;
    // Synchronised one by one, and then some that are not.
    first.run_ok("echo last > fsynced && sync fsynced", 20 * SECOND)?;
    first.run_ok(
        "rm 'a directory/kept 1'; for i in $(seq 60); do seq $i 900 > \"a directory/perhaps $i\"; done",
        60 * SECOND,
    )?;
    drop(first);

    let mut second = board(&image)?;
    second.run_ok(MOUNT, 60 * SECOND)?;
    says(
        &mut second,
        "dmesg | grep -c 'fat: vda: it was not unmounted the last time'",
        "1",
    )?;
    says(&mut second, "cat /tmp/m/fsynced", "last")?;
    says(
        &mut second,
        "for i in $(seq 2 40); do seq $i 2000 | cmp - \"/tmp/m/a directory/kept $i\" || echo lost $i; done; echo done",
        "done",
    )?;
    second.run_ok(
        "rm -r '/tmp/m/a directory' && echo more > /tmp/m/more && umount /tmp/m",
        60 * SECOND,
    )?;
    power_off(second)?;
    // Clusters that nobody owns may be left; nothing else.
    let said = tool(
        Command::new("sh")
            .arg("-c")
            .arg(format!("fsck.fat -n -v {} || true", image.path().display())),
    )?;
    let said = String::from_utf8_lossy(&said);
    for word in [
        "Cluster chain",
        "cluster chain",
        "start cluster",
        "share",
        "loop",
        "Bad",
    ] {
        if said.contains(word) {
            return Err(Failure::new(format_args!("fsck.fat: {said}")));
        }
    }
    Ok(())
}

/// A kernel to compare, and what it needs.
struct Kernel {
    boot: Boot,
    archive: Archive,
    /// What makes it know FAT.
    commands: Vec<String>,
}

fn ours() -> Kernel {
    Kernel {
        boot: Boot::new(VIRT),
        archive: Archive::default(),
        commands: Vec::new(),
    }
}

fn linux() -> Result<Kernel> {
    let mut archive = Archive::default();
    let commands = add_fat_modules(&mut archive)?;
    Ok(Kernel {
        boot: Boot::new(VIRT).kernel(linux_kernel()?).append("rdinit=/init"),
        archive,
        commands,
    })
}

impl Kernel {
    /// Boots with a file more in the root, and the disk mounted on `/tmp/m`.
    fn start(mut self, image: &DiskFile, path: &str, bytes: Vec<u8>) -> Result<Board> {
        self.archive.add(path, Node::File(bytes), 0o755).map_err(Failure::new)?;
        let boot = self.boot.smp(2).no_network().overlay(self.archive);
        let mut board = to_shell(boot.disk(image.drive()))?;
        // What a kernel has to say about the host's load must not come between what is compared.
        board.run_ok("dmesg -n 1", 20 * SECOND)?;
        for command in &self.commands {
            board.run_ok(command, 20 * SECOND)?;
        }
        board.run_ok("mkdir -p /tmp/m && mount -t vfat -o utf8 /dev/vda /tmp/m", 60 * SECOND)?;
        Ok(board)
    }
}

/// What the script says on a kernel.
fn behaviour(kernel: Kernel, sectors: u32) -> Result<String> {
    let image = fat(48, sectors)?;
    let mut board = kernel.start(&image, "/behaviour.sh", SCRIPT.as_bytes().to_vec())?;
    let said = board.run_ok("sh /behaviour.sh /tmp/m 2>&1", 180 * SECOND)?;
    board.run_ok("umount /tmp/m", 60 * SECOND)?;
    power_off(board)?;
    assert_clean(&image)?;
    Ok(said)
}

#[test]
fn what_it_does_is_what_linux_does() -> Result<()> {
    for sectors in [1, 8] {
        let expected = behaviour(linux()?, sectors)?;
        let found = behaviour(ours(), sectors)?;
        let differences: Vec<String> = expected
            .lines()
            .zip(found.lines())
            .filter(|(linux, ours)| linux != ours)
            .map(|(linux, ours)| format!("Linux: {linux}\nours:  {ours}"))
            .collect();
        if expected.lines().count() != found.lines().count() || !differences.is_empty() {
            return Err(Failure::new(format_args!(
                "{sectors} sectors a cluster:\n{}\n--- Linux\n{expected}\n--- ours\n{found}",
                differences.join("\n")
            )));
        }
    }
    Ok(())
}

/// The marks of the interface's cases, by name, with their files on a FAT.
fn cases(kernel: Kernel) -> Result<BTreeMap<String, bool>> {
    let image = fat(64, 8)?;
    let mut board = kernel.start(&image, "/bin/sis-guest", guest_bytes()?)?;
    let said = board.run("SIS_GUEST_DIR=/tmp/m sis-guest all 2>&1", 300 * SECOND)?;
    board.run_ok("sync", 60 * SECOND)?;
    let mark = |line: &str| {
        let (mark, rest) = line.split_once(' ')?;
        let name = rest.split([' ', ':']).next()?.to_owned();
        match mark {
            "[PASS]" => Some((name, true)),
            "[FAIL]" => Some((name, false)),
            _ => None,
        }
    };
    Ok(said.text.lines().filter_map(mark).collect())
}

#[test]
fn the_interfaces_cases_end_as_on_linux() -> Result<()> {
    let (expected, found) = (cases(linux()?)?, cases(ours())?);
    let worse: Vec<&String> = found
        .iter()
        .filter(|(name, passed)| !**passed && expected.get(*name) == Some(&true))
        .map(|(name, _)| name)
        .collect();
    if !worse.is_empty() || found.len() < 100 {
        return Err(Failure::new(format_args!(
            "{} cases; worse than on Linux: {worse:?}",
            found.len()
        )));
    }
    Ok(())
}
