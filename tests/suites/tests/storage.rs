//! Disks, from the partition table to `read(2)`: what the guest reads is what the host wrote, and the reverse; tables
//! made by the usual tools, and bad ones; errors of the medium arrive where they belong.

use sis_harness::{Board, Drive, Failure, Result, SECOND};
use sis_suites::disks::{DiskFile, says};
use sis_suites::{guest, run_checks, to_shell, virt};

const MIB: u64 = 1 << 20;

/// A disk with a partition table.
fn partitioned(bytes: u64, script: &str) -> Result<DiskFile> {
    let disk = DiskFile::empty(bytes)?;
    disk.partition(script)?;
    Ok(disk)
}

fn board(cpus: u32, drives: impl IntoIterator<Item = Drive>) -> Result<Board> {
    let boot = virt()?.smp(cpus).no_network().overlay(guest()?);
    to_shell(drives.into_iter().fold(boot, sis_harness::Boot::disk))
}

#[test]
fn every_case_of_the_disk_interface_holds() -> Result<()> {
    let image = DiskFile::empty(64 * MIB)?;
    let drive = image.drive().queues(4).drive_option("discard=unmap");
    run_checks(&mut board(4, [drive])?, "sis-guest disk", 19, 300 * SECOND)?;
    let image = DiskFile::empty(64 * MIB)?;
    run_checks(&mut board(1, [image.drive()])?, "sis-guest disk", 19, 300 * SECOND)
}

#[test]
fn sixty_four_mebibytes_arrive_whole_in_both_directions() -> Result<()> {
    let (from, to) = (DiskFile::random(64 * MIB, 7)?, DiskFile::empty(64 * MIB)?);
    let sum = from.md5()?;
    let mut board = board(4, [from.drive().serial("SOURCE-1"), to.drive().queues(4)])?;
    says(&mut board, "cat /sys/block/vda/serial", "SOURCE-1")?;
    says(&mut board, "md5sum < /dev/vda | cut -d' ' -f1", &sum)?;
    says(
        &mut board,
        "dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | md5sum | cut -d' ' -f1",
        &sum,
    )?;
    // Four readers and a writer at once.
    let readers = "for n in 1 2 3 4; do dd if=/dev/vda bs=256k iflag=direct 2>/dev/null | md5sum | cut -d' ' -f1 & done; \
                   dd if=/dev/vda of=/dev/vdb bs=1M oflag=direct conv=fsync 2>/dev/null; wait";
    let seen = board.run_ok(readers, 180 * SECOND)?;
    let good = seen.lines().filter(|line| line.trim() == sum).count();
    if good != 4 {
        return Err(board.failure(format_args!("{good} of 4 readers saw the bytes: {seen}")));
    }
    says(&mut board, "cmp /dev/vda /dev/vdb && echo same", "same")?;
    let stat = board.run_ok("cat /sys/block/vda/stat", 20 * SECOND)?;
    let sectors = stat.split_whitespace().nth(2).and_then(|n| n.parse::<u64>().ok());
    assert!(
        sectors.is_some_and(|n| n >= 7 * 131_072),
        "sectors read are not counted: {stat}"
    );
    drop(board);
    assert_eq!(to.md5()?, sum, "the host sees other bytes than the guest wrote");
    Ok(())
}

#[test]
fn a_disk_larger_than_the_memory_is_cached_without_killing_anybody() -> Result<()> {
    let image = DiskFile::random(256 * MIB, 11)?;
    let sum = image.md5()?;
    let boot = virt()?.smp(4).memory("128M").no_network().overlay(guest()?);
    let mut board = to_shell(boot.disk(image.drive()))?;
    says(&mut board, "md5sum < /dev/vda | cut -d' ' -f1", &sum)?;
    // Two readers, and somebody who takes more than half of the memory for a moment.
    let crowd = "(md5sum < /dev/vda; md5sum < /dev/vda) & md5sum < /dev/vda & sis-guest touch 64; wait";
    let seen = board.run_ok(crowd, 180 * SECOND)?;
    let good = seen.lines().filter(|line| line.starts_with(&sum)).count();
    if good != 3 {
        return Err(board.failure(format_args!("{good} of 3 readers saw the bytes: {seen}")));
    }
    // Far more than may be dirty at once; then all of it is on the disk.
    board.run_ok(
        "dd if=/dev/vda of=/dev/vda bs=1M count=128 seek=128 conv=notrunc 2>/dev/null && sync",
        180 * SECOND,
    )?;
    says(
        &mut board,
        "grep -E '^(Dirty|Writeback):' /proc/meminfo | awk '{ print $2 }'",
        "0\n0",
    )?;
    let half =
        "dd if=/dev/vda bs=1M count=128 2>/dev/null | md5sum; dd if=/dev/vda bs=1M skip=128 2>/dev/null | md5sum";
    let halves = board.run_ok(&format!("echo 3 > /proc/sys/vm/drop_caches; {half}"), 120 * SECOND)?;
    let sums: Vec<&str> = halves.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(
        sums.len() == 2 && sums.first() == sums.last(),
        "the halves differ: {halves}"
    );
    let same = (image.read_at(0, 128 << 20)?, image.read_at(128 * MIB, 128 << 20)?);
    assert!(same.0 == same.1, "the host sees other bytes than the guest wrote");
    // The same by stores.
    run_checks(&mut board, "sis-guest disk/mapped-whole", 1, 180 * SECOND)?;
    let log = board.run_ok("dmesg | grep -c 'Out of memory'; true", 20 * SECOND)?;
    assert_eq!(log.trim(), "0", "somebody was killed for memory that files had");
    Ok(())
}

#[test]
fn partitions_are_found_and_are_ranges_of_the_disk() -> Result<()> {
    let gpt = partitioned(
        64 * MIB,
        "label: gpt\nsize=8M, name=boot, uuid=11111111-2222-3333-4444-555555555555\nsize=16M, name=\"da ta\"\n",
    )?;
    let mbr = partitioned(
        64 * MIB,
        "label: dos\nlabel-id: 0x1a2b3c4d\n1: size=8M, type=c\n2: size=40M, type=5\n5: size=8M\n6: size=16M\n",
    )?;
    gpt.write_at(9 * MIB, b"second partition")?;
    let mut board = board(2, [gpt.drive(), mbr.drive()])?;
    let names = "awk 'NR > 2 { print $1, $2, $3, $4 }' /proc/partitions";
    says(
        &mut board,
        names,
        "254 0 65536 vda\n254 1 8192 vda1\n254 2 16384 vda2\n254 16 65536 vdb\n254 17 8192 vdb1\n254 18 1 vdb2\n\
         254 21 8192 vdb5\n254 22 16384 vdb6",
    )?;
    says(&mut board, "head -c 16 /dev/vda2", "second partition")?;
    let shown = "cd /sys/block/vda/vda2; cat start size partition dev ro; grep -c 'PARTNAME=da ta' uevent; cd";
    says(&mut board, shown, "18432\n32768\n2\n254:2\n0\n1")?;
    says(
        &mut board,
        "grep PARTUUID /sys/class/block/vda1/uevent /sys/class/block/vdb5/uevent | cut -d= -f2",
        "11111111-2222-3333-4444-555555555555\n1a2b3c4d-05",
    )?;
    says(&mut board, "blockdev --getsize64 /dev/vda1", "8388608")?;
    says(&mut board, "fdisk -l /dev/vdb | grep -c '^/dev/vdb'", "4")?;
    // Not beyond the partition, and nothing of its neighbour.
    let fill = "tr '\\0' x < /dev/zero | dd of=/dev/vda1 bs=64k 2>/dev/null; sync; head -c 16 /dev/vda2";
    says(&mut board, fill, "second partition")?;
    // A table is read anew only while no partition is in use.
    says(
        &mut board,
        // Opened by the shell itself: a job in the background may come too late.
        "exec 9< /dev/vda1; blockdev --rereadpt /dev/vda 2>/dev/null || echo busy; exec 9<&-",
        "busy",
    )?;
    says(
        &mut board,
        "blockdev --rereadpt /dev/vda && ls -1 /dev/vda?",
        "/dev/vda1\n/dev/vda2",
    )?;
    drop(board);
    assert_eq!(gpt.read_at(9 * MIB - 1, 17)?, b"xsecond partition");
    Ok(())
}

#[test]
fn bad_tables_are_refused_and_said_to_be() -> Result<()> {
    let script = "label: gpt\nsize=8M\nsize=8M\n";
    // Without the first copy the last one does.
    let one = partitioned(32 * MIB, script)?;
    one.write_at(512, &[0; 512])?;
    let none = partitioned(32 * MIB, script)?;
    none.write_at(512, &[0; 512])?;
    none.write_at(32 * MIB - 512, &[0; 512])?;
    // The first logical partition's link leads to itself.
    let chain = partitioned(32 * MIB, "label: dos\n1: size=16M, type=5\n5: size=4M\n")?;
    let mut link = [0; 16];
    link[4] = 5;
    link[12] = 100;
    chain.write_at(MIB + 446 + 16, &link)?;
    let mut board = board(2, [one.drive(), none.drive(), chain.drive()])?;
    says(
        &mut board,
        "ls -1 /dev/vd*",
        "/dev/vda\n/dev/vda1\n/dev/vda2\n/dev/vdb\n/dev/vdc",
    )?;
    let log = board.run_ok("dmesg | grep -E 'vd[abc]:'", 20 * SECOND)?;
    for part in [
        "vda: the first copy of the GPT cannot be used (no header)",
        "vdb: the partition table is refused: GPT: the first copy cannot be used (no header), nor the one at the end",
        "vdc: the partition table is refused: MBR: the chain of logical partitions is a loop",
    ] {
        if !log.contains(part) {
            return Err(board.failure(format_args!("{part:?} is not in the log: {log}")));
        }
    }
    Ok(())
}

#[test]
fn errors_of_the_medium_reach_the_program_and_nothing_hangs() -> Result<()> {
    let image = DiskFile::random(16 * MIB, 9)?;
    let rules = DiskFile::empty(0)?;
    // Reads of sector 2048, writes of sector 4096 and every flush fail (QEMU's docs/devel/blkdebug.rst).
    std::fs::write(
        rules.path(),
        "[inject-error]\nevent = \"none\"\niotype = \"read\"\nsector = \"2048\"\nerrno = \"5\"\n\
         [inject-error]\nevent = \"none\"\niotype = \"write\"\nsector = \"4096\"\nerrno = \"5\"\n\
         [inject-error]\nevent = \"none\"\niotype = \"flush\"\nerrno = \"5\"\n",
    )
    .map_err(Failure::new)?;
    let source = format!("blkdebug:{}:{}", rules.path().display(), image.path().display());
    let drive = Drive::raw(source)
        .drive_option("werror=report")
        .drive_option("rerror=report");
    let mut board = board(4, [drive])?;
    let failed = |board: &mut Board, command: &str| -> Result<()> {
        let output = board.run(command, 60 * SECOND)?;
        if output.status != 0 && output.text.contains("Input/output error") {
            return Ok(());
        }
        Err(board.failure(format_args!("{command}: {} {}", output.status, output.text)))
    };
    failed(
        &mut board,
        "dd if=/dev/vda of=/dev/null bs=512 skip=2048 count=1 iflag=direct",
    )?;
    failed(&mut board, "dd if=/dev/vda of=/dev/null bs=512 skip=2048 count=1")?;
    failed(
        &mut board,
        "dd if=/dev/zero of=/dev/vda bs=512 seek=4096 count=1 conv=notrunc,fsync",
    )?;
    failed(
        &mut board,
        "dd if=/dev/zero of=/dev/vda bs=512 seek=8000 count=1 conv=notrunc,fsync",
    )?;
    // All that is well is read, before and behind the page that it is in, and the disk goes on.
    says(
        &mut board,
        "dd if=/dev/vda bs=512 count=2048 iflag=direct 2>/dev/null | wc -c; \
         dd if=/dev/vda bs=512 skip=2056 count=100 iflag=direct 2>/dev/null | wc -c",
        "1048576\n51200",
    )?;
    let log = board.run_ok("dmesg | grep 'vda: '", 20 * SECOND)?;
    if !log.contains("sectors at 2048: the medium is damaged there") {
        return Err(board.failure(format_args!("no word of the error in the log: {log}")));
    }
    Ok(())
}

#[test]
fn a_device_that_does_not_answer_is_reset_and_its_request_fails() -> Result<()> {
    let (slow, other) = (DiskFile::random(64 * MIB, 11)?, DiskFile::random(16 * MIB, 12)?);
    let sum = other.md5()?;
    // After 64 KiB the next read would take a minute; writes are as fast as ever.
    let drive = slow.drive().drive_option("throttling.bps-read=1000");
    let mut board = board(4, [drive, other.drive()])?;
    let read = "dd if=/dev/vda of=/dev/null bs=64k count=1 skip=300 iflag=direct";
    board.run_ok(read, 20 * SECOND)?;
    board.run_ok(
        "{ dd if=/dev/vda of=/dev/null bs=64k count=1 iflag=direct; echo read $?; } > /tmp/read 2>&1 &",
        20 * SECOND,
    )?;
    // Nobody else waits for it.
    says(&mut board, "md5sum < /dev/vdb | cut -d' ' -f1; cat /tmp/read", &sum)?;
    // Three times half a minute.
    let output = board.run("sleep 110; cat /tmp/read; dmesg | grep 'vda: '", 180 * SECOND)?;
    for part in [
        "Input/output error",
        "read 1",
        "vda: a request takes longer than 30 s and is given up",
        "vda: read of 128 sectors at 0: the device did not finish in time",
    ] {
        if !output.text.contains(part) {
            return Err(board.failure(format_args!("{part:?} is not said: {}", output.text)));
        }
    }
    board.run_ok(
        "dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct conv=fsync,notrunc",
        60 * SECOND,
    )?;
    drop(board);
    assert_eq!(
        slow.read_at(4 * MIB, 4096)?,
        [0; 4096],
        "the disk does not work after its reset"
    );
    Ok(())
}

#[test]
fn a_read_only_disk_refuses_writes() -> Result<()> {
    let image = DiskFile::random(4 * MIB, 3)?;
    let sum = image.md5()?;
    let mut board = board(1, [image.drive().read_only()])?;
    says(&mut board, "blockdev --getro /dev/vda; cat /sys/block/vda/ro", "1\n1")?;
    let output = board.run("dd if=/dev/zero of=/dev/vda bs=512 count=1", 20 * SECOND)?;
    if output.status == 0 {
        return Err(board.failure("a write to a read-only disk succeeded"));
    }
    says(&mut board, "md5sum < /dev/vda | cut -d' ' -f1", &sum)
}

#[test]
fn blocks_of_four_kibibytes_are_kept() -> Result<()> {
    let image = DiskFile::random(8 * MIB, 5)?;
    let drive = image
        .drive()
        .device_option("logical_block_size=4096")
        .device_option("physical_block_size=4096");
    let mut board = board(2, [drive])?;
    says(
        &mut board,
        "blockdev --getss /dev/vda; cat /sys/block/vda/queue/logical_block_size",
        "4096\n4096",
    )?;
    let odd = "printf hello | dd of=/dev/vda bs=5 seek=1001 conv=notrunc,fsync 2>/dev/null; sync; \
               dd if=/dev/vda bs=5 skip=1001 count=1 2>/dev/null";
    let before = image.read_at(5000, 20)?;
    says(&mut board, odd, "hello")?;
    drop(board);
    let after = image.read_at(5000, 20)?;
    assert_eq!(after.get(5..10), Some(&b"hello"[..]));
    assert_eq!((after.get(..5), after.get(10..)), (before.get(..5), before.get(10..)));
    Ok(())
}
