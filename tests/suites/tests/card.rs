//! Whole cards, as `cargo sis image` makes them: boards boot from slot A by the command line that the card itself has, and
//! what they write there and into the data partition is found by the next boot.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sis_harness::{Boot, Drive, Failure, Result, SECOND, workspace};
use sis_suites::{RPI4, VIRT, power_off, to_shell, virt};

/// A card's folder, gone when this is dropped.
struct Card {
    folder: PathBuf,
    manifest: serde_json::Value,
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn tool(command: &mut Command) -> Result<Vec<u8>> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format_args!("{command:?}: {error}; run cargo sis setup")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::new(format_args!(
        "{command:?}: {}",
        String::from_utf8_lossy(&said)
    )))
}

impl Card {
    /// The card of a board that was built.
    fn new(board: &str, arguments: &[&str]) -> Result<Self> {
        let folder = workspace().join(format!("target/sis/disks/card-{board}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(Failure::new)?;
        let mut card = Self {
            folder,
            manifest: serde_json::Value::Null,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["run", "--quiet", "--package", "sisctl", "--"])
            .args(["--json", "--quiet", "image", board, "--no-build", "--out"])
            .arg(&card.folder)
            .args(arguments)
            .current_dir(workspace());
        let said = tool(&mut command)?;
        let result: serde_json::Value = serde_json::from_slice(&said).map_err(Failure::new)?;
        card.manifest = result["manifest"].clone();
        Ok(card)
    }

    fn image(&self) -> PathBuf {
        self.folder.join("card.img")
    }

    fn partition(&self, name: &str) -> Result<&serde_json::Value> {
        let all = self.manifest["partitions"].as_array();
        all.and_then(|all| all.iter().find(|partition| partition["name"] == name))
            .ok_or_else(|| Failure::new(format_args!("the manifest has no partition {name}")))
    }

    /// The partition as e2fsprogs names it.
    fn at(&self, name: &str) -> Result<String> {
        Ok(format!(
            "{}?offset={}",
            self.image().display(),
            self.partition(name)?["offset"]
        ))
    }

    /// e2fsck(8) has nothing to replay and nothing to mend.
    fn assert_clean(&self) -> Result<()> {
        for name in ["slot-a", "slot-b", "data"] {
            tool(Command::new("e2fsck").arg("-fn").arg(self.at(name)?))?;
        }
        Ok(())
    }

    /// A file of an ext4 partition.
    fn cat(&self, name: &str, path: &str) -> Result<String> {
        let request = format!("cat {path}");
        let bytes = tool(Command::new("debugfs").arg("-R").arg(request).arg(self.at(name)?))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of the boot partition.
    fn boot_file(&self, path: &str) -> Result<Vec<u8>> {
        let partition = format!("{}@@{}", self.image().display(), self.partition("boot-a")?["offset"]);
        tool(Command::new("mcopy").args(["-i", &partition, &format!("::{path}"), "-"]))
    }
}

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
fn virt_boots_from_slot_a_and_finds_again_what_it_wrote() -> Result<()> {
    let card = Card::new(VIRT, &[])?;
    card.assert_clean()?;
    let slot = card.partition("slot-a")?["partuuid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let boot = || -> Result<Boot> {
        let drive = Drive::raw(card.image().to_string_lossy());
        let words = format!("root=PARTUUID={slot} rw rootwait");
        Ok(virt()?.smp(2).no_network().disk(drive).append(&words))
    };
    round(&card, boot()?, "/dev/vda3", "/dev/vda5", "", "first")?;
    round(&card, boot()?, "/dev/vda3", "/dev/vda5", "first\ndata first", "second")
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
    assert_eq!(card.boot_file("overlays/disable-bt.dtbo")?, b"overlays/disable-bt.dtbo");
    let settings = String::from_utf8_lossy(&card.boot_file("config.txt")?).into_owned();
    for word in settings.lines().filter_map(|line| line.strip_prefix("kernel=")) {
        std::fs::write(card.folder.join("kernel"), card.boot_file(word)?).map_err(Failure::new)?;
    }
    let words = String::from_utf8_lossy(&card.boot_file("cmdline.txt")?)
        .trim()
        .to_owned();
    assert!(words.contains("root=PARTUUID="), "{words}");

    let boot = || Boot::new(RPI4).kernel(card.folder.join("kernel")).append(&words);
    let emmc2 = format!("if=none,id=d,file={},format=raw", card.image().display());
    let slot = "sd-card,id=card,drive=d,bus=/generic-sdhci/sd-bus";
    let first = boot().qemu(&["-drive", &emmc2, "-device", slot]);
    round(&card, first, "/dev/mmcblk0p3", "/dev/mmcblk0p5", "", "emmc2")?;

    // Alone in the other host, the card has that host's number.
    let emmc = format!("if=sd,file={},format=raw", card.image().display());
    let second = boot().qemu(&["-drive", &emmc]);
    round(
        &card,
        second,
        "/dev/mmcblk1p3",
        "/dev/mmcblk1p5",
        "emmc2\ndata emmc2",
        "emmc",
    )
}
