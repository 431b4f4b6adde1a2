//! A lock whose waiters sleep. It may be held across anything that sleeps: user copies, page faults, I/O.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::rank::Rank;
use super::spin::IrqLock;
use crate::task::{self, Task};

/// A sleeping lock.
pub struct Mutex<T: ?Sized> {
    rank: Rank,
    locked: AtomicBool,
    waiting: AtomicUsize,
    waiters: IrqLock<VecDeque<Arc<Task>>>,
    data: UnsafeCell<T>,
}

// SAFETY: (1) one exclusive reference at a time, moved between tasks, which `T: Send` permits.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: (1) owning the lock is owning `T`.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free lock of the given rank.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            locked: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            waiters: IrqLock::new(Rank::WaitQueue, VecDeque::new()),
            data: UnsafeCell::new(value),
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; the task sleeps while another holds it. Not to be called with a spinning lock held.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        debug_assert!(
            !crate::percpu::holds_spin(),
            "a sleeping lock ({:?}) was taken while a spinning lock was held",
            self.rank
        );
        #[cfg(debug_assertions)]
        task::sleep_rank_acquire(self.rank);
        if self
            .locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slow();
        }
        MutexGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self
            .locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return None;
        }
        #[cfg(debug_assertions)]
        task::sleep_rank_acquire(self.rank);
        Some(MutexGuard {
            lock: self,
            _not_send: PhantomData,
        })
    }

    #[cold]
    fn lock_slow(&self) {
        let me = task::current_arc();
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.waiters.lock().push_back(me.clone());
            // The holder looks at `waiting` after it releases, so one of the two sees the other.
            if self
                .locked
                .compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                self.forget(&me);
                return;
            }
            task::park();
            self.forget(&me);
            if self
                .locked
                .compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    fn forget(&self, me: &Arc<Task>) {
        let mut waiters = self.waiters.lock();
        if let Some(at) = waiters.iter().position(|t| Arc::ptr_eq(t, me)) {
            waiters.remove(at);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[cold]
    fn wake_one(&self) {
        let next = {
            let mut waiters = self.waiters.lock();
            let next = waiters.pop_front();
            if next.is_some() {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            next
        };
        if let Some(task) = next {
            task.unpark();
        }
    }

    /// The value, through an exclusive reference to the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    _not_send: PhantomData<*const ()>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: (1) this guard holds the lock, so no other reference to the data exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: (1) as for `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        task::sleep_rank_release(self.lock.rank);
        self.lock.locked.store(false, Ordering::SeqCst);
        if self.lock.waiting.load(Ordering::SeqCst) != 0 {
            self.lock.wake_one();
        }
    }
}
