//! Builds the shared object that the kernel maps into every process (vdso(7)): a minimal ELF64 image for AArch64 around given code.
//!
//! The image is what musl's and glibc's lookups need and nothing more: one segment (readable, executable) that holds all, a dynamic
//! section with a System V hash table, symbols of version `LINUX_2.6.39`, and the name `linux-vdso.so.1`. There are no sections, no
//! relocations, and no unwind tables (the unwinder of libgcc knows the signal trampoline by its instructions).
//!
//! The code is copied as it is, so it must be position independent, and it does not know its offset in the image. A page of data in front
//! of the image is reached from code in the image's first page as `(pc & !4095) - 4096`; [`Vdso::code_offset`] and the length of the code
//! tell whether it lies there ([`build`] puts it as early as possible, behind about 600 bytes of tables for four symbols).

use alloc::{vec, vec::Vec};

use thiserror::Error;

/// The version of all symbols, as on Linux for AArch64.
pub const VERSION: &str = "LINUX_2.6.39";

/// The name of the object.
pub const SONAME: &str = "linux-vdso.so.1";

/// The alignment of the code within the image.
pub const CODE_ALIGN: usize = 16;

const PAGE_BYTES: usize = 4096;
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SYMBOL_BYTES: usize = 24;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;

/// The version index of the object itself, and of its symbols.
const BASE_INDEX: u16 = 1;
const VERSION_INDEX: u16 = 2;

/// Why no image was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VdsoError {
    /// The symbol with this index leaves the code.
    #[error("symbol {0} lies outside of the code")]
    OutsideOfCode(usize),
    /// The symbol with this index has an empty name, or one with a NUL.
    #[error("symbol {0} has an impossible name")]
    BadName(usize),
    /// The code is larger than makes sense.
    #[error("more than a megabyte of code")]
    TooLarge,
}

/// The image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdso {
    /// Whole pages of 4096 bytes.
    pub image: Vec<u8>,
    /// Where in the image the code begins: a multiple of [`CODE_ALIGN`].
    pub code_offset: usize,
}

/// Builds the image from code and its symbols: (name, offset in the code, size).
///
/// # Errors
/// [`VdsoError`] when a symbol does not lie in the code.
pub fn build(code: &[u8], symbols: &[(&str, usize, usize)]) -> Result<Vdso, VdsoError> {
    if code.len() > 1 << 20 || symbols.len() > 1 << 10 {
        return Err(VdsoError::TooLarge);
    }
    for (index, (name, offset, size)) in symbols.iter().enumerate() {
        if name.is_empty() || name.contains('\0') || name.len() > 255 {
            return Err(VdsoError::BadName(index));
        }
        if offset.checked_add(*size).is_none_or(|end| end > code.len()) {
            return Err(VdsoError::OutsideOfCode(index));
        }
    }
    let mut strings = Strings(vec![0]);
    let soname = strings.add(SONAME);
    let version = strings.add(VERSION);
    let names: Vec<u32> = symbols.iter().map(|(name, ..)| strings.add(name)).collect();

    // Where everything goes.
    let hash_words = hash_table(symbols);
    let dynamic_at = HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
    let symbols_at = dynamic_at + 10 * 16;
    let hash_at = symbols_at + (symbols.len() + 1) * SYMBOL_BYTES;
    let verdef_at = (hash_at + hash_words.len() * 4).next_multiple_of(8);
    let versym_at = verdef_at + 2 * 28;
    let strings_at = versym_at + (symbols.len() + 1) * 2;
    let code_offset = (strings_at + strings.0.len()).next_multiple_of(CODE_ALIGN);
    let end = code_offset + code.len();

    let mut out = Writer(Vec::with_capacity(end.next_multiple_of(PAGE_BYTES)));
    header(&mut out);
    program_header(&mut out, 1, 5, 0, end, PAGE_BYTES);
    program_header(&mut out, 2, 4, dynamic_at, 10 * 16, 8);
    for (tag, value) in [
        (DT_SONAME, soname as usize),
        (DT_HASH, hash_at),
        (DT_STRTAB, strings_at),
        (DT_SYMTAB, symbols_at),
        (DT_STRSZ, strings.0.len()),
        (DT_SYMENT, SYMBOL_BYTES),
        (DT_VERSYM, versym_at),
        (DT_VERDEF, verdef_at),
        (DT_VERDEFNUM, 2),
        (0, 0),
    ] {
        out.u64(tag);
        out.u64(value as u64);
    }
    out.pad(SYMBOL_BYTES);
    for (name, (_, offset, size)) in names.iter().zip(symbols) {
        out.u32(*name);
        // STB_GLOBAL, STT_FUNC; STV_DEFAULT. There are no sections: any index other than SHN_UNDEF says that it is defined.
        out.bytes(&[1 << 4 | 2, 0]);
        out.u16(1);
        out.u64((code_offset + offset) as u64);
        out.u64(*size as u64);
    }
    hash_words.iter().for_each(|word| out.u32(*word));
    out.align(8);
    definition(&mut out, BASE_INDEX, SONAME, soname, false);
    definition(&mut out, VERSION_INDEX, VERSION, version, true);
    out.u16(0);
    symbols.iter().for_each(|_| out.u16(VERSION_INDEX));
    out.bytes(&strings.0);
    out.align(CODE_ALIGN);
    out.bytes(code);
    out.align(PAGE_BYTES);
    Ok(Vdso {
        image: out.0,
        code_offset,
    })
}

/// The file header: a shared object for AArch64 with two program headers.
fn header(out: &mut Writer) {
    out.bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // ET_DYN, EM_AARCH64, version.
    out.u16(3);
    out.u16(183);
    out.u32(1);
    // Entry, program headers, section headers; flags.
    out.u64(0);
    out.u64(HEADER_BYTES as u64);
    out.u64(0);
    out.u32(0);
    for value in [HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, 2, 64, 0, 0] {
        out.u16(value);
    }
}

fn program_header(out: &mut Writer, kind: u32, flags: u32, at: usize, len: usize, align: usize) {
    out.u32(kind);
    out.u32(flags);
    // Offset, virtual and physical address; size in file and memory.
    for value in [at, at, at, len, len, align] {
        out.u64(value as u64);
    }
}

/// A version definition (Elf64_Verdef and one Elf64_Verdaux).
fn definition(out: &mut Writer, index: u16, name: &str, name_at: u32, is_last: bool) {
    out.u16(1);
    // VER_FLG_BASE for the object itself.
    out.u16(u16::from(index == BASE_INDEX));
    out.u16(index);
    out.u16(1);
    out.u32(elf_hash(name));
    out.u32(20);
    out.u32(if is_last { 0 } else { 28 });
    out.u32(name_at);
    out.u32(0);
}

/// The System V hash table: counts, buckets, chains. Symbol 0 is the undefined one.
fn hash_table(symbols: &[(&str, usize, usize)]) -> Vec<u32> {
    let bucket_count = symbols.len().max(1);
    let mut buckets = vec![0u32; bucket_count];
    let mut chains = vec![0u32; symbols.len() + 1];
    for (index, (name, ..)) in symbols.iter().enumerate() {
        let symbol = index + 1;
        let bucket = buckets.get_mut(elf_hash(name) as usize % bucket_count);
        if let Some((bucket, chain)) = bucket.zip(chains.get_mut(symbol)) {
            *chain = core::mem::replace(bucket, symbol as u32);
        }
    }
    let mut words = vec![bucket_count as u32, symbols.len() as u32 + 1];
    words.extend(buckets);
    words.extend(chains);
    words
}

/// The hash of the System V gABI (chapter 5, Hash Table).
pub fn elf_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

/// A string table.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, string: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(string.as_bytes());
        self.0.push(0);
        at
    }
}

/// Little-endian output.
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn pad(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    fn align(&mut self, align: usize) {
        self.0.resize(self.0.len().next_multiple_of(align), 0);
    }
}

#[cfg(test)]
mod tests;
