//! A board with the disk under test and the log's, on Linux or on our kernel.

use crate::check::path_with_sbin;
use crate::disk::Disk;
use crate::nbd::{DataExport, Export, LogExport, Server};
use crate::states::Run;
use crate::trace::{Progress, Recorder, Trace};
use sis_harness::{Archive, Board, Boot, Failure, Node, SECOND, add_disk_modules, guest_program, linux_kernel};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// From power on to the first acknowledgement, on a busy host.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long a run may take beyond what was asked for.
const RUN_LIMIT: Duration = Duration::from_secs(600);

/// Whose file system is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Debian's Linux.
    Linux,
    /// Ours.
    Sis,
}

/// A run of the workload.
#[derive(Clone, Debug)]
pub struct Load {
    /// On which kernel.
    pub kernel: Kernel,
    /// The run's seed.
    pub seed: u64,
    /// Processes.
    pub workers: u32,
    /// Mount options, such as `barrier=0`.
    pub options: String,
    /// More arguments for mke2fs(8), such as `-O ^has_journal`.
    pub format: Vec<String>,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// The workload acknowledges what it has not synchronised.
    pub is_unsynced: bool,
    /// When the power goes.
    pub until: Until,
}

/// When a run has gone on for long enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many acknowledgements.
    Acks(u64),
    /// So long after the first acknowledgement.
    Time(Duration),
}

impl Load {
    /// Four workers on 64 MiB with blocks of 4 KiB, as Debian's mkfs.ext4 makes it, until 400 acknowledgements.
    #[must_use]
    pub fn new(kernel: Kernel, seed: u64) -> Self {
        Self {
            kernel,
            seed,
            workers: 4,
            options: String::new(),
            format: Vec::new(),
            block_bytes: 4096,
            is_unsynced: false,
            until: Until::Acks(400),
        }
    }

    /// What the board is told to do.
    #[must_use]
    pub fn command(&self) -> String {
        let sync = if self.is_unsynced { "unsynced" } else { "synced" };
        let options = if self.options.is_empty() { "-" } else { &self.options };
        let Self { seed, workers, .. } = self;
        format!("sis-guest crash-load /mnt {options} {seed} {workers} {sync}")
    }

    /// Runs it until its power is cut.
    ///
    /// # Errors
    /// When the board does not come up, or something on it fails that must not.
    pub fn record(&self) -> Result<Trace, Failure> {
        self.record_on(format(self.block_bytes, &self.format)?, Vec::new())
    }

    /// Runs it, until its power is cut, on a disk that earlier runs have left as a cut leaves it: mounting recovers it.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_on(&self, disk: Disk, earlier: Vec<Run>) -> Result<Trace, Failure> {
        let recorder = Arc::new(Recorder::new(disk, self.seed).after(earlier));
        let command = self.command();
        let machine = Machine::start(self.kernel, &recorder, &command)?;
        machine.wait(&recorder, START_LIMIT, |progress| progress.acks > 0)?;
        match self.until {
            Until::Acks(acks) => machine.wait(&recorder, RUN_LIMIT, |progress| progress.acks >= acks)?,
            Until::Time(time) => {
                let end = Instant::now() + time;
                machine.wait(&recorder, time + RUN_LIMIT, |_| Instant::now() >= end)?;
            }
        }
        drop(machine);
        Ok(recorder.trace())
    }
}

/// Free blocks hold this, so that what a file shows of a block that was never written for it is seen.
const STALE: u8 = 0xa5;
/// So far: what is allocated first lies here.
const STALE_BYTES: usize = 24 << 20;

/// A freshly made file system of 64 MiB with a journal of 4 MiB: small enough to be used all over, and to wrap around.
///
/// # Errors
/// When mke2fs(8) fails.
pub fn format(block_bytes: u32, more: &[String]) -> Result<Disk, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::new)?;
    let image = folder.path().join("image");
    std::fs::write(&image, vec![STALE; STALE_BYTES]).map_err(Failure::new)?;
    let output = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-J", "size=4", "-m", "1"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
        .args(["-b", &block_bytes.to_string()])
        .args(more)
        .arg(&image)
        .arg("64M")
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format_args!("mke2fs: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
    }
    Disk::load(&image).map_err(Failure::new)
}

/// A board that runs one command with the two disks.
#[derive(Debug)]
pub struct Machine {
    board: Board,
    _server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Starts it with the disk that `recorder` plays.
    ///
    /// # Errors
    /// When the board does not start.
    pub fn start(kernel: Kernel, recorder: &Arc<Recorder>, command: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::new)?;
        let socket = folder.path().join("nbd");
        let exports: Vec<(String, Arc<dyn Export>)> = vec![
            ("data".into(), Arc::new(DataExport(Arc::clone(recorder)))),
            ("log".into(), Arc::new(LogExport(Arc::clone(recorder)))),
        ];
        let server = Server::start(&socket, exports).map_err(Failure::new)?;
        let disk = |name: &str| {
            format!(
                "driver=nbd,node-name={name},export={name},server.type=unix,server.path={},discard=unmap",
                socket.display()
            )
        };
        let board = start(kernel, command, &disk("data"), &disk("log"))?;
        Ok(Self {
            board,
            _server: Some(server),
            folder,
        })
    }

    /// Starts it with two files as disks, in the folder that `prepare` fills: `data` and `log`.
    ///
    /// # Errors
    /// When the board does not start.
    pub fn start_on_files(
        kernel: Kernel,
        command: &str,
        prepare: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> Result<Self, Failure> {
        let folder = crate::campaign::scratch().map_err(Failure::new)?;
        prepare(folder.path()).map_err(Failure::new)?;
        let disk = |name: &str| {
            let path = folder.path().join(name);
            format!("driver=file,node-name={name},filename={},discard=unmap", path.display())
        };
        let board = start(kernel, command, &disk("data"), &disk("log"))?;
        Ok(Self {
            board,
            _server: None,
            folder,
        })
    }

    /// Where its disks are, when they are files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The board.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Kills QEMU at once, and gives the folder with the disks.
    #[must_use]
    pub fn kill(self) -> tempfile::TempDir {
        drop(self.board);
        self.folder
    }

    /// Waits until the run has come so far.
    ///
    /// # Errors
    /// When it does not within `limit`, something on the board has failed, or its kernel has crashed.
    pub fn wait(
        &self,
        recorder: &Recorder,
        limit: Duration,
        mut is_enough: impl FnMut(&Progress) -> bool,
    ) -> Result<(), Failure> {
        let limit = sis_harness::scaled(limit);
        let deadline = Instant::now() + limit;
        loop {
            let mut failure = None;
            let is_done = recorder.wait(SECOND, |progress| {
                failure.clone_from(&progress.failure);
                failure.is_some() || is_enough(progress)
            });
            if let Some(why) = failure {
                return Err(self.board.failure(why));
            }
            if is_done {
                return Ok(());
            }
            if self.board.has_panicked() || self.board.console_text().contains("FAILED") {
                return Err(self.board.failure("the run has failed"));
            }
            if Instant::now() > deadline {
                return Err(self.board.failure(format_args!("did not come so far within {limit:?}")));
            }
        }
    }
}

fn start(kernel: Kernel, command: &str, data: &str, log: &str) -> Result<Board, Failure> {
    let mut boot = boot(kernel, command)?;
    for (name, disk) in [("log", log), ("data", data)] {
        let device = format!("virtio-blk-device,drive={name},serial={name}");
        boot = boot.qemu(&["-blockdev", disk, "-device", &device]);
    }
    let mut board = boot.start()?;
    if kernel == Kernel::Sis {
        board.wait_shell()?;
        board.type_text(&format!("{command}\n"))?;
    }
    Ok(board)
}

fn guest() -> Result<Vec<u8>, Failure> {
    static BYTES: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let build = || guest_program("sis-guest", "sis-guest").map_err(|failure| failure.to_string());
    BYTES.get_or_init(build).clone().map_err(Failure::new)
}

fn boot(kernel: Kernel, command: &str) -> Result<Boot, Failure> {
    let mut overlay = Archive::default();
    let guest = Node::File(guest()?);
    overlay.add("/bin/sis-guest", guest, 0o755).map_err(Failure::new)?;
    if kernel == Kernel::Linux {
        let modules = add_disk_modules(&mut overlay)?.join("\n");
        let script = format!("#!/bin/sh\nmount -t devtmpfs dev /dev\n{modules}\n{command}\nsleep 1000\n");
        let script = Node::File(script.into_bytes());
        overlay.add("/start", script, 0o755).map_err(Failure::new)?;
    }
    let boot = Boot::new("qemu-virt").smp(2).memory("512M").no_network();
    Ok(match kernel {
        Kernel::Linux => boot.kernel(linux_kernel()?).append("rdinit=/start"),
        Kernel::Sis => boot,
    }
    .overlay(overlay))
}
