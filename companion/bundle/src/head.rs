//! A bundle's head: who made it and what it is.

use crate::{BundleError, Manifest, sign};

/// How a bundle begins.
pub const MAGIC: [u8; 8] = *b"SISUPD1\n";
/// The most that a manifest may have, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;

const LENGTH_BYTES: usize = 4;
const SIGNATURE_BYTES: usize = 64;
const FIXED_BYTES: usize = MAGIC.len() + LENGTH_BYTES + SIGNATURE_BYTES;

/// A head whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the bundle is.
    pub manifest: Manifest,
    /// Bytes of the head, and so where the parts begin.
    pub len: u64,
}

impl Head {
    /// Bytes of the whole bundle.
    #[must_use]
    pub fn bundle_bytes(&self) -> u64 {
        self.len + self.manifest.stored_bytes()
    }
}

/// The head of a bundle with this manifest.
pub(crate) fn encode(manifest: &[u8], signature: &[u8]) -> Vec<u8> {
    let len = u32::try_from(manifest.len()).unwrap_or(u32::MAX);
    [&MAGIC[..], &len.to_be_bytes(), signature, manifest].concat()
}

/// Takes a head from bytes in any chunking.
#[derive(Debug, Default)]
pub struct HeadReader(Vec<u8>);

impl HeadReader {
    /// Adds bytes. Once the head is whole and its signature over the manifest is that of one of `keys` (PEM texts of Ed25519
    /// public keys): the head, and the bytes that came after it.
    ///
    /// # Errors
    /// [`BundleError`]; the bundle is of no use then.
    pub fn feed(&mut self, bytes: &[u8], keys: &[String]) -> Result<Option<(Head, Vec<u8>)>, BundleError> {
        self.0.extend_from_slice(bytes);
        let known = self.0.len().min(MAGIC.len());
        if self.0[..known] != MAGIC[..known] {
            return Err(BundleError::Magic);
        }
        let Some(length) = self
            .0
            .get(MAGIC.len()..)
            .and_then(|rest| rest.first_chunk::<LENGTH_BYTES>())
        else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MANIFEST_BYTES_MAX {
            return Err(BundleError::ManifestLength(length));
        }
        let Some(text) = self.0.get(FIXED_BYTES..FIXED_BYTES + length) else {
            return Ok(None);
        };
        let signature = &self.0[MAGIC.len() + LENGTH_BYTES..FIXED_BYTES];
        let mut result = Err(sign::KeyError::Invalid);
        for key in keys {
            result = sign::verify(key, text, signature);
            if result.is_ok() {
                break;
            }
        }
        result.map_err(BundleError::Signature)?;
        let head = Head {
            manifest: Manifest::parse(text)?,
            len: (FIXED_BYTES + length) as u64,
        };
        let rest = self.0.split_off(FIXED_BYTES + length);
        Ok(Some((head, rest)))
    }

    /// How far it came: for the words on a bundle that ended inside its head.
    #[must_use]
    pub fn truncated(&self) -> BundleError {
        BundleError::Truncated {
            got: self.0.len() as u64,
            wanted: FIXED_BYTES as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::sample;
    use crate::sign::Signer;

    fn bundle() -> (Vec<u8>, String) {
        let signer = Signer::from_pem(&Signer::generate().expect("a key")).expect("a key");
        let text = serde_json::to_vec(&sample()).expect("is JSON");
        let mut bytes = encode(&text, &signer.sign(&text));
        bytes.extend_from_slice(b"parts");
        (bytes, signer.public_pem())
    }

    #[test]
    fn it_is_read_in_any_chunking() {
        let (bytes, key) = bundle();
        let keys = ["no key".into(), key];
        for size in [1, 7, 75, 76, 77, 100_000] {
            let mut reader = HeadReader::default();
            let mut found = None;
            let mut after = Vec::new();
            for chunk in bytes.chunks(size) {
                if found.is_some() {
                    after.extend_from_slice(chunk);
                } else if let Some((head, rest)) = reader.feed(chunk, &keys).expect("is sound") {
                    (found, after) = (Some(head), rest);
                }
            }
            let head = found.expect("was whole");
            assert_eq!(head.manifest, sample());
            assert_eq!((head.len as usize, &after[..]), (bytes.len() - 5, &b"parts"[..]));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (bytes, key) = bundle();
        for at in 0..bytes.len() - 5 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let result = HeadReader::default().feed(&changed, std::slice::from_ref(&key));
            // A longer manifest is waited for, and never comes.
            assert!(!matches!(result, Ok(Some(_))), "byte {at}");
        }
        let no_keys = HeadReader::default().feed(&bytes, &[]);
        assert!(matches!(no_keys, Err(BundleError::Signature(_))));
        let mut long = bytes;
        long[8] = 0xff;
        let long = HeadReader::default().feed(&long, &[key]);
        assert!(matches!(long, Err(BundleError::ManifestLength(_))));
    }
}
