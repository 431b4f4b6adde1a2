//! One gzip member (RFC 1952), inflated within a limit.

use alloc::vec::Vec;

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
};

use super::ErrorKind;

/// How a gzip member begins.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

/// No deflate stream expands more than this (258 bytes for two bits).
const EXPANSION_MAX: usize = 1032;

/// Room to begin with when the size is not known.
const START_BYTES: usize = 64 * 1024;

/// Inflates the member that the input begins with: its bytes, and how long it is compressed. At most `limit` bytes are allocated for.
pub(super) fn inflate(input: &[u8], limit: usize) -> Result<(Vec<u8>, usize), ErrorKind> {
    let start = header_len(input).ok_or(ErrorKind::BadGzipHeader)?;
    let (output, used) = inflate_raw(input.get(start..).unwrap_or_default(), limit)?;
    let trailer_at = start + used;
    let word = |at: usize| input.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
    let (crc, size) = word(trailer_at)
        .zip(word(trailer_at + 4))
        .ok_or(ErrorKind::BadGzipCrc)?;
    if crc != crc32(&output) || size != output.len() as u32 {
        return Err(ErrorKind::BadGzipCrc);
    }
    Ok((output, trailer_at + 8))
}

/// The length of the member header, `None` when it is malformed.
fn header_len(input: &[u8]) -> Option<usize> {
    let flags = *input.get(3)?;
    if !input.starts_with(&MAGIC) || input.get(2) != Some(&8) || flags & FLAGS_RESERVED != 0 {
        return None;
    }
    let mut at = 10;
    if flags & FLAG_EXTRA != 0 {
        let len = u16::from_le_bytes(*input.get(at..)?.first_chunk()?);
        at += 2 + usize::from(len);
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            at += input.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let want = u16::from_le_bytes(*input.get(at..)?.first_chunk()?);
        if want != crc32(input.get(..at)?) as u16 {
            return None;
        }
        at += 2;
    }
    (at <= input.len()).then_some(at)
}

/// Inflates a deflate stream: its bytes, and how much of the input it took.
fn inflate_raw(input: &[u8], limit: usize) -> Result<(Vec<u8>, usize), ErrorKind> {
    let possible = input.len().saturating_mul(EXPANSION_MAX).min(limit);
    let mut output = Vec::new();
    grow(&mut output, hint(input).unwrap_or(START_BYTES).min(possible))?;
    let mut state = DecompressorOxide::new();
    let mut read = 0;
    let mut written = 0;
    loop {
        let rest = input.get(read..).unwrap_or_default();
        let (status, more_read, more_written) = decompress(
            &mut state,
            rest,
            &mut output,
            written,
            TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        read += more_read;
        written += more_written;
        match status {
            TINFLStatus::Done => {
                output.truncate(written);
                return Ok((output, read));
            }
            TINFLStatus::HasMoreOutput if output.len() < possible => {
                let len = output.len().max(START_BYTES).saturating_mul(2).min(possible);
                grow(&mut output, len)?;
            }
            TINFLStatus::HasMoreOutput if possible == limit => return Err(ErrorKind::TooLarge { limit }),
            _ => return Err(ErrorKind::BadDeflate),
        }
    }
}

/// Zeros up to `len`, or an error rather than an abort where memory is short.
fn grow(output: &mut Vec<u8>, len: usize) -> Result<(), ErrorKind> {
    output
        .try_reserve_exact(len.saturating_sub(output.len()))
        .map_err(|_| ErrorKind::OutOfMemory)?;
    output.resize(len, 0);
    Ok(())
}

/// When this is the last member of an image, the image ends with its size, but for padding.
fn hint(input: &[u8]) -> Option<usize> {
    let end = input.iter().rposition(|byte| *byte != 0)? + 1;
    // The size ends with zeros itself, so try where it could begin.
    let size_at = end.saturating_sub(3)..end;
    let sizes = size_at.filter_map(|at| {
        input
            .get(at..)?
            .first_chunk()
            .map(|chunk| u32::from_le_bytes(*chunk) as usize)
    });
    sizes
        .filter(|size| *size >= START_BYTES)
        .min()
        .filter(|size| *size / EXPANSION_MAX <= input.len())
}

/// The table of CRC-32 (polynomial 0xedb88320, reflected), one entry a byte.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated at compile time, where it cannot panic unseen"
        )]
        {
            table[byte] = crc;
        }
        byte += 1;
    }
    table
};

/// CRC-32 as gzip, zlib and Ethernet compute it.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let entry = CRC_TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or(0);
        entry ^ crc >> 8
    })
}
