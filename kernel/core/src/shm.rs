//! System V shared memory: segments that live by themselves until someone removes them (shmget(2)).
//!
//! A segment is a number in a table, and pages that mappings keep alive: removed, it loses its key, and is gone with its last
//! mapping. How often it is attached is how many areas have it, as on Linux.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};

use sis_abi::ipc::{IPC_PRIVATE, IpcPerm, SHM_DEST, SHM_LOCKED, ShmgetFlags, ShmidDs};
use sis_machine::mm::frames::{self, Frame};
use sis_machine::sync::{Mutex, Once, Rank};

use crate::fs::mount::anonymous_device;
use crate::process::cred::{Capability, Cred};
use crate::vm::{self, Backing, PAGE, PageSource};
use crate::{Errno, Result, time};

/// As many segments at most (SHMMNI, Linux's default).
const MOST_SEGMENTS: usize = 4096;
/// Permission bits of a mode.
const PERMISSIONS: u32 = 0o777;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// What someone wants to do with a segment, as permission bits of one class.
pub const READ: u32 = 0o4;
/// See [`READ`].
pub const WRITE: u32 = 0o2;

static TABLE: Mutex<Table> = Mutex::new(Rank::SleepLeaf, Table::new());

/// A segment's pages.
struct Pages {
    pages: Arc<dyn PageSource>,
    key: i32,
    id: i32,
}

fn device() -> u64 {
    static DEVICE: Once<u64> = Once::new();
    *DEVICE.call_once(anonymous_device)
}

impl PageSource for Pages {
    fn page(&self, index: u64, write: bool) -> Result<Frame> {
        self.pages.page(index, write)
    }

    fn size(&self) -> u64 {
        self.pages.size()
    }

    fn name(&self) -> String {
        alloc::format!("/SYSV{:08x} (deleted)", self.key)
    }

    fn identity(&self) -> (u64, u64) {
        (device(), self.id as u64)
    }
}

enum Life {
    Kept(Arc<Pages>),
    /// Removed; whoever has it mapped keeps it alive.
    Removed(Weak<Pages>),
}

struct Segment {
    size: u64,
    perm: IpcPerm,
    created_by: i32,
    last_used_by: i32,
    attached_s: i64,
    detached_s: i64,
    changed_s: i64,
    life: Life,
}

struct Table {
    segments: BTreeMap<i32, Segment>,
    next: i32,
}

impl Segment {
    fn pages(&self) -> Option<Arc<Pages>> {
        match &self.life {
            Life::Kept(pages) => Some(pages.clone()),
            Life::Removed(pages) => pages.upgrade(),
        }
    }

    fn attached(&self) -> usize {
        match &self.life {
            Life::Kept(pages) => Arc::strong_count(pages) - 1,
            Life::Removed(pages) => pages.strong_count(),
        }
    }

    /// ipcperms (ipc/util.c): the owner's or maker's, the group's, or everybody's bits.
    fn may(&self, cred: &Cred, wanted: u32) -> bool {
        let perm = &self.perm;
        let bits = if [perm.uid, perm.cuid].contains(&cred.euid) {
            perm.mode >> 6
        } else if [perm.gid, perm.cgid].iter().any(|gid| is_member(cred, *gid)) {
            perm.mode >> 3
        } else {
            perm.mode
        };
        wanted & !bits & 0o7 == 0 || cred.has(Capability::IpcOwner)
    }

    fn is_owner(&self, cred: &Cred) -> bool {
        [self.perm.uid, self.perm.cuid].contains(&cred.euid) || cred.has(Capability::SysAdmin)
    }
}

fn is_member(cred: &Cred, gid: u32) -> bool {
    cred.egid == gid || cred.groups.binary_search(&gid).is_ok()
}

fn now_s() -> i64 {
    (time::wall_ns() / NS_PER_SECOND) as i64
}

/// All three classes of permission bits that a call names, as one.
const fn wanted(mode: u32) -> u32 {
    (mode >> 6 | mode >> 3 | mode) & 0o7
}

impl Table {
    const fn new() -> Self {
        Self {
            segments: BTreeMap::new(),
            next: 0,
        }
    }

    /// Forgets those that are removed and that nobody has mapped any more.
    fn tidy(&mut self) {
        let is_gone = |segment: &Segment| matches!(&segment.life, Life::Removed(pages) if pages.strong_count() == 0);
        self.segments.retain(|_, segment| !is_gone(segment));
    }

    fn get(&mut self, id: i32) -> Result<&mut Segment> {
        self.tidy();
        self.segments.get_mut(&id).ok_or(Errno::EINVAL)
    }

    fn by_key(&self, key: i32) -> Option<(i32, &Segment)> {
        let has_key = |segment: &Segment| matches!(segment.life, Life::Kept(_)) && segment.perm.key == key;
        self.segments
            .iter()
            .find(|(_, segment)| key != IPC_PRIVATE && has_key(segment))
            .map(|(id, segment)| (*id, segment))
    }

    fn create(&mut self, key: i32, size: u64, mode: u32, cred: &Cred, pid: i32) -> Result<i32> {
        let pages = size.div_ceil(PAGE as u64);
        // Pages that no process owns cannot be had back by ending one: half of the memory, as for tmpfs.
        let in_use: u64 = self.segments.values().map(|s| s.size.div_ceil(PAGE as u64)).sum();
        let most = frames::total_frames() as u64 / 2;
        if self.segments.len() >= MOST_SEGMENTS || in_use.checked_add(pages).is_none_or(|all| all > most) {
            return Err(Errno::ENOSPC);
        }
        let Backing::Shared(pages, _) = vm::shared_anonymous(size as usize)? else {
            return Err(Errno::ENOMEM);
        };
        while self.segments.contains_key(&self.next) {
            self.next = self.next.checked_add(1).unwrap_or(0);
        }
        let id = self.next;
        self.next = self.next.checked_add(1).unwrap_or(0);
        let segment = Segment {
            size,
            perm: IpcPerm {
                key,
                uid: cred.euid,
                gid: cred.egid,
                cuid: cred.euid,
                cgid: cred.egid,
                mode: mode & PERMISSIONS,
                seq: 0,
            },
            created_by: pid,
            last_used_by: 0,
            attached_s: 0,
            detached_s: 0,
            changed_s: now_s(),
            life: Life::Kept(Arc::new(Pages { pages, key, id })),
        };
        self.segments.insert(id, segment);
        Ok(id)
    }
}

/// The segment with this key, made if `flags` say so: its number.
///
/// # Errors
/// As shmget(2).
pub fn get(key: i32, size: u64, flags: ShmgetFlags, mode: u32, cred: &Cred, pid: i32) -> Result<i32> {
    let mut table = TABLE.lock();
    table.tidy();
    if let Some((id, segment)) = table.by_key(key) {
        if flags.contains(ShmgetFlags::IPC_CREAT | ShmgetFlags::IPC_EXCL) {
            return Err(Errno::EEXIST);
        }
        if !segment.may(cred, wanted(mode)) {
            return Err(Errno::EACCES);
        }
        return if size > segment.size {
            Err(Errno::EINVAL)
        } else {
            Ok(id)
        };
    }
    if key != IPC_PRIVATE && !flags.contains(ShmgetFlags::IPC_CREAT) {
        return Err(Errno::ENOENT);
    }
    if size == 0 || i64::try_from(size).is_err() {
        return Err(Errno::EINVAL);
    }
    table.create(key, size, mode, cred, pid)
}

/// What mapping segment `id` takes, and its bytes.
///
/// # Errors
/// `EINVAL` (there is none), `EACCES`.
pub fn attach(id: i32, wanted: u32, cred: &Cred, pid: i32) -> Result<(Backing, u64)> {
    let mut table = TABLE.lock();
    let segment = table.get(id)?;
    if !segment.may(cred, wanted) {
        return Err(Errno::EACCES);
    }
    let pages = segment.pages().ok_or(Errno::EINVAL)?;
    segment.attached_s = now_s();
    segment.last_used_by = pid;
    Ok((Backing::Shared(pages, 0), segment.size))
}

/// The number of the segment whose pages have this identity.
#[must_use]
pub fn id_of(identity: (u64, u64)) -> Option<i32> {
    (identity.0 == device())
        .then(|| i32::try_from(identity.1).ok())
        .flatten()
}

/// Notes that a process has unmapped it.
pub fn detached(id: i32, pid: i32) {
    let mut table = TABLE.lock();
    if let Ok(segment) = table.get(id) {
        segment.detached_s = now_s();
        segment.last_used_by = pid;
    }
}

/// Removes segment `id`: it has no key any more, and is gone with its last mapping.
///
/// # Errors
/// `EINVAL` (there is none), `EPERM`.
pub fn remove(id: i32, cred: &Cred) -> Result<()> {
    let mut table = TABLE.lock();
    let segment = table.get(id)?;
    if !segment.is_owner(cred) {
        return Err(Errno::EPERM);
    }
    let last = match &segment.life {
        Life::Removed(_) => None,
        Life::Kept(pages) => Some(pages.clone()),
    };
    if let Some(pages) = &last {
        segment.life = Life::Removed(Arc::downgrade(pages));
        segment.perm.key = IPC_PRIVATE;
        segment.perm.mode |= SHM_DEST;
    }
    // Its pages may be given back now, which takes other locks.
    drop(table);
    drop(last);
    Ok(())
}

/// What there is to know about segment `id`.
///
/// # Errors
/// `EINVAL` (there is none), `EACCES`.
pub fn stat(id: i32, cred: &Cred) -> Result<ShmidDs> {
    let mut table = TABLE.lock();
    let segment = table.get(id)?;
    if !segment.may(cred, READ) {
        return Err(Errno::EACCES);
    }
    Ok(ShmidDs {
        shm_perm: segment.perm,
        shm_segsz: segment.size,
        shm_atime: segment.attached_s,
        shm_dtime: segment.detached_s,
        shm_ctime: segment.changed_s,
        shm_cpid: segment.created_by,
        shm_lpid: segment.last_used_by,
        shm_nattch: segment.attached() as u64,
    })
}

/// Changes the owner, the group and the permission bits.
///
/// # Errors
/// `EINVAL` (there is none), `EPERM`.
pub fn set(id: i32, new: &ShmidDs, cred: &Cred) -> Result<()> {
    let mut table = TABLE.lock();
    let segment = table.get(id)?;
    if !segment.is_owner(cred) {
        return Err(Errno::EPERM);
    }
    let perm = &mut segment.perm;
    (perm.uid, perm.gid) = (new.shm_perm.uid, new.shm_perm.gid);
    perm.mode = perm.mode & !PERMISSIONS | new.shm_perm.mode & PERMISSIONS;
    segment.changed_s = now_s();
    Ok(())
}

/// Locks or unlocks the pages: nothing is ever paged out, so that only its mode tells.
///
/// # Errors
/// `EINVAL` (there is none), `EPERM`.
pub fn lock(id: i32, is_locked: bool, cred: &Cred) -> Result<()> {
    let mut table = TABLE.lock();
    let segment = table.get(id)?;
    if !cred.has(Capability::IpcLock) && ![segment.perm.uid, segment.perm.cuid].contains(&cred.euid) {
        return Err(Errno::EPERM);
    }
    if is_locked {
        segment.perm.mode |= SHM_LOCKED;
    } else {
        segment.perm.mode &= !SHM_LOCKED;
    }
    Ok(())
}
