//! Whole cards, as `cargo sis image` makes them: boards boot from slot A as their loaders have it, and what they write there
//! and into the data partition is found by the next boot.

use std::path::Path;

use sis_harness::{Boot, Failure, Result, SECOND, workspace};
use sis_image::card::layout::Layout;
use sis_image::card::start::as_firmware;
use sis_suites::cards::Card;
use sis_suites::{RPI4, VIRT, power_off, to_shell, virt};

/// Boots without an initramfs, finds what the last boot left, and leaves something for the next.
fn round(card: &Card, boot: Boot, root: &str, data: &str, last: &str, next: &str) -> Result<()> {
    let mut board = to_shell(boot.no_initrd())?;
    let mounts = "awk '$3 == \"ext4\" { print $1, $2, substr($4, 1, 2) }' /proc/mounts";
    let seen = board.run_ok(mounts, 20 * SECOND)?;
    assert_eq!(seen.trim(), format!("{root} / rw\n{data} /data rw"));
    let found = board.run_ok("cat /etc/last /data/last 2>/dev/null; true", 20 * SECOND)?;
    assert_eq!(found.trim(), last);
    board.run_ok(
        &format!("echo {next} >/etc/last; echo data {next} >/data/last"),
        60 * SECOND,
    )?;
    power_off(board)?;
    card.assert_clean()?;
    assert_eq!(card.cat("slot-a", "/etc/last")?, format!("{next}\n"));
    assert_eq!(card.cat("data", "/last")?, format!("data {next}\n"));
    Ok(())
}

#[test]
fn virt_is_started_by_u_boot_from_slot_a_and_finds_again_what_it_wrote() -> Result<()> {
    let overlay = workspace().join(format!("target/sis/disks/overlay-{}", std::process::id()));
    std::fs::create_dir_all(overlay.join("etc")).map_err(Failure::new)?;
    std::fs::write(overlay.join("etc/last"), "overlay\n").map_err(Failure::new)?;
    let made = Card::new(VIRT, &["--overlay", &overlay.to_string_lossy()]);
    std::fs::remove_dir_all(&overlay).map_err(Failure::new)?;
    let card = made?;
    card.assert_clean()?;
    let boot = || -> Result<Boot> { Ok(virt()?.smp(2).no_network().card(card.drive())) };
    round(&card, boot()?, "/dev/vda4", "/dev/vda6", "overlay", "first")?;
    round(&card, boot()?, "/dev/vda4", "/dev/vda6", "first\ndata first", "second")
}

/// A folder that stands for the firmware, which QEMU does not run.
fn firmware(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("overlays")).map_err(Failure::new)?;
    for name in ["start4.elf", "fixup4.dat", "overlays/disable-bt.dtbo"] {
        std::fs::write(folder.join(name), name).map_err(Failure::new)?;
    }
    Ok(())
}

#[test]
fn the_pi_boots_from_its_card_in_either_host_with_the_card_s_own_files() -> Result<()> {
    let folder = workspace().join(format!("target/sis/disks/firmware-{}", std::process::id()));
    firmware(&folder)?;
    let made = Card::new(RPI4, &["--firmware", &folder.to_string_lossy()]);
    std::fs::remove_dir_all(&folder).map_err(Failure::new)?;
    let card = made?;
    let overlay = "overlays/disable-bt.dtbo";
    assert_eq!(card.boot_file("boot-a", overlay)?, overlay.as_bytes());
    assert!(
        card.boot_file("select", "autoboot.txt")?
            .starts_with(b"[all]\ntryboot_a_b=1\nboot_partition=2\n")
    );

    let boot = || Boot::new(RPI4).card(card.drive());
    round(&card, boot(), "/dev/mmcblk0p4", "/dev/mmcblk0p6", "", "emmc2")?;

    // Alone in the other host, the card has that host's number.
    let bytes = std::fs::metadata(card.image()).map_err(Failure::new)?.len();
    let layout = Layout::new(RPI4, bytes).map_err(Failure::new)?;
    let start = as_firmware(&card.image(), &layout, false).map_err(Failure::new)?;
    assert!(start.command_line.contains("root=PARTUUID="), "{}", start.command_line);
    let kernel = card.folder().join("kernel");
    std::fs::write(&kernel, start.kernel).map_err(Failure::new)?;
    let emmc = format!("if=sd,file={},format=raw", card.image().display());
    let second = Boot::new(RPI4)
        .kernel(&kernel)
        .append(&start.command_line)
        .qemu(&["-drive", &emmc]);
    let last = "emmc2\ndata emmc2";
    round(&card, second, "/dev/mmcblk1p4", "/dev/mmcblk1p6", last, "emmc")
}
