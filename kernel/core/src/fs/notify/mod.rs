//! What happens to files, told to those who watch them (inotify(7)).
//!
//! A *watch* is one instance's interest in one inode. Watches are found by the address of their inode, which they keep
//! alive, in a fixed number of buckets; so any file of any file system can be watched, and inodes have no field for it.
//! While nobody watches anything each hook is one relaxed load.
//!
//! No lock is held while another is taken here: what matches is collected under its bucket's, then told to one
//! instance after the other. That a watch still stands is looked at under the instance's lock.

pub mod event;
pub mod inotify;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use sis_machine::sync::{Rank, SpinLock};

use super::dentry::Dentry;
use super::file::OpenFile;
use super::flags::O_PATH;
use super::inode::{AttributeChange, FileType, Inode};
use event::{
    IN_ACCESS, IN_ATTRIB, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_EXCL_UNLINK,
    IN_IGNORED, IN_ISDIR, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_ONESHOT, IN_UNMOUNT,
};
use inotify::Watch;

const BUCKETS: usize = 64;

struct Bucket {
    /// Watches in it, readable without the lock.
    count: AtomicUsize,
    watches: SpinLock<Vec<Arc<Watch>>>,
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        count: AtomicUsize::new(0),
        watches: SpinLock::new(Rank::Leaf, Vec::new()),
    }
}; BUCKETS];
/// All watches.
static WATCHES: AtomicUsize = AtomicUsize::new(0);
static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);

/// Whether anything is watched.
#[inline]
fn is_watched() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0
}

fn address(inode: &Arc<dyn Inode>) -> usize {
    Arc::as_ptr(inode).addr()
}

fn bucket(address: usize) -> Option<&'static Bucket> {
    // Inodes are larger than 64 bytes.
    TABLE.get(((address >> 6) ^ (address >> 12)) % BUCKETS)
}

/// Enters a watch.
fn insert(watch: &Arc<Watch>) {
    if let Some(b) = bucket(address(&watch.inode)) {
        let mut watches = b.watches.lock();
        watches.push(watch.clone());
        b.count.store(watches.len(), Ordering::Relaxed);
        WATCHES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes a watch out.
fn take_out(watch: &Arc<Watch>) {
    let Some(b) = bucket(address(&watch.inode)) else { return };
    let mut watches = b.watches.lock();
    let gone = watches
        .iter()
        .position(|w| Arc::ptr_eq(w, watch))
        .map(|at| watches.swap_remove(at));
    b.count.store(watches.len(), Ordering::Relaxed);
    drop(watches);
    if gone.is_some() {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The watches of an inode that `wanted` is for.
fn watches_of(inode: &Arc<dyn Inode>, wanted: impl Fn(u32) -> bool) -> Vec<Arc<Watch>> {
    let at = address(inode);
    let Some(b) = bucket(at) else { return Vec::new() };
    if b.count.load(Ordering::Relaxed) == 0 {
        return Vec::new();
    }
    let watches = b.watches.lock();
    let matching = watches
        .iter()
        .filter(|w| address(&w.inode) == at && wanted(w.mask.load(Ordering::Relaxed)));
    matching.cloned().collect()
}

/// What tells of an event besides its mask.
#[derive(Clone, Copy, Default)]
struct Detail<'a> {
    /// The name in a watched directory.
    name: Option<&'a [u8]>,
    /// Common to the two halves of a rename.
    cookie: u32,
    /// The name has been removed, and somebody has the file open.
    is_unlinked: bool,
}

fn tell(inode: &Arc<dyn Inode>, mask: u32, detail: Detail<'_>) {
    let is_wanted = |m: u32| m & mask & !IN_ISDIR != 0 && !(detail.is_unlinked && m & IN_EXCL_UNLINK != 0);
    for watch in watches_of(inode, is_wanted) {
        watch.tell(mask, detail.cookie, detail.name);
        if watch.mask.load(Ordering::Relaxed) & IN_ONESHOT != 0 {
            watch.end();
        }
    }
}

fn directory_bit(inode: &Arc<dyn Inode>) -> u32 {
    if inode.kind() == FileType::Directory {
        IN_ISDIR
    } else {
        0
    }
}

fn tell_self(inode: &Arc<dyn Inode>, mask: u32) {
    tell(inode, mask | directory_bit(inode), Detail::default());
}

/// Something happened to the file at a name: first its directory hears of it, then it itself.
#[cold]
fn tell_both(dentry: &Dentry, mask: u32, by_open_file: bool) {
    let mask = mask | directory_bit(dentry.inode());
    let is_unlinked = by_open_file && dentry.is_unlinked();
    if let Some(parent) = dentry.parent() {
        let name = dentry.name();
        let detail = Detail {
            name: Some(&name),
            cookie: 0,
            is_unlinked,
        };
        tell(parent.inode(), mask, detail);
    }
    let detail = Detail {
        is_unlinked,
        ..Detail::default()
    };
    tell(dentry.inode(), mask, detail);
}

/// Something happened through an open file.
#[inline]
fn through(file: &OpenFile, mask: u32) {
    if is_watched()
        && let Some(path) = &file.path
        && file.flags() & O_PATH == 0
    {
        tell_both(&path.dentry, mask, true);
    }
}

/// It was opened.
#[inline]
pub fn opened(file: &OpenFile) {
    through(file, event::IN_OPEN);
}

/// `n` bytes were read, or directory entries.
#[inline]
pub fn read(file: &OpenFile, n: usize) {
    if n > 0 {
        through(file, IN_ACCESS);
    }
}

/// `n` bytes were written.
#[inline]
pub fn written(file: &OpenFile, n: usize) {
    if n > 0 {
        through(file, IN_MODIFY);
    }
}

/// Its space or its size was changed.
#[inline]
pub fn resized(file: &OpenFile) {
    through(file, IN_MODIFY);
}

/// The last reference of an open file goes.
#[inline]
pub fn closed(file: &OpenFile) {
    let mask = if file.writable() {
        IN_CLOSE_WRITE
    } else {
        IN_CLOSE_NOWRITE
    };
    through(file, mask);
}

/// A file was truncated by its name.
pub fn truncated(dentry: &Dentry) {
    if is_watched() {
        tell_both(dentry, IN_MODIFY, false);
    }
}

/// Attributes were changed: which event that is goes by which (`fsnotify_change` of Linux).
pub fn attributes_changed(dentry: &Dentry, change: &AttributeChange) {
    if !is_watched() {
        return;
    }
    let mut mask = match (change.atime_ns, change.mtime_ns) {
        (Some(_), Some(_)) => IN_ATTRIB,
        (Some(_), None) => IN_ACCESS,
        (None, Some(_)) => IN_MODIFY,
        (None, None) => 0,
    };
    if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
        mask |= IN_ATTRIB;
    }
    tell_both(dentry, mask, false);
}

/// Extended attributes were changed.
pub fn xattrs_changed(dentry: &Dentry) {
    if is_watched() {
        tell_both(dentry, IN_ATTRIB, false);
    }
}

/// A file was made under `name`, or got it as another name.
pub fn created(dir: &Arc<dyn Inode>, name: &[u8], inode: &Arc<dyn Inode>) {
    if is_watched() {
        tell_named(dir, IN_CREATE, name, inode, 0);
    }
}

/// The number of its names has changed.
pub fn link_count_changed(inode: &Arc<dyn Inode>) {
    if is_watched() {
        tell_self(inode, IN_ATTRIB);
    }
}

/// A name was removed.
pub fn deleted(dir: &Arc<dyn Inode>, name: &[u8], inode: &Arc<dyn Inode>) {
    if is_watched() {
        tell_named(dir, IN_DELETE, name, inode, 0);
    }
}

fn tell_named(dir: &Arc<dyn Inode>, mask: u32, name: &[u8], inode: &Arc<dyn Inode>, cookie: u32) {
    let detail = Detail {
        name: Some(name),
        cookie,
        is_unlinked: false,
    };
    tell(dir, mask | directory_bit(inode), detail);
}

/// A file was moved from one name to another, over `replaced` if there was one.
pub fn moved(
    inode: &Arc<dyn Inode>,
    from: (&Arc<dyn Inode>, &[u8]),
    to: (&Arc<dyn Inode>, &[u8]),
    replaced: Option<&Arc<dyn Inode>>,
) {
    if !is_watched() {
        return;
    }
    let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
    tell_named(from.0, IN_MOVED_FROM, from.1, inode, cookie);
    tell_named(to.0, IN_MOVED_TO, to.1, inode, cookie);
    if let Some(replaced) = replaced {
        link_count_changed(replaced);
    }
    // Without IN_ISDIR, as on Linux.
    tell(inode, IN_MOVE_SELF, Detail::default());
}

/// A removed name has gone out of use: if it was the last of its file, the file goes too.
pub(super) fn name_gone(dentry: &Dentry) {
    if is_watched() && dentry.is_unlinked() {
        inode_gone(dentry.inode());
    }
}

#[cold]
fn inode_gone(inode: &Arc<dyn Inode>) {
    let watches = watches_of(inode, |_| true);
    if watches.is_empty() || inode.metadata().nlink != 0 {
        return;
    }
    for watch in watches {
        if watch.mask.load(Ordering::Relaxed) & IN_DELETE_SELF != 0 {
            watch.tell(IN_DELETE_SELF, 0, None);
        }
        watch.end();
    }
}

/// A file system is gone: its device is `device`.
pub(super) fn unmounted(device: u64) {
    if !is_watched() {
        return;
    }
    for b in &TABLE {
        let gone: Vec<_> = b
            .watches
            .lock()
            .iter()
            .filter(|w| w.device == device)
            .cloned()
            .collect();
        for watch in gone {
            watch.tell(IN_UNMOUNT, 0, None);
            watch.end();
        }
    }
}

/// A watch has ended.
fn ignored(watch: &Arc<Watch>) -> (i32, u32) {
    (watch.wd, IN_IGNORED)
}
