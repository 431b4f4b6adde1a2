//! Files that play disks and cards, and the host's tools for them.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sis_harness::{Board, Drive, Failure, Result, SECOND, workspace};

/// A file that is a disk, gone when this is dropped.
#[derive(Debug)]
pub struct DiskFile(PathBuf);

impl Drop for DiskFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl DiskFile {
    /// So many bytes of zeros, none of which takes room.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn empty(bytes: u64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = workspace().join("target/sis/disks");
        std::fs::create_dir_all(&folder).map_err(Failure::new)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let disk = Self(folder.join(format!("disk-{}-{number}", std::process::id())));
        let file = std::fs::File::create(&disk.0).map_err(Failure::new)?;
        file.set_len(bytes).map_err(Failure::new)?;
        Ok(disk)
    }

    /// So many bytes, a multiple of 8, that do not repeat.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn random(bytes: u64, seed: u64) -> Result<Self> {
        let disk = Self::empty(0)?;
        let file = std::fs::File::create(&disk.0).map_err(Failure::new)?;
        let mut file = std::io::BufWriter::new(file);
        let mut state = seed;
        for _ in 0..bytes / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes()).map_err(Failure::new)?;
        }
        file.flush().map_err(Failure::new)?;
        Ok(disk)
    }

    /// Has sfdisk(8) write a partition table.
    ///
    /// # Errors
    /// When it refuses.
    pub fn partition(&self, script: &str) -> Result<()> {
        let mut child = Command::new("/usr/sbin/sfdisk")
            .args(["-q", "--wipe=always"])
            .arg(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| Failure::new(format_args!("sfdisk: {e}; run cargo sis setup")))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes()).map_err(Failure::new)?;
        }
        let status = child.wait().map_err(Failure::new)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format_args!("sfdisk: {status}")))
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// As a virtio disk.
    pub fn drive(&self) -> Drive {
        Drive::raw(self.0.to_string_lossy())
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut file = std::fs::File::options()
            .write(true)
            .open(&self.0)
            .map_err(Failure::new)?;
        file.seek(SeekFrom::Start(offset)).map_err(Failure::new)?;
        file.write_all(bytes).map_err(Failure::new)
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut file = std::fs::File::open(&self.0).map_err(Failure::new)?;
        file.seek(SeekFrom::Start(offset)).map_err(Failure::new)?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes).map_err(Failure::new)?;
        Ok(bytes)
    }

    /// What the host's md5sum says.
    ///
    /// # Errors
    /// When there is none.
    pub fn md5(&self) -> Result<String> {
        md5(&self.0)
    }
}

/// Runs one of the host's tools for disks; what it says.
///
/// # Errors
/// When it is missing or fails, with all that it said.
pub fn tool(command: &mut Command) -> Result<Vec<u8>> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
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

/// What the host's md5sum says of a file.
///
/// # Errors
/// When there is none.
pub fn md5(path: &Path) -> Result<String> {
    let said = tool(Command::new("md5sum").arg(path))?;
    let text = String::from_utf8_lossy(&said);
    text.split_whitespace()
        .next()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("md5sum said nothing"))
}

/// Has e2fsck(8) look at a file system, `offset` bytes into a file: it has nothing to replay and nothing to mend.
///
/// # Errors
/// What it finds.
pub fn assert_clean(path: &Path, offset: u64) -> Result<()> {
    let place = format!("{}?offset={offset}", path.display());
    tool(Command::new("e2fsck").arg("-fn").arg(place)).map(drop)
}

/// Runs a command and compares what it says, but for blanks at the ends.
///
/// # Errors
/// When it says something else, or nothing within two minutes.
pub fn says(board: &mut Board, command: &str, want: &str) -> Result<()> {
    says_within(board, command, want, 120 * SECOND)
}

/// As [`says`], within `limit`.
///
/// # Errors
/// As [`says`].
pub fn says_within(board: &mut Board, command: &str, want: &str, limit: Duration) -> Result<()> {
    let output = board.run(command, limit)?;
    if output.text.trim() == want.trim() {
        return Ok(());
    }
    Err(board.failure(format_args!("{command}: {:?} and not {want:?}", output.text)))
}
