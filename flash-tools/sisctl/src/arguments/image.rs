//! The command line of `image`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// The board's name (a folder of boards/)
    pub(crate) board: String,
    /// Where the image and what belongs to it are left; target/sis/BOARD if left out
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// The card's size, such as 2G: two slots of 256M, the rest is for data
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    pub(crate) size: u64,
    /// Sign with this Ed25519 key (PKCS#8, PEM); with a development key of this workspace if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) sign: Option<PathBuf>,
    /// Take the board's firmware from here instead of Debian's package
    #[arg(long, value_name = "FOLDER")]
    pub(crate) firmware: Option<PathBuf>,
    /// Lay the content of this folder over the root: files of a product's own
    #[arg(long, value_name = "FOLDER")]
    pub(crate) overlay: Option<PathBuf>,
    /// The system's version, which updates are compared by; the workspace's if left out
    #[arg(long, value_name = "VERSION")]
    pub(crate) release: Option<semver::Version>,
    /// Take what is in target/sis/BOARD, without building
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The kernel with debug assertions and lock-order checks
    #[arg(long, conflicts_with = "no_build")]
    pub(crate) checked: bool,
    /// Fetch foreign packages anew
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// A number of bytes: digits, and K, M or G for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is digits, and K, M or G".into())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("706m"), Ok(706 << 20));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for bad in ["", "G", "-1G", "1.5G", "99999999999G", "1T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
