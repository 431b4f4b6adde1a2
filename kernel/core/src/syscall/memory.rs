//! Memory: mmap(2) and its family.

use alloc::vec::Vec;

use super::{Call, Row, built, partial};
use crate::user::UserSlice;
use crate::vm::{self, Backing, MapRequest, PAGE, Place, Protection, Rules};
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    built(214, "brk", brk),
    built(215, "munmap", munmap),
    partial(
        216,
        "mremap",
        mremap,
        "MREMAP_DONTUNMAP; growing several mappings at once",
    ),
    partial(
        222,
        "mmap",
        mmap,
        "MAP_GROWSDOWN, MAP_HUGETLB, MAP_SYNC; PROT_WRITE with PROT_EXEC answers EACCES",
    ),
    partial(
        226,
        "mprotect",
        mprotect,
        "PROT_GROWSDOWN, PROT_GROWSUP; PROT_WRITE with PROT_EXEC answers EACCES",
    ),
    built(227, "msync", msync),
    built(228, "mlock", mlock),
    built(229, "munlock", mlock),
    built(230, "mlockall", mlockall),
    built(231, "munlockall", munlockall),
    built(232, "mincore", mincore),
    partial(
        233,
        "madvise",
        madvise,
        "MADV_REMOVE, MADV_MERGEABLE, MADV_HWPOISON, MADV_COLD, MADV_PAGEOUT, MADV_WIPEONFORK",
    ),
    built(284, "mlock2", mlock2),
];

const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;

fn protection(bits: u32) -> Result<Protection> {
    if bits & !(PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Protection {
        read: bits & PROT_READ != 0,
        write: bits & PROT_WRITE != 0,
        exec: bits & PROT_EXEC != 0,
    })
}

const MAP_SHARED: u32 = 0x01;
const MAP_PRIVATE: u32 = 0x02;
const MAP_SHARED_VALIDATE: u32 = 0x03;
const MAP_TYPE: u32 = 0x0f;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_DENYWRITE: u32 = 0x800;
const MAP_EXECUTABLE: u32 = 0x1000;
const MAP_LOCKED: u32 = 0x2000;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_POPULATE: u32 = 0x8000;
const MAP_NONBLOCK: u32 = 0x10000;
const MAP_STACK: u32 = 0x20000;
const MAP_FIXED_NOREPLACE: u32 = 0x100000;
const MAP_KNOWN: u32 = MAP_TYPE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_DENYWRITE
    | MAP_EXECUTABLE
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_FIXED_NOREPLACE;

fn mmap(call: &mut Call<'_>) -> Result<usize> {
    let (address, len) = (call.usize(0), call.usize(1));
    let (prot, flags, fd, offset) = (call.uint(2), call.uint(3), call.int(4), call.arg(5));
    let mut protection = protection(prot)?;
    if flags & !MAP_KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let is_shared = match flags & MAP_TYPE {
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL),
    };
    if len == 0 || !offset.is_multiple_of(PAGE as u64) {
        return Err(Errno::EINVAL);
    }
    let place = if flags & MAP_FIXED_NOREPLACE != 0 {
        Place::FixedIfFree(address)
    } else if flags & MAP_FIXED != 0 {
        Place::Fixed(address)
    } else {
        Place::Hint(address)
    };
    let vm = call.thread.vm();
    let mut rules = Rules {
        limit: address_limit(call),
        is_reserved: flags & MAP_NORESERVE == 0,
        may_write: true,
    };
    let backing = if flags & MAP_ANONYMOUS != 0 {
        if is_shared {
            vm::shared_anonymous(len)?
        } else {
            Backing::Anonymous
        }
    } else {
        let file = call.thread.files().get(fd)?;
        if !file.readable() || (is_shared && protection.write && !file.writable()) {
            return Err(Errno::EACCES);
        }
        let end = offset.checked_add(len as u64).ok_or(Errno::EOVERFLOW)?;
        if i64::try_from(end).is_err() {
            return Err(Errno::EOVERFLOW);
        }
        if protection.exec && !protection.read {
            protection.read = true;
        }
        rules.may_write = !is_shared || file.writable();
        let source = file.mmap()?;
        let first = offset / PAGE as u64;
        if is_shared {
            Backing::Shared(source, first)
        } else {
            Backing::Private(source, first)
        }
    };
    let at = vm.map(MapRequest {
        place,
        len,
        protection,
        backing,
        label: "",
        rules,
    })?;
    if flags & (MAP_POPULATE | MAP_LOCKED) != 0 && flags & MAP_NONBLOCK == 0 {
        populate(&vm, at, len, protection);
    }
    Ok(at)
}

/// Touches every page; what cannot be had is left for the fault.
fn populate(vm: &crate::vm::Vm, at: usize, len: usize, protection: Protection) {
    use crate::vm::Access;
    let access = if protection.write { Access::Write } else { Access::Read };
    let mut page = at;
    while page < at.saturating_add(len) {
        if crate::process::thread::kill_pending() || vm.handle_fault(page, access).is_err() {
            return;
        }
        page += PAGE;
        crate::sched::cond_resched();
    }
}

fn munmap(call: &mut Call<'_>) -> Result<usize> {
    call.thread.vm().unmap(call.usize(0), call.usize(1))?;
    Ok(0)
}

fn mprotect(call: &mut Call<'_>) -> Result<usize> {
    let protection = protection(call.uint(2))?;
    call.thread.vm().protect(call.usize(0), call.usize(1), protection)?;
    Ok(0)
}

/// RLIMIT_AS of the caller.
fn address_limit(call: &Call<'_>) -> u64 {
    call.thread
        .process
        .limit(crate::process::limits::Resource::AddressSpace)
        .soft
}

fn brk(call: &mut Call<'_>) -> Result<usize> {
    let limit = call.thread.process.limit(crate::process::limits::Resource::Data).soft;
    Ok(call.thread.vm().brk(call.usize(0), limit, address_limit(call)))
}

const MREMAP_MAYMOVE: u32 = 1;
const MREMAP_FIXED: u32 = 2;

fn mremap(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(3);
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED) != 0 || (flags & MREMAP_FIXED != 0 && flags & MREMAP_MAYMOVE == 0) {
        return Err(Errno::EINVAL);
    }
    let fixed = (flags & MREMAP_FIXED != 0).then(|| call.usize(4));
    call.thread.vm().remap(
        call.usize(0),
        call.usize(1),
        call.usize(2),
        flags & MREMAP_MAYMOVE != 0,
        fixed,
        address_limit(call),
    )
}

fn madvise(call: &mut Call<'_>) -> Result<usize> {
    let (start, len, advice) = (call.usize(0), call.usize(1), call.int(2));
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let known = matches!(advice, 0..=4 | 8 | 10 | 11 | 14..=17);
    if !known {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let vm = call.thread.vm();
    match advice {
        // DONTNEED, FREE (which may drop at once)
        4 | 8 => vm.discard(start, len)?,
        // DONTFORK, DOFORK
        10 | 11 => vm.set_skip_fork(start, len, advice == 10)?,
        _ if !vm.is_mapped(start, len)? => return Err(Errno::ENOMEM),
        _ => {}
    }
    Ok(0)
}

const MS_ASYNC: u32 = 1;
const MS_INVALIDATE: u32 = 2;
const MS_SYNC: u32 = 4;

fn msync(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(2);
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0 || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC {
        return Err(Errno::EINVAL);
    }
    if call.usize(1) == 0 {
        return if call.usize(0).is_multiple_of(PAGE) {
            Ok(0)
        } else {
            Err(Errno::EINVAL)
        };
    }
    call.thread
        .vm()
        .sync(call.usize(0), call.usize(1), flags & MS_SYNC != 0)
        .map(|()| 0)
}

/// Nothing is ever paged out: a locked page needs only to be there.
fn mlock(call: &mut Call<'_>) -> Result<usize> {
    let (start, len) = (call.usize(0) & !(PAGE - 1), call.usize(1));
    if len == 0 {
        return Ok(0);
    }
    let len = len.checked_add(call.usize(0) - start).ok_or(Errno::EINVAL)?;
    let vm = call.thread.vm();
    if !vm.is_mapped(start, len)? {
        return Err(Errno::ENOMEM);
    }
    if call.arg(8) != 229 {
        populate(
            &vm,
            start,
            len,
            Protection {
                read: true,
                write: false,
                exec: false,
            },
        );
    }
    Ok(0)
}

const MLOCK_ONFAULT: u32 = 1;

fn mlock2(call: &mut Call<'_>) -> Result<usize> {
    match call.uint(2) {
        0 | MLOCK_ONFAULT => mlock(call),
        _ => Err(Errno::EINVAL),
    }
}

fn mlockall(call: &mut Call<'_>) -> Result<usize> {
    // MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT
    if matches!(call.uint(0), 1..=3 | 5..=7) {
        Ok(0)
    } else {
        Err(Errno::EINVAL)
    }
}

fn munlockall(_call: &mut Call<'_>) -> Result<usize> {
    Ok(0)
}

fn mincore(call: &mut Call<'_>) -> Result<usize> {
    let (start, len, to) = (call.usize(0), call.usize(1), call.usize(2));
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let vm = call.thread.vm();
    if !vm.is_mapped(start, len)? {
        return Err(Errno::ENOMEM);
    }
    let pages = len.div_ceil(PAGE);
    let mut done = 0;
    while done < pages {
        let n = (pages - done).min(4096);
        let bytes: Vec<u8> = (done..done + n)
            .map(|i| u8::from(vm.is_resident(start + i * PAGE)))
            .collect();
        UserSlice::new(to.wrapping_add(done), n).write_prefix(&bytes)?;
        done += n;
        if crate::process::thread::kill_pending() {
            return Err(Errno::EINTR);
        }
        crate::sched::cond_resched();
    }
    Ok(0)
}
