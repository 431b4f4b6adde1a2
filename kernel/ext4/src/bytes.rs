//! Little-endian fields of on-disk structures, checked.

use crate::Error;

const SHORT: Error = Error::Corrupt("a structure is shorter than its fields");

/// `len` bytes at `at`.
pub(crate) fn slice(b: &[u8], at: usize, len: usize) -> Result<&[u8], Error> {
    let end = at.checked_add(len).ok_or(SHORT)?;
    b.get(at..end).ok_or(SHORT)
}

/// As [`slice()`], to be written.
pub(crate) fn slice_mut(b: &mut [u8], at: usize, len: usize) -> Result<&mut [u8], Error> {
    let end = at.checked_add(len).ok_or(SHORT)?;
    b.get_mut(at..end).ok_or(SHORT)
}

fn array<const N: usize>(b: &[u8], at: usize) -> Result<[u8; N], Error> {
    slice(b, at, N)?.try_into().map_err(|_| SHORT)
}

pub(crate) fn u8_at(b: &[u8], at: usize) -> Result<u8, Error> {
    b.get(at).copied().ok_or(SHORT)
}

pub(crate) fn u16_at(b: &[u8], at: usize) -> Result<u16, Error> {
    array(b, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(b: &[u8], at: usize) -> Result<u32, Error> {
    array(b, at).map(u32::from_le_bytes)
}

/// Two halves of a number that grew.
pub(crate) fn split_u64_at(b: &[u8], low: usize, high: usize) -> Result<u64, Error> {
    Ok(u64::from(u32_at(b, low)?) | u64::from(u32_at(b, high)?) << 32)
}

pub(crate) fn put(b: &mut [u8], at: usize, value: &[u8]) -> Result<(), Error> {
    slice_mut(b, at, value.len())?.copy_from_slice(value);
    Ok(())
}

pub(crate) fn put_u8(b: &mut [u8], at: usize, value: u8) -> Result<(), Error> {
    put(b, at, &[value])
}

pub(crate) fn put_u16(b: &mut [u8], at: usize, value: u16) -> Result<(), Error> {
    put(b, at, &value.to_le_bytes())
}

pub(crate) fn put_u32(b: &mut [u8], at: usize, value: u32) -> Result<(), Error> {
    put(b, at, &value.to_le_bytes())
}

/// The low half of a number, as the format stores those that grew.
pub(crate) const fn low16(value: u32) -> u16 {
    (value & 0xffff) as u16
}

/// The low half of a number, as the format stores those that grew.
pub(crate) const fn low32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}
