//! The command line.

mod flash;
mod image;
mod run;
mod update;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

pub(crate) use flash::Flash;
pub(crate) use image::Image;
pub(crate) use run::{Run, Up};
pub(crate) use update::Update;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked                        4  this host is not paired with the board
  1  it did not                       5  time ran out
  2  it was asked wrongly             6  something else is using it
  3  the board is not running         7  a tool, target or package is missing (cargo sis setup)
  8  it was interrupted
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
    /// Write an image onto a card; without a device list the candidates
    Flash(Flash),
    /// Make the image of a board's card (built first): partitions, block map, signed manifest
    Image(Image),
    /// Send a signed update to a running board, which tries it and falls back by itself; without one say what runs there
    Update(Update),
    /// Boot a board under QEMU (built first) with this terminal as its console
    Run(Run),
    /// Attach this terminal to a running board's console; Ctrl-] leaves
    Console(Which),
    /// End a running board
    Down(Down),
    /// Set up, build, boot, pair and watch; ends the board when you leave
    Up(Up),
    /// Pair this host with a board: by the link its `pair` command shows, or by asking over its serial console
    Pair(Pair),
    /// Watch a board live: measurements, log, and what waits for your approval
    Watch(Target),
    /// What waits for approval
    Approvals(Target),
    /// Approve what waits; the board checks it again and then does it
    Approve(Decide),
    /// Reject what waits
    Reject(Decide),
    /// Run a command on the board and exit with its status
    Exec(Exec),
    /// Let the board check itself
    Selfcheck(SelfCheck),
    /// The board's log
    Logs(Logs),
    /// What the board measures
    Metrics(Metrics),
    /// The memory manager: its state, its modes and what it has done
    Memory(Memory),
    /// What runs here and whether it can be reached
    Status(Target),
    /// Throw hostile input at a board: random system calls on it, malformed datagrams at its agent; fails unless it still answers
    Fuzz(Fuzz),
    /// Make events on a board without a pause, kill the client and cut the link meanwhile; fails if one is lost, or memory
    Soak(Soak),
    /// Look at what this machine has and what it lacks
    Doctor,
    /// Install what is missing, saying what and why
    Setup(Setup),
    /// Set up, check and test everything: lints, host tests, then whole boards under QEMU
    Test(Test),
    /// Cut a board's power in many ways under load and look for what was lost
    Crash(Crash),
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

/// The board that a command is for.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// sis-pair:v1?...; without it the board that runs here is asked over its serial console
    pub(crate) link: Option<String>,
    /// The board that runs here; may be left out when one does
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Ask over the serial console (what happens anyway without a link)
    #[arg(long, conflicts_with = "link")]
    pub(crate) serial: bool,
    /// What this host may do there, when the board is asked
    #[arg(long, value_enum, default_value_t = RoleName::Owner)]
    pub(crate) role: RoleName,
    /// The board knows this host already (`flash --pair-with`): the board's key, which its console shows
    #[arg(long, value_name = "KEY", conflicts_with_all = ["link", "serial"], requires = "address")]
    pub(crate) key: Option<sis_protocol::pairing::KeyHash>,
    /// Reach the board here instead of at the link's addresses
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) address: Option<std::net::SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleName {
    Viewer,
    Operator,
    Owner,
}

impl RoleName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Numbers, as `approvals` shows them
    #[arg(required_unless_present = "all", num_args = 1..=100)]
    pub(crate) ids: Vec<u64>,
    /// Everything that waits
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Over the serial console of a board that runs here
    #[arg(long)]
    pub(crate) serial: bool,
    /// Pass this command's standard input on
    #[arg(long, short = 'i')]
    pub(crate) stdin: bool,
    /// End the command after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// One word is a line for the board's shell; several are a program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SelfCheck {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Over the serial console of a board that runs here
    #[arg(long)]
    pub(crate) serial: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many of the lines so far
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 200)]
    pub(crate) last: u32,
    /// Only lines at least this severe
    #[arg(long, value_enum, default_value_t = LevelName::Debug)]
    pub(crate) level: LevelName,
}

/// The numbers are syslog(3)'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LevelName {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// Every sample, a line each
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// The paired board; may be left out when one runs or one is paired
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) board: Option<String>,
    #[command(subcommand)]
    pub(crate) action: MemoryAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemoryAction {
    /// What it measures and how it is set
    Status,
    /// Change how it works
    Mode {
        /// Whether what it proposes waits for a person
        #[arg(long, value_enum)]
        approval: Option<Switch>,
        /// Whether it only predicts
        #[arg(long, value_enum)]
        query: Option<Switch>,
        /// Set the strategy by hand
        #[arg(long, value_enum)]
        strategy: Option<StrategyName>,
    },
    /// What became of its proposals, newest first, with the measured effect
    History {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20)]
        last: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StrategyName {
    Conservative,
    Balanced,
    Aggressive,
}

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// The paired board (as its owner); may be left out when one runs or one is paired
    pub(crate) board: Option<String>,
    /// Random system calls with random arguments, by a user without privileges
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) calls: u64,
    /// Malformed datagrams at the agent
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) datagrams: u64,
    /// The same seed makes the same calls and datagrams; another one on every run if left out
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// The paired board (as its owner); it must run here, for its link to be cut. May be left out when one runs
    pub(crate) board: Option<String>,
    /// How long events are made
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "seconds")]
    pub(crate) minutes: u64,
    /// The same in seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) seconds: Option<u64>,
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
pub(crate) struct Crash {
    /// How many cuts
    #[arg(long, default_value_t = 200)]
    pub(crate) cuts: usize,
    /// The first run's seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Debian's Linux instead of our kernel
    #[arg(long)]
    pub(crate) linux: bool,
    /// Keep the images of losses in this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Boot what is in target/sis, without building
    #[arg(long)]
    pub(crate) no_build: bool,
    /// More for the harness itself; `cargo sis crash -- --help` tells
    #[arg(last = true)]
    pub(crate) more: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// The board; every running one if left out
    pub(crate) board: Option<String>,
}
