//! Little-endian fields of sectors.

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// The same, for offsets.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// Where the information sector has its marks, and what they are (FAT specification, "FAT32 FSInfo Sector Structure").
pub(crate) const INFO_MARKS: [(usize, u32); 3] = [(0, 0x4161_5252), (484, 0x6141_7272), (508, 0xaa55_0000)];
/// Where it has the count of free clusters, and where to look for one.
pub(crate) const INFO_FREE: usize = 488;
pub(crate) const INFO_HINT: usize = 492;

pub(crate) fn u16_at(b: &[u8], at: usize) -> u16 {
    array(b, at).map_or(0, u16::from_le_bytes)
}

pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    array(b, at).map_or(0, u32::from_le_bytes)
}

fn array<const N: usize>(b: &[u8], at: usize) -> Option<[u8; N]> {
    b.get(at..)?.first_chunk().copied()
}

/// Puts bytes where there is room for them.
pub(crate) fn put(b: &mut [u8], at: usize, value: &[u8]) {
    let place = at.checked_add(value.len()).and_then(|end| b.get_mut(at..end));
    if let Some(place) = place {
        place.copy_from_slice(value);
    }
}
