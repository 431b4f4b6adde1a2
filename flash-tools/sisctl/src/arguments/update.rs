//! The command line of `update`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The paired board (as its owner)
    pub(crate) board: String,
    /// The update, as `cargo sis image` makes it (target/sis/BOARD/update.sis); without one the board is asked what it runs
    pub(crate) bundle: Option<PathBuf>,
    /// Install a version that is older than what runs
    #[arg(long, requires = "bundle")]
    pub(crate) allow_downgrade: bool,
    /// Do not wait until the board has tried it
    #[arg(long, requires = "bundle")]
    pub(crate) no_wait: bool,
}
