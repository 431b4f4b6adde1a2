//! Mapping a program: its segments, its dynamic loader, the vDSO, the stack.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_abi::system::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_FLAGS, AT_GID, AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ, AT_PAGESZ,
    AT_PHDR, AT_PHENT, AT_PHNUM, AT_SECURE, AT_SYSINFO_EHDR, AT_UID,
};
use sis_algo::elf::{self, ElfError, Image, Segment};
use sis_algo::exec::stack as first_stack;

use super::{Strings, hwcap, read_head};
use crate::fs;
use crate::fs::file::{IoFlags, OpenFile};
use crate::fs::walk::Base;
use crate::process::cred::Cred;
use crate::process::limits::Resource;
use crate::process::thread;
use crate::user::Sink;
use crate::vm::{HIGHEST, PAGE, Place, Protection, Vm};
use crate::{Errno, Result, random};

/// personality(2): ADDR_NO_RANDOMIZE.
pub(crate) const ADDR_NO_RANDOMIZE: u32 = 0x0040_0000;
/// Where position-independent programs go: two thirds up (ELF_ET_DYN_BASE).
const PIE_BASE: usize = (HIGHEST / 3 * 2) & !(PAGE - 1);
/// Pages by which the stack moves: 1 GiB, as on Linux.
const STACK_RANDOM_PAGES: u64 = 1 << 18;
/// Pages by which mappings and position-independent programs move: 1 TiB.
const MAP_RANDOM_PAGES: u64 = 1 << 28;
/// Pages by which the heap moves: 32 MiB.
const BRK_RANDOM_PAGES: u64 = 1 << 13;
/// Unmapped below the stack.
const STACK_GUARD: usize = 1 << 20;
/// Stack without a limit.
const STACK_UNLIMITED: usize = 256 << 20;
const STACK_LEAST: usize = 128 << 10;
const HEADERS_MAX: u64 = 64 << 10;

/// A program in its address space.
pub(super) struct Loaded {
    pub(super) vm: Arc<Vm>,
    /// The first instruction: the dynamic loader's, if there is one.
    pub(super) start: u64,
    pub(super) writes: Vec<(usize, Vec<u8>)>,
    stack_top: usize,
    stack_bytes: usize,
    entry: u64,
    phdr: u64,
    phnum: u16,
    phent: u16,
    interpreter_base: u64,
    vdso: usize,
}

/// Maps a program whose first bytes are `head`.
pub(super) fn load(base: &Base, file: &Arc<OpenFile>, head: Vec<u8>, personality: u32) -> Result<Loaded> {
    let image = parse(file, head)?;
    let interpreter = match image.interpreter {
        None => None,
        Some(at) => {
            let path = read_interpreter(file, at)?;
            let file = fs::open_exec(base, &path, true)?;
            let image = parse(&file, read_head(&file, 4096)?)?;
            // A loader that itself asks for one is not run (ELF gABI); it must be movable or fit where it wants to be.
            Some((file, image))
        }
    };
    let fixed = personality & ADDR_NO_RANDOMIZE != 0;
    let shift = |pages: u64| if fixed { 0 } else { random::below(pages) as usize * PAGE };
    let vm = Vm::new()?;
    let stack_top = HIGHEST - PAGE - shift(STACK_RANDOM_PAGES);
    let limit = thread::try_current().map_or(8 << 20, |t| t.process.limit(Resource::Stack).soft);
    let stack_bytes = match usize::try_from(limit) {
        Ok(n) if limit != crate::process::limits::INFINITY => n.clamp(STACK_LEAST, STACK_UNLIMITED) & !(PAGE - 1),
        _ => STACK_UNLIMITED,
    };
    let stack_base = stack_top - stack_bytes;
    vm.map_anonymous(Place::Fixed(stack_base), stack_bytes, Protection::READ_WRITE, "[stack]")?;
    vm.set_mmap_top(stack_base - STACK_GUARD - shift(MAP_RANDOM_PAGES));
    let mut writes = Vec::new();
    let bias = if image.is_pie {
        let align = usize::try_from(image.align).map_err(|_| Errno::ENOEXEC)?;
        let at = (PIE_BASE + shift(MAP_RANDOM_PAGES)) & !(align - 1);
        (at as u64).wrapping_sub(image.min_vaddr & !(PAGE as u64 - 1))
    } else {
        0
    };
    map_image(&vm, file, &image, bias, &mut writes)?;
    let end = image.max_vaddr.wrapping_add(bias) as usize;
    let brk = end.next_multiple_of(PAGE) + shift(BRK_RANDOM_PAGES);
    vm.set_brk_start(brk);
    let entry = image.entry.wrapping_add(bias);
    let mut start = entry;
    let mut interpreter_base = 0;
    if let Some((file, image)) = interpreter {
        interpreter_base = interpreter_bias(&vm, &image)?;
        map_image(&vm, &file, &image, interpreter_base, &mut writes)?;
        start = image.entry.wrapping_add(interpreter_base);
    }
    let vdso = vm.map_vdso()?;
    Ok(Loaded {
        vm,
        start,
        writes,
        stack_top,
        stack_bytes,
        entry,
        phdr: image.phdr_vaddr.map_or(0, |p| p.wrapping_add(bias)),
        phnum: image.phnum,
        phent: image.phentsize,
        interpreter_base,
        vdso,
    })
}

/// The stack's first contents.
pub(super) fn stack(
    loaded: &Loaded,
    args: &Strings,
    env: &Strings,
    path: &[u8],
    cred: &Cred,
    is_secure: bool,
) -> Result<first_stack::Image> {
    let mut random = [0; 16];
    random::fill(&mut random);
    let aux = [
        (AT_SYSINFO_EHDR, loaded.vdso as u64),
        (AT_MINSIGSTKSZ, sis_abi::sigframe::MINSIGSTKSZ),
        (AT_HWCAP, hwcap::hwcap()),
        (AT_PAGESZ, PAGE as u64),
        (AT_CLKTCK, sis_abi::time::USER_HZ),
        (AT_PHDR, loaded.phdr),
        (AT_PHENT, u64::from(loaded.phent)),
        (AT_PHNUM, u64::from(loaded.phnum)),
        (AT_BASE, loaded.interpreter_base),
        (AT_FLAGS, 0),
        (AT_ENTRY, loaded.entry),
        (AT_UID, u64::from(cred.uid)),
        (AT_EUID, u64::from(cred.euid)),
        (AT_GID, u64::from(cred.gid)),
        (AT_EGID, u64::from(cred.egid)),
        (AT_SECURE, u64::from(is_secure)),
        (AT_HWCAP2, 0),
    ];
    let contents = first_stack::Contents {
        args: args.bytes(),
        env: env.bytes(),
        path,
        platform: b"aarch64",
        random,
        aux: &aux,
    };
    let image = first_stack::build(&contents, loaded.stack_top as u64).map_err(|e| match e {
        first_stack::StackError::TooLarge => Errno::E2BIG,
        first_stack::StackError::NoMemory => Errno::ENOMEM,
    })?;
    if image.bytes.len() > loaded.stack_bytes / 2 {
        return Err(Errno::E2BIG);
    }
    Ok(image)
}

fn parse(file: &OpenFile, head: Vec<u8>) -> Result<Image> {
    match elf::parse_header(&head) {
        Ok(image) => Ok(image),
        Err(ElfError::Incomplete { needed }) if needed <= HEADERS_MAX && needed > head.len() as u64 => {
            let head = read_head(file, needed as usize)?;
            elf::parse_header(&head).map_err(|_| Errno::ENOEXEC)
        }
        Err(_) => Err(Errno::ENOEXEC),
    }
}

fn read_interpreter(file: &OpenFile, at: elf::Interpreter) -> Result<Vec<u8>> {
    let mut path = alloc::vec![0; at.len];
    let n = file
        .ops
        .read(&mut Sink::kernel(&mut path), at.offset, IoFlags::default())?;
    match path.iter().position(|b| *b == 0) {
        Some(end) if n == at.len && end > 0 => {
            path.truncate(end);
            Ok(path)
        }
        _ => Err(Errno::ENOEXEC),
    }
}

/// Where the loader goes: a free range that holds all of it.
fn interpreter_bias(vm: &Vm, image: &Image) -> Result<u64> {
    if !image.is_pie {
        return Ok(0);
    }
    let begin = image.min_vaddr & !(PAGE as u64 - 1);
    let span = usize::try_from(image.max_vaddr - begin).map_err(|_| Errno::ENOMEM)?;
    let nothing = Protection {
        read: false,
        write: false,
        exec: false,
    };
    let at = vm.map_anonymous(Place::Hint(0), span, nothing, "")?;
    vm.unmap(at, span)?;
    Ok((at as u64).wrapping_sub(begin))
}

fn map_image(vm: &Vm, file: &OpenFile, image: &Image, bias: u64, writes: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
    for segment in &image.segments {
        map_segment(vm, file, segment, bias, writes)?;
    }
    Ok(())
}

/// Maps a segment: the pages that have bytes of the file, then pages of zeros. The rest of the last page of the file is
/// zeroed later.
fn map_segment(
    vm: &Vm,
    file: &OpenFile,
    segment: &Segment,
    bias: u64,
    writes: &mut Vec<(usize, Vec<u8>)>,
) -> Result<()> {
    let protection = Protection {
        read: segment.is_readable,
        write: segment.is_writable,
        exec: segment.is_executable,
    };
    let vaddr = usize::try_from(segment.vaddr.wrapping_add(bias)).map_err(|_| Errno::ENOEXEC)?;
    let begin = vaddr & !(PAGE - 1);
    let file_end = vaddr.checked_add(segment.filesz as usize).ok_or(Errno::ENOEXEC)?;
    let end = vaddr.checked_add(segment.memsz as usize).ok_or(Errno::ENOEXEC)?;
    if end > HIGHEST || begin < crate::vm::LOWEST {
        return Err(Errno::ENOEXEC);
    }
    let mut from = begin;
    if segment.filesz > 0 {
        let offset = segment.offset - (vaddr - begin) as u64;
        let source = file.mmap()?;
        if segment
            .offset
            .checked_add(segment.filesz)
            .is_none_or(|n| n > source.size())
        {
            return Err(Errno::ENOEXEC);
        }
        vm.map_file(Place::Fixed(begin), file_end - begin, protection, false, source, offset)?;
        from = file_end.next_multiple_of(PAGE);
        let tail = from.min(end) - file_end;
        if tail > 0 && segment.is_writable {
            writes.push((file_end, alloc::vec![0; from - file_end]));
        }
    }
    if end > from {
        vm.map_anonymous(Place::Fixed(from), end - from, protection, "")?;
    }
    Ok(())
}
