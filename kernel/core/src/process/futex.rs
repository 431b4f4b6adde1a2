//! Futexes (futex(2), get_robust_list(2)).
//!
//! A word is known by a [`Key`]: an address in an address space, or a place in an object that several map. Waiters of a
//! key are in the hash bucket of that key. A waiter enters its bucket *before* it reads the word and a waker has changed
//! the word *before* it looks into the bucket, so one of the two sees the other; no lock is held while user memory is
//! read.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sis_abi::process::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use sis_machine::mm::usercopy;
use sis_machine::sync::{Rank, SpinGuard, SpinLock};
use sis_machine::task::{self, Task};

use super::thread::{Restart, Thread};
use crate::time::{self, Deadline};
use crate::user::UserPtr;
use crate::vm::Vm;
use crate::{Errno, Result};

const BUCKETS: usize = 256;
/// Most entries of a robust list (ROBUST_LIST_LIMIT).
const ROBUST_MAX: usize = 2048;

/// What a futex word is, whoever maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An address in an address space (by its identity).
    Private(usize, usize),
    /// An offset in an object.
    Shared((u64, u64), u64),
}

impl Key {
    /// Of a word; `EINVAL` when it is misaligned.
    pub(crate) fn of(vm: &Arc<Vm>, address: usize, is_private: bool) -> Result<Self> {
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let private = Self::Private(Arc::as_ptr(vm) as usize, address);
        if is_private {
            return Ok(private);
        }
        Ok(vm
            .shared_key(address)
            .map_or(private, |(object, offset)| Self::Shared(object, offset)))
    }

    fn bucket(&self) -> usize {
        let (a, b) = match *self {
            Self::Private(vm, address) => (vm as u64 >> 6, address as u64 >> 2),
            Self::Shared((dev, ino), offset) => (dev.rotate_left(32) ^ ino, offset >> 2),
        };
        let mixed = (a ^ b.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as usize % BUCKETS
    }
}

struct Waiter {
    task: Arc<Task>,
    is_woken: AtomicBool,
    /// The bucket that it is in; changed with that bucket locked.
    bucket: AtomicUsize,
}

struct Entry {
    key: Key,
    bitset: u32,
    waiter: Arc<Waiter>,
}

type Bucket = Vec<Entry>;

static TABLE: [SpinLock<Bucket>; BUCKETS] = [const { SpinLock::new(Rank::Futex, Vec::new()) }; BUCKETS];

fn bucket(index: usize) -> &'static SpinLock<Bucket> {
    match TABLE.get(index) {
        Some(b) => b,
        None => unreachable!("bucket numbers are below BUCKETS"),
    }
}

/// Waits while the word holds `expected`.
///
/// # Errors
/// `EAGAIN` when it holds something else, `ETIMEDOUT`, `ERESTARTSYS` (`ERESTART_RESTARTBLOCK` with a deadline) on a
/// signal, `EFAULT`.
pub(crate) fn wait(
    thread: &Thread,
    address: usize,
    expected: u32,
    bitset: u32,
    is_private: bool,
    deadline: Deadline,
) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::of(&thread.vm(), address, is_private)?;
    let at = key.bucket();
    let me = task::current_arc();
    let waiter = Arc::new(Waiter {
        task: me.clone(),
        is_woken: AtomicBool::new(false),
        bucket: AtomicUsize::new(at),
    });
    bucket(at).lock().push(Entry {
        key,
        bitset,
        waiter: waiter.clone(),
    });
    let Ok(now) = usercopy::load_u32(address) else {
        leave(&waiter);
        return Err(Errno::EFAULT);
    };
    if now != expected {
        return if leave(&waiter) { Err(Errno::EAGAIN) } else { Ok(()) };
    }
    let timer = time::wake_at(deadline, &me);
    let out = loop {
        if waiter.is_woken.load(Ordering::Acquire) {
            return Ok(());
        }
        if thread.signal_pending() {
            break Errno::ERESTARTSYS;
        }
        if deadline.has_passed() {
            break Errno::ETIMEDOUT;
        }
        task::park();
    };
    drop(timer);
    if !leave(&waiter) {
        return Ok(());
    }
    if out == Errno::ERESTARTSYS && deadline != Deadline::NEVER {
        *thread.restart.lock() = Some(Restart::Futex {
            address,
            expected,
            bitset,
            is_private,
            until_ns: deadline.ns(),
        });
        return Err(Errno::ERESTART_RESTARTBLOCK);
    }
    Err(out)
}

/// Takes a waiter out; false when it has been woken.
fn leave(waiter: &Arc<Waiter>) -> bool {
    loop {
        let at = waiter.bucket.load(Ordering::Acquire);
        let mut entries = bucket(at).lock();
        if waiter.bucket.load(Ordering::Acquire) != at {
            continue;
        }
        let found = entries.iter().position(|e| Arc::ptr_eq(&e.waiter, waiter));
        let gone = found.map(|i| entries.remove(i));
        drop(entries);
        return gone.is_some();
    }
}

/// Takes up to `most` waiters of a key out of its bucket.
fn take(entries: &mut Bucket, key: &Key, bitset: u32, most: usize, out: &mut Vec<Arc<Waiter>>) -> usize {
    let mut n = 0;
    let mut i = 0;
    while n < most && i < entries.len() {
        if entries.get(i).is_some_and(|e| e.key == *key && e.bitset & bitset != 0) {
            out.push(entries.remove(i).waiter);
            n += 1;
        } else {
            i += 1;
        }
    }
    n
}

fn wake_all(waiters: Vec<Arc<Waiter>>) {
    for w in waiters {
        w.is_woken.store(true, Ordering::Release);
        w.task.unpark();
    }
}

/// Wakes up to `most` waiters of a word; answers how many.
pub(crate) fn wake(vm: &Arc<Vm>, address: usize, most: usize, bitset: u32, is_private: bool) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::of(vm, address, is_private)?;
    let mut woken = Vec::new();
    let n = {
        let mut entries = bucket(key.bucket()).lock();
        if entries.is_empty() {
            return Ok(0);
        }
        take(&mut entries, &key, bitset, most, &mut woken)
    };
    wake_all(woken);
    Ok(n)
}

/// As [`wake`], for a word that may be shared.
pub(crate) fn wake_shared(vm: &Arc<Vm>, address: usize, most: usize) -> Result<usize> {
    wake(vm, address, most, u32::MAX, false)
}

/// Locks two buckets, in the order of their numbers.
fn lock_two(a: usize, b: usize) -> (SpinGuard<'static, Bucket>, Option<SpinGuard<'static, Bucket>>) {
    if a == b {
        return (bucket(a).lock(), None);
    }
    // Ordered by number, so two that lock the same two cannot wait for each other.
    let low = bucket(a.min(b)).lock();
    let high = bucket(a.max(b)).lock_nested();
    if a < b { (low, Some(high)) } else { (high, Some(low)) }
}

/// FUTEX_REQUEUE and FUTEX_CMP_REQUEUE: wakes some waiters of a word and lets others wait for another. Answers how many
/// were woken, and how many moved.
pub(crate) fn requeue(
    vm: &Arc<Vm>,
    from: usize,
    to: usize,
    wakes: usize,
    moves: usize,
    expected: Option<u32>,
    is_private: bool,
) -> Result<(usize, usize)> {
    let from_key = Key::of(vm, from, is_private)?;
    let to_key = Key::of(vm, to, is_private)?;
    if let Some(expected) = expected
        && usercopy::load_u32(from).map_err(|_| Errno::EFAULT)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    let (a, b) = (from_key.bucket(), to_key.bucket());
    let mut woken = Vec::new();
    let mut moved = 0;
    let n = {
        let (mut source, mut target) = lock_two(a, b);
        let n = take(&mut source, &from_key, u32::MAX, wakes, &mut woken);
        let mut i = 0;
        while moved < moves && i < source.len() {
            let Some(entry) = source.get_mut(i) else { break };
            if entry.key != from_key {
                i += 1;
                continue;
            }
            moved += 1;
            entry.key = to_key;
            if let Some(target) = &mut target {
                entry.waiter.bucket.store(b, Ordering::Release);
                target.push(source.remove(i));
            } else {
                i += 1;
            }
        }
        n
    };
    wake_all(woken);
    Ok((n, moved))
}

/// FUTEX_WAKE_OP: changes a second word, wakes waiters of the first, and of the second if its old value compares.
pub(crate) fn wake_op(
    vm: &Arc<Vm>,
    first: usize,
    second: usize,
    wakes: usize,
    wakes_second: usize,
    operation: u32,
    is_private: bool,
) -> Result<usize> {
    let op = sis_algo::futex::WakeOp::new(operation).ok_or(Errno::ENOSYS)?;
    Key::of(vm, first, is_private)?;
    Key::of(vm, second, is_private)?;
    let mut old = usercopy::load_u32(second).map_err(|_| Errno::EFAULT)?;
    loop {
        let seen = usercopy::cmpxchg_u32(second, old, op.apply(old)).map_err(|_| Errno::EFAULT)?;
        if seen == old {
            break;
        }
        old = seen;
    }
    let mut n = wake(vm, first, wakes, u32::MAX, is_private)?;
    if op.compares(old) {
        n += wake(vm, second, wakes_second, u32::MAX, is_private)?;
    }
    Ok(n)
}

/// The thread ends: locks that it holds and has on its robust list are marked, and a waiter of each is woken.
pub(crate) fn exit_robust(thread: &Thread) {
    let head = thread.robust_list.swap(0, Ordering::Relaxed);
    if head == 0 {
        return;
    }
    let word = |at: usize| UserPtr::<u64>::new(at).read().map(|w| w as usize);
    let (Ok(mut entry), Ok(offset), Ok(pending)) = (word(head), word(head + 8), word(head + 16)) else {
        return;
    };
    let vm = thread.vm();
    let tid = thread.tid();
    // The lowest bit says that the lock inherits priority; such locks do not exist here.
    let mut left = ROBUST_MAX;
    while entry & !1 != head && left > 0 {
        let next = word(entry & !1);
        if entry & !1 != pending & !1 && mark_dead(&vm, (entry & !1).wrapping_add(offset), tid, false).is_err() {
            return;
        }
        let Ok(next) = next else { return };
        entry = next;
        left -= 1;
    }
    if pending & !1 != 0 {
        let _ = mark_dead(&vm, (pending & !1).wrapping_add(offset), tid, true);
    }
}

fn mark_dead(vm: &Arc<Vm>, address: usize, tid: u32, is_pending: bool) -> Result<()> {
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let mut now = usercopy::load_u32(address).map_err(|_| Errno::EFAULT)?;
    loop {
        if is_pending && now == 0 {
            wake_shared(vm, address, 1)?;
            return Ok(());
        }
        if now & FUTEX_TID_MASK != tid {
            return Ok(());
        }
        let dead = now & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        let seen = usercopy::cmpxchg_u32(address, now, dead).map_err(|_| Errno::EFAULT)?;
        if seen == now {
            break;
        }
        now = seen;
    }
    if now & FUTEX_WAITERS != 0 {
        wake_shared(vm, address, 1)?;
    }
    Ok(())
}
