//! From the kernel's ELF file to an arm64 `Image`.
//!
//! The image is every `PT_LOAD` byte at its distance from the lowest virtual address, zeros for bss, up to the end of
//! the last segment rounded up to a page, followed by the [symbol blob](crate::ksyms). Its first 64 bytes are the arm64
//! Image header (Linux, `Documentation/arch/arm64/booting.rst`), which the kernel's own boot assembly provides; only
//! `image_size` is filled in here, since only here is it known.

use crate::ksyms::{self, Symbol};
use object::elf::{FileHeader64, PT_LOAD, ProgramHeader64};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// The granule that the end of the kernel's memory image is rounded up to.
const PAGE_BYTES: u64 = 4096;
/// `image_size` is a multiple of this, the arm64 ABI's largest page.
const IMAGE_SIZE_GRANULE_BYTES: u64 = 64 * 1024;
/// Larger than any kernel of ours; a mislinked one with segments far apart is refused instead of written.
const MAX_IMAGE_BYTES: u64 = 256 << 20;
/// `image_size` in the arm64 Image header: little-endian u64.
const IMAGE_SIZE_OFFSET: usize = 16;
/// `magic` in the arm64 Image header.
const MAGIC_OFFSET: usize = 56;
const MAGIC: &[u8; 4] = b"ARM\x64";

/// Why an ELF file did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Not a 64-bit ELF file at all.
    #[error("the kernel is not a 64-bit ELF file: {0}")]
    NotElf(#[from] object::Error),
    /// Another machine's.
    #[error("the kernel is for ELF machine {0}, not for aarch64 (183)")]
    NotAarch64(u16),
    /// Nothing to load.
    #[error("the kernel has no PT_LOAD segment; was it linked with the board's link script?")]
    NothingToLoad,
    /// A segment that does not fit where it says it goes.
    #[error("the segment at {address:#x} overlaps another or does not hold what its header promises")]
    BadSegment {
        /// Its virtual address.
        address: u64,
    },
    /// Segments too far apart.
    #[error("the kernel's segments span {0} bytes; more than 256 MiB means that a section escaped the link script")]
    TooLarge(u64),
    /// The first segment does not start with the header.
    #[error(
        "the kernel does not begin with an arm64 Image header (no \"ARM\\x64\" at offset 56); the link script must \
         put the boot assembly's header first"
    )]
    NoImageHeader,
}

/// An arm64 Image and what was learned on the way.
#[derive(Debug)]
pub struct KernelImage {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Lowest virtual address: what symbol offsets are relative to.
    pub base: u64,
    /// Bytes of memory image, before the symbol blob.
    pub memory_bytes: u64,
    /// Function symbols in the blob.
    pub symbols: usize,
    /// The linker's build id (`--build-id`), if it left one.
    pub build_id: Option<Vec<u8>>,
}

/// Lays `elf` out as an arm64 Image with its symbol blob.
///
/// # Errors
/// [`KernelError`] says what is wrong with the ELF file.
pub fn image(elf: &[u8]) -> Result<KernelImage, KernelError> {
    let file = ElfFile64::<Endianness>::parse(elf)?;
    let endian = file.endian();
    let header = file.elf_header();
    if header.e_machine(endian) != object::elf::EM_AARCH64 {
        return Err(KernelError::NotAarch64(header.e_machine(endian).0));
    }

    let mut bytes = lay_out(elf, endian, header)?;
    let base = bytes.base;
    let memory_bytes = bytes.memory.len() as u64;
    if bytes.memory.get(MAGIC_OFFSET..MAGIC_OFFSET + 4) != Some(MAGIC) {
        return Err(KernelError::NoImageHeader);
    }

    let symbols = ksyms::encode(function_symbols(&file, base, memory_bytes));
    bytes.memory.extend_from_slice(&symbols.bytes);
    let image_size = (bytes.memory.len() as u64).next_multiple_of(IMAGE_SIZE_GRANULE_BYTES);
    bytes.memory[IMAGE_SIZE_OFFSET..IMAGE_SIZE_OFFSET + 8].copy_from_slice(&image_size.to_le_bytes());

    Ok(KernelImage {
        bytes: bytes.memory,
        base,
        memory_bytes,
        symbols: symbols.count,
        build_id: file.build_id()?.map(<[u8]>::to_vec),
    })
}

struct Layout {
    base: u64,
    memory: Vec<u8>,
}

fn lay_out(elf: &[u8], endian: Endianness, header: &FileHeader64<Endianness>) -> Result<Layout, KernelError> {
    let mut segments: Vec<&ProgramHeader64<Endianness>> = header
        .program_headers(endian, elf)?
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_memsz(endian) > 0)
        .collect();
    segments.sort_by_key(|segment| segment.p_vaddr(endian));
    let base = segments.first().ok_or(KernelError::NothingToLoad)?.p_vaddr(endian);

    let mut memory = Vec::new();
    for segment in segments {
        let address = segment.p_vaddr(endian);
        let bad = KernelError::BadSegment { address };
        let start = address - base;
        let Some(end) = start.checked_add(segment.p_memsz(endian)) else {
            return Err(bad);
        };
        if end > MAX_IMAGE_BYTES {
            return Err(KernelError::TooLarge(end));
        }
        let Ok(data) = segment.data(endian, elf) else {
            return Err(bad);
        };
        if start < memory.len() as u64 || data.len() as u64 > segment.p_memsz(endian) {
            return Err(bad);
        }
        memory.resize(start as usize, 0);
        memory.extend_from_slice(data);
        memory.resize(end as usize, 0);
    }
    let rounded = (memory.len() as u64).next_multiple_of(PAGE_BYTES);
    memory.resize(rounded as usize, 0);
    Ok(Layout { base, memory })
}

fn function_symbols(file: &ElfFile64<'_, Endianness>, base: u64, memory_bytes: u64) -> Vec<Symbol> {
    file.symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| {
            let offset = symbol
                .address()
                .checked_sub(base)
                .filter(|offset| *offset < memory_bytes)?;
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            Some(Symbol {
                offset: u32::try_from(offset).ok()?,
                name: format!("{:#}", rustc_demangle::demangle(name)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
