//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked                        4  this host is not paired with the board
  1  it did not                       5  time ran out
  2  it was asked wrongly             6  something else is using it
  3  the board is not running         7  a tool, target or package is missing (cargo sis setup)
`exec` gives the command's own exit code.";

/// Builds, runs and watches SIS boards.
#[derive(Debug, Parser)]
#[command(name = "cargo sis", bin_name = "cargo sis", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Results (and errors) as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress on standard error
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Build what a board boots into target/sis/BOARD
    Build(Build),
    /// Boot a board under QEMU (built first) with this terminal as its console
    Run(Run),
    /// Attach this terminal to a running board's console; Ctrl-] leaves
    Console(Which),
    /// End a running board
    Down(Down),
    /// Look at what this machine has and what it lacks
    Doctor,
    /// Install what is missing, saying what and why
    Setup(Setup),
    /// Set up, check and test everything: lints, host tests, then whole boards under QEMU
    Test(Test),
    /// Keep a board running in the background (used by `run --headless`)
    #[command(hide = true)]
    Supervise(Run),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The board; may be left out when one is running
    pub(crate) board: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The board's name (a folder of boards/)
    pub(crate) board: String,
    /// The kernel with debug assertions and lock-order checks
    #[arg(long)]
    pub(crate) checked: bool,
    /// Fetch foreign packages anew
    #[arg(long)]
    pub(crate) refresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// Ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Only print the commands
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Only these steps (see --list); may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) step: Vec<String>,
    /// Name the steps and end
    #[arg(long)]
    pub(crate) list: bool,
    /// `full` also checks licences and advisories of dependencies, and installs what that takes
    #[arg(long, value_enum, default_value_t = Lint::Quick)]
    pub(crate) lint: Lint,
    /// Assume that everything needed is installed
    #[arg(long)]
    pub(crate) no_setup: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lint {
    Quick,
    Full,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// The board; every running one if left out
    pub(crate) board: Option<String>,
}

#[derive(Clone, Debug, Args)]
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
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub(crate) qemu: Vec<String>,
}
