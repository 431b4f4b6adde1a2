//! Names of the kernel's functions, from the table that the image tool appends to the image.
//!
//! Format, little endian: `SISKSYM1`, u32 count, u32 bytes of names, then count x {u32 offset from the image's start,
//! u32 offset of the name}, sorted, then the names, each ended by NUL.

use crate::mm::kspace;

fn table() -> Option<&'static [u8]> {
    let [start, _, _, end] = kspace::image();
    let at = end.next_multiple_of(4096);
    let limit = start + (32 << 20);
    // SAFETY: (1) what follows the image is mapped read-only up to 32 MiB after its start.
    let head = unsafe { core::slice::from_raw_parts(at as *const u8, 16) };
    if !head.starts_with(b"SISKSYM1") {
        return None;
    }
    let count = u32::from_le_bytes(head.get(8..12)?.try_into().ok()?) as usize;
    let names = u32::from_le_bytes(head.get(12..16)?.try_into().ok()?) as usize;
    let len = 16usize.checked_add(count.checked_mul(8)?)?.checked_add(names)?;
    if at.checked_add(len)? > limit {
        return None;
    }
    // SAFETY: (1) as above, the length is inside the mapping.
    Some(unsafe { core::slice::from_raw_parts(at as *const u8, len) })
}

/// Bytes of the symbol table that follows the image.
pub(crate) fn len() -> usize {
    table().map_or(0, <[u8]>::len)
}

/// The function that contains `pc`, and how far inside it `pc` is.
pub fn lookup(pc: usize) -> Option<(&'static str, usize)> {
    let table = table()?;
    let [start, text_end, ..] = kspace::image();
    if pc < start || pc >= text_end {
        return None;
    }
    let offset = (pc - start) as u32;
    let count = u32::from_le_bytes(table.get(8..12)?.try_into().ok()?) as usize;
    let entry = |i: usize, half: usize| -> Option<u32> {
        let at = 16 + i * 8 + half * 4;
        Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if entry(middle, 0)? <= offset {
            low = middle + 1
        } else {
            high = middle
        }
    }
    let found = low.checked_sub(1)?;
    let names = table.get(16 + count * 8..)?;
    let name = names.get(entry(found, 1)? as usize..)?;
    let end = name.iter().position(|b| *b == 0)?;
    Some((
        core::str::from_utf8(name.get(..end)?).ok()?,
        (offset - entry(found, 0)?) as usize,
    ))
}

/// The linker's build id, 20 bytes.
pub fn build_id() -> Option<&'static [u8]> {
    unsafe extern "C" {
        static __build_id_start: u8;
        static __build_id_end: u8;
    }
    let (start, end) = (&raw const __build_id_start as usize, &raw const __build_id_end as usize);
    // An ELF note: name size, descriptor size, type, "GNU\0", descriptor.
    if end - start < 36 {
        return None;
    }
    // SAFETY: (1) between the linker's symbols, read-only data.
    let note = unsafe { core::slice::from_raw_parts(start as *const u8, end - start) };
    note.get(16..36)
}
