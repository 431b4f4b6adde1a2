//! What the machine must have, why, and how it is had. `doctor` shows it, `setup` gets it.

mod plan;

use crate::workspace::Workspace;
use sis_qemu::machine::find_program;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use plan::{Action, plan};

/// QEMU's first major version that runs both machines as the kernel expects.
const QEMU_MAJOR: u32 = 9;
const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";
const PROGRAM_TARGET: &str = "aarch64-unknown-linux-musl";
/// Python packages of the tests: a QUIC implementation that is not ours.
const PYTHON_PACKAGES: &str = "aioquic";

/// How a missing thing is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A package of the system.
    Package(&'static str),
    /// QEMU, of a suite that has it new enough.
    Qemu,
    /// arm64 packages made known to dpkg and apt.
    ForeignArchitecture,
    /// A target of the Rust toolchain.
    Target(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// Python packages in an environment of our own.
    PythonEnvironment,
}

/// One need and its state.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    /// What is there; `Err` says what is wrong.
    pub(crate) state: Result<String, String>,
    pub(crate) remedy: Remedy,
}

/// Everything, looked at now.
pub(crate) fn all(workspace: &Workspace) -> Vec<Need> {
    let targets = lines_of("rustup", &["target", "list", "--installed"]);
    let components = lines_of("rustup", &["component", "list", "--installed"]);
    let mut needs = vec![
        Need {
            name: "C compiler",
            why: "Rust links host programs with it",
            state: program("cc", "--version"),
            remedy: Remedy::Package("gcc"),
        },
        Need {
            name: "C library headers",
            why: "some Rust libraries bring C",
            state: exists("/usr/include/stdio.h"),
            remedy: Remedy::Package("libc6-dev"),
        },
        Need {
            name: "arm64 C compiler",
            why: "the agent's cryptography (ring) is partly C and assembly",
            state: program("aarch64-linux-gnu-gcc", "--version"),
            remedy: Remedy::Package("gcc-aarch64-linux-gnu"),
        },
        Need {
            name: "arm64 C headers",
            why: "the agent's cryptography (ring) is partly C and assembly",
            state: exists("/usr/aarch64-linux-gnu/include/stdint.h"),
            remedy: Remedy::Package("libc6-dev-arm64-cross"),
        },
        Need {
            name: "QEMU for arm64",
            why: "plays the boards",
            state: qemu(&first_line("qemu-system-aarch64", "--version")),
            remedy: Remedy::Qemu,
        },
        Need {
            name: "git",
            why: "names the revision in an image's manifest",
            state: program("git", "--version"),
            remedy: Remedy::Package("git"),
        },
        Need {
            name: "U-Boot for QEMU",
            why: "starts QEMU's virt machine from a card",
            state: exists("/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
            remedy: Remedy::Package("u-boot-qemu"),
        },
        Need {
            name: "e2fsprogs",
            why: "makes the file systems of cards, and checks those that cargo sis test writes",
            state: exists("/usr/sbin/debugfs"),
            remedy: Remedy::Package("e2fsprogs"),
        },
        Need {
            name: "sfdisk",
            why: "makes the partition tables that cargo sis test has read",
            state: exists("/usr/sbin/sfdisk"),
            remedy: Remedy::Package("fdisk"),
        },
        Need {
            name: "zstd",
            why: "packs the images whose writing cargo sis test tries",
            state: program("zstd", "--version"),
            remedy: Remedy::Package("zstd"),
        },
        Need {
            name: "xz",
            why: "packs the images whose writing cargo sis test tries",
            state: program("xz", "--version"),
            remedy: Remedy::Package("xz-utils"),
        },
        Need {
            name: "sgdisk",
            why: "makes the partition tables that cargo sis test has read",
            state: exists("/usr/sbin/sgdisk"),
            remedy: Remedy::Package("gdisk"),
        },
        Need {
            name: "dosfstools",
            why: "checks the boot partitions that cargo sis test makes",
            state: exists("/usr/sbin/fsck.fat"),
            remedy: Remedy::Package("dosfstools"),
        },
        Need {
            name: "mtools",
            why: "reads the boot partitions that cargo sis test makes",
            state: program("mcopy", "--version"),
            remedy: Remedy::Package("mtools"),
        },
        Need {
            name: "Debian's arm64 packages",
            why: "BusyBox and the Pi's device tree are taken from them, unmodified",
            state: foreign_packages(),
            remedy: Remedy::ForeignArchitecture,
        },
        Need {
            name: "kernel target",
            why: "the kernel is built for it",
            state: listed(&targets, KERNEL_TARGET),
            remedy: Remedy::Target(KERNEL_TARGET),
        },
        Need {
            name: "program target",
            why: "the programs on the image are built for it",
            state: listed(&targets, PROGRAM_TARGET),
            remedy: Remedy::Target(PROGRAM_TARGET),
        },
        Need {
            name: "clippy",
            why: "cargo sis test",
            state: listed(&components, "clippy"),
            remedy: Remedy::Component("clippy"),
        },
        Need {
            name: "rustfmt",
            why: "cargo sis test",
            state: listed(&components, "rustfmt"),
            remedy: Remedy::Component("rustfmt"),
        },
        Need {
            name: "Python",
            why: "cargo sis test speaks to the agent with a QUIC implementation that is not ours",
            state: program("python3", "--version"),
            remedy: Remedy::Package("python3"),
        },
    ];
    let python = python(workspace);
    if python.is_err() && Path::new("/etc/debian_version").exists() {
        needs.push(Need {
            name: "Python environments",
            why: "the QUIC implementation lives in one",
            state: has_ensurepip(),
            remedy: Remedy::Package("python3-venv"),
        });
    }
    needs.push(Need {
        name: PYTHON_PACKAGES,
        why: "cargo sis test speaks to the agent with a QUIC implementation that is not ours",
        state: python,
        remedy: Remedy::PythonEnvironment,
    });
    needs
}

/// The Python of the tests' environment.
pub(crate) fn environment(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target/sis/venv")
}

/// What is to be installed there.
pub(crate) const fn python_packages() -> &'static str {
    PYTHON_PACKAGES
}

fn first_line(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

fn program(name: &str, argument: &str) -> Result<String, String> {
    first_line(name, argument).ok_or_else(|| format!("{name} is not installed"))
}

fn exists(path: &str) -> Result<String, String> {
    if Path::new(path).exists() {
        Ok(path.into())
    } else {
        Err(format!("there is no {path}"))
    }
}

fn qemu(version: &Option<String>) -> Result<String, String> {
    let Some(line) = version else {
        return Err("qemu-system-aarch64 is not installed".into());
    };
    let number = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default();
    let major: u32 = number.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    if major >= QEMU_MAJOR {
        Ok(line.clone())
    } else {
        Err(format!(
            "version {number} is installed, {QEMU_MAJOR} or newer is needed"
        ))
    }
}

fn foreign_packages() -> Result<String, String> {
    if !lines_of("dpkg", &["--print-foreign-architectures"])
        .iter()
        .any(|line| line == "arm64")
    {
        return Err("dpkg does not know the architecture arm64".into());
    }
    let known = lines_of("apt-cache", &["--no-all-versions", "show", "busybox-static:arm64"]);
    match known.iter().find_map(|line| line.strip_prefix("Version: ")) {
        Some(version) => Ok(format!("busybox-static {version}")),
        None => Err("apt has no list of arm64 packages".into()),
    }
}

fn listed(lines: &[String], name: &str) -> Result<String, String> {
    let found = lines
        .iter()
        .find(|line| line.as_str() == name || line.starts_with(&format!("{name}-")));
    found.cloned().ok_or_else(|| format!("{name} is not installed"))
}

fn has_ensurepip() -> Result<String, String> {
    let status = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok("venv".into()),
        _ => Err("python3 has no venv".into()),
    }
}

fn python(workspace: &Workspace) -> Result<String, String> {
    let python = environment(workspace).join("bin/python");
    let script = "import aioquic; print(aioquic.__version__)";
    let output = Command::new(&python)
        .args(["-c", script])
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        _ => Err(format!("not in {}", environment(workspace).display())),
    }
}

fn lines_of(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(|line| line.trim().to_owned())
                .collect()
        })
        .unwrap_or_default()
}

/// What `/etc/os-release` says under `key`.
pub(crate) fn os_release(key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

/// Whether `name` is on `PATH`.
pub(crate) fn has_program(name: &str) -> bool {
    find_program(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_version_is_compared_by_number() {
        let check = |line: &str| qemu(&Some(line.to_owned()));
        assert!(check("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)").is_ok());
        assert!(check("QEMU emulator version 9.0.0").is_ok());
        assert_eq!(
            check("QEMU emulator version 7.2.17 (Debian)"),
            Err("version 7.2.17 is installed, 9 or newer is needed".into())
        );
        assert!(check("nonsense").is_err());
        assert!(qemu(&None).is_err());
    }

    #[test]
    fn components_carry_their_host_in_the_list() {
        let lines = ["clippy-x86_64-unknown-linux-gnu".to_owned(), KERNEL_TARGET.to_owned()];
        assert!(listed(&lines, "clippy").is_ok());
        assert!(listed(&lines, KERNEL_TARGET).is_ok());
        assert!(listed(&lines, "rustfmt").is_err());
    }

    #[test]
    fn the_plan_installs_after_it_fetched_the_lists() {
        let need = |remedy| Need {
            name: "",
            why: "",
            state: Err(String::new()),
            remedy,
        };
        let workspace = Workspace::find().expect("is here");
        let missing = [
            need(Remedy::Package("gcc")),
            need(Remedy::Target("t")),
            need(Remedy::ForeignArchitecture),
        ];
        let words: Vec<String> = plan(&workspace, &missing)
            .iter()
            .map(|action| action.shell(false))
            .collect();
        assert_eq!(
            words,
            [
                "sudo dpkg --add-architecture arm64",
                "sudo apt-get -q update",
                "sudo apt-get -q -y --no-install-recommends install gcc",
                "rustup target add t",
            ]
        );
    }
}
