//! Descriptor tables.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};

use super::file::OpenFile;
use super::locks;
use crate::{Errno, Result};

/// One descriptor.
#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    close_on_exec: bool,
}

/// A table of descriptors, shared by threads (CLONE_FILES).
pub struct FdTable {
    slots: SpinLock<Slots>,
}

#[derive(Clone)]
struct Slots {
    all: Vec<Option<Slot>>,
    /// Every slot below is in use.
    low: usize,
}

impl Slots {
    const fn new() -> Self {
        Self {
            all: Vec::new(),
            low: 0,
        }
    }

    fn get(&self, at: usize) -> Option<&Slot> {
        self.all.get(at).and_then(Option::as_ref)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Slot> {
        self.all.get_mut(at).and_then(Option::as_mut)
    }

    /// Fills a slot, growing the table to it; what was there.
    fn put(&mut self, at: usize, slot: Slot) -> Option<Slot> {
        if at >= self.all.len() {
            self.all.resize(at + 1, None);
        }
        if at == self.low {
            self.low += 1;
        }
        self.all.get_mut(at).and_then(|s| s.replace(slot))
    }

    fn take(&mut self, at: usize) -> Option<Slot> {
        let gone = self.all.get_mut(at).and_then(Option::take);
        if gone.is_some() {
            self.low = self.low.min(at);
        }
        gone
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        locks::table_dropped(core::ptr::from_ref(self).addr());
    }
}

impl Default for FdTable {
    fn default() -> Self {
        Self::new()
    }
}

impl FdTable {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            slots: SpinLock::new(Rank::Files, Slots::new()),
        }
    }

    /// A copy for fork(2): same descriptions.
    pub fn duplicate(&self) -> Self {
        Self {
            slots: SpinLock::new(Rank::Files, self.slots.lock().clone()),
        }
    }

    /// The description behind `fd`; `EBADF`.
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.slots.lock().get(index).map(|s| s.file.clone()).ok_or(Errno::EBADF)
    }

    /// Puts a description at the lowest free descriptor from `from`, below `limit` (RLIMIT_NOFILE); `EMFILE`.
    pub fn insert(&self, file: Arc<OpenFile>, close_on_exec: bool, from: usize, limit: usize) -> Result<i32> {
        let mut slots = self.slots.lock();
        let mut at = from.max(slots.low);
        while slots.get(at).is_some() {
            at += 1;
        }
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        let fd = i32::try_from(at).map_err(|_| Errno::EMFILE)?;
        if from <= slots.low {
            slots.low = at;
        }
        // The slot was free: nothing comes back.
        let old = slots.put(at, Slot { file, close_on_exec });
        drop(slots);
        drop(old);
        Ok(fd)
    }

    /// Puts a description at exactly `fd` and gives back what was there (drop it without locks); `EBADF` from `limit`.
    pub fn replace(
        &self,
        fd: i32,
        file: Arc<OpenFile>,
        close_on_exec: bool,
        limit: usize,
    ) -> Result<Option<Arc<OpenFile>>> {
        let at = usize::try_from(fd).ok().filter(|at| *at < limit).ok_or(Errno::EBADF)?;
        let old = self.slots.lock().put(at, Slot { file, close_on_exec });
        Ok(old.map(|s| s.file))
    }

    /// Takes a descriptor out; drop the result without locks. `EBADF`.
    pub fn remove(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.slots.lock().take(at).map(|s| s.file).ok_or(Errno::EBADF)
    }

    /// FD_CLOEXEC of a descriptor.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.slots.lock().get(at).map(|s| s.close_on_exec).ok_or(Errno::EBADF)
    }

    /// Sets FD_CLOEXEC of a descriptor.
    pub fn set_close_on_exec(&self, fd: i32, on: bool) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.slots.lock().get_mut(at).ok_or(Errno::EBADF)?.close_on_exec = on;
        Ok(())
    }

    /// Takes out what exec(2) closes; drop the result without locks.
    pub fn take_close_on_exec(&self) -> Vec<Arc<OpenFile>> {
        let mut slots = self.slots.lock();
        let mut out = Vec::new();
        for at in 0..slots.all.len() {
            if slots.get(at).is_some_and(|s| s.close_on_exec) {
                out.extend(slots.take(at).map(|s| s.file));
            }
        }
        out
    }

    /// Takes everything out, for exit; drop the result without locks.
    pub fn take_all(&self) -> Vec<Arc<OpenFile>> {
        let all = core::mem::replace(&mut *self.slots.lock(), Slots::new());
        all.all.into_iter().flatten().map(|s| s.file).collect()
    }

    /// Descriptors that it has room for now (FDSize).
    pub fn capacity(&self) -> usize {
        self.slots.lock().all.len().next_power_of_two().max(64)
    }

    /// The descriptors in use, in order.
    pub fn list(&self) -> Vec<(i32, Arc<OpenFile>)> {
        let slots = self.slots.lock();
        let named = |(i, s): (usize, &Option<Slot>)| Some((i32::try_from(i).ok()?, s.as_ref()?.file.clone()));
        slots.all.iter().enumerate().filter_map(named).collect()
    }
}
