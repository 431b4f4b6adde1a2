//! From a board and a person's wishes to QEMU's arguments. Pure: nothing is started, no file is looked at.

use crate::board::Board;
use crate::drive::Drive;
use std::path::PathBuf;

/// Socket names in the run folder, which is QEMU's working directory (their full paths may be too long for `bind`).
pub const CONSOLE_SOCKET: &str = "console.sock";
/// See [`CONSOLE_SOCKET`].
pub const QMP_SOCKET: &str = "qmp.sock";
/// A monitor for whoever watches how the run ends.
pub const EVENTS_SOCKET: &str = "events.sock";
/// What the board's firmware was asked, in the run folder.
pub const FIRMWARE_LOG: &str = "firmware.log";
/// What the console said since the start.
pub const CONSOLE_LOG: &str = "console.log";
/// UDP port of the agent in the guest.
pub const AGENT_PORT: u16 = 8870;

/// What to boot, as absolute paths.
#[derive(Clone, Debug)]
pub struct Files {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The root archive.
    pub initrd: Option<PathBuf>,
    /// The device tree, for a machine that does not make its own.
    pub device_tree: Option<PathBuf>,
    /// What starts a system from a disk: then all others count for nothing, and neither does a command line.
    pub loader: Option<PathBuf>,
}

impl Files {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> Vec<&PathBuf> {
        if let Some(loader) = &self.loader {
            return vec![loader];
        }
        [Some(&self.kernel), self.initrd.as_ref(), self.device_tree.as_ref()]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What a person may ask for; everything unset is as `board.toml` says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// CPUs.
    pub smp: Option<u32>,
    /// Memory, as QEMU writes it (`512M`).
    pub memory: Option<String>,
    /// Interrupt controller version.
    pub gic: Option<u32>,
    /// CPU model.
    pub cpu: Option<String>,
    /// Entry at EL2.
    pub virtualization: Option<bool>,
    /// The whole command line, instead of the board's.
    pub append: Option<String>,
    /// Words behind the command line.
    pub append_more: Vec<String>,
    /// Deterministic instruction counting: one instruction is one nanosecond.
    pub icount: bool,
    /// GDB server on this TCP port of the loopback interface; the machine waits for it.
    pub gdb: Option<u16>,
    /// Host UDP port (loopback) that is forwarded to the agent.
    pub agent_port: Option<u16>,
    /// More forwards, as QEMU writes them (`tcp:127.0.0.1:8080-:80`).
    pub forwards: Vec<String>,
    /// No network card.
    pub no_network: bool,
    /// Disks, the first one first.
    pub drives: Vec<Drive>,
    /// The card in the board's slot: before all disks.
    pub card: Option<Drive>,
    /// Someone plays the board's firmware: a reset ends QEMU, which says so to them ([`EVENTS_SOCKET`]), and what the firmware was
    /// asked is written down ([`FIRMWARE_LOG`]).
    pub plays_firmware: bool,
    /// A reset ends QEMU.
    pub no_reboot: bool,
    /// Arguments behind all others.
    pub extra: Vec<String>,
}

/// A wish that this board cannot grant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The machine fixes it.
    #[error("{board}: QEMU's {machine} machine fixes its {setting}; leave {option} out")]
    Fixed {
        /// The board.
        board: String,
        /// QEMU's machine.
        machine: String,
        /// What is fixed.
        setting: &'static str,
        /// The option that asked.
        option: &'static str,
    },
    /// No network card to forward to.
    #[error("{0} has no network card under QEMU, so nothing can be forwarded to it")]
    NoNetwork(String),
    /// No place for a disk.
    #[error("{0} takes no disks under QEMU")]
    NoDisks(String),
    /// Outside what the kernel and QEMU take.
    #[error("{option} {value} is out of range: {range}")]
    Range {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u32,
        /// What it may be.
        range: &'static str,
    },
}

impl Board {
    /// Program and arguments of QEMU, started stopped (`-S`) so that nothing is said before someone listens.
    ///
    /// # Errors
    /// [`CommandError`] when the board cannot do what `options` ask.
    pub fn command(&self, files: &Files, options: &Options) -> Result<Vec<String>, CommandError> {
        let settings = &self.qemu.settings;
        let mut arguments: Vec<String> = vec!["qemu-system-aarch64".into(), "-nodefaults".into(), "-nographic".into()];
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));

        let mut machine = self.qemu.machine.clone();
        if let Some(gic) = self.chosen(&settings.gic, &options.gic, "interrupt controller", "--gic")? {
            if !(2..=3).contains(&gic) {
                return Err(CommandError::Range {
                    option: "--gic",
                    value: gic,
                    range: "2 or 3",
                });
            }
            machine.push_str(&format!(",gic-version={gic}"));
        }
        if self.chosen(
            &settings.virtualization,
            &options.virtualization,
            "exception level",
            "--el2",
        )? == Some(true)
        {
            machine.push_str(",virtualization=on");
        }
        add(&["-machine", &machine]);
        if let Some(cpu) = self.chosen(&settings.cpu, &options.cpu, "CPU model", "--cpu")? {
            add(&["-cpu", &cpu]);
        }
        if let Some(smp) = self.chosen(&settings.smp, &options.smp, "number of CPUs", "--smp")? {
            if !(1..=8).contains(&smp) {
                return Err(CommandError::Range {
                    option: "--smp",
                    value: smp,
                    range: "1 to 8",
                });
            }
            add(&["-smp", &smp.to_string()]);
        }
        if let Some(memory) = self.chosen(&settings.memory, &options.memory, "memory", "--mem")? {
            add(&["-m", &memory]);
        }

        if let Some(loader) = &files.loader {
            add(&["-bios", &loader.to_string_lossy()]);
        } else {
            add(&["-kernel", &files.kernel.to_string_lossy()]);
            if let Some(initrd) = &files.initrd {
                add(&["-initrd", &initrd.to_string_lossy()]);
            }
            if let Some(device_tree) = &files.device_tree {
                add(&["-dtb", &device_tree.to_string_lossy()]);
            }
            let mut append = options.append.clone().unwrap_or_else(|| self.qemu.append.clone());
            for word in &options.append_more {
                append.push(' ');
                append.push_str(word);
            }
            add(&["-append", &append]);
        }

        add(&self.qemu.arguments.iter().map(String::as_str).collect::<Vec<_>>());
        for argument in self.network(options)? {
            add(&[&argument]);
        }
        arguments.extend(self.drives(options)?);
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        let console = format!("socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG}");
        add(&["-chardev", &console, "-serial", "chardev:console"]);
        add(&["-qmp", &format!("unix:{QMP_SOCKET},server=on,wait=off"), "-S"]);
        if options.icount {
            add(&[
                "-icount",
                "shift=0,sleep=off",
                "-seed",
                "1",
                "-rtc",
                "base=2026-01-01T00:00:00,clock=vm",
            ]);
        }
        if let Some(port) = options.gdb {
            add(&["-gdb", &format!("tcp:127.0.0.1:{port}")]);
        }
        if options.no_reboot || options.plays_firmware {
            add(&["-no-reboot"]);
        }
        if options.plays_firmware {
            add(&["-qmp", &format!("unix:{EVENTS_SOCKET},server=on,wait=off")]);
            add(&["-trace", "bcm2835_mbox_property", "-D", FIRMWARE_LOG]);
        }
        arguments.extend(options.extra.iter().cloned());
        Ok(arguments)
    }

    fn chosen<T: Clone>(
        &self,
        default: &Option<T>,
        wish: &Option<T>,
        setting: &'static str,
        option: &'static str,
    ) -> Result<Option<T>, CommandError> {
        match (default, wish) {
            (None, Some(_)) => Err(CommandError::Fixed {
                board: self.name.clone(),
                machine: self.qemu.machine.clone(),
                setting,
                option,
            }),
            (default, wish) => Ok(wish.clone().or_else(|| default.clone())),
        }
    }

    fn drives(&self, options: &Options) -> Result<Vec<String>, CommandError> {
        let card = match (
            &options.card,
            self.qemu.card_device.as_ref().or(self.qemu.block_device.as_ref()),
        ) {
            (None, _) => Vec::new(),
            (Some(card), Some(device)) => card.arguments("card", device).to_vec(),
            (Some(_), None) => return Err(CommandError::NoDisks(self.name.clone())),
        };
        let Some(device) = &self.qemu.block_device else {
            return if options.drives.is_empty() {
                Ok(card)
            } else {
                Err(CommandError::NoDisks(self.name.clone()))
            };
        };
        // Kernels find the transports with the lowest address first, and QEMU plugs the first device into the highest
        // (hw/arm/virt.c, create_virtio_devices): the last on the line is vda.
        let numbered = options.drives.iter().enumerate().rev();
        Ok(numbered
            .flat_map(|(number, drive)| drive.arguments(&format!("disk{number}"), device))
            .chain(card)
            .collect())
    }

    fn network(&self, options: &Options) -> Result<Vec<String>, CommandError> {
        let wants_forwards = options.agent_port.is_some() || !options.forwards.is_empty();
        let Some(device) = self.qemu.network_device.as_ref().filter(|_| !options.no_network) else {
            return if wants_forwards {
                Err(CommandError::NoNetwork(self.name.clone()))
            } else {
                Ok(Vec::new())
            };
        };
        let mut netdev = "user,id=net0".to_owned();
        if let Some(port) = options.agent_port {
            netdev.push_str(&format!(",hostfwd=udp:127.0.0.1:{port}-:{AGENT_PORT}"));
        }
        for forward in &options.forwards {
            netdev.push_str(&format!(",hostfwd={forward}"));
        }
        Ok(vec![
            "-netdev".into(),
            netdev,
            "-device".into(),
            format!("{device},netdev=net0"),
        ])
    }
}

#[cfg(test)]
mod tests;
