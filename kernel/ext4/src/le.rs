//! Little-endian fields in blocks, and the checksums over them.

use crate::Error;

const OUT: Error = Error::Corrupt("a field lies outside its block");

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Error> {
    let end = at.checked_add(N).ok_or(OUT)?;
    bytes.get(at..end).and_then(|b| b.try_into().ok()).ok_or(OUT)
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Result<u8, Error> {
    bytes.get(at).copied().ok_or(OUT)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn be32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    array(bytes, at).map(u32::from_be_bytes)
}

pub(crate) fn be16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(crate) fn be64_at(bytes: &[u8], at: usize) -> Result<u64, Error> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// Puts bytes in place.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Result<(), Error> {
    let end = at.checked_add(value.len()).ok_or(OUT)?;
    bytes.get_mut(at..end).ok_or(OUT)?.copy_from_slice(value);
    Ok(())
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) -> Result<(), Error> {
    put(bytes, at, &value.to_le_bytes())
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) -> Result<(), Error> {
    put(bytes, at, &value.to_le_bytes())
}

pub(crate) fn put_be16(bytes: &mut [u8], at: usize, value: u16) -> Result<(), Error> {
    put(bytes, at, &value.to_be_bytes())
}

pub(crate) fn put_be32(bytes: &mut [u8], at: usize, value: u32) -> Result<(), Error> {
    put(bytes, at, &value.to_be_bytes())
}

pub(crate) fn part(bytes: &[u8], from: usize, to: usize) -> Result<&[u8], Error> {
    bytes.get(from..to).ok_or(OUT)
}

/// Tables for eight bytes at a time.
const CRC32C: [[u32; 256]; 8] = crc32c_tables();

#[expect(
    clippy::indexing_slicing,
    reason = "computed when this is compiled: a wrong index would not compile"
)]
const fn crc32c_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let before: u32 = tables[t - 1][i];
            tables[t][i] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
}

fn entry(table: usize, byte: u32) -> u32 {
    let of = CRC32C.get(table).and_then(|t| t.get((byte & 0xff) as usize));
    of.copied().unwrap_or(0)
}

/// CRC-32C (RFC 3720, B.4) going on from `crc`, without the inversions at both ends, as ext4 uses it.
pub(crate) fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in eights {
        let low = crc ^ u32::from_le_bytes([*a, *b, *c, *d]);
        crc = entry(7, low)
            ^ entry(6, low >> 8)
            ^ entry(5, low >> 16)
            ^ entry(4, low >> 24)
            ^ entry(3, u32::from(*e))
            ^ entry(2, u32::from(*f))
            ^ entry(1, u32::from(*g))
            ^ entry(0, u32::from(*h));
    }
    for byte in rest {
        crc = crc >> 8 ^ entry(0, crc ^ u32::from(*byte));
    }
    crc
}

/// CRC-16 (polynomial 0x8005, reflected), going on from `crc`, as group descriptors had it before CRC-32C.
pub(crate) fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc
}

/// CRC-32 (big-endian, polynomial 0x04c11db7) going on from `crc`: the journal's first kind of checksum.
pub(crate) fn crc32_be(mut crc: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 != 0 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            };
        }
    }
    crc
}
