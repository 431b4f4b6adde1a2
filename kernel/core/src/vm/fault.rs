//! Page faults.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_autonomy::mem::Latency;
use sis_machine::mm::frames::{self, Frame};
use sis_machine::mm::uspace::Prot;

use super::area::Backing;
use super::{Inner, PAGE, PageSource, Vm};
use crate::fs::cache;
use crate::process::thread;
use crate::{Errno, sched, time};

/// What the thread was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Exec,
}

/// Why a fault was not mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there (SIGSEGV, SEGV_MAPERR).
    Unmapped,
    /// The area forbids it (SIGSEGV, SEGV_ACCERR).
    Forbidden,
    /// The object has no such page (SIGBUS, BUS_ADRERR).
    NoPage,
    /// There is no memory: kill something and try again.
    NoMemory,
}

static COW: AtomicU64 = AtomicU64::new(0);
static TIME_NS: AtomicU64 = AtomicU64::new(0);
/// Faults by latency, in the buckets of [`Latency`].
static BY_LATENCY: [AtomicU64; Latency::BUCKETS] = [const { AtomicU64::new(0) }; Latency::BUCKETS];

/// Page faults since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultStats {
    /// Mended.
    pub count: u64,
    /// Of those, copies on write.
    pub copy_on_write: u64,
    /// Time spent, in nanoseconds.
    pub total_ns: u64,
    /// How the latencies are spread.
    pub latency: Latency,
}

/// Page faults since boot.
pub fn stats() -> FaultStats {
    let counts = core::array::from_fn(|i| BY_LATENCY.get(i).map_or(0, |l| l.load(Ordering::Relaxed)));
    let total_ns = TIME_NS.load(Ordering::Relaxed);
    let latency = Latency::from_counts(total_ns, &counts);
    FaultStats {
        count: latency.count(),
        copy_on_write: COW.load(Ordering::Relaxed),
        total_ns,
        latency,
    }
}

impl Vm {
    /// Mends a fault at `address`, or says why not.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn handle_fault(&self, address: usize, access: Access) -> Result<(), Fault> {
        let begin = time::now_ns();
        let out = self.mend(address & !(PAGE - 1), access);
        if out.is_ok() {
            let ns = time::now_ns() - begin;
            TIME_NS.fetch_add(ns, Ordering::Relaxed);
            if let Some(l) = BY_LATENCY.get(Latency::bucket_of(ns)) {
                l.fetch_add(1, Ordering::Relaxed);
            }
            if frames::zero_pool_wants_filling() {
                sched::wake_for_zeroing();
            }
        }
        out
    }
}

/// Why a fault is not mended yet.
enum Stop {
    Fault(Fault),
    /// A page must be brought into memory first, which may take I/O.
    Absent {
        source: Arc<dyn PageSource>,
        index: u64,
        write: bool,
    },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// How often a page is brought in that is gone again when the lock is taken; then the program faults once more.
const TRIES: usize = 16;

impl Vm {
    /// No I/O is waited for under the space's lock: write-back takes that lock to protect pages.
    fn mend(&self, page: usize, access: Access) -> Result<(), Fault> {
        let mut kept = None;
        for _ in 0..TRIES {
            let stop = self.inner.lock().mend(page, access);
            match stop {
                Ok(()) => {
                    drop(kept);
                    if access == Access::Write {
                        cache::throttle();
                    }
                    return Ok(());
                }
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Absent { source, index, write }) => {
                    kept = Some(source.bring_in(index, write).map_err(to_fault)?);
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    fn mend(&mut self, page: usize, access: Access) -> Result<(), Stop> {
        let (start, area) = self.areas.find(page).ok_or(Fault::Unmapped)?;
        let p = area.protection;
        let allowed = match access {
            Access::Read => p.read || p.write || p.exec,
            Access::Write => p.write,
            Access::Exec => p.exec,
        };
        if !allowed {
            return Err(Fault::Forbidden.into());
        }
        let rights = p.to_table();
        let write = access == Access::Write;
        let index = ((page - start) / PAGE) as u64;
        if let Some((frame, now)) = self.space.query(page) {
            if now == rights || (now.read && !write && (access != Access::Exec || now.exec)) {
                // Another thread has mended it meanwhile.
                return Ok(());
            }
            return match &area.backing {
                Backing::Shared(source, first) if write => {
                    let new = source
                        .page(first + index, true)
                        .map_err(|e| stop(e, source, first + index, true))?;
                    drop(frame);
                    self.put(page, new, rights)
                }
                Backing::Shared(..) | Backing::Kernel(..) => {
                    self.space.protect_page(
                        page,
                        Prot {
                            write: now.write,
                            ..rights
                        },
                    );
                    Ok(())
                }
                _ if !write => {
                    self.space.protect_page(page, Prot { write: false, ..rights });
                    Ok(())
                }
                // Two references: the table's and `frame`.
                _ if frame.ref_count() == 2 => {
                    self.space.protect_page(page, rights);
                    Ok(())
                }
                _ => {
                    COW.fetch_add(1, Ordering::Relaxed);
                    let new = Frame::alloc_user().ok_or(Fault::NoMemory)?;
                    new.copy_from(&frame);
                    drop(frame);
                    self.put(page, new, rights)
                }
            };
        }
        match &area.backing {
            Backing::Anonymous => {
                let frame = Frame::alloc_user_zeroed().ok_or(Fault::NoMemory)?;
                self.put(page, frame, rights)
            }
            Backing::Private(source, first) => {
                let frame = source
                    .page(first + index, false)
                    .map_err(|e| stop(e, source, first + index, false))?;
                if write {
                    let new = Frame::alloc_user().ok_or(Fault::NoMemory)?;
                    new.copy_from(&frame);
                    self.put(page, new, rights)
                } else {
                    self.put(page, frame, Prot { write: false, ..rights })
                }
            }
            Backing::Shared(source, first) => {
                let frame = source
                    .page(first + index, write)
                    .map_err(|e| stop(e, source, first + index, write))?;
                self.put(
                    page,
                    frame,
                    Prot {
                        write: rights.write && write,
                        ..rights
                    },
                )
            }
            Backing::Kernel(frames, _) => {
                let frame = frames.get(index as usize).cloned().ok_or(Fault::NoPage)?;
                self.put(page, frame, Prot { write: false, ..rights })
            }
        }
    }

    fn put(&mut self, page: usize, frame: Frame, rights: Prot) -> Result<(), Stop> {
        self.space
            .map(page, frame, rights)
            .map(drop)
            .map_err(|_| Fault::NoMemory.into())
    }
}

fn stop(e: Errno, source: &Arc<dyn PageSource>, index: u64, write: bool) -> Stop {
    if e == Errno::EAGAIN {
        Stop::Absent {
            source: source.clone(),
            index,
            write,
        }
    } else {
        to_fault(e).into()
    }
}

fn to_fault(e: Errno) -> Fault {
    if e == Errno::ENOMEM {
        Fault::NoMemory
    } else {
        Fault::NoPage
    }
}

/// A fault that the kernel took while it copied from or to the running thread's memory.
pub fn fault_from_kernel(address: usize, write: bool) -> bool {
    let Some(current) = thread::try_current() else {
        return false;
    };
    let Some(vm) = current.process.vm() else { return false };
    let access = if write { Access::Write } else { Access::Read };
    loop {
        match vm.handle_fault(address, access) {
            Ok(()) => return true,
            Err(Fault::NoMemory) if !current.kill_pending() => {
                if !crate::process::oom_kill() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}
