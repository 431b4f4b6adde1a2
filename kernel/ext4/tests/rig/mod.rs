//! What the crate's integration tests stand on: disks in memory that remember how they were written, and e2fsprogs.

pub(crate) mod disk;
pub(crate) mod e2fs;
pub(crate) mod random;
pub(crate) mod record;

pub(crate) use disk::MemDisk;
pub(crate) use random::Random;
pub(crate) use record::Recorder;
