//! Boards that boot from a disk or card and need no initramfs: the same card in `virt` and in both hosts of the Pi, what one
//! writes found by the next.

use std::process::Command;

use sis_harness::{Boot, Result, SECOND};
use sis_suites::disks::{DiskFile, assert_clean, tool};
use sis_suites::{RPI4, power_off, to_shell, virt};

/// A card: for QEMU a power of two.
const CARD_BYTES: u64 = 256 << 20;
/// Where its second partition begins.
const ROOT_AT: u64 = 33 << 20;
const ROOT_SIZE: &str = "222M";
const PARTUUID: &str = "5150cafe-02";

/// A place for the firmware, and an empty ext4.
fn card() -> Result<DiskFile> {
    let card = DiskFile::empty(CARD_BYTES)?;
    card.partition("label: dos\nlabel-id: 0x5150cafe\nstart=1MiB, size=32MiB, type=c\nstart=33MiB, type=83\n")?;
    tool(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={ROOT_AT}")])
            .arg(card.path())
            .arg(ROOT_SIZE),
    )?;
    Ok(card)
}

/// Boots, finds what the last boot left, and leaves something for the next.
fn from_card(card: &DiskFile, boot: Boot, found: &str, left: &str) -> Result<()> {
    let mut board = to_shell(boot.no_initrd())?;
    let root = board.run_ok("grep -c ' / ext4 rw' /proc/mounts", 20 * SECOND)?;
    assert_eq!(root.trim(), "1");
    let text = board.run_ok("cat /etc/last", 20 * SECOND)?;
    assert_eq!(text.trim(), found);
    board.run_ok(&format!("echo {left} >/etc/last"), 60 * SECOND)?;
    power_off(board)?;
    assert_clean(card.path(), ROOT_AT)
}

#[test]
fn one_card_boots_virt_and_both_hosts_of_the_pi() -> Result<()> {
    let card = card()?;
    // The board puts its own root there.
    let mut installer = to_shell(virt()?.smp(2).no_network().disk(card.drive()))?;
    installer.run_ok("mount -t ext4 /dev/vda2 /mnt", 60 * SECOND)?;
    installer.run_ok(
        "for f in /*; do case $f in /dev|/proc|/sys|/tmp|/mnt|/run) mkdir /mnt$f;; *) cp -a $f /mnt/;; esac; done; \
         mv /mnt/init /mnt/sbin/init; echo installer >/mnt/etc/last; umount /mnt",
        180 * SECOND,
    )?;
    power_off(installer)?;
    assert_clean(card.path(), ROOT_AT)?;

    let by_id = format!("root=PARTUUID={PARTUUID} rw rootwait");
    let on_virt = virt()?.smp(4).no_network().disk(card.drive()).append(&by_id);
    from_card(&card, on_virt, "installer", "virt")?;

    let emmc2 = format!("if=none,id=d,file={},format=raw", card.path().display());
    let slot = "sd-card,id=card,drive=d,bus=/generic-sdhci/sd-bus";
    let boot = Boot::new(RPI4)
        .qemu(&["-drive", &emmc2, "-device", slot])
        .append("root=/dev/mmcblk0p2 rw rootwait");
    from_card(&card, boot, "virt", "emmc2")?;

    let emmc = format!("if=sd,file={},format=raw", card.path().display());
    let boot = Boot::new(RPI4).qemu(&["-drive", &emmc]).append(&by_id);
    from_card(&card, boot, "emmc2", "emmc")
}
