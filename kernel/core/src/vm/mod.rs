//! Users' address spaces.
//!
//! A [`Vm`] is a set of *areas*, ranges of pages of one kind and one protection, over page tables
//! ([`sis_machine::mm::uspace`]) that are filled on demand. A page of a private area is writable in the tables only while
//! nobody else has its frame; the first store by one of several owners copies it (*copy on write*).

mod area;
mod fault;
mod map;
mod peek;
mod pin;
mod shared;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::mm::frames::{self, Frame};
use sis_machine::mm::uspace::{AddressSpace, SpaceHandle};
use sis_machine::sync::{Mutex, Rank};

pub use area::{Backing, Protection};
pub use fault::{Access, Fault, fault_from_kernel, stats as fault_stats};
pub use map::{MapRequest, Place, Rules, most_areas, shared_anonymous};
pub use pin::pin;

use crate::{Errno, Result};
use area::Areas;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// First address that programs may map (vm.mmap_min_addr).
pub const LOWEST: usize = 0x10000;
/// One past the last address that programs may use.
pub const HIGHEST: usize = sis_machine::mm::USER_END;

/// The pages of something that can be mapped: a file's page cache, a shared memory object, a device.
pub trait PageSource: Send + Sync {
    /// Page `index` (of 4096 bytes). `write`: the mapper is about to write through a shared mapping, so a hole must get
    /// a page of its own. `EFAULT`-like answers become SIGBUS: past the end of the file, no space, I/O error.
    fn page(&self, index: u64, write: bool) -> Result<Frame>;

    /// Bytes, now.
    fn size(&self) -> u64;

    /// Name shown in /proc/PID/maps; an absolute path or `[name]`.
    fn name(&self) -> String;

    /// Device and inode number, for /proc/PID/maps and for shared futex keys.
    fn identity(&self) -> (u64, u64);
}

/// What the lock of a [`Vm`] protects.
struct Inner {
    space: AddressSpace,
    areas: Areas,
    /// Where the heap begins and ends (brk(2)).
    brk_start: usize,
    brk: usize,
    /// Mappings are placed below this.
    mmap_top: usize,
    /// Where the vDSO was mapped.
    vdso: usize,
}

/// A user address space, shared by the threads of a process (CLONE_VM).
pub struct Vm {
    handle: SpaceHandle,
    inner: Mutex<Inner>,
}

impl Vm {
    /// An empty space.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        let space = AddressSpace::new().ok_or(Errno::ENOMEM)?;
        let handle = space.handle();
        let inner = Inner {
            space,
            areas: Areas::new(),
            brk_start: 0,
            brk: 0,
            mmap_top: HIGHEST - (1 << 30),
            vdso: 0,
        };
        Ok(Arc::new(Self {
            handle,
            inner: Mutex::new(Rank::AddressSpace, inner),
        }))
    }

    /// A copy for fork(2): private pages are shared until one side writes them.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn fork(&self) -> Result<Arc<Self>> {
        let child = Self::new()?;
        let mut from = self.inner.lock();
        let from = &mut *from;
        {
            // A new space: nobody else can hold its lock, and the parent's comes first.
            let mut to = child.inner.lock();
            let to = &mut *to;
            to.brk_start = from.brk_start;
            to.brk = from.brk;
            to.mmap_top = from.mmap_top;
            to.vdso = from.vdso;
            let mut out = Ok(());
            for (start, area) in from.areas.iter() {
                if area.is_left_out_of_fork() {
                    continue;
                }
                // An area is a heap object, which cannot be refused: there are as many as the program likes.
                if frames::free_frames() <= frames::reserve_frames() {
                    out = Err(Errno::ENOMEM);
                    break;
                }
                to.areas.insert(start, area.clone());
                let cow = !area.is_shared();
                if from.space.share_range(&mut to.space, start, area.end, cow).is_err() {
                    out = Err(Errno::ENOMEM);
                    break;
                }
            }
            from.space.flush_all();
            out?;
        }
        Ok(child)
    }

    /// Makes this CPU see it.
    #[inline]
    pub fn activate(&self) {
        self.handle.activate();
    }

    /// Pages that have a frame.
    pub fn resident_pages(&self) -> usize {
        self.inner.lock().space.resident_pages()
    }

    /// Pages that the kernel needs to know the space: tables and areas.
    pub fn kernel_pages(&self) -> usize {
        /// About how many areas a page of the heap describes.
        const AREAS_IN_PAGE: usize = 24;
        let inner = self.inner.lock();
        inner.space.table_pages() + inner.areas.len() / AREAS_IN_PAGE
    }

    /// Pages of all areas, and of those that are private and writable.
    pub fn size_pages(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let mut out = (0, 0);
        for (start, area) in inner.areas.iter() {
            let n = (area.end - start) / PAGE;
            out.0 += n;
            if !area.is_shared() && area.protection.write {
                out.1 += n;
            }
        }
        out
    }

    /// Its areas, in order, for /proc/PID/maps.
    pub fn maps(&self) -> Vec<MapLine> {
        let inner = self.inner.lock();
        inner
            .areas
            .iter()
            .map(|(start, area)| MapLine {
                start,
                end: area.end,
                protection: area.protection,
                is_shared: area.is_shared(),
                offset: area.file_offset(),
                identity: area.identity(),
                name: if start == inner.brk_start && inner.brk > start {
                    String::from("[heap]")
                } else {
                    area.name()
                },
            })
            .collect()
    }

    /// What a shared futex at `address` is a word of: an object's identity and the offset inside it; `None` for private
    /// memory.
    pub fn shared_key(&self, address: usize) -> Option<((u64, u64), u64)> {
        let inner = self.inner.lock();
        let (start, area) = inner.areas.find(address)?;
        if !area.is_shared() {
            return None;
        }
        Some((area.identity(), area.file_offset() + (address - start) as u64))
    }

    /// Address of the vDSO's ELF header (AT_SYSINFO_EHDR); 0 when it is not mapped.
    pub fn vdso_base(&self) -> usize {
        self.inner.lock().vdso
    }

    /// Address of the vDSO's signal trampoline.
    pub fn vdso_sigreturn(&self) -> usize {
        match (self.vdso_base(), sis_machine::vdso::get()) {
            (0, _) | (_, None) => 0,
            (base, Some(v)) => base + v.sigreturn,
        }
    }
}

/// A line of /proc/PID/maps.
#[derive(Clone, Debug)]
pub struct MapLine {
    /// First address.
    pub start: usize,
    /// One past the last.
    pub end: usize,
    /// What the program may do.
    pub protection: Protection,
    /// Stores are seen by others that map the same object.
    pub is_shared: bool,
    /// Offset of the first byte in the object.
    pub offset: u64,
    /// Device and inode number; zeros for anonymous memory.
    pub identity: (u64, u64),
    /// Path or `[name]`; empty for anonymous memory.
    pub name: String,
}
