//! Whole cards, as `cargo sis image` makes them: boards boot from slot A as their loaders have it, and what they write there
//! and into the data partition is found by the next boot.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use sis_client::{Client, Identity, PairedBoard};
use sis_harness::{Boot, Drive, Failure, Result, SECOND, free_udp_port, workspace};
use sis_image::card::start::as_firmware;
use sis_protocol::pairing::Role;
use sis_suites::cards::Card;
use sis_suites::disks::tool;
use sis_suites::paired::PATIENCE;
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
    // What it was started from is a FAT, which can be read and changed.
    let started_from = root.replace('4', "2");
    board.run_ok(
        &format!("mount -t vfat {started_from} /mnt && ls /mnt && echo {next} > '/mnt/a note.txt' && umount /mnt"),
        60 * SECOND,
    )?;
    power_off(board)?;
    card.assert_clean()?;
    assert_eq!(
        card.boot_file("boot-a", "a note.txt")?,
        format!("{next}\n").into_bytes()
    );
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
    let start = as_firmware(&card.image(), RPI4, false).map_err(Failure::new)?;
    assert!(start.command_line.contains("root=PARTUUID="), "{}", start.command_line);
    let (kernel, _) = start.save(card.folder()).map_err(Failure::new)?;
    let emmc = format!("if=sd,file={},format=raw", card.image().display());
    let second = Boot::new(RPI4)
        .kernel(&kernel)
        .append(&start.command_line)
        .qemu(&["-drive", &emmc]);
    let last = "emmc2\ndata emmc2";
    round(&card, second, "/dev/mmcblk1p4", "/dev/mmcblk1p6", last, "emmc")
}

/// A key that no client has.
const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx0 me@desk";

#[test]
fn a_card_is_written_for_one_board_and_knows_its_name_and_its_owner() -> Result<()> {
    let card = Card::new(VIRT, &[])?;
    let identity = Identity::generate().map_err(Failure::new)?;
    let written = card.folder().join("written.img");
    let public = workspace().join("target/sis/keys/development.pub.pem");
    let flash = |image: &Path| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args([
                "run",
                "--quiet",
                "--package",
                "sisctl",
                "--",
                "--quiet",
                "flash",
                "--yes",
            ])
            .args([image, &written])
            .arg("--signed-by")
            .arg(&public)
            .args(["--hostname", "kiln-7", "--authorized-key", SSH])
            .args(["--pair-with", &identity.key_hash().to_string()])
            .current_dir(workspace());
        tool(&mut command)
    };
    let said = String::from_utf8_lossy(&flash(&card.image())?).into_owned();
    assert!(
        said.contains("read back and compared") && said.contains("/sis/paired.json"),
        "{said}"
    );

    let port = free_udp_port().map_err(Failure::new)?;
    let boot = virt()?
        .smp(2)
        .agent_port(port)
        .card(Drive::raw(written.to_string_lossy()));
    let mut board = to_shell(boot)?;
    assert_eq!(
        board
            .run_ok("hostname; cat /root/.ssh/authorized_keys", 20 * SECOND)?
            .trim(),
        format!("kiln-7\n{SSH}")
    );
    board.run_ok(
        "for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/sis/agent.sock ] && break; sleep 1; done; echo mine >/root/mine",
        30 * SECOND,
    )?;
    let status = board.run_ok("sis-agent status", 20 * SECOND)?;
    let status: serde_json::Value = serde_json::from_str(status.trim()).map_err(Failure::new)?;
    // Nobody paired: the client was given to the card, and knows the board by what its console shows.
    let known = PairedBoard {
        name: "kiln-7".into(),
        key: status["key"]
            .as_str()
            .unwrap_or_default()
            .parse()
            .map_err(Failure::new)?,
        addresses: vec![(Ipv4Addr::LOCALHOST, port).into()],
        role: Role::Owner,
        paired_ms: 0,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let welcome = runtime.block_on(async {
        let client = Client::connect(&known, &identity).map_err(Failure::new)?;
        client.wait_online(PATIENCE).await.map_err(Failure::new)
    })?;
    assert_eq!(
        (welcome.role, welcome.hello.name.as_deref()),
        (Role::Owner, Some("kiln-7"))
    );
    power_off(board)?;

    // A block map that was changed is not what was signed.
    let map = card.folder().join("card.img.bmap");
    let text = std::fs::read_to_string(&map).map_err(Failure::new)?;
    std::fs::write(&map, text.replace("cargo sis flash", "cargo sis-flash")).map_err(Failure::new)?;
    let refused = flash(&card.image())
        .err()
        .map_or_else(String::new, |failure| failure.to_string());
    assert!(
        refused.contains("checksum") || refused.contains("signed for"),
        "{refused}"
    );
    Ok(())
}
