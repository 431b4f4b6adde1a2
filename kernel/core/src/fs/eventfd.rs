//! eventfd(2): a counter that can be waited for.

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};

use super::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::user::{Sink, Source};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// The largest value of the counter.
const MAX: u64 = u64::MAX - 1;

/// An eventfd.
pub struct EventFd {
    count: AtomicU64,
    is_semaphore: bool,
    queue: Arc<WaitQueue>,
}

impl EventFd {
    /// With a first value; `is_semaphore`: a read takes one.
    pub fn new(count: u64, is_semaphore: bool) -> Self {
        Self {
            count: AtomicU64::new(count),
            is_semaphore,
            queue: Arc::new(WaitQueue::new()),
        }
    }

    /// Takes what a read gets; none while the counter is 0.
    fn take(&self) -> Option<u64> {
        let after = |n: u64| match n {
            0 => None,
            _ if self.is_semaphore => Some(n - 1),
            _ => Some(0),
        };
        let before = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, after)
            .ok()?;
        Some(if self.is_semaphore { 1 } else { before })
    }

    /// Adds, if there is room.
    fn add(&self, n: u64) -> Option<()> {
        let after = |c: u64| c.checked_add(n).filter(|c| *c <= MAX);
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, after)
            .ok()
            .map(drop)
    }
}

impl File for EventFd {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        if to.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let n = match self.take() {
            Some(n) => n,
            None if flags.nonblock => return Err(Errno::EAGAIN),
            None => self.queue.wait(|| self.take())?,
        };
        self.queue.wake_all(Events::WRITE);
        to.put(&n.to_le_bytes())
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        if from.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0u8; 8];
        if from.take(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        let n = u64::from_le_bytes(bytes);
        if n == u64::MAX {
            return Err(Errno::EINVAL);
        }
        match self.add(n) {
            Some(()) => {}
            None if flags.nonblock => return Err(Errno::EAGAIN),
            None => self.queue.wait(|| self.add(n))?,
        }
        self.queue.wake_all(Events::READ);
        Ok((8, offset))
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.queue);
        }
        let n = self.count.load(Ordering::SeqCst);
        let mut events = Events::empty();
        if n > 0 {
            events |= Events::READ;
        }
        if n < MAX {
            events |= Events::WRITE;
        }
        events
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.queue.observe(observer)])
    }

    fn describe(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }

    fn fdinfo(&self) -> String {
        alloc::format!("eventfd-count: {:16x}\n", self.count.load(Ordering::SeqCst))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
