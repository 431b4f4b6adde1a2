//! `manifest.json`: what a build made, from what.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the manifest's own shape.
pub const SCHEMA: u32 = 1;

/// What one build of one board consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The board's name.
    pub board: String,
    /// The workspace's version.
    pub version: String,
    /// Git revision, with `-dirty` when the tree had changes; `unknown` outside a repository.
    pub revision: String,
    /// Names this kernel: the linker's build id, or else the head of its ELF file's SHA-256.
    pub build_id: String,
    /// Cargo profile of the kernel.
    pub profile: String,
    /// The files beside the manifest.
    pub files: Vec<FileRecord>,
    /// Foreign packages that parts of the image were taken from.
    pub packages: Vec<PackageRecord>,
}

/// A file of the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Name in the build's folder.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// A package that something was taken from, unmodified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// SHA-256 of the package file.
    pub sha256: String,
}

/// SHA-256 of `bytes`, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FileRecord {
    /// The record of a file with these bytes.
    #[must_use]
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            size: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_digest() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
