//! The lock order, written down and checked.
//!
//! Every lock has a [`Rank`]. A CPU may take a spinning lock only if its rank is higher than that of every spinning
//! lock it already holds; a task may take a sleeping lock only if its rank is higher than that of every lock the task
//! already holds, and never while it holds a spinning lock. Builds with debug assertions check both on every
//! acquisition and panic with the two names; other builds pay nothing.
//!
//! Two locks of one rank may be held together only through [`super::SpinLock::lock_nested`], whose caller says why that
//! cannot deadlock (usually: ordered by address).

/// Position of a lock in the order in which locks are taken: lower first.
///
/// Sleeping locks come first (they may be held while spinning locks are taken, never the reverse).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    // --- sleeping locks, outermost first ---
    /// Process tree, sessions and groups as sleeping users see them.
    Exec = 1,
    /// An open file's position, held around its reads and writes.
    FilePosition = 2,
    /// One file-system-wide rename.
    Rename = 3,
    /// A directory's contents while a name is looked up or changed.
    Directory = 4,
    /// An inode's data and attributes.
    Inode = 5,
    /// A pipe, a terminal or another stream whose reader copies to user memory.
    Stream = 6,
    /// An epoll instance.
    Epoll = 7,
    /// A mounted file system lets go of files that nobody has any more.
    Housekeeping = 8,
    /// A disk's changed files, while their list is gone through.
    Flush = 9,
    /// Holds a file's cached pages still while blocks under them are freed; a read of pages takes it too. After the locks
    /// that a copy of user memory may be made under, as the copy's faults read pages; before address spaces, from which
    /// pages are unmapped under it.
    Filling = 10,
    /// A process's address space.
    AddressSpace = 11,
    /// Pages of one object in memory (taken inside a page fault).
    PageCache = 12,
    /// A mounted file system's metadata; held while its disk is waited for.
    Volume = 13,
    /// A journal or a device queue that sleeps.
    Device = 14,
    /// Any other sleeping lock that takes no sleeping lock inside.
    SleepLeaf = 15,

    // --- spinning locks, outermost first ---
    /// The table of processes and threads, parents, sessions and groups.
    ProcessTable = 20,
    /// One process.
    Process = 21,
    /// Signal state of a process.
    Signal = 22,
    /// Descriptor table.
    Files = 23,
    /// Mount table and directory-entry cache.
    Mounts = 24,
    /// Small attributes of an inode.
    InodeAttr = 25,
    /// Network sockets' tables.
    Sockets = 26,
    /// The network stack.
    Net = 27,
    /// A network device's queues.
    NetDevice = 28,
    /// Terminal state shared with the interrupt.
    Tty = 29,
    /// Readiness observers of one file.
    Pollee = 30,
    /// Ready list of an epoll instance.
    EpollReady = 31,
    /// Futex hash bucket.
    Futex = 32,
    /// Page-table of one address space.
    PageTable = 33,
    /// Requests of a disk that wait or are under way.
    Block = 34,
    /// A disk's rings, shared with its interrupt.
    BlockDevice = 35,
    /// Addresses and state of one socket.
    Socket = 39,
    /// State that takes no other lock but those below.
    Leaf = 40,
    /// Waiters of one object.
    WaitQueue = 41,
    /// One CPU's run queue.
    RunQueue = 42,
    /// Timers of one CPU; the run queue sets the end of a slice.
    Timers = 43,
    /// ASID allocator.
    Asid = 44,
    /// Kernel virtual address space.
    KernelSpace = 45,
    /// Kernel heap.
    Heap = 46,
    /// Page frames.
    Frames = 47,
    /// Pool of pre-zeroed frames.
    Pool = 48,
    /// Interrupt controller.
    Irq = 51,
    /// Kernel log ring.
    Log = 52,
    /// Console output.
    Console = 53,
    /// What else shows the console's output.
    Mirror = 54,
}

#[cfg(debug_assertions)]
mod check {
    use super::Rank;
    use crate::percpu;

    /// Records an acquisition; panics when it breaks the order.
    pub(crate) fn acquire(rank: Rank, nested: bool) {
        let Some(cpu) = percpu::try_get() else { return };
        let held = cpu.held_ranks();
        if let Some(top) = held.iter().rev().find(|r| **r != 0)
            && (if nested { *top > rank as u8 } else { *top >= rank as u8 })
        {
            panic!(
                "lock order: {rank:?} ({}) taken while a lock of rank {} is held",
                rank as u8, top
            );
        }
        cpu.push_rank(rank as u8);
    }

    /// Forgets an acquisition.
    pub(crate) fn release(rank: Rank) {
        if let Some(cpu) = percpu::try_get() {
            cpu.pop_rank(rank as u8);
        }
    }
}

#[cfg(debug_assertions)]
pub(crate) use check::{acquire, release};

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn acquire(_rank: Rank, _nested: bool) {}
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn release(_rank: Rank) {}
