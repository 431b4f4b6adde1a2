//! System V shared memory.

use super::Case;
use crate::sys::{Ended, Outcome, PAGE, What, checked_child, in_child, peek, poke, refused};

pub(super) static CASES: &[Case] = &[
    ("shm/two-mappings-are-one-memory", two_mappings),
    ("shm/children-share-it", children_share),
    ("shm/keys", keys),
    ("shm/removed-lives-until-the-last-detach", removed),
    ("shm/detach-takes-what-is-left", detach_parts),
    ("shm/read-only", read_only),
    ("shm/places", places),
    ("shm/permissions", permissions),
    ("shm/errors", errors),
];

const SIZE: usize = 3 * PAGE;

/// A segment that is removed with the value.
struct Segment(i32);

impl Segment {
    fn get(key: i32, size: usize, flags: i32) -> Result<Self, String> {
        sys!(SYS_shmget, key, size, flags)
            .map(|id| Self(id as i32))
            .what("shmget")
    }

    fn private() -> Result<Self, String> {
        Self::get(libc::IPC_PRIVATE, SIZE, libc::IPC_CREAT | 0o600)
    }

    fn attach(&self) -> Result<usize, String> {
        sys!(SYS_shmat, self.0, 0, 0).map(|at| at as usize).what("shmat")
    }

    fn stat(&self) -> Result<libc::shmid_ds, String> {
        // SAFETY: all zeros are a value of it.
        let mut stat: libc::shmid_ds = unsafe { std::mem::zeroed() };
        sys!(SYS_shmctl, self.0, libc::IPC_STAT, &raw mut stat).what("IPC_STAT")?;
        Ok(stat)
    }

    fn remove(&self) -> Outcome {
        sys!(SYS_shmctl, self.0, libc::IPC_RMID, 0).map(drop).what("IPC_RMID")
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

fn detach(at: usize) -> Outcome {
    sys!(SYS_shmdt, at).map(drop).what("shmdt")
}

fn two_mappings() -> Outcome {
    let segment = Segment::private()?;
    let (one, other) = (segment.attach()?, segment.attach()?);
    check!(one != other, "the same place twice");
    for page in 0..3 {
        same!(peek(one + page * PAGE), 0, "a fresh page");
        poke(one + page * PAGE + 5, 7 + page as u8);
        same!(peek(other + page * PAGE + 5), 7 + page as u8, "the other mapping");
    }
    let stat = segment.stat()?;
    same!(stat.shm_nattch as usize, 2, "attached");
    same!(stat.shm_segsz, SIZE, "size");
    same!(stat.shm_cpid, std::process::id() as i32, "its maker");
    detach(one)?;
    same!(segment.stat()?.shm_nattch as usize, 1, "attached after shmdt");
    same!(peek(other + 5), 7, "the mapping that is left");
    detach(other)?;
    // Nobody has it mapped, and it keeps what it holds.
    let again = segment.attach()?;
    same!(peek(again + 5), 7, "attached again");
    detach(again)
}

fn children_share() -> Outcome {
    let segment = Segment::private()?;
    let at = segment.attach()?;
    poke(at, 1);
    let id = segment.0;
    checked_child(|| {
        same!(peek(at), 1, "what the parent wrote");
        poke(at, 2);
        let own = sys!(SYS_shmat, id, 0, 0).what("shmat")? as usize;
        same!(peek(own), 2, "attached by the child");
        poke(own + 1, 3);
        Ok(())
    })?;
    same!((peek(at), peek(at + 1)), (2, 3), "what the child wrote");
    same!(segment.stat()?.shm_nattch as usize, 1, "the child's are gone");
    detach(at)
}

fn keys() -> Outcome {
    let key = 0x5150_0000 + std::process::id() as i32;
    refused("a key nobody has", sys!(SYS_shmget, key, SIZE, 0o600), libc::ENOENT)?;
    let segment = Segment::get(key, SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    let create = libc::IPC_CREAT | 0o600;
    same!(
        sys!(SYS_shmget, key, SIZE, create),
        Ok(i64::from(segment.0)),
        "the same key"
    );
    same!(
        sys!(SYS_shmget, key, 0, 0),
        Ok(i64::from(segment.0)),
        "whatever its size"
    );
    refused(
        "exclusively",
        sys!(SYS_shmget, key, SIZE, create | libc::IPC_EXCL),
        libc::EEXIST,
    )?;
    refused(
        "larger than it is",
        sys!(SYS_shmget, key, SIZE + 1, 0o600),
        libc::EINVAL,
    )?;
    segment.remove()?;
    refused("a removed key", sys!(SYS_shmget, key, SIZE, 0o600), libc::ENOENT)?;
    let (one, other) = (Segment::private()?, Segment::private()?);
    check!(one.0 != other.0, "private ones are not shared");
    Ok(())
}

fn removed() -> Outcome {
    /// `SHM_DEST`.
    const DEST: u32 = 0o1000;
    let segment = Segment::private()?;
    let at = segment.attach()?;
    poke(at, 9);
    segment.remove()?;
    same!(peek(at), 9, "removed and mapped");
    let stat = segment.stat()?;
    check!(stat.shm_perm.mode & DEST != 0, "not marked");
    let other = segment.attach()?;
    same!(peek(other), 9, "attached after it was removed");
    detach(at)?;
    detach(other)?;
    refused("gone", sys!(SYS_shmat, segment.0, 0, 0), libc::EINVAL)
}

fn detach_parts() -> Outcome {
    let segment = Segment::private()?;
    let at = segment.attach()?;
    sys!(SYS_munmap, at + PAGE, PAGE).what("munmap")?;
    same!(segment.stat()?.shm_nattch as usize, 2, "two parts");
    refused("not at its first page", sys!(SYS_shmdt, at + 2 * PAGE), libc::EINVAL)?;
    detach(at)?;
    same!(segment.stat()?.shm_nattch as usize, 0, "both are gone");
    refused("detached twice", sys!(SYS_shmdt, at), libc::EINVAL)
}

fn read_only() -> Outcome {
    let segment = Segment::private()?;
    let writable = segment.attach()?;
    poke(writable, 4);
    let at = sys!(SYS_shmat, segment.0, 0, libc::SHM_RDONLY).what("shmat")? as usize;
    same!(peek(at), 4, "reads");
    let how = in_child(|| {
        poke(at, 5);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGSEGV), "a store");
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    refused("mprotect", sys!(SYS_mprotect, at, PAGE, rw), libc::EACCES)
}

fn places() -> Outcome {
    let segment = Segment::private()?;
    let at = segment.attach()?;
    detach(at)?;
    let id = segment.0;
    same!(sys!(SYS_shmat, id, at, 0), Ok(at as i64), "where it is free");
    refused("where it is not", sys!(SYS_shmat, id, at, 0), libc::EINVAL)?;
    refused("not at a page", sys!(SYS_shmat, id, at + 8, 0), libc::EINVAL)?;
    let there = libc::SHM_REMAP | libc::SHM_RND;
    same!(sys!(SYS_shmat, id, at + 8, there), Ok(at as i64), "in its place");
    refused("in no place", sys!(SYS_shmat, id, 0, libc::SHM_REMAP), libc::EINVAL)?;
    detach(at)
}

fn permissions() -> Outcome {
    let segment = Segment::private()?;
    let readable = Segment::get(libc::IPC_PRIVATE, SIZE, libc::IPC_CREAT | 0o604)?;
    let (id, readable) = (segment.0, readable.0);
    checked_child(|| {
        sys!(SYS_setresgid, 65534, 65534, 65534).what("setresgid")?;
        sys!(SYS_setresuid, 65534, 65534, 65534).what("setresuid")?;
        refused("attach", sys!(SYS_shmat, id, 0, libc::SHM_RDONLY), libc::EACCES)?;
        refused("remove", sys!(SYS_shmctl, id, libc::IPC_RMID, 0), libc::EPERM)?;
        let mut stat = [0_u8; 128];
        refused(
            "stat",
            sys!(SYS_shmctl, id, libc::IPC_STAT, stat.as_mut_ptr()),
            libc::EACCES,
        )?;
        sys!(SYS_shmat, readable, 0, libc::SHM_RDONLY).what("attach for reading")?;
        refused("attach for writing", sys!(SYS_shmat, readable, 0, 0), libc::EACCES)
    })?;
    let mut stat = segment.stat()?;
    stat.shm_perm.mode = 0o644;
    stat.shm_perm.uid = 65534;
    sys!(SYS_shmctl, id, libc::IPC_SET, &raw const stat).what("IPC_SET")?;
    let after = segment.stat()?;
    same!((after.shm_perm.uid, after.shm_perm.mode & 0o777), (65534, 0o644), "set");
    Ok(())
}

fn errors() -> Outcome {
    let create = libc::IPC_CREAT | 0o600;
    refused("no bytes", sys!(SYS_shmget, libc::IPC_PRIVATE, 0, create), libc::EINVAL)?;
    refused(
        "too many",
        sys!(SYS_shmget, libc::IPC_PRIVATE, usize::MAX, create),
        libc::EINVAL,
    )?;
    refused("no such segment", sys!(SYS_shmat, 0x7fff_0000, 0, 0), libc::EINVAL)?;
    refused("no such number", sys!(SYS_shmat, -1, 0, 0), libc::EINVAL)?;
    refused("no such command", sys!(SYS_shmctl, 0, 77, 0), libc::EINVAL)?;
    let segment = Segment::private()?;
    refused(
        "no buffer",
        sys!(SYS_shmctl, segment.0, libc::IPC_STAT, 8),
        libc::EFAULT,
    )?;
    refused("nothing is mapped", sys!(SYS_shmdt, 0x1000), libc::EINVAL)?;
    let at = crate::sys::map(1, libc::PROT_READ).what("mmap")?;
    refused("something else is mapped", sys!(SYS_shmdt, at), libc::EINVAL)
}
