//! Readiness of files, for poll, select, epoll and blocking calls.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::wait::{Registration, WaitQueue};

bitflags::bitflags! {
    /// What a file is ready for: the bits of poll(2), which epoll(7) shares.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// Reading does not block.
        const IN = 0x001;
        /// Exceptional data.
        const PRI = 0x002;
        /// Writing does not block.
        const OUT = 0x004;
        /// Error.
        const ERR = 0x008;
        /// Hung up.
        const HUP = 0x010;
        /// Invalid descriptor.
        const NVAL = 0x020;
        /// Normal data.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// Normal data can be written.
        const WRNORM = 0x100;
        /// Priority data can be written.
        const WRBAND = 0x200;
        /// The peer shut down writing.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// Readable.
    pub const READ: Self = Self::IN.union(Self::RDNORM);
    /// Writable.
    pub const WRITE: Self = Self::OUT.union(Self::WRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP).union(Self::NVAL);
}

/// Queues that the running task is on while it polls several files.
#[derive(Default)]
pub struct PollTable {
    registrations: Vec<Registration>,
}

impl PollTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the running task on `queue` until the table is dropped. Call before looking at the state.
    pub fn watch(&mut self, queue: &Arc<WaitQueue>) {
        self.registrations.push(queue.register_current());
    }

    /// Leaves every queue.
    pub fn clear(&mut self) {
        self.registrations.clear();
    }
}
