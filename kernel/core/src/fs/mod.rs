//! Open files, the virtual file system and its file systems.

pub mod file;
