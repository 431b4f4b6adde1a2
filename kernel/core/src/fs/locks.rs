//! Advisory locks: flock(2), and fcntl(2)'s record locks of processes and of open file descriptions.
//!
//! Locks are kept by file (device and inode number). A record lock belongs to a descriptor table, as on Linux, or to an
//! open file description; closing any descriptor of the file gives the table's up. Whoever waits sleeps on the file's
//! queue and looks again after every change.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use sis_abi::fs::{F_RDLCK, F_UNLCK, F_WRLCK, Flock};
use sis_machine::sync::{Rank, SpinLock};

use super::file::{FdTable, OpenFile};
use crate::poll::Events;
use crate::wait::WaitQueue;
use crate::{Errno, Result};

/// Whose a record lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    address: usize,
    is_description: bool,
}

impl Owner {
    /// A process's, that is its descriptor table's.
    pub fn table(files: &Arc<FdTable>) -> Self {
        Self {
            address: Arc::as_ptr(files).addr(),
            is_description: false,
        }
    }

    /// An open file description's.
    pub fn description(file: &Arc<OpenFile>) -> Self {
        Self {
            address: Arc::as_ptr(file).addr(),
            is_description: true,
        }
    }
}

/// A record lock; `end` is the byte after the last.
#[derive(Clone, Copy)]
struct Record {
    owner: Owner,
    pid: u32,
    exclusive: bool,
    start: u64,
    end: u64,
}

struct Whole {
    owner: usize,
    exclusive: bool,
}

#[derive(Default)]
struct FileLocks {
    records: Vec<Record>,
    whole: Vec<Whole>,
    queue: Option<Arc<WaitQueue>>,
}

impl FileLocks {
    fn queue(&mut self) -> Arc<WaitQueue> {
        self.queue.get_or_insert_with(|| Arc::new(WaitQueue::new())).clone()
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.whole.is_empty()
    }

    /// The first record in the way.
    fn conflict(&self, wanted: &Record) -> Option<Record> {
        let clash = |r: &&Record| {
            r.owner != wanted.owner && r.start < wanted.end && wanted.start < r.end && (r.exclusive || wanted.exclusive)
        };
        self.records.iter().find(clash).copied()
    }

    /// Takes an owner's range out, cutting what reaches beyond it.
    fn cut(&mut self, owner: Owner, start: u64, end: u64) {
        let mut kept = Vec::with_capacity(self.records.len() + 1);
        for r in self.records.drain(..) {
            if r.owner != owner || r.end <= start || end <= r.start {
                kept.push(r);
                continue;
            }
            if r.start < start {
                kept.push(Record { end: start, ..r });
            }
            if r.end > end {
                kept.push(Record { start: end, ..r });
            }
        }
        self.records = kept;
    }

    /// Adds a record, joined with its owner's neighbours of the same kind.
    fn add(&mut self, mut new: Record) {
        self.records.retain(|r| {
            let joins =
                r.owner == new.owner && r.exclusive == new.exclusive && r.start <= new.end && new.start <= r.end;
            if joins {
                new.start = new.start.min(r.start);
                new.end = new.end.max(r.end);
            }
            !joins
        });
        self.records.push(new);
    }
}

type Key = (u64, u64);

static LOCKS: SpinLock<BTreeMap<Key, FileLocks>> = SpinLock::new(Rank::Leaf, BTreeMap::new());
/// Files with locks, so that closing costs nothing while there are none.
static FILES: AtomicUsize = AtomicUsize::new(0);

fn key(file: &OpenFile) -> Option<Key> {
    let m = match file.inode() {
        Some(i) => i.metadata(),
        None => file.ops.metadata()?,
    };
    Some((m.dev, m.ino))
}

/// Changes a file's locks and wakes who waits for them.
fn change<R>(key: Key, how: impl FnOnce(&mut FileLocks) -> R) -> R {
    let mut table = LOCKS.lock();
    let locks = table.entry(key).or_default();
    let out = how(locks);
    let queue = locks.queue.clone();
    if locks.is_empty() && queue.as_ref().is_none_or(|q| Arc::strong_count(q) <= 2) {
        let gone = table.remove(&key);
        FILES.store(table.len(), Ordering::Relaxed);
        drop(table);
        drop(gone);
    } else {
        FILES.store(table.len(), Ordering::Relaxed);
        drop(table);
    }
    if let Some(q) = queue {
        q.wake_all(Events::empty());
    }
    out
}

/// Tries until `attempt` says yes; sleeps between if `waits`, else `EAGAIN`.
fn obtain(key: Key, waits: bool, mut attempt: impl FnMut(&mut FileLocks) -> bool) -> Result<()> {
    let mut once = |want_queue: bool| {
        let mut table = LOCKS.lock();
        let locks = table.entry(key).or_default();
        let got = attempt(locks);
        let queue = (!got && want_queue).then(|| locks.queue());
        if !got && locks.is_empty() && !want_queue {
            let gone = table.remove(&key);
            drop(gone);
        }
        FILES.store(table.len(), Ordering::Relaxed);
        (got, queue)
    };
    match once(waits) {
        (true, _) => Ok(()),
        (false, Some(queue)) => queue.wait(|| once(false).0.then_some(())),
        (false, None) => Err(Errno::EAGAIN),
    }
}

/// Start and end of a request; `EINVAL`, `EOVERFLOW`.
fn range(file: &OpenFile, wanted: &Flock) -> Result<(u64, u64)> {
    let base = match wanted.l_whence {
        0 => 0,
        1 => *file.position.lock(),
        2 => file.inode().map_or(0, |i| i.metadata().size),
        _ => return Err(Errno::EINVAL),
    };
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(wanted.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match wanted.l_len {
        0 => (start, i64::MAX),
        n if n > 0 => (start, start.checked_add(n).ok_or(Errno::EOVERFLOW)?),
        n => (start.checked_add(n).ok_or(Errno::EINVAL)?, start),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok((start, if end == i64::MAX { u64::MAX } else { end as u64 }))
}

/// F_GETLK: what would be in the way of `wanted`.
pub fn query(file: &OpenFile, owner: Owner, wanted: &Flock) -> Result<Flock> {
    let (start, end) = range(file, wanted)?;
    let exclusive = match wanted.l_type {
        F_RDLCK => false,
        F_WRLCK => true,
        _ => return Err(Errno::EINVAL),
    };
    let key = key(file).ok_or(Errno::EINVAL)?;
    let probe = Record {
        owner,
        pid: 0,
        exclusive,
        start,
        end,
    };
    let found = LOCKS.lock().get(&key).and_then(|l| l.conflict(&probe));
    Ok(match found {
        None => Flock {
            l_type: F_UNLCK,
            ..*wanted
        },
        Some(r) => Flock {
            l_type: if r.exclusive { F_WRLCK } else { F_RDLCK },
            l_whence: 0,
            l_start: i64::try_from(r.start).unwrap_or(i64::MAX),
            l_len: if r.end == u64::MAX {
                0
            } else {
                i64::try_from(r.end - r.start).unwrap_or(0)
            },
            l_pid: if r.owner.is_description {
                -1
            } else {
                i32::try_from(r.pid).unwrap_or(-1)
            },
        },
    })
}

/// F_SETLK, F_SETLKW and their OFD forms.
pub fn set(file: &OpenFile, owner: Owner, pid: u32, wanted: &Flock, waits: bool) -> Result<()> {
    let (start, end) = range(file, wanted)?;
    let key = key(file).ok_or(Errno::EINVAL)?;
    let exclusive = match wanted.l_type {
        F_UNLCK => {
            change(key, |l| l.cut(owner, start, end));
            return Ok(());
        }
        F_RDLCK if file.readable() => false,
        F_WRLCK if file.writable() => true,
        F_RDLCK | F_WRLCK => return Err(Errno::EBADF),
        _ => return Err(Errno::EINVAL),
    };
    let new = Record {
        owner,
        pid,
        exclusive,
        start,
        end,
    };
    obtain(key, waits, |l| {
        if l.conflict(&new).is_some() {
            return false;
        }
        l.cut(owner, start, end);
        l.add(new);
        true
    })?;
    if owner.is_description {
        file.note_locks();
    }
    // A lock that became a shared one may let others in.
    if !exclusive {
        change(key, |_| ());
    }
    Ok(())
}

/// flock(2): `Some(exclusive)`, or `None` to unlock.
pub fn flock(file: &Arc<OpenFile>, kind: Option<bool>, waits: bool) -> Result<()> {
    let key = key(file).ok_or(Errno::EINVAL)?;
    let owner = Arc::as_ptr(file).addr();
    let Some(exclusive) = kind else {
        change(key, |l| l.whole.retain(|w| w.owner != owner));
        return Ok(());
    };
    // A change of kind is not atomic (flock(2)): the old lock goes first.
    change(key, |l| {
        l.whole.retain(|w| w.owner != owner || w.exclusive == exclusive)
    });
    file.note_locks();
    obtain(key, waits, |l| {
        if l.whole.iter().any(|w| w.owner == owner) {
            return true;
        }
        if l.whole.iter().any(|w| w.exclusive || exclusive) {
            return false;
        }
        l.whole.push(Whole { owner, exclusive });
        true
    })
}

/// A descriptor was closed: its table's record locks on the file go.
pub fn descriptor_closed(files: &Arc<FdTable>, file: &OpenFile) {
    if FILES.load(Ordering::Relaxed) == 0 {
        return;
    }
    if let Some(k) = key(file)
        && LOCKS.lock().contains_key(&k)
    {
        change(k, |l| l.cut(Owner::table(files), 0, u64::MAX));
    }
}

/// A descriptor table is gone, with all its record locks.
pub(super) fn table_dropped(address: usize) {
    if FILES.load(Ordering::Relaxed) == 0 {
        return;
    }
    let owner = Owner {
        address,
        is_description: false,
    };
    drop_owner(
        |l| l.records.iter().any(|r| r.owner == owner),
        |l| l.cut(owner, 0, u64::MAX),
    );
}

/// An open file description that had locks is gone.
pub(super) fn description_dropped(address: usize) {
    let owner = Owner {
        address,
        is_description: true,
    };
    drop_owner(
        |l| l.records.iter().any(|r| r.owner == owner) || l.whole.iter().any(|w| w.owner == address),
        |l| {
            l.cut(owner, 0, u64::MAX);
            l.whole.retain(|w| w.owner != address);
        },
    );
}

fn drop_owner(has: impl Fn(&FileLocks) -> bool, release: impl Fn(&mut FileLocks)) {
    let keys: Vec<Key> = LOCKS.lock().iter().filter(|(_, l)| has(l)).map(|(k, _)| *k).collect();
    for k in keys {
        change(k, &release);
    }
}
