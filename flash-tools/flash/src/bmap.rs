//! Block maps as `bmaptool create` writes them (format 2.0, `ChecksumType` sha256): which blocks of an image mean
//! something, and the SHA-256 of each run of them.
//!
//! The file comes from where the image comes from and is as hostile: its length and its number of ranges are bounded, a
//! document type (and so entities) is refused, and ranges must ascend, not overlap, and lie inside the image.
//!
//! Source: `bmaptools/BmapCreate.py` of bmap-tools 3.x, which is the format's only description.

use sha2::{Digest, Sha256};

/// The longest block map that is read, in bytes. A map of 100,000 ranges is about 11 MB.
pub const MAX_BYTES: usize = 16 << 20;
/// The most ranges in a map.
pub const MAX_RANGES: usize = 100_000;

/// A SHA-256.
pub type Hash = [u8; 32];

/// A run of bytes of the image that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Offset in the image, in bytes.
    pub start: u64,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// What these bytes must hash to, where it is known.
    pub sha256: Option<Hash>,
}

/// A checked block map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmap {
    /// The image's length in bytes.
    pub image_bytes: u64,
    /// Ascending, apart from each other, inside the image.
    pub ranges: Vec<Range>,
}

/// Why a block map is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BmapError {
    /// More than [`MAX_BYTES`].
    #[error("the block map is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not XML of this shape.
    #[error("the block map is not what bmaptool writes: {0}")]
    Malformed(String),
    /// A version other than 2.x, or checksums other than SHA-256.
    #[error("the block map has {0}; only version 2 with sha256 is read")]
    Unsupported(String),
    /// The map's own checksum does not match.
    #[error("the block map does not match its own checksum: it was damaged or edited")]
    OwnChecksum,
    /// The numbers contradict each other.
    #[error("the block map contradicts itself: {0}")]
    Inconsistent(String),
}

impl Bmap {
    /// Reads a block map.
    ///
    /// # Errors
    /// [`BmapError`]; nothing of the map is to be used then.
    pub fn parse(bytes: &[u8]) -> Result<Self, BmapError> {
        if bytes.len() > MAX_BYTES {
            return Err(BmapError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(malformed)?;
        let options = roxmltree::ParsingOptions {
            allow_dtd: false,
            // An element, its text and the blank or comment after it, for each range.
            nodes_limit: u32::try_from(MAX_RANGES * 4 + 100).unwrap_or(u32::MAX),
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(text, options).map_err(malformed)?;
        let root = document.root_element();
        if root.tag_name().name() != "bmap" {
            return Err(malformed("its root is not `bmap`"));
        }
        let version = root.attribute("version").unwrap_or("no version");
        if version.split('.').next() != Some("2") {
            return Err(BmapError::Unsupported(format!("version {version}")));
        }
        let kind = child(root, "ChecksumType")?;
        if text_of(kind) != "sha256" {
            return Err(BmapError::Unsupported(format!("checksums of type {}", text_of(kind))));
        }
        check_own(bytes, child(root, "BmapFileChecksum")?)?;

        let image_bytes = number(text_of(child(root, "ImageSize")?))?;
        let block = number(text_of(child(root, "BlockSize")?))?;
        let blocks = number(text_of(child(root, "BlocksCount")?))?;
        let mapped = number(text_of(child(root, "MappedBlocksCount")?))?;
        if !block.is_power_of_two() || !(512..=1 << 20).contains(&block) {
            return Err(inconsistent(format!("a block of {block} bytes")));
        }
        if blocks != image_bytes.div_ceil(block) {
            return Err(inconsistent(format!("{blocks} blocks for {image_bytes} bytes")));
        }
        let mut ranges = Vec::new();
        let (mut next, mut seen) = (0, 0);
        for node in child(root, "BlockMap")?.children().filter(roxmltree::Node::is_element) {
            if node.tag_name().name() != "Range" || ranges.len() == MAX_RANGES {
                return Err(malformed(format!(
                    "more than {MAX_RANGES} ranges, or something else among them"
                )));
            }
            let (first, last) = bounds(text_of(node))?;
            if first < next || last < first || last >= blocks {
                return Err(inconsistent(format!(
                    "the range {first}-{last} of {blocks} blocks, after block {next}"
                )));
            }
            (next, seen) = (last + 1, seen + (last - first + 1));
            let start = first * block;
            let sha256 = node
                .attribute("chksum")
                .ok_or_else(|| malformed("a range without a checksum"))?;
            ranges.push(Range {
                start,
                // The image may end inside its last block.
                len: ((last + 1) * block).min(image_bytes) - start,
                sha256: Some(hash(sha256)?),
            });
        }
        if seen != mapped {
            return Err(inconsistent(format!(
                "{mapped} mapped blocks told, {seen} in its ranges"
            )));
        }
        Ok(Self { image_bytes, ranges })
    }
}

/// The map's checksum is that of the file with zeros in the checksum's place.
fn check_own(bytes: &[u8], node: roxmltree::Node<'_, '_>) -> Result<(), BmapError> {
    let told = text_of(node);
    let expected = hash(told)?;
    let span = node.range();
    let inside = bytes.get(span.clone()).unwrap_or_default();
    let at = inside
        .windows(told.len())
        .position(|window| window == told.as_bytes())
        .ok_or_else(|| malformed("a checksum that is written oddly"))?
        + span.start;
    let mut hasher = Sha256::new();
    hasher.update(bytes.get(..at).unwrap_or_default());
    hasher.update([b'0'; 64]);
    hasher.update(bytes.get(at + told.len()..).unwrap_or_default());
    if <Hash>::from(hasher.finalize()) == expected {
        Ok(())
    } else {
        Err(BmapError::OwnChecksum)
    }
}

fn child<'a, 'i>(node: roxmltree::Node<'a, 'i>, name: &str) -> Result<roxmltree::Node<'a, 'i>, BmapError> {
    let mut found = node.children().filter(|child| child.tag_name().name() == name);
    match (found.next(), found.next()) {
        (Some(child), None) => Ok(child),
        _ => Err(malformed(format!("not exactly one `{name}`"))),
    }
}

fn text_of<'a>(node: roxmltree::Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

/// A decimal number. Bounded by 2^60, so that sums and products with a block's length stay inside 64 bits where the
/// caller has compared with the image's length first.
fn number(text: &str) -> Result<u64, BmapError> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|value| is_decimal && *value < 1 << 60)
        .ok_or_else(|| malformed(format!("`{}` for a number", text.escape_debug())))
}

/// `7` or `7-9`.
fn bounds(text: &str) -> Result<(u64, u64), BmapError> {
    match text.split_once('-') {
        Some((first, last)) => Ok((number(first.trim())?, number(last.trim())?)),
        None => number(text).map(|only| (only, only)),
    }
}

/// 64 hexadecimal digits.
pub(crate) fn hash(text: &str) -> Result<Hash, BmapError> {
    let wrong = || malformed("a checksum that is not 64 hexadecimal digits");
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(malformed)?;
        *byte = u8::from_str_radix(digits, 16).map_err(malformed)?;
    }
    Ok(hash)
}

fn malformed(why: impl std::fmt::Display) -> BmapError {
    BmapError::Malformed(why.to_string())
}

fn inconsistent(why: String) -> BmapError {
    BmapError::Inconsistent(why)
}

#[cfg(test)]
#[path = "bmap_tests.rs"]
mod tests;
