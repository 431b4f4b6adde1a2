//! Who a board or client is.
//!
//! An [`Identity`] is a P-256 key that is made once and kept. Its certificate is self-signed and made anew at every start, because nobody
//! reads it but for the key: a peer's identity is the [`KeyHash`] of its public key, and whether that one is trusted is a question of
//! lists, not of certificate chains. TLS 1.3 still proves, with the key's signature over the handshake, that the peer holds the key.
#![forbid(unsafe_code)]

mod file;
mod tls;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use sis_protocol::pairing::KeyHash;

pub use file::{create_private_dir, write_private};
pub use tls::{TlsError, client_config, random_bytes, server_config};

/// Why there is no identity to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The key's file cannot be read or written.
    #[error("the key file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key's file holds something else.
    #[error("{path} does not hold a private key; move it away to have a new one made (peers must then pair again)")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The library refused; not expected.
    #[error("a key could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A key and its certificate.
pub struct Identity {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    hash: KeyHash,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new key, kept nowhere.
    ///
    /// # Errors
    /// [`IdentityError::Make`].
    pub fn generate() -> Result<Self, IdentityError> {
        Self::from_key(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    /// The key in `path` (PEM, PKCS #8); when there is no such file, a new key is made and kept there with mode 0600.
    ///
    /// # Errors
    /// [`IdentityError`]; a file that is there and is no key is never written over.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let file_error = |source| IdentityError::File {
            path: path.into(),
            source,
        };
        match std::fs::read_to_string(path) {
            Ok(pem) => {
                let key = KeyPair::from_pem(&pem).map_err(|_| IdentityError::NotAKey { path: path.into() })?;
                Self::from_key(&key)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write_private(path, key.serialize_pem().as_bytes()).map_err(file_error)?;
                Self::from_key(&key)
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(IdentityError::NotAKey { path: path.into() })
            }
            Err(error) => Err(file_error(error)),
        }
    }

    fn from_key(key: &KeyPair) -> Result<Self, IdentityError> {
        let certificate = CertificateParams::new(vec!["sis".to_owned()])?.self_signed(key)?;
        Ok(Self {
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            certificate: certificate.der().clone(),
            hash: KeyHash(Sha256::digest(key.subject_public_key_info()).into()),
        })
    }

    /// Who this is.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.hash
    }

    /// The certificate shown to peers.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A secret that depends on this key and `label` alone.
    #[must_use]
    pub fn derived_secret(&self, label: &str) -> [u8; 32] {
        let hash = Sha256::new_with_prefix(b"sis derived secret v1\0");
        hash.chain_update(label)
            .chain_update([0])
            .chain_update(self.key.secret_pkcs8_der())
            .finalize()
            .into()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// Whose certificate this is; `None` when it is not an X.509 v3 certificate.
#[must_use]
pub fn key_hash_of(certificate: &CertificateDer<'_>) -> Option<KeyHash> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(KeyHash(Sha256::digest(certificate.subject_public_key_info()).into()))
}
