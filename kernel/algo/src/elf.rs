//! What `execve` needs to know of an ELF64 file for AArch64 (ELF gABI chapters 4 and 5, Linux's fs/binfmt_elf.c).
//!
//! Reading is done by the `elf_rs` crate. That crate makes references into the bytes it is given, so it must only ever see bytes that are
//! aligned, complete and of the right class: [`parse_header`] checks the fixed header itself, copies it and the program headers behind one
//! another into an aligned buffer, and gives it that. Section headers are never looked at.
//!
//! A parsed [`Image`] promises: every segment lies below [`ADDRESS_END`], segments ascend and do not overlap (though two may touch the
//! same page, and then the later one wins, as on Linux), file and memory positions agree modulo the page size, and no sum overflows.
//! It does not promise that the file is as long as the segments say, that the entry point is code, or that no segment is both writable
//! and executable: that is policy.

use alloc::vec::Vec;

use elf_rs::{Elf, ElfFile, ElfMachine, ElfType, ProgramHeaderEntry, ProgramHeaderFlags, ProgramType};
use thiserror::Error;

/// The end of a process's addresses: 48 bits.
pub const ADDRESS_END: u64 = 1 << 48;

/// The most program headers that a file may have.
pub const PROGRAM_HEADERS_MAX: usize = 72;

/// The size of the file header.
pub const HEADER_BYTES: usize = 64;

/// The size of a program header.
pub const PROGRAM_HEADER_BYTES: usize = 56;

const PAGE_BYTES: u64 = 4096;

/// The longest path of an interpreter, its NUL included (Linux's PATH_MAX).
const INTERPRETER_BYTES_MAX: u64 = 4096;

const PT_GNU_STACK: u32 = 0x6474_e551;

/// Why a file cannot be executed. On Linux each of these is ENOEXEC, but for [`ElfError::Incomplete`], which asks for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// The program headers lie beyond the bytes given.
    #[error("the first {needed} bytes of the file are needed")]
    Incomplete {
        /// How many bytes from the file's beginning are needed.
        needed: u64,
    },
    /// The magic number is missing.
    #[error("not an ELF file")]
    NotElf,
    /// Not 64-bit, little-endian, version 1.
    #[error("not a 64-bit little-endian ELF file")]
    BadClass,
    /// Compiled for another machine.
    #[error("an ELF file for another machine (e_machine {0}), not AArch64")]
    BadMachine(u16),
    /// Neither an executable nor a shared object.
    #[error("not an executable ELF file")]
    BadType,
    /// The header's sizes or offsets make no sense.
    #[error("a malformed ELF header")]
    BadHeader,
    /// There are no program headers, or more than [`PROGRAM_HEADERS_MAX`].
    #[error("{0} program headers (1 to {PROGRAM_HEADERS_MAX} are possible)")]
    BadHeaderCount(u16),
    /// A segment to load is malformed.
    #[error("program header {index}: {problem}")]
    BadSegment {
        /// Which program header.
        index: usize,
        /// What is wrong.
        problem: SegmentProblem,
    },
    /// The path of the interpreter is empty or too long.
    #[error("a malformed interpreter segment")]
    BadInterpreter,
    /// Nothing to load.
    #[error("no segment to load")]
    NoSegments,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentProblem {
    /// There is more in the file than in memory.
    #[error("larger in the file than in memory")]
    LargerInFile,
    /// It leaves the address space or the range of file offsets.
    #[error("outside of the address space")]
    OutOfRange,
    /// Address and offset differ modulo the page size.
    #[error("address and file offset do not agree modulo the page size")]
    Misaligned,
    /// The alignment is no power of two.
    #[error("the alignment is no power of two")]
    BadAlignment,
    /// It begins before the end of the one before.
    #[error("overlaps the segment before, or is out of order")]
    Overlap,
}

/// A segment to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in memory (relative to the load address when the image is position independent).
    pub vaddr: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of it are in the file.
    pub filesz: u64,
    /// How many bytes it has in memory; those beyond `filesz` are zero.
    pub memsz: u64,
    /// Whether it can be read.
    pub is_readable: bool,
    /// Whether it can be written.
    pub is_writable: bool,
    /// Whether it can be executed.
    pub is_executable: bool,
    /// The alignment that it asks for: a power of two, at least 1.
    pub align: u64,
}

/// Where in the file the path of the interpreter is; its last byte is NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The offset in the file.
    pub offset: u64,
    /// The length in bytes, the NUL included; at most 4096.
    pub len: usize,
}

/// What there is to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The entry point (relative to the load address when the image is position independent).
    pub entry: u64,
    /// Where the program headers are in memory (AT_PHDR), when a segment holds them.
    pub phdr_vaddr: Option<u64>,
    /// How many program headers there are (AT_PHNUM).
    pub phnum: u16,
    /// The size of a program header (AT_PHENT).
    pub phentsize: u16,
    /// Whether the image can be loaded anywhere (ET_DYN).
    pub is_pie: bool,
    /// The segments, ascending; at least one.
    pub segments: Vec<Segment>,
    /// The dynamic loader, if the image asks for one.
    pub interpreter: Option<Interpreter>,
    /// Whether the stack must be executable; `None` when the file does not say.
    pub is_stack_executable: Option<bool>,
    /// The lowest address of a segment.
    pub min_vaddr: u64,
    /// The address after the last segment.
    pub max_vaddr: u64,
    /// The largest alignment of a segment, at least a page: where to load a position-independent image.
    pub align: u64,
}

/// Bytes that begin at a multiple of eight, as `elf_rs` needs them.
#[repr(align(8))]
struct Aligned([u8; HEADER_BYTES + PROGRAM_HEADERS_MAX * PROGRAM_HEADER_BYTES]);

/// Reads the headers from the first bytes of a file (a page nearly always suffices).
///
/// # Errors
/// [`ElfError::Incomplete`] when the headers lie further on: call again with that many bytes, or give up if the file has no more. Any
/// other [`ElfError`] when this is not a file that can be executed.
pub fn parse_header(bytes: &[u8]) -> Result<Image, ElfError> {
    let (header, count, table) = check_header(bytes)?;
    let mut buffer = Aligned([0; HEADER_BYTES + PROGRAM_HEADERS_MAX * PROGRAM_HEADER_BYTES]);
    let (fixed, rest) = buffer.0.split_at_mut(HEADER_BYTES);
    fixed.copy_from_slice(header);
    // The program headers follow the header in the copy; there are no sections.
    put(fixed, 32, &(HEADER_BYTES as u64).to_le_bytes());
    put(fixed, 40, &[0; 8]);
    put(fixed, 52, &(HEADER_BYTES as u16).to_le_bytes());
    put(fixed, 60, &[0; 4]);
    put(rest, 0, table);
    let Ok(Elf::Elf64(file)) = Elf::from_bytes(&buffer.0) else {
        return Err(ElfError::BadHeader);
    };
    let header = file.elf_header();
    let is_pie = match header.elftype() {
        ElfType::ET_EXEC => false,
        ElfType::ET_DYN => true,
        _ => return Err(ElfError::BadType),
    };
    if header.machine() != ElfMachine::AArch64 {
        return Err(ElfError::BadMachine(half(bytes, 18).unwrap_or(0)));
    }
    let mut image = Image {
        entry: header.entry_point(),
        phdr_vaddr: None,
        phnum: count,
        phentsize: PROGRAM_HEADER_BYTES as u16,
        is_pie,
        segments: Vec::new(),
        interpreter: None,
        is_stack_executable: None,
        min_vaddr: 0,
        max_vaddr: 0,
        align: PAGE_BYTES,
    };
    let mut named_phdr = None;
    for (index, entry) in file.program_header_iter().enumerate() {
        match entry.ph_type() {
            ProgramType::LOAD => {
                let end = image
                    .segments
                    .last()
                    .map_or(0, |last: &Segment| last.vaddr + last.memsz);
                let bad = |problem| ElfError::BadSegment { index, problem };
                let Some(segment) = segment(&entry, end).map_err(bad)? else {
                    continue;
                };
                image.align = image.align.max(segment.align);
                image.segments.push(segment);
            }
            ProgramType::INTERP if image.interpreter.is_none() => image.interpreter = Some(interpreter(&entry)?),
            ProgramType::PHDR => named_phdr = Some(entry.vaddr()),
            ProgramType::OsSpecific(PT_GNU_STACK) => {
                image.is_stack_executable = Some(entry.flags().contains(ProgramHeaderFlags::EXECUTE));
            }
            _ => {}
        }
    }
    let (Some(first), Some(last)) = (image.segments.first(), image.segments.last()) else {
        return Err(ElfError::NoSegments);
    };
    image.min_vaddr = first.vaddr;
    image.max_vaddr = last.vaddr + last.memsz;
    let table_at = u64::from_le_bytes(
        bytes
            .get(32..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or_default(),
    );
    let table_end = table_at + table.len() as u64;
    let holds = |segment: &&Segment| segment.offset <= table_at && table_end <= segment.offset + segment.filesz;
    let held = image
        .segments
        .iter()
        .find(holds)
        .map(|segment| segment.vaddr + (table_at - segment.offset));
    image.phdr_vaddr = held.or(named_phdr);
    Ok(image)
}

/// Checks what must be right before `elf_rs` may see the bytes: the header, the number of program headers, and their bytes.
fn check_header(bytes: &[u8]) -> Result<(&[u8], u16, &[u8]), ElfError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf);
    }
    let header = bytes.get(..HEADER_BYTES).ok_or(ElfError::Incomplete {
        needed: HEADER_BYTES as u64,
    })?;
    // EI_CLASS 64-bit, EI_DATA little-endian, EI_VERSION 1.
    if header.get(4..7) != Some(&[2, 1, 1]) {
        return Err(ElfError::BadClass);
    }
    let table_at: u64 = header
        .get(32..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |at| u64::from_le_bytes(*at));
    let (Some(entry_bytes), Some(count)) = (half(header, 54), half(header, 56)) else {
        return Err(ElfError::BadHeader);
    };
    if usize::from(count) > PROGRAM_HEADERS_MAX || count == 0 {
        return Err(ElfError::BadHeaderCount(count));
    }
    if usize::from(entry_bytes) != PROGRAM_HEADER_BYTES {
        return Err(ElfError::BadHeader);
    }
    let needed = table_at
        .checked_add(u64::from(count) * PROGRAM_HEADER_BYTES as u64)
        .ok_or(ElfError::BadHeader)?;
    if needed > i64::MAX as u64 {
        return Err(ElfError::BadHeader);
    }
    let range = usize::try_from(table_at).ok().zip(usize::try_from(needed).ok());
    let table = range
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or(ElfError::Incomplete { needed })?;
    Ok((header, count, table))
}

/// A segment that begins at `end` or after; `None` when it is empty.
fn segment(entry: &ProgramHeaderEntry<'_>, end: u64) -> Result<Option<Segment>, SegmentProblem> {
    let (vaddr, offset, filesz, memsz) = (entry.vaddr(), entry.offset(), entry.filesz(), entry.memsz());
    if filesz > memsz {
        return Err(SegmentProblem::LargerInFile);
    }
    if vaddr.checked_add(memsz).is_none_or(|end| end > ADDRESS_END)
        || offset.checked_add(filesz).is_none_or(|end| end > i64::MAX as u64)
    {
        return Err(SegmentProblem::OutOfRange);
    }
    let align = entry.align().max(1);
    if !align.is_power_of_two() || align >= ADDRESS_END {
        return Err(SegmentProblem::BadAlignment);
    }
    if memsz == 0 {
        return Ok(None);
    }
    if filesz > 0 && vaddr % PAGE_BYTES != offset % PAGE_BYTES {
        return Err(SegmentProblem::Misaligned);
    }
    if vaddr < end {
        return Err(SegmentProblem::Overlap);
    }
    let flags = entry.flags();
    Ok(Some(Segment {
        vaddr,
        offset,
        filesz,
        memsz,
        is_readable: flags.contains(ProgramHeaderFlags::READ),
        is_writable: flags.contains(ProgramHeaderFlags::WRITE),
        is_executable: flags.contains(ProgramHeaderFlags::EXECUTE),
        align,
    }))
}

fn interpreter(entry: &ProgramHeaderEntry<'_>) -> Result<Interpreter, ElfError> {
    let (offset, len) = (entry.offset(), entry.filesz());
    if !(2..=INTERPRETER_BYTES_MAX).contains(&len) || offset > i64::MAX as u64 - len {
        return Err(ElfError::BadInterpreter);
    }
    Ok(Interpreter {
        offset,
        len: len as usize,
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

/// Overwrites a part of a buffer that is known to be large enough.
fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests;
