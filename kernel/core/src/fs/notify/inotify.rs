//! An inotify instance: watches and a queue of events that is read.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};

use sis_machine::sync::{Mutex, Rank, SpinLock};

use super::event::{Event, IN_ALL_EVENTS, IN_EXCL_UNLINK, IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT, Queue};
use crate::fs::file::{File, IoFlags};
use crate::fs::inode::{Inode, split_dev};
use crate::fs::path::Path;
use crate::poll::{Events, PollTable};
use crate::user::{Sink, UserPtr};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// Most instances of a user (fs.inotify.max_user_instances).
pub const MAX_INSTANCES: u32 = 128;
/// Most watches of a user (fs.inotify.max_user_watches).
pub const MAX_WATCHES: u32 = 8192;
/// FIONREAD.
const FIONREAD: u32 = 0x541b;

/// What a user has.
#[derive(Clone, Copy, Default)]
struct Usage {
    instances: u32,
    watches: u32,
}

static USERS: SpinLock<BTreeMap<u32, Usage>> = SpinLock::new(Rank::Leaf, BTreeMap::new());

fn take_watch(uid: u32) -> Result<()> {
    let mut users = USERS.lock();
    let usage = users.entry(uid).or_default();
    if usage.watches >= MAX_WATCHES {
        return Err(Errno::ENOSPC);
    }
    usage.watches += 1;
    Ok(())
}

fn give_watch(uid: u32) {
    if let Some(usage) = USERS.lock().get_mut(&uid) {
        usage.watches = usage.watches.saturating_sub(1);
    }
}

/// One instance's interest in one inode, which it keeps alive (but not the mount).
pub struct Watch {
    /// Its number.
    pub(super) wd: i32,
    pub(super) inode: Arc<dyn Inode>,
    /// Of its file system.
    pub(super) device: u64,
    /// Events, IN_ONESHOT and IN_EXCL_UNLINK.
    pub(super) mask: AtomicU32,
    instance: Weak<Inotify>,
}

impl Watch {
    /// Queues an event, if the watch still stands.
    pub(super) fn tell(self: &Arc<Self>, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(instance) = self.instance.upgrade() else {
            return;
        };
        {
            let mut state = instance.state.lock();
            if !state.watches.get(&self.wd).is_some_and(|w| Arc::ptr_eq(w, self)) {
                return;
            }
            let event = Event::new(self.wd, mask, cookie, name.unwrap_or_default());
            state.queue.push(event);
        }
        instance.readers.wake_all(Events::READ);
    }

    /// Ends it, and says so; nothing if it has ended already.
    pub(super) fn end(self: &Arc<Self>) {
        if let Some(instance) = self.instance.upgrade() {
            instance.end(self);
        }
    }
}

struct State {
    watches: BTreeMap<i32, Arc<Watch>>,
    /// The number that the last watch got: numbers are not used again soon.
    last_wd: i32,
    queue: Queue,
}

/// An instance.
pub struct Inotify {
    state: SpinLock<State>,
    /// Held while a watch is added: an inode has one of an instance.
    adding: Mutex<()>,
    readers: Arc<WaitQueue>,
    /// Whose limits count.
    uid: u32,
    me: Weak<Self>,
}

impl Inotify {
    /// Without watches.
    ///
    /// # Errors
    /// `EMFILE` when the user has too many.
    pub fn new(uid: u32) -> Result<Arc<Self>> {
        {
            let mut users = USERS.lock();
            let usage = users.entry(uid).or_default();
            if usage.instances >= MAX_INSTANCES {
                return Err(Errno::EMFILE);
            }
            usage.instances += 1;
        }
        Ok(Arc::new_cyclic(|me| Self {
            state: SpinLock::new(
                Rank::Leaf,
                State {
                    watches: BTreeMap::new(),
                    last_wd: 0,
                    queue: Queue::new(),
                },
            ),
            adding: Mutex::new(Rank::SleepLeaf, ()),
            readers: Arc::new(WaitQueue::new()),
            uid,
            me: me.clone(),
        }))
    }

    /// Watches a file, or changes what is watched of it; the watch's number.
    ///
    /// # Errors
    /// `EEXIST` with IN_MASK_CREATE for a file that is watched, `ENOSPC` when the user has too many watches.
    pub fn add(&self, path: &Path, mask: u32) -> Result<i32> {
        let kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
        let _adding = self.adding.lock();
        let existing = super::watches_of(path.inode(), |_| true)
            .into_iter()
            .find(|w| Weak::ptr_eq(&w.instance, &self.me));
        if let Some(watch) = existing {
            if mask & IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            if mask & IN_MASK_ADD != 0 {
                watch.mask.fetch_or(kept, Ordering::Relaxed);
            } else {
                watch.mask.store(kept, Ordering::Relaxed);
            }
            return Ok(watch.wd);
        }
        take_watch(self.uid)?;
        let watch = {
            let mut state = self.state.lock();
            let mut wd = state.last_wd;
            // There are fewer watches than numbers.
            loop {
                wd = wd.checked_add(1).unwrap_or(1);
                if !state.watches.contains_key(&wd) {
                    break;
                }
            }
            let watch = Arc::new(Watch {
                wd,
                inode: path.inode().clone(),
                device: path.mount.superblock().fs().device(),
                mask: AtomicU32::new(kept),
                instance: self.me.clone(),
            });
            state.last_wd = wd;
            state.watches.insert(wd, watch.clone());
            watch
        };
        super::insert(&watch);
        Ok(watch.wd)
    }

    /// Ends a watch; `EINVAL` when there is none of that number.
    pub fn remove(&self, wd: i32) -> Result<()> {
        let watch = self.state.lock().watches.get(&wd).cloned().ok_or(Errno::EINVAL)?;
        self.end(&watch);
        Ok(())
    }

    fn end(&self, watch: &Arc<Watch>) {
        let gone = {
            let mut state = self.state.lock();
            if !state.watches.get(&watch.wd).is_some_and(|w| Arc::ptr_eq(w, watch)) {
                return;
            }
            let gone = state.watches.remove(&watch.wd);
            let (wd, mask) = super::ignored(watch);
            state.queue.push(Event::new(wd, mask, 0, b""));
            gone
        };
        super::take_out(watch);
        give_watch(self.uid);
        drop(gone);
        self.readers.wake_all(Events::READ);
    }

    /// The first event if it fits into `room` bytes: none when there is none, `EINVAL` when it does not fit.
    fn take(&self, room: usize) -> Option<Result<Event>> {
        let mut state = self.state.lock();
        if state.queue.first_bytes()? > room {
            return Some(Err(Errno::EINVAL));
        }
        state.queue.pop().map(Ok)
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = core::mem::take(&mut self.state.lock().watches);
        for watch in watches.values() {
            super::take_out(watch);
        }
        let mut users = USERS.lock();
        if let Some(usage) = users.get_mut(&self.uid) {
            usage.instances = usage.instances.saturating_sub(1);
            usage.watches = usage
                .watches
                .saturating_sub(u32::try_from(watches.len()).unwrap_or(u32::MAX));
            if usage.instances == 0 {
                users.remove(&self.uid);
            }
        }
        drop(users);
    }
}

impl File for Inotify {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        let mut done = 0;
        loop {
            let room = to.remaining();
            let event = match self.take(room) {
                Some(Err(_)) | None if done > 0 => return Ok(done),
                Some(taken) => taken?,
                None if flags.nonblock => return Err(Errno::EAGAIN),
                None => self.readers.wait(|| self.take(room))??,
            };
            done += to.put(&event.encode())?;
        }
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.readers);
        }
        if self.state.lock().queue.is_empty() {
            Events::empty()
        } else {
            Events::READ
        }
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.readers.observe(observer)])
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = i32::try_from(self.state.lock().queue.bytes()).unwrap_or(i32::MAX);
        UserPtr::<i32>::new(argument).write(&n)?;
        Ok(0)
    }

    fn describe(&self) -> String {
        String::from("anon_inode:inotify")
    }

    fn fdinfo(&self) -> String {
        let watches: Vec<_> = self.state.lock().watches.values().cloned().collect();
        let mut out = String::new();
        for w in watches {
            // Linux's own numbers of devices inside the kernel: 20 bits of minor.
            let (major, minor) = split_dev(w.device);
            let device = (major << 20) | minor;
            let (ino, mask) = (w.inode.metadata().ino, w.mask.load(Ordering::Relaxed));
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "inotify wd:{:x} ino:{ino:x} sdev:{device:x} mask:{mask:x} ignored_mask:0 ",
                w.wd
            );
        }
        out
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
