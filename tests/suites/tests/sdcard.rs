//! SD cards on the Raspberry Pi's two hosts, EMMC2 (`mmcblk0`) and EMMC (`mmcblk1`): bytes arrive whole in both
//! directions, partitions are found, a card that goes is an error and not a hang.
//!
//! What QEMU 10.0's models are like (`hw/sd/sdhci.c`, `hw/sd/sd.c`, `hw/arm/bcm2838_peripherals.c`):
//! - both hosts announce neither ADMA2 nor SDMA, so that all data goes through the buffer register here; descriptors
//!   and bounce buffers are tested against the driver's simulated device;
//! - DMA would see memory at the CPU's addresses, not at the legacy masters' alias;
//! - cards have no 1.8 V and no tuning; the fastest mode is high speed, and the clock does not matter;
//! - Auto CMD23 is ignored, which leaves the card sending: the board does not use it;
//! - a card's size must be a power of two; nothing is ever busy; a read-only file is refused as a card, so that the
//!   write-protect switch is tested against the simulated device too;
//! - a card that is ejected takes its host's power and clock away, and an unfinished transfer just stops.

use sis_harness::{Board, Boot, Failure, Result, SECOND};
use sis_suites::disks::{DiskFile, says_within};
use sis_suites::to_shell;

const CARD_BYTES: u64 = 32 << 20;

/// Bytes that do not repeat, behind a partition table of two partitions.
fn card(seed: u64) -> Result<DiskFile> {
    let card = DiskFile::random(CARD_BYTES, seed)?;
    card.partition("label: dos\nsize=8M, type=c\nsize=16M\n")?;
    Ok(card)
}

/// A board with a card in each host.
fn board(emmc2: &DiskFile, emmc: &DiskFile) -> Result<Board> {
    let drive = format!("if=none,id=d,file={},format=raw", emmc2.path().display());
    let device = "sd-card,id=card,drive=d,bus=/generic-sdhci/sd-bus";
    let older = format!("if=sd,file={},format=raw", emmc.path().display());
    to_shell(Boot::new("rpi4").qemu(&["-drive", &drive, "-device", device, "-drive", &older]))
}

/// Cards are slow.
fn says(board: &mut Board, command: &str, want: &str) -> Result<()> {
    says_within(board, command, want, 240 * SECOND)
}

#[test]
fn both_hosts_move_bytes_whole_in_both_directions() -> Result<()> {
    let (first, second) = (card(3)?, card(5)?);
    let sums = [first.md5()?, second.md5()?];
    let mut board = board(&first, &second)?;
    says(
        &mut board,
        "awk 'NR > 2 { print $1, $2, $3, $4 }' /proc/partitions",
        "179 0 32768 mmcblk0\n179 1 8192 mmcblk0p1\n179 2 16384 mmcblk0p2\n\
         179 8 32768 mmcblk1\n179 9 8192 mmcblk1p1\n179 10 16384 mmcblk1p2",
    )?;
    // Two readers of each card, at once.
    let readers = "for n in 0 1 0 1; do dd if=/dev/mmcblk$n bs=256k iflag=direct 2>/dev/null | md5sum & done; wait";
    let seen = board.run_ok(readers, 300 * SECOND)?;
    for sum in &sums {
        let good = seen.lines().filter(|line| line.contains(sum.as_str())).count();
        if good != 2 {
            return Err(board.failure(format_args!("{good} of 2 readers saw {sum}: {seen}")));
        }
    }
    // Each card's second partition, and a part that is no multiple of anything, goes to the other.
    let copies = "dd if=/dev/mmcblk0p1 of=/dev/mmcblk1p2 bs=1M oflag=direct conv=fsync 2>/dev/null & \
                  dd if=/dev/mmcblk1p1 of=/dev/mmcblk0p2 bs=37k conv=fsync 2>/dev/null & wait; sync; \
                  md5sum < /dev/mmcblk0; md5sum < /dev/mmcblk1";
    let guest = board.run_ok(copies, 300 * SECOND)?;
    drop(board);
    for (card, line) in [&first, &second].into_iter().zip(guest.lines()) {
        let sum = card.md5()?;
        assert!(line.contains(&sum), "the host has {sum}, the guest {line}");
        assert!(!sums.contains(&sum), "nothing was written");
    }
    Ok(())
}

#[test]
fn a_card_that_is_pulled_out_while_it_is_read_is_an_error_and_no_hang() -> Result<()> {
    let (card, other) = (card(9)?, card(11)?);
    let sum = other.md5()?;
    let mut board = board(&card, &other)?;
    board.type_text(
        "while dd if=/dev/mmcblk0 of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo ENDED=$?\n",
    )?;
    board.expect("dd if=", 30 * SECOND)?;
    std::thread::sleep(2 * SECOND);
    let mut qmp = board.qmp()?;
    let eject = [("id", "card".into()), ("force", true.into())].into_iter();
    let arguments = eject
        .map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value))
        .collect();
    qmp.execute("eject", serde_json::Value::Object(arguments))
        .map_err(Failure::new)?;
    board.expect("ENDED=[0-9]", 60 * SECOND)?;
    board.wait_prompt(30 * SECOND)?;
    says(
        &mut board,
        "dmesg | grep -c 'mmcblk0: the medium has been removed'",
        "1",
    )?;
    let again = board.run(
        "dd if=/dev/mmcblk0 of=/dev/null bs=512 count=1 iflag=direct",
        30 * SECOND,
    )?;
    if again.status == 0 {
        return Err(board.failure("a card that is gone was read"));
    }
    says(&mut board, "md5sum < /dev/mmcblk1 | cut -d' ' -f1", &sum)
}
