//! The command lines of `run` and `up`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The board's name (a folder of boards/)
    #[arg(default_value = "qemu-virt")]
    pub(crate) board: String,
    /// The same, as other tools have it
    #[arg(long = "board", value_name = "NAME", conflicts_with = "board")]
    pub(crate) named: Option<String>,
    /// Start with an empty disk: what the board keeps, its key included, is forgotten
    #[arg(long, conflicts_with = "diskless")]
    pub(crate) fresh: bool,
    /// Boot the kernel and a root in memory, without a disk: nothing is kept
    #[arg(long)]
    pub(crate) diskless: bool,
    /// Leave the board running at the end (as without a terminal)
    #[arg(long)]
    pub(crate) detach: bool,
    /// The kernel with debug assertions and lock-order checks
    #[arg(long)]
    pub(crate) checked: bool,
    /// CPUs, 1 to 8
    #[arg(long, value_name = "N")]
    pub(crate) smp: Option<u32>,
    /// Memory, such as 512M
    #[arg(long, value_name = "SIZE")]
    pub(crate) mem: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Run {
    /// The board's name (a folder of boards/)
    pub(crate) board: String,
    /// In the background; `console`, `logs`, `down` reach it
    #[arg(long)]
    pub(crate) headless: bool,
    /// Boot what is in target/sis/BOARD, without building
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The kernel with debug assertions and lock-order checks
    #[arg(long)]
    pub(crate) checked: bool,
    /// CPUs, 1 to 8
    #[arg(long, value_name = "N")]
    pub(crate) smp: Option<u32>,
    /// Memory, such as 512M
    #[arg(long, value_name = "SIZE")]
    pub(crate) mem: Option<String>,
    /// Interrupt controller: 2 or 3
    #[arg(long, value_name = "VERSION")]
    pub(crate) gic: Option<u32>,
    /// CPU model, such as cortex-a53 or max
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu: Option<String>,
    /// Enter the kernel at EL2
    #[arg(long)]
    pub(crate) el2: bool,
    /// Words behind the board's kernel command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Another root archive
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// Another kernel image; nothing is built then
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// A disk: the file's bytes (of a .qcow2 file, the disk in it); may be given several times, the first is vda
    #[arg(long, value_name = "FILE")]
    pub(crate) drive: Vec<PathBuf>,
    /// The card in the board's slot, an image of `cargo sis image`: the board starts from it, as its loader does
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "append"])]
    pub(crate) card: Option<PathBuf>,
    /// Count instructions: one is one nanosecond, the same on every run
    #[arg(long)]
    pub(crate) icount: bool,
    /// Wait for a debugger on this TCP port of the loopback interface
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "1234")]
    pub(crate) gdb: Option<u16>,
    /// Host UDP port that reaches the agent; a free one if left out
    #[arg(long, value_name = "PORT")]
    pub(crate) agent_port: Option<u16>,
    /// A reset ends QEMU
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// End the board when this process (id:start time) ends, unless it said to keep it
    #[arg(long, hide = true, value_name = "PROCESS")]
    pub(crate) bound: Option<String>,
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub(crate) qemu: Vec<String>,
}
