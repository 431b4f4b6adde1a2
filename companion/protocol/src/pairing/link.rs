//! The code that a board shows.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use super::key::{parse_hex, to_hex};
use super::{KeyHash, Role};

/// Length of a one-time token.
pub const TOKEN_BYTES: usize = 16;

const PREFIX: &str = "sis-pair:v1?";
const MAX_TEXT_BYTES: usize = 1024;
const MAX_ADDRESSES: usize = 8;

/// A pairing code: `sis-pair:v1?addr=10.0.2.15:8870&key=<64 hex>&token=<32 hex>&role=owner&expires=<Unix seconds>&name=<text>`.
///
/// `addr` may come several times; `expires` and `name` may be missing; parameters that are not known are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairLink {
    /// Where the board listens, most likely first.
    pub addresses: Vec<SocketAddr>,
    /// The hash of the board's public key.
    pub key: KeyHash,
    /// Good for one pairing.
    pub token: [u8; TOKEN_BYTES],
    /// The role that the board will give.
    pub role: Role,
    /// When the token lapses, Unix seconds; absent when the board does not know the time of day.
    pub expires: Option<u64>,
    /// What the board is called.
    pub name: Option<String>,
}

/// Why text is not a pairing code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseLinkError {
    /// It does not begin with `sis-pair:`, or is longer than a code can be.
    NotALink,
    /// A code of another version.
    Version,
    /// This parameter is missing.
    Missing(&'static str),
    /// This parameter is there and cannot be read.
    Invalid(&'static str),
}

impl fmt::Display for ParseLinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALink => f.write_str(
                "this is not a pairing code: one begins with `sis-pair:v1?`; copy it whole from the board's console",
            ),
            Self::Version => f.write_str("this pairing code is of a newer version: update this program"),
            Self::Missing(what) => write!(
                f,
                "the pairing code has no `{what}`: copy it whole from the board's console"
            ),
            Self::Invalid(what) => write!(
                f,
                "`{what}` in the pairing code is damaged: copy it again from the board's console"
            ),
        }
    }
}

impl core::error::Error for ParseLinkError {}

impl fmt::Display for PairLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for address in &self.addresses {
            write!(f, "addr={address}&")?;
        }
        write!(f, "key={}&token={}&role={}", self.key, to_hex(&self.token), self.role)?;
        if let Some(expires) = self.expires {
            write!(f, "&expires={expires}")?;
        }
        if let Some(name) = &self.name {
            f.write_str("&name=")?;
            for byte in name.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    write!(f, "{}", char::from(byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for PairLink {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(ParseLinkError::NotALink);
        }
        let Some(query) = text.strip_prefix(PREFIX) else {
            let is_other = text
                .strip_prefix("sis-pair:v")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            return Err(if is_other {
                ParseLinkError::Version
            } else {
                ParseLinkError::NotALink
            });
        };
        let (mut addresses, mut key, mut token, mut role, mut expires, mut name) =
            (Vec::new(), None, None, None, None, None);
        for (parameter, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match parameter {
                "addr" if addresses.len() < MAX_ADDRESSES => {
                    addresses.push(value.parse().map_err(|_| ParseLinkError::Invalid("addr"))?);
                }
                "key" => key = Some(value.parse().map_err(|_| ParseLinkError::Invalid("key"))?),
                "token" => token = Some(parse_hex(value).ok_or(ParseLinkError::Invalid("token"))?),
                "role" => role = Some(value.parse().map_err(|_| ParseLinkError::Invalid("role"))?),
                "expires" => expires = Some(value.parse().map_err(|_| ParseLinkError::Invalid("expires"))?),
                "name" => name = Some(percent_decode(value).ok_or(ParseLinkError::Invalid("name"))?),
                _ => {}
            }
        }
        if addresses.is_empty() {
            return Err(ParseLinkError::Missing("addr"));
        }
        Ok(Self {
            addresses,
            key: key.ok_or(ParseLinkError::Missing("key"))?,
            token: token.ok_or(ParseLinkError::Missing("token"))?,
            role: role.ok_or(ParseLinkError::Missing("role"))?,
            expires,
            name,
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let [decoded] = parse_hex::<1>(core::str::from_utf8(&digits).ok()?)?;
            bytes.push(decoded);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
