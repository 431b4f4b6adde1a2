//! The same without a board: the workload's plans carried out on `sis-ext4` in this process, with a small page cache that
//! keeps to the crate's contract; and crash states recovered by mounting them here. Thousands of states a minute.

mod cache;
mod disk;
mod recover;
mod run;

pub use disk::{Recorded, Scratch};
pub use recover::recover;
pub use run::{HostError, HostLoad};

/// The time of day, which means nothing here.
const NOW: sis_ext4::Timestamp = sis_ext4::Timestamp {
    seconds: 1_790_000_000,
    nanoseconds: 0,
};
