//! Whole cards and updates, as `cargo sis image` makes them from what was built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use sis_harness::{Drive, Failure, Result, workspace};

use crate::disks::tool;

/// A card's folder, gone when this is dropped.
#[derive(Debug)]
pub struct Card {
    folder: PathBuf,
    manifest: serde_json::Value,
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Card {
    /// The card of a board that was built. `arguments` are more of `cargo sis image`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(board: &str, arguments: &[&str]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = workspace().join(format!("target/sis/disks/card-{board}-{}-{number}", std::process::id()));
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

    /// Where it is: room for files beside it, which go with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join("card.img")
    }

    /// The same, as a drive.
    pub fn drive(&self) -> Drive {
        Drive::raw(self.image().to_string_lossy())
    }

    /// The update to the same system.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bundle(&self) -> Result<Vec<u8>> {
        std::fs::read(self.folder.join("update.sis")).map_err(Failure::new)
    }

    /// What the manifest says of a partition.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn partition(&self, name: &str) -> Result<&serde_json::Value> {
        let all = self.manifest["partitions"].as_array();
        all.and_then(|all| all.iter().find(|partition| partition["name"] == name))
            .ok_or_else(|| Failure::new(format_args!("the manifest has no partition {name}")))
    }

    /// The partition as e2fsprogs names it.
    fn at(&self, name: &str) -> Result<String> {
        let offset = &self.partition(name)?["offset"];
        Ok(format!("{}?offset={offset}", self.image().display()))
    }

    /// SHA-256 of a partition as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self, name: &str) -> Result<String> {
        let partition = self.partition(name)?;
        let script = "tail -c +$(($2 + 1)) \"$1\" | head -c $3 | sha256sum";
        let said = tool(
            Command::new("sh")
                .args(["-c", script, "sh"])
                .arg(self.image())
                .args([partition["offset"].to_string(), partition["size"].to_string()]),
        )?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// e2fsck(8) has nothing to replay and nothing to mend.
    ///
    /// # Errors
    /// When it has.
    pub fn assert_clean(&self) -> Result<()> {
        for name in ["slot-a", "slot-b", "data"] {
            tool(Command::new("e2fsck").arg("-fn").arg(self.at(name)?))?;
        }
        Ok(())
    }

    /// A file of an ext4 partition.
    ///
    /// # Errors
    /// When debugfs(8) fails.
    pub fn cat(&self, name: &str, path: &str) -> Result<String> {
        let request = format!("cat {path}");
        let bytes = tool(Command::new("debugfs").arg("-R").arg(request).arg(self.at(name)?))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of a partition that loaders read.
    ///
    /// # Errors
    /// When there is none.
    pub fn boot_file(&self, partition: &str, path: &str) -> Result<Vec<u8>> {
        let partition = format!("{}@@{}", self.image().display(), self.partition(partition)?["offset"]);
        tool(Command::new("mcopy").args(["-i", &partition, &format!("::{path}"), "-"]))
    }
}
