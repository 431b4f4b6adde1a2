//! Boards that boot from a disk or card and need no initramfs: the same card in `virt` and in both hosts of the Pi, what one
//! writes found by the next.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sis_harness::{Boot, Drive, Failure, Result, SECOND, workspace};
use sis_suites::{RPI4, power_off, to_shell, virt};

/// A card: for QEMU a power of two.
const CARD_BYTES: u64 = 256 << 20;
/// Where its second partition begins.
const ROOT_AT: u64 = 33 << 20;
const ROOT_SIZE: &str = "222M";
const PARTUUID: &str = "5150cafe-02";

/// A card's file, gone when this is dropped.
struct Card(PathBuf);

impl Drop for Card {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tool(command: &mut Command) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|error| Failure::new(format_args!("{command:?}: {error}; run cargo sis setup")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::new(format_args!(
        "{command:?}: {}",
        String::from_utf8_lossy(&said)
    )))
}

impl Card {
    /// A place for the firmware, and an empty ext4.
    fn new() -> Result<Self> {
        let folder = workspace().join("target/sis/disks");
        std::fs::create_dir_all(&folder).map_err(Failure::new)?;
        let card = Self(folder.join(format!("root-{}", std::process::id())));
        let file = std::fs::File::create(&card.0).map_err(Failure::new)?;
        file.set_len(CARD_BYTES).map_err(Failure::new)?;
        let mut sfdisk = Command::new("/usr/sbin/sfdisk")
            .arg("-q")
            .arg(&card.0)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::new(format_args!("sfdisk: {e}; run cargo sis setup")))?;
        let table = "label: dos\nlabel-id: 0x5150cafe\nstart=1MiB, size=32MiB, type=c\nstart=33MiB, type=83\n";
        if let Some(mut input) = sfdisk.stdin.take() {
            input.write_all(table.as_bytes()).map_err(Failure::new)?;
        }
        if !sfdisk.wait().map_err(Failure::new)?.success() {
            return Err(Failure::new("sfdisk failed"));
        }
        tool(
            Command::new("mke2fs")
                .args(["-q", "-F", "-t", "ext4", "-E", &format!("offset={ROOT_AT}")])
                .arg(&card.0)
                .arg(ROOT_SIZE),
        )?;
        Ok(card)
    }

    /// e2fsck(8) has nothing to replay and nothing to mend.
    fn assert_clean(&self) -> Result<()> {
        tool(
            Command::new("e2fsck")
                .arg("-fn")
                .arg(format!("{}?offset={ROOT_AT}", self.0.display())),
        )
    }
}

/// Boots, finds what the last boot left, and leaves something for the next.
fn from_card(card: &Card, boot: Boot, found: &str, left: &str) -> Result<()> {
    let mut board = to_shell(boot.no_initrd())?;
    let root = board.run_ok("grep -c ' / ext4 rw' /proc/mounts", 20 * SECOND)?;
    assert_eq!(root.trim(), "1");
    let text = board.run_ok("cat /etc/last", 20 * SECOND)?;
    assert_eq!(text.trim(), found);
    board.run_ok(&format!("echo {left} >/etc/last"), 60 * SECOND)?;
    power_off(board)?;
    card.assert_clean()
}

#[test]
fn one_card_boots_virt_and_both_hosts_of_the_pi() -> Result<()> {
    let card = Card::new()?;
    let drive = || Drive::raw(card.0.to_string_lossy());
    // The board puts its own root there.
    let mut installer = to_shell(virt()?.smp(2).no_network().disk(drive()))?;
    installer.run_ok("mount -t ext4 /dev/vda2 /mnt", 60 * SECOND)?;
    installer.run_ok(
        "for f in /*; do case $f in /dev|/proc|/sys|/tmp|/mnt|/run) mkdir /mnt$f;; *) cp -a $f /mnt/;; esac; done; \
         mv /mnt/init /mnt/sbin/init; echo installer >/mnt/etc/last; umount /mnt",
        180 * SECOND,
    )?;
    power_off(installer)?;
    card.assert_clean()?;

    let by_id = format!("root=PARTUUID={PARTUUID} rw rootwait");
    let on_virt = virt()?.smp(4).no_network().disk(drive()).append(&by_id);
    from_card(&card, on_virt, "installer", "virt")?;

    let emmc2 = format!("if=none,id=d,file={},format=raw", card.0.display());
    let slot = "sd-card,id=card,drive=d,bus=/generic-sdhci/sd-bus";
    let boot = Boot::new(RPI4)
        .qemu(&["-drive", &emmc2, "-device", slot])
        .append("root=/dev/mmcblk0p2 rw rootwait");
    from_card(&card, boot, "virt", "emmc2")?;

    let emmc = format!("if=sd,file={},format=raw", card.0.display());
    let boot = Boot::new(RPI4).qemu(&["-drive", &emmc]).append(&by_id);
    from_card(&card, boot, "emmc2", "emmc")
}
