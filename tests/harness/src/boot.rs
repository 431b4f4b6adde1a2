//! What to boot, and how.

use crate::board::Board;
use crate::failure::{Failure, Result};
use crate::slots;
use sis_image::card::start::as_firmware;
use sis_image::root::Archive;
use sis_qemu::{Console, Drive, Files, Machine, Options};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A boot in the making: the board's own image and settings unless told otherwise. A reset ends QEMU.
#[derive(Debug)]
#[must_use = "nothing boots before start()"]
pub struct Boot {
    board: String,
    options: Options,
    kernel: Option<PathBuf>,
    initrd: Initrd,
    overlays: Vec<Archive>,
    tolerates_panic: bool,
    is_tryboot: bool,
}

#[derive(Debug)]
enum Initrd {
    Board,
    None,
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Boot {
    /// Boots the board with this name.
    pub fn new(board: &str) -> Self {
        let options = Options {
            no_reboot: true,
            ..Options::default()
        };
        Self {
            board: board.into(),
            options,
            kernel: None,
            initrd: Initrd::Board,
            overlays: Vec::new(),
            tolerates_panic: false,
            is_tryboot: false,
        }
    }

    /// This many CPUs.
    pub fn smp(mut self, cpus: u32) -> Self {
        self.options.smp = Some(cpus);
        self
    }

    /// This much memory, such as `128M`.
    pub fn memory(mut self, memory: &str) -> Self {
        self.options.memory = Some(memory.into());
        self
    }

    /// Interrupt controller version 2 or 3.
    pub fn gic(mut self, version: u32) -> Self {
        self.options.gic = Some(version);
        self
    }

    /// A CPU model.
    pub fn cpu(mut self, model: &str) -> Self {
        self.options.cpu = Some(model.into());
        self
    }

    /// Entry at EL2.
    pub fn el2(mut self) -> Self {
        self.options.virtualization = Some(true);
        self
    }

    /// Words behind the board's kernel command line.
    pub fn append(mut self, words: &str) -> Self {
        self.options.append_more.push(words.into());
        self
    }

    /// Another kernel (such as Debian's, for a comparison).
    pub fn kernel(mut self, path: impl Into<PathBuf>) -> Self {
        self.kernel = Some(path.into());
        self
    }

    /// Another root archive.
    pub fn initrd(mut self, path: impl Into<PathBuf>) -> Self {
        self.initrd = Initrd::File(path.into());
        self
    }

    /// Another root archive, from memory.
    pub fn initrd_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.initrd = Initrd::Bytes(bytes);
        self
    }

    /// No root archive at all.
    pub fn no_initrd(mut self) -> Self {
        self.initrd = Initrd::None;
        self
    }

    /// One more archive behind the root archive: what it holds is added to the root, or replaces what is there.
    pub fn overlay(mut self, archive: Archive) -> Self {
        self.overlays.push(archive);
        self
    }

    /// A host UDP port (loopback; see [`free_udp_port`](crate::free_udp_port)) that reaches the agent.
    pub fn agent_port(mut self, port: u16) -> Self {
        self.options.agent_port = Some(port);
        self
    }

    /// A forward as QEMU writes it: `tcp:127.0.0.1:8080-:80`.
    pub fn forward(mut self, forward: &str) -> Self {
        self.options.forwards.push(forward.into());
        self
    }

    /// The card in the board's slot, an image of `cargo sis image`: the board starts from it as its loader does, and a kernel, a
    /// command line and an initramfs count for nothing. Where QEMU runs no loader of the board, its part is played here.
    pub fn card(mut self, drive: Drive) -> Self {
        self.options.card = Some(drive);
        self
    }

    /// The restart before had the Pi's flag `tryboot`.
    pub fn tryboot(mut self, is_set: bool) -> Self {
        self.is_tryboot = is_set;
        self
    }

    /// No network card.
    pub fn no_network(mut self) -> Self {
        self.options.no_network = true;
        self
    }

    /// A disk; the first one is `vda`.
    pub fn disk(mut self, drive: Drive) -> Self {
        self.options.drives.push(drive);
        self
    }

    /// One instruction is one nanosecond: times are the same on every host.
    pub fn icount(mut self) -> Self {
        self.options.icount = true;
        self
    }

    /// A reset boots again instead of ending QEMU.
    pub fn reboots(mut self) -> Self {
        self.options.no_reboot = false;
        self
    }

    /// More arguments for QEMU.
    pub fn qemu(mut self, arguments: &[&str]) -> Self {
        self.options
            .extra
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// The kernel is expected to crash: waits go on, and the test's end is no failure.
    pub fn expects_panic(mut self) -> Self {
        self.tolerates_panic = true;
        self
    }

    /// Starts the board.
    ///
    /// # Errors
    /// When it was not built, when QEMU is not there, or when the board cannot be run this way.
    pub fn start(mut self) -> Result<Board> {
        let root = crate::workspace();
        let description = sis_qemu::Board::load(root, &self.board).map_err(Failure::new)?;
        let logs = root.join("target/sis/logs");
        let slot = slots::take(&logs)?;
        let folder = fresh_folder(&logs, &self.board)?;

        let built = crate::build_folder(&self.board);
        let board_initrd = built.join("initramfs.cpio");
        let base = match std::mem::replace(&mut self.initrd, Initrd::None) {
            Initrd::Board => Some(Initrd::File(board_initrd)),
            Initrd::None => None,
            other => Some(other),
        };
        let mut files = Files {
            kernel: self
                .kernel
                .take()
                .unwrap_or_else(|| built.join(&description.image.file)),
            initrd: initrd(base, &self.overlays, &folder)?,
            device_tree: description.device_tree.as_ref().map(|tree| built.join(&tree.file)),
            loader: self.options.card.as_ref().and(description.qemu.loader.clone()),
        };
        if let Some(card) = self.options.card.as_ref().filter(|_| files.loader.is_none()) {
            let started = play_firmware(&self.board, card, self.is_tryboot, &folder)?;
            (files, self.options.append) = (started.0, Some(started.1));
            self.options.plays_firmware = true;
        }
        for file in files.all() {
            if !file.is_file() {
                let advice = format_args!("there is no {}; run cargo sis build {}", file.display(), self.board);
                return Err(Failure::new(advice));
            }
        }

        let command = description.command(&files, &self.options).map_err(Failure::new)?;
        let machine = Machine::start(&command, &folder).map_err(Failure::new)?;
        let mut console = Console::attach(&folder).map_err(Failure::new)?;
        if self.tolerates_panic {
            console.tolerate_panic();
        }
        machine.qmp().and_then(|mut qmp| qmp.resume()).map_err(Failure::new)?;
        Ok(Board::new(
            machine,
            console,
            slot,
            self.tolerates_panic,
            files.loader.is_some(),
        ))
    }
}

/// What the Pi's firmware would start from the card, and the kernel's command line.
fn play_firmware(board: &str, card: &Drive, is_tryboot: bool, folder: &Path) -> Result<(Files, String)> {
    let start = as_firmware(Path::new(card.file()), board, is_tryboot).map_err(Failure::new)?;
    let (kernel, tree) = start.save(folder).map_err(Failure::new)?;
    let files = Files {
        kernel,
        initrd: None,
        device_tree: Some(tree),
        loader: None,
    };
    Ok((files, start.command_line))
}

fn initrd(base: Option<Initrd>, overlays: &[Archive], folder: &Path) -> Result<Option<PathBuf>> {
    let mut bytes = match base {
        Some(Initrd::File(path)) if overlays.is_empty() => {
            return std::path::absolute(path).map(Some).map_err(Failure::new);
        }
        Some(Initrd::File(path)) => std::fs::read(&path)
            .map_err(|error| Failure::new(format_args!("{}: {error}; run cargo sis build", path.display())))?,
        Some(Initrd::Bytes(bytes)) => bytes,
        _ if overlays.is_empty() => return Ok(None),
        _ => Vec::new(),
    };
    for overlay in overlays {
        // Archives behind one another begin at multiples of four bytes (Linux, initramfs-buffer-format.rst).
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(overlay.to_bytes().map_err(Failure::new)?);
    }
    let path = folder.join("initrd");
    std::fs::write(&path, bytes).map_err(Failure::new)?;
    Ok(Some(path))
}

/// A new folder named after the running test.
fn fresh_folder(logs: &Path, board: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("board").replace("::", "-");
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = logs.join(format!("{test}-{board}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(Failure::new)?;
    Ok(folder)
}
