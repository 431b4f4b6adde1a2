//! What a series is called and what its values are.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The longest name, bytes.
const NAME_BYTES_MAX: usize = 64;

/// A name of 1 to 64 of `a`–`z`, `0`–`9`, `_`, `:`, `.` and `-`. Upper case is taken and made lower.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesName(String);

/// Text that is no name of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a series is named by 1 to {NAME_BYTES_MAX} letters, digits, `_`, `:`, `.` and `-`")]
pub struct NameError;

impl SeriesName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SeriesName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_allowed) {
            return Err(NameError);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SeriesName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What the values of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Unit {
    /// A number of things, or a number without a unit.
    Count,
    /// Things a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Hundredths of a whole.
    Percent,
    /// Degrees Celsius.
    Celsius,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        assert_eq!("CPU0:busy".parse::<SeriesName>().unwrap().as_str(), "cpu0:busy");
        for bad in ["", "a b", "a,b", "=cmd()", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<SeriesName>(), Err(NameError), "{bad:?}");
        }
        assert!("x".repeat(64).parse::<SeriesName>().is_ok());
    }
}
