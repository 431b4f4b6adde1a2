//! Spinning locks.
//!
//! [`SpinLock`] is for data that interrupt handlers never touch: the kernel is not preempted, so the holder cannot be
//! interrupted by another user on its own CPU. [`IrqLock`] is for data that handlers share: it masks interrupts on this
//! CPU while held.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use super::rank::{self, Rank};
use crate::cpu::{self, IrqState};

/// A lock for data that no interrupt handler touches.
pub struct SpinLock<T: ?Sized> {
    rank: Rank,
    locked: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: (1) the lock hands out one exclusive reference at a time, so sharing the lock shares `T` by moving access
// between CPUs, which `T: Send` permits.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}
// SAFETY: (1) owning the lock is owning `T`.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A free lock of the given rank.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            locked: AtomicBool::new(false),
            data: UnsafeCell::new(value),
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock, spinning while another CPU holds it.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        debug_assert!(
            !crate::percpu::in_interrupt(),
            "SpinLock taken in an interrupt handler: use IrqLock"
        );
        rank::acquire(self.rank, false);
        raw_lock(&self.locked);
        crate::percpu::spin_enter();
        SpinGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    /// Takes a second lock of the same rank; the caller orders the two (by address) so that they cannot deadlock.
    #[inline]
    pub fn lock_nested(&self) -> SpinGuard<'_, T> {
        rank::acquire(self.rank, true);
        raw_lock(&self.locked);
        crate::percpu::spin_enter();
        SpinGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        if self.locked.swap(true, Ordering::Acquire) {
            return None;
        }
        rank::acquire(self.rank, true);
        crate::percpu::spin_enter();
        Some(SpinGuard {
            lock: self,
            _not_send: PhantomData,
        })
    }

    /// The value, through an exclusive reference to the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

#[inline]
fn raw_lock(flag: &AtomicBool) {
    while flag
        .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        while flag.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
    }
}

/// Holds a [`SpinLock`].
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
    _not_send: PhantomData<*const ()>,
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: (1) this guard holds the lock, so no other reference to the data exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: (1) as for `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        rank::release(self.lock.rank);
        self.lock.locked.store(false, Ordering::Release);
        crate::percpu::spin_exit();
    }
}

/// A lock for data shared with interrupt handlers: interrupts of this CPU are masked while it is held.
pub struct IrqLock<T: ?Sized> {
    rank: Rank,
    locked: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: (1) as for `SpinLock`.
unsafe impl<T: ?Sized + Send> Sync for IrqLock<T> {}
// SAFETY: (1) as for `SpinLock`.
unsafe impl<T: ?Sized + Send> Send for IrqLock<T> {}

impl<T> IrqLock<T> {
    /// A free lock of the given rank.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            locked: AtomicBool::new(false),
            data: UnsafeCell::new(value),
        }
    }
}

impl<T: ?Sized> IrqLock<T> {
    /// Masks interrupts and takes the lock.
    #[inline]
    pub fn lock(&self) -> IrqGuard<'_, T> {
        let irq = cpu::irq_save();
        rank::acquire(self.rank, false);
        raw_lock(&self.locked);
        crate::percpu::spin_enter();
        IrqGuard {
            lock: self,
            irq,
            _not_send: PhantomData,
        }
    }

    /// Takes a second lock of the same rank; the caller orders the two so that they cannot deadlock.
    #[inline]
    pub fn lock_nested(&self) -> IrqGuard<'_, T> {
        let irq = cpu::irq_save();
        rank::acquire(self.rank, true);
        raw_lock(&self.locked);
        crate::percpu::spin_enter();
        IrqGuard {
            lock: self,
            irq,
            _not_send: PhantomData,
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<IrqGuard<'_, T>> {
        let irq = cpu::irq_save();
        if self.locked.swap(true, Ordering::Acquire) {
            cpu::irq_restore(irq);
            return None;
        }
        rank::acquire(self.rank, true);
        crate::percpu::spin_enter();
        Some(IrqGuard {
            lock: self,
            irq,
            _not_send: PhantomData,
        })
    }

    /// The value, through an exclusive reference to the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

/// Holds an [`IrqLock`]; interrupts are as before once it is dropped.
pub struct IrqGuard<'a, T: ?Sized> {
    lock: &'a IrqLock<T>,
    irq: IrqState,
    _not_send: PhantomData<*const ()>,
}

impl<T: ?Sized> Deref for IrqGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: (1) this guard holds the lock, so no other reference to the data exists.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for IrqGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: (1) as for `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for IrqGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        rank::release(self.lock.rank);
        self.lock.locked.store(false, Ordering::Release);
        crate::percpu::spin_exit();
        cpu::irq_restore(self.irq);
    }
}
