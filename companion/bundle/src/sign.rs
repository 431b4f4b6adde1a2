//! Ed25519 signatures (RFC 8032), with keys as `openssl genpkey -algorithm ed25519` writes them: PKCS#8 in PEM.

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// What comes before the 32 bytes of a public key in its SubjectPublicKeyInfo (RFC 8410, section 4).
const PUBLIC_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PRIVATE_TAG: &str = "PRIVATE KEY";
const PUBLIC_TAG: &str = "PUBLIC KEY";

/// Why there is no key, or no valid signature.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No PEM, or one of something else.
    #[error("it is no PEM of a {0}")]
    NotPem(&'static str),
    /// A key of another kind, or a damaged one.
    #[error("it is no Ed25519 key: {0}")]
    NotEd25519(String),
    /// The system has no random numbers.
    #[error("the system has no random numbers for a key")]
    NoRandom,
    /// The signature is not this key's over these bytes.
    #[error("the signature is not valid")]
    Invalid,
}

/// A private key.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key in a PEM text, with its public half (PKCS#8 version 2) or without.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = contents(text, PRIVATE_TAG)?;
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        key.map(Self).map_err(|error| KeyError::NotEd25519(error.to_string()))
    }

    /// A new key, as PEM.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn generate() -> Result<String, KeyError> {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::NoRandom)?;
        Ok(encode(PRIVATE_TAG, der.as_ref()))
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// The public half, as PEM.
    #[must_use]
    pub fn public_pem(&self) -> String {
        encode(PUBLIC_TAG, &[&PUBLIC_HEAD, self.0.public_key().as_ref()].concat())
    }
}

/// Checks that `signature` over `message` was made with the private half of `public_pem`.
///
/// # Errors
/// [`KeyError`].
pub fn verify(public_pem: &str, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
    let der = contents(public_pem, PUBLIC_TAG)?;
    let key = der
        .strip_prefix(&PUBLIC_HEAD)
        .ok_or_else(|| KeyError::NotEd25519("another algorithm".into()))?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(message, signature)
        .map_err(|_| KeyError::Invalid)
}

fn contents(text: &str, tag: &'static str) -> Result<Vec<u8>, KeyError> {
    let parsed = pem::parse(text).map_err(|_| KeyError::NotPem(tag))?;
    if parsed.tag() == tag {
        Ok(parsed.into_contents())
    } else {
        Err(KeyError::NotPem(tag))
    }
}

fn encode(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3: a private key without its public half, and the public key of section 10.1.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                           -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                          -----END PUBLIC KEY-----\n";

    #[test]
    fn the_rfcs_key_has_the_rfcs_public_half() {
        let signer = Signer::from_pem(PRIVATE).expect("a key");
        assert_eq!(signer.public_pem(), PUBLIC);
        let signature = signer.sign(b"message");
        assert_eq!(signature.len(), 64);
        verify(PUBLIC, b"message", &signature).expect("is valid");
        assert!(matches!(verify(PUBLIC, b"massage", &signature), Err(KeyError::Invalid)));
        let other = Signer::from_pem(&Signer::generate().expect("a key")).expect("a key");
        assert!(matches!(
            verify(&other.public_pem(), b"message", &signature),
            Err(KeyError::Invalid)
        ));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        assert!(matches!(Signer::from_pem("key"), Err(KeyError::NotPem(_))));
        assert!(matches!(Signer::from_pem(PUBLIC), Err(KeyError::NotPem(_))));
        assert!(matches!(verify(PRIVATE, b"", &[]), Err(KeyError::NotPem(_))));
        let cut = encode(PRIVATE_TAG, &[0x30, 0x2e, 2, 1]);
        assert!(matches!(Signer::from_pem(&cut), Err(KeyError::NotEd25519(_))));
    }
}
