//! Taking a part apart.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use sha2::{Digest, Sha256};

use crate::{BundleError, Part};

/// SHA-256, lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The blocks of a part, unpacked as they are asked for.
#[derive(Debug)]
pub struct Unpacker<'a, R: Read> {
    part: &'a Part,
    stream: ZlibDecoder<io::Take<R>>,
    digest: Sha256,
}

impl<'a, R: Read> Unpacker<'a, R> {
    /// Unpacks `part` from `stored`, which begins with it.
    pub fn new(part: &'a Part, stored: R) -> Self {
        Self {
            part,
            stream: ZlibDecoder::new(stored.take(part.stored_bytes)),
            digest: Sha256::new(),
        }
    }

    /// Fills `out` with the bytes that come next.
    ///
    /// # Errors
    /// [`BundleError::Damaged`] where there are not so many, or they cannot be unpacked.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), BundleError> {
        self.stream.read_exact(out).map_err(|error| self.damaged(&error))?;
        self.digest.update(&*out);
        Ok(())
    }

    /// Checks that nothing is left, and that what was taken is what the manifest says.
    ///
    /// # Errors
    /// [`BundleError::Damaged`].
    pub fn finish(mut self) -> Result<(), BundleError> {
        let more = self.stream.read(&mut [0]).map_err(|error| self.damaged(&error))?;
        if more > 0 {
            return Err(self.damaged(&"it holds more than its blocks"));
        }
        if sha256_hex(self.digest.clone()) == self.part.sha256 {
            return Ok(());
        }
        Err(self.damaged(&"its checksum is another"))
    }

    fn damaged(&self, what: &dyn std::fmt::Display) -> BundleError {
        BundleError::Damaged {
            part: self.part.name(),
            what: what.to_string(),
        }
    }
}
