//! Big-endian fields, checked.

use crate::Error;

const SHORT: Error = Error::Corrupt("a block of the journal is shorter than its fields");

pub(super) fn u32_at(b: &[u8], at: usize) -> Result<u32, Error> {
    let end = at.checked_add(4).ok_or(SHORT)?;
    let field = b.get(at..end).ok_or(SHORT)?;
    Ok(u32::from_be_bytes(field.try_into().map_err(|_| SHORT)?))
}

pub(super) fn u16_at(b: &[u8], at: usize) -> Result<u16, Error> {
    let end = at.checked_add(2).ok_or(SHORT)?;
    let field = b.get(at..end).ok_or(SHORT)?;
    Ok(u16::from_be_bytes(field.try_into().map_err(|_| SHORT)?))
}

pub(super) fn u64_at(b: &[u8], at: usize) -> Result<u64, Error> {
    Ok(u64::from(u32_at(b, at)?) << 32 | u64::from(u32_at(b, at.saturating_add(4))?))
}

pub(super) fn put(b: &mut [u8], at: usize, value: &[u8]) -> Result<(), Error> {
    let end = at.checked_add(value.len()).ok_or(SHORT)?;
    b.get_mut(at..end).ok_or(SHORT)?.copy_from_slice(value);
    Ok(())
}

pub(super) fn put_u32(b: &mut [u8], at: usize, value: u32) -> Result<(), Error> {
    put(b, at, &value.to_be_bytes())
}

/// A number of 32 bits as an index: machines here have at least as many.
pub(super) const fn index(value: u32) -> usize {
    value as usize
}

/// The low half of a block's number.
pub(super) const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The high half of a block's number.
pub(super) const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
