//! The protection of Initial packets (RFC 9001, 5.2 to 5.4): its keys come from the packet's own connection id, so anyone can seal one.

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// What sealing adds to a payload.
pub(super) const TAG_BYTES: usize = 16;

/// RFC 9001, 5.2: of version 1.
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];

/// What a client seals its Initial packets with.
#[derive(Debug)]
pub(super) struct InitialKeys {
    pub(super) key: [u8; 16],
    pub(super) iv: [u8; 12],
    pub(super) header: [u8; 16],
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446, 7.1) with an empty context.
fn expand<const N: usize>(secret: &Prk, label: &[u8]) -> Option<[u8; N]> {
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let mut out = [0; N];
    let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label, &[0]];
    secret.expand(&info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

impl InitialKeys {
    /// Those of a connection whose first packet goes to this connection id.
    pub(super) fn of_client(destination: &[u8]) -> Option<Self> {
        let initial = Salt::new(HKDF_SHA256, &SALT).extract(destination);
        let secret = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, b"client in")?);
        Some(Self {
            key: expand(&secret, b"quic key")?,
            iv: expand(&secret, b"quic iv")?,
            header: expand(&secret, b"quic hp")?,
        })
    }

    /// The whole packet: `header` up to and with its length field, a packet number of four bytes, the sealed payload.
    pub(super) fn seal(&self, mut header: Vec<u8>, number: u32, payload: Vec<u8>) -> Vec<u8> {
        let at = header.len();
        header.extend(number.to_be_bytes());
        let mut nonce = self.iv;
        for (byte, other) in nonce.iter_mut().skip(8).zip(number.to_be_bytes()) {
            *byte ^= other;
        }
        let mut body = payload;
        let (Ok(key), Ok(protection)) = (
            UnboundKey::new(&AES_128_GCM, &self.key),
            HeaderProtectionKey::new(&AES_128, &self.header),
        ) else {
            return header;
        };
        let key = LessSafeKey::new(key);
        let nonce = Nonce::assume_unique_for_key(nonce);
        if key
            .seal_in_place_append_tag(nonce, Aad::from(&header), &mut body)
            .is_err()
        {
            return header;
        }
        // The sample begins four bytes after the packet number's first (5.4.2), and the number has four.
        if let Some(Ok(mask)) = body.get(..16).map(|sample| protection.new_mask(sample)) {
            if let Some(first) = header.first_mut() {
                *first ^= mask[0] & 0x0f;
            }
            for (byte, mask) in header.iter_mut().skip(at).zip(mask.iter().skip(1)) {
                *byte ^= mask;
            }
        }
        header.extend(body);
        header
    }
}
