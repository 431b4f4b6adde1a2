//! Block maps, as `bmaptool create` writes them: format 2.0 with SHA-256. Which blocks of an image a card must get, and
//! what they hash to.

use super::READ_BYTES;
use super::blocks::{BLOCK_BYTES, Blocks};
use crate::manifest::sha256_hex;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Stands where the map's own checksum goes while that is computed, as bmaptool has it.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The block map of an image of `image_bytes`, of which `mapped` means something.
///
/// # Errors
/// The image's own.
pub fn render(image: &File, image_bytes: u64, mapped: &Blocks) -> io::Result<String> {
    let mut text = format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- The blocks of an image that a card must get. cargo sis flash and bmaptool read it. -->\n\
         <bmap version=\"2.0\">\n    <ImageSize> {image_bytes} </ImageSize>\n    <BlockSize> {BLOCK_BYTES} </BlockSize>\n    \
         <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {} </MappedBlocksCount>\n    \
         <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {ZEROS} </BmapFileChecksum>\n    <BlockMap>\n",
        image_bytes.div_ceil(BLOCK_BYTES),
        mapped.count(),
    );
    for (first, end) in mapped.runs() {
        let range = if end - first == 1 {
            first.to_string()
        } else {
            format!("{first}-{}", end - 1)
        };
        let (start, stop) = (first * BLOCK_BYTES, (end * BLOCK_BYTES).min(image_bytes));
        let digest = sha256_of(image, start, stop)?;
        // Writing into a string cannot fail.
        let _ = writeln!(text, "        <Range chksum=\"{digest}\"> {range} </Range>");
    }
    text.push_str("    </BlockMap>\n</bmap>\n");
    let own = sha256_hex(text.as_bytes());
    Ok(text.replacen(ZEROS, &own, 1))
}

/// SHA-256 of a file's bytes from `start` up to, not including, `end`.
pub(super) fn sha256_of(file: &File, start: u64, end: u64) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = start;
    while at < end {
        let part = &mut buffer[..READ_BYTES.min(usize::try_from(end - at).unwrap_or(READ_BYTES))];
        file.read_exact_at(part, at)?;
        digest.update(&*part);
        at += part.len() as u64;
    }
    Ok(sis_bundle::sha256_hex(digest))
}
