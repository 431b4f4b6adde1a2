//! An archive from its bytes.

use super::{Archive, Node, RootError};
use std::io::Read;

impl Archive {
    /// The archive of these bytes, which must be as [`to_bytes`](Self::to_bytes) makes them: one archive, all owned by
    /// root, no times, no hard links.
    ///
    /// # Errors
    /// [`RootError::Read`] for what is no such archive, and what [`add`](Self::add) refuses.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, RootError> {
        let failed = |what: &dyn std::fmt::Display| RootError::Read(what.to_string());
        let mut archive = Self::default();
        loop {
            let mut reader = cpio::NewcReader::new(bytes).map_err(|error| failed(&error))?;
            if reader.entry().is_trailer() {
                archive.check_parents()?;
                return Ok(archive);
            }
            let entry = reader.entry();
            let path = format!("/{}", entry.name());
            let (kind, mode) = (entry.mode() & !0o7777, entry.mode() & 0o7777);
            let device = [entry.rdev_major(), entry.rdev_minor()];
            if entry.uid() != 0 || entry.gid() != 0 || (kind != 0o040_000 && entry.nlink() > 1) {
                return Err(failed(&format_args!("{path} has an owner or several names")));
            }
            let mut data = Vec::new();
            reader.read_to_end(&mut data).map_err(|error| failed(&error))?;
            bytes = reader.finish().map_err(|error| failed(&error))?;
            let node = match kind {
                0o040_000 => Node::Directory,
                0o100_000 => Node::File(data),
                0o120_000 => Node::Link(String::from_utf8(data).map_err(|error| failed(&error))?),
                0o020_000 => Node::Character(device),
                other => return Err(failed(&format_args!("{path} is of the kind {other:o}"))),
            };
            archive.add(&path, node, mode)?;
        }
    }
}
