//! epoll(7).
//!
//! An `Item` observes the wait queues of its file. A wake-up there puts it on the instance's list of what may be ready
//! and wakes who waits; who collects asks each file on the list again and keeps level-triggered items on it. Collecting
//! and changing items exclude each other through `items`, the list itself is shared with interrupts.
//!
//! An item does not keep its file open. Items of files that have been closed are dropped when they are met.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use sis_abi::poll::EpollEvent;
use sis_machine::sync::{IrqLock, Mutex, Rank, SpinLock};

use super::file::{File, OpenFile};
use crate::poll::{Events, PollTable};
use crate::time::Deadline;
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// Report one event, then nothing until the item is changed.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Edge-triggered.
pub const EPOLLET: u32 = 1 << 31;
/// Keep the system awake; it never sleeps.
pub const EPOLLWAKEUP: u32 = 1 << 29;
/// Wake at least one of several instances. They are all woken here.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// The modes of an item, without events.
const MODES: u32 = EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE;
/// Longest chain of instances that watch each other (EP_MAX_NESTS).
const NESTING_MAX: usize = 4;

type Key = (i32, usize);

struct Item {
    epoll: Weak<Epoll>,
    me: Weak<Item>,
    file: Weak<OpenFile>,
    fd: i32,
    interest: AtomicU32,
    data: AtomicU64,
    is_listed: AtomicBool,
    registrations: SpinLock<Vec<Registration>>,
}

impl Item {
    /// Events that it reports now; none when it is switched off.
    fn wanted(&self) -> Events {
        let events = self.interest.load(Ordering::SeqCst) & !MODES;
        if events == 0 {
            Events::empty()
        } else {
            Events::from_bits_truncate(events) | Events::ALWAYS
        }
    }

    /// Puts it on the list of what may be ready, and wakes. Nobody waits while something is listed.
    fn list(&self) {
        let Some(epoll) = self.epoll.upgrade() else { return };
        if !self.is_listed.swap(true, Ordering::SeqCst) {
            let Some(me) = self.me.upgrade() else { return };
            epoll.ready.lock().push_back(me);
            epoll.listed.fetch_add(1, Ordering::SeqCst);
            epoll.waiters.wake_one(Events::READ);
        }
        epoll.observers.wake_all(Events::READ);
    }
}

impl Observer for Item {
    fn notify(&self, events: Events) {
        let wanted = self.wanted();
        if !wanted.is_empty() && (events.is_empty() || events.intersects(wanted)) {
            self.list();
        }
    }
}

/// An epoll instance.
pub struct Epoll {
    items: Mutex<BTreeMap<Key, Arc<Item>>>,
    ready: IrqLock<VecDeque<Arc<Item>>>,
    /// Length of `ready`, looked at without the lock.
    listed: AtomicUsize,
    /// Tasks in epoll_wait.
    waiters: Arc<WaitQueue>,
    /// Who polls the instance itself.
    observers: Arc<WaitQueue>,
    me: Weak<Epoll>,
}

impl Epoll {
    /// An empty instance.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            items: Mutex::new(Rank::Epoll, BTreeMap::new()),
            ready: IrqLock::new(Rank::EpollReady, VecDeque::new()),
            listed: AtomicUsize::new(0),
            waiters: Arc::new(WaitQueue::new()),
            observers: Arc::new(WaitQueue::new()),
            me: me.clone(),
        })
    }

    /// The instance behind an open file; `EINVAL`.
    pub fn of(file: &OpenFile) -> Result<&Self> {
        file.ops.as_any().downcast_ref::<Self>().ok_or(Errno::EINVAL)
    }

    /// EPOLL_CTL_ADD. `EEXIST`, `ELOOP`, `EPERM` for files that are always ready.
    pub fn add(&self, fd: i32, file: &Arc<OpenFile>, event: &EpollEvent) -> Result<()> {
        if let Ok(inner) = Self::of(file) {
            if core::ptr::eq(inner, self) {
                return Err(Errno::EINVAL);
            }
            if event.events & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            if inner.depth(self, 0)? >= NESTING_MAX {
                return Err(Errno::ELOOP);
            }
        }
        let item = Arc::new_cyclic(|me| Item {
            epoll: self.me.clone(),
            me: me.clone(),
            file: Arc::downgrade(file),
            fd,
            interest: AtomicU32::new(event.events),
            data: AtomicU64::new(event.data),
            is_listed: AtomicBool::new(false),
            registrations: SpinLock::new(Rank::Leaf, Vec::new()),
        });
        let key = (fd, Arc::as_ptr(file).addr());
        {
            let mut items = self.items.lock();
            let closed: Vec<Key> = items
                .range((fd, 0)..=(fd, usize::MAX))
                .filter(|(_, i)| i.file.strong_count() == 0)
                .map(|(k, _)| *k)
                .collect();
            for k in closed {
                items.remove(&k);
            }
            if items.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            let weak: Weak<Item> = Arc::downgrade(&item);
            let registrations = file.ops.observe(weak)?;
            *item.registrations.lock() = registrations;
            items.insert(key, item.clone());
        }
        self.check(&item, file);
        Ok(())
    }

    /// EPOLL_CTL_MOD. `ENOENT`.
    pub fn modify(&self, fd: i32, file: &Arc<OpenFile>, event: &EpollEvent) -> Result<()> {
        let items = self.items.lock();
        let item = items.get(&(fd, Arc::as_ptr(file).addr())).ok_or(Errno::ENOENT)?.clone();
        if (item.interest.load(Ordering::SeqCst) | event.events) & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.data.store(event.data, Ordering::SeqCst);
        item.interest.store(event.events, Ordering::SeqCst);
        drop(items);
        self.check(&item, file);
        Ok(())
    }

    /// EPOLL_CTL_DEL. `ENOENT`.
    pub fn remove(&self, fd: i32, file: &Arc<OpenFile>) -> Result<()> {
        let item = self
            .items
            .lock()
            .remove(&(fd, Arc::as_ptr(file).addr()))
            .ok_or(Errno::ENOENT)?;
        item.interest.store(0, Ordering::SeqCst);
        let registrations = core::mem::take(&mut *item.registrations.lock());
        drop(registrations);
        Ok(())
    }

    /// Lists an item if its file is ready now.
    fn check(&self, item: &Item, file: &OpenFile) {
        if file.ops.poll(None).intersects(item.wanted()) {
            item.list();
        }
    }

    /// How deep the instances below this one are nested; `ELOOP` when `top` is among them.
    fn depth(&self, top: &Self, so_far: usize) -> Result<usize> {
        if core::ptr::eq(self, top) || so_far > NESTING_MAX {
            return Err(Errno::ELOOP);
        }
        let below: Vec<Arc<OpenFile>> = self.items.lock().values().filter_map(|i| i.file.upgrade()).collect();
        let mut deepest = 0;
        for file in below {
            if let Ok(inner) = Self::of(&file) {
                deepest = deepest.max(inner.depth(top, so_far + 1)?);
            }
        }
        Ok(deepest + 1)
    }

    /// Hands what is ready to `emit`, at most `most`; answers how many. Level-triggered items stay listed, behind those
    /// not yet asked. What `emit` refuses stays listed, and its error counts if it was the first.
    fn collect(&self, most: usize, emit: &mut dyn FnMut(usize, &EpollEvent) -> Result<()>) -> Result<usize> {
        let mut items = self.items.lock();
        let mut batch = self.listed.load(Ordering::SeqCst);
        let mut done = 0;
        while done < most && batch > 0 {
            batch -= 1;
            let Some(item) = self.ready.lock().pop_front() else {
                break;
            };
            self.listed.fetch_sub(1, Ordering::SeqCst);
            // From here on a wake-up lists it again.
            item.is_listed.store(false, Ordering::SeqCst);
            let wanted = item.wanted();
            if wanted.is_empty() {
                continue;
            }
            let Some(file) = item.file.upgrade() else {
                items.remove(&(item.fd, item.file.as_ptr().addr()));
                continue;
            };
            let found = file.ops.poll(None) & wanted;
            if found.is_empty() {
                continue;
            }
            let event = EpollEvent {
                events: found.bits(),
                data: item.data.load(Ordering::SeqCst),
            };
            if let Err(e) = emit(done, &event) {
                self.relist(item);
                return if done > 0 { Ok(done) } else { Err(e) };
            }
            done += 1;
            let interest = item.interest.load(Ordering::SeqCst);
            if interest & EPOLLONESHOT != 0 {
                item.interest.fetch_and(MODES, Ordering::SeqCst);
            } else if interest & EPOLLET == 0 {
                self.relist(item);
            }
        }
        drop(items);
        Ok(done)
    }

    fn relist(&self, item: Arc<Item>) {
        if !item.is_listed.swap(true, Ordering::SeqCst) {
            self.ready.lock().push_back(item);
            self.listed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// epoll_wait(2): hands up to `most` events with their places to `emit`, waiting at most until `deadline` for the
    /// first; answers how many. `EINTR`.
    pub fn wait(
        &self,
        most: usize,
        deadline: Deadline,
        emit: &mut dyn FnMut(usize, &EpollEvent) -> Result<()>,
    ) -> Result<usize> {
        loop {
            if self.listed.load(Ordering::SeqCst) > 0 {
                let n = self.collect(most, emit)?;
                if n > 0 {
                    // Another waiter may take what did not fit.
                    if self.listed.load(Ordering::SeqCst) > n {
                        self.waiters.wake_one(Events::READ);
                    }
                    return Ok(n);
                }
            }
            if deadline.has_passed() {
                return Ok(0);
            }
            match self
                .waiters
                .wait_until(deadline, || (self.listed.load(Ordering::SeqCst) > 0).then_some(()))
            {
                Ok(()) | Err(Errno::ETIMEDOUT) => {}
                Err(Errno::ERESTARTSYS) => return Err(Errno::EINTR),
                Err(e) => return Err(e),
            }
        }
    }
}

impl File for Epoll {
    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.observers);
        }
        if self.listed.load(Ordering::SeqCst) == 0 {
            return Events::empty();
        }
        // A listed item may have lost its readiness meanwhile: only an event that would be collected counts.
        let candidates: Vec<Arc<Item>> = self.ready.lock().iter().cloned().collect();
        let is_ready = |i: &Arc<Item>| {
            i.file
                .upgrade()
                .is_some_and(|f| f.ops.poll(None).intersects(i.wanted()))
        };
        if candidates.iter().any(is_ready) {
            Events::READ
        } else {
            Events::empty()
        }
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.observers.observe(observer)])
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }

    fn fdinfo(&self) -> String {
        let mut out = String::new();
        for item in self.items.lock().values() {
            let (events, data) = (item.interest.load(Ordering::SeqCst), item.data.load(Ordering::SeqCst));
            let _ = writeln!(out, "tfd: {:8} events: {events:8x} data: {data:16x}", item.fd);
        }
        out
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
