//! The board's half of an update: it is written into the system that does not run, tried once, and kept only when it proves
//! itself.
//!
//! A card has two systems, each a boot partition and a root ([`card`]). The loader starts the one that is committed
//! ([`selector`]). An update goes through these states, which [`record`] keeps on the data partition:
//!
//! | phase | what happens | after a cut of the power |
//! |---|---|---|
//! | receiving | the bundle is stored on the data partition and verified as a whole | the old system starts |
//! | writing | its parts are written onto the other slot and read back ([`install`]) | the old system starts |
//! | armed | the loader is told to start the other slot once | the new system is tried, or the old one starts |
//! | trial | the new system runs and is checked | the old system starts |
//! | – | the loader is told to start the new system from now on | the new system starts |
//!
//! Nothing that the running system needs is written before the last step, and that is one sector ([`selector`]).
#![forbid(unsafe_code)]

pub mod card;
pub mod install;
pub mod receive;
pub mod record;
pub mod selector;

use sis_bundle::{BundleError, Slot};
use std::io;
use std::path::PathBuf;

/// Why an update is not done. The words say what to do where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The board was not started from a card with two systems.
    #[error("this board was not started from a card with two systems: {0}")]
    NoCard(String),
    /// The bundle is none, or damaged.
    #[error("the bundle is refused: {0}")]
    Bundle(#[from] BundleError),
    /// For another board.
    #[error("the bundle is for the board {bundle}, and this is {own}")]
    Board {
        /// The bundle's.
        bundle: String,
        /// Ours.
        own: String,
    },
    /// Older than what runs.
    #[error(
        "the bundle has version {bundle}, which is older than the {own} that runs; --allow-downgrade installs it all the same"
    )]
    Downgrade {
        /// The bundle's.
        bundle: semver::Version,
        /// Ours.
        own: semver::Version,
    },
    /// A partition of the card is too small.
    #[error("{partition} has {has} bytes, and the bundle needs {needs}")]
    TooSmall {
        /// Its name.
        partition: &'static str,
        /// Its length.
        has: u64,
        /// What it must have.
        needs: u64,
    },
    /// The data partition is full.
    #[error("the bundle of {needs} bytes does not fit on the data partition, where {free} are free")]
    NoRoom {
        /// What is needed.
        needs: u64,
        /// What there is.
        free: u64,
    },
    /// What was read back is not what was written.
    #[error("{partition} gave back other bytes than were written: the card is failing")]
    ReadBack {
        /// Its name.
        partition: &'static str,
    },
    /// The board's firmware cannot start the other slot once.
    #[error("the firmware cannot be told to try the other slot: {0}")]
    Firmware(String),
    /// The slot that would be written runs.
    #[error("slot {0} is running on trial: wait until it is committed or has fallen back")]
    OnTrial(Slot),
    /// A file or a partition could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Attaches the path to an error.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> UpdateError {
    let path = path.into();
    move |error| UpdateError::Io { path, error }
}
