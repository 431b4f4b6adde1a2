//! The command line of `flash`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Flash {
    /// The image: plain, .zst or .xz
    #[arg(requires = "device")]
    pub(crate) image: Option<PathBuf>,
    /// A whole disk such as /dev/sdb, or a file
    pub(crate) device: Option<PathBuf>,
    /// The image's block map; IMAGE.bmap if left out and there
    #[arg(long, value_name = "FILE", requires = "image")]
    pub(crate) bmap: Option<PathBuf>,
    /// Ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Also disks that are not removable or larger than 256 GB; never those that are mounted, in use or the system's
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not read back and compare
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Refuse an image that is not signed by this key (PEM): its manifest, its block map and so what is written
    #[arg(long, value_name = "FILE", requires = "image")]
    pub(crate) signed_by: Option<PathBuf>,
    /// The board's name
    #[arg(long, value_name = "NAME", requires = "image")]
    pub(crate) hostname: Option<String>,
    /// An SSH client that may log in as root: its public key, or a file with it (for images with an SSH server); may be given several times
    #[arg(long, value_name = "KEY", requires = "image")]
    pub(crate) authorized_key: Vec<String>,
    /// A client that is the board's owner from the start: the hash of its key, or `this` for this host; may be given several times
    #[arg(long, value_name = "KEY", requires = "image")]
    pub(crate) pair_with: Vec<String>,
    /// Leave a removable device where it is
    #[arg(long)]
    pub(crate) no_eject: bool,
}
