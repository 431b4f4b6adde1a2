//! Users' page tables.
//!
//! An [`AddressSpace`] owns its tables and a reference to every frame that it maps. Its methods take `&mut self`: the
//! owner above holds a lock. Other CPUs may run threads of the space meanwhile; translations that go away are
//! invalidated on all of them before the frames are given back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::frames::{self, Frame};
use super::{PAGE_SHIFT, PAGE_SIZE, USER_END, linear};
use crate::sync::{IrqLock, Rank};
use crate::{cpu, percpu};

const VALID: u64 = 1;
const TABLE: u64 = 3;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const USER: u64 = 1 << 6;
const RO: u64 = 1 << 7;
const INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const NORMAL: u64 = 1 << 2;

/// Software bit of an entry that holds a frame which nobody may touch (PROT_NONE).
const HELD: u64 = 1 << 58;
const PRESENT: u64 = VALID | HELD;

/// What a user may do with a page. Stores and instruction fetches imply loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches. Not together with `write`.
    pub exec: bool,
}

impl Prot {
    /// Nothing; the frame is kept.
    pub const NONE: Self = Self {
        read: false,
        write: false,
        exec: false,
    };
    /// Loads only.
    pub const READ: Self = Self {
        read: true,
        write: false,
        exec: false,
    };
    /// Loads and stores.
    pub const WRITE: Self = Self {
        read: true,
        write: true,
        exec: false,
    };
    /// Loads and instruction fetches.
    pub const EXEC: Self = Self {
        read: true,
        write: false,
        exec: true,
    };

    fn bits(self) -> u64 {
        let mut bits = 2 | USER | INNER | AF | NOT_GLOBAL | NORMAL | PXN;
        bits |= if self.read || self.write || self.exec {
            VALID
        } else {
            HELD
        };
        if !self.write {
            bits |= RO;
        }
        if !self.exec {
            bits |= UXN;
        }
        bits
    }

    fn of(entry: u64) -> Self {
        Self {
            read: entry & VALID != 0,
            write: entry & RO == 0,
            exec: entry & UXN == 0,
        }
    }
}

/// There is no memory for a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

struct Asids {
    used: Vec<u64>,
    hint: usize,
}

static ASIDS: IrqLock<Asids> = IrqLock::new(
    Rank::Asid,
    Asids {
        used: Vec::new(),
        hint: 0,
    },
);

fn asid_count() -> usize {
    if (crate::cpu::id_aa64mmfr0() >> 4) & 0xf == 2 {
        65536
    } else {
        256
    }
}

fn take_asid() -> Option<u16> {
    let mut a = ASIDS.lock();
    let words = asid_count() / 64;
    if a.used.is_empty() {
        a.used = alloc::vec![0; words];
        // ASID 0 belongs to no space.
        a.used[0] = 1;
    }
    for i in 0..words {
        let w = (a.hint + i) % words;
        if a.used[w] != u64::MAX {
            let bit = a.used[w].trailing_ones();
            a.used[w] |= 1 << bit;
            a.hint = w;
            return Some((w * 64 + bit as usize) as u16);
        }
    }
    None
}

fn give_asid(asid: u16) {
    // SAFETY: (1) drops translations of a space that no CPU runs any more.
    unsafe {
        core::arch::asm!("dsb ishst", "tlbi aside1is, {0}", "dsb ish", in(reg) u64::from(asid) << 48, options(nostack));
    }
    let mut a = ASIDS.lock();
    a.used[usize::from(asid) / 64] &= !(1 << (asid % 64));
}

/// The top table and the ASID: what a CPU needs to run in a space. A CPU keeps a reference to the one that is active, so
/// neither is reused under it.
struct Root {
    frame: Frame,
    asid: u16,
}

impl Drop for Root {
    fn drop(&mut self) {
        TABLES.fetch_sub(1, Ordering::Relaxed);
        give_asid(self.asid);
    }
}

/// What makes an address space active. Outlives the space: activating it then shows no memory at all.
#[derive(Clone)]
pub struct SpaceHandle(Arc<Root>);

impl SpaceHandle {
    /// Makes the space the one that EL0 and user copies of this CPU see, until another is activated.
    pub fn activate(&self) {
        let irq = cpu::irq_save();
        // SAFETY: (1) this CPU's slot, interrupts masked.
        let slot = unsafe { &mut *percpu::get().active_space.get() };
        let mut old = None;
        if !slot.as_ref().is_some_and(|h| Arc::ptr_eq(&h.0, &self.0)) {
            old = slot.replace(self.clone());
            write_ttbr0(self.0.frame.addr().0 | u64::from(self.0.asid) << 48);
        }
        cpu::irq_restore(irq);
        drop(old);
    }
}

/// Page tables of all address spaces.
static TABLES: AtomicUsize = AtomicUsize::new(0);

/// Page tables of all users' address spaces.
pub fn table_frames() -> usize {
    TABLES.load(Ordering::Relaxed)
}

/// One user address space.
pub struct AddressSpace {
    root: Arc<Root>,
    pages: usize,
    tables: usize,
}

type Entry = AtomicU64;

impl AddressSpace {
    /// An empty space, or `None` without memory.
    pub fn new() -> Option<Self> {
        let frame = Frame::alloc_zeroed()?;
        let asid = take_asid()?;
        TABLES.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            root: Arc::new(Root { frame, asid }),
            pages: 0,
            tables: 1,
        })
    }

    /// What makes it active.
    pub fn handle(&self) -> SpaceHandle {
        SpaceHandle(self.root.clone())
    }

    /// Pages mapped.
    pub fn resident_pages(&self) -> usize {
        self.pages
    }

    /// Page tables in use.
    pub fn table_pages(&self) -> usize {
        self.tables
    }

    fn entry_in(table_pa: u64, index: usize) -> &'static Entry {
        // SAFETY: (1) `table_pa` is a page table of this space, alive as long as `self`, in the linear map, and all
        // accesses to its entries are atomic.
        unsafe { &*linear(table_pa as usize).cast::<Entry>().add(index & 511) }
    }

    /// The leaf entry of a page, if its tables exist.
    fn leaf(&self, va: usize) -> Option<&'static Entry> {
        let mut at = self.root.frame.addr().0;
        for level in [3usize, 2, 1] {
            let value = Self::entry_in(at, va >> (PAGE_SHIFT + 9 * level)).load(Ordering::Relaxed);
            if value & VALID == 0 {
                return None;
            }
            at = value & ADDRESS;
        }
        Some(Self::entry_in(at, va >> PAGE_SHIFT))
    }

    fn leaf_or_make(&mut self, va: usize) -> Result<&'static Entry, NoMemory> {
        let mut at = self.root.frame.addr().0;
        for level in [3usize, 2, 1] {
            let entry = Self::entry_in(at, va >> (PAGE_SHIFT + 9 * level));
            let mut value = entry.load(Ordering::Relaxed);
            if value & VALID == 0 {
                // Tables come from the reserve, but leave some of it to what cannot be refused.
                if frames::free_frames() <= frames::reserve_frames() / 2 {
                    return Err(NoMemory);
                }
                let frame = Frame::alloc_zeroed().ok_or(NoMemory)?;
                value = (frame.into_pfn() << PAGE_SHIFT) as u64 | TABLE;
                // The zeroes must be seen before the table is.
                entry.store(value, Ordering::Release);
                self.tables += 1;
                TABLES.fetch_add(1, Ordering::Relaxed);
            }
            at = value & ADDRESS;
        }
        Ok(Self::entry_in(at, va >> PAGE_SHIFT))
    }

    /// Maps a frame at a page-aligned user address, in place of what was there (given back).
    pub fn map(&mut self, va: usize, frame: Frame, prot: Prot) -> Result<Option<Frame>, NoMemory> {
        assert!(va < USER_END && va.is_multiple_of(PAGE_SIZE) && !(prot.write && prot.exec));
        let entry = self.leaf_or_make(va)?;
        if prot.exec {
            sync_icache(&frame);
        }
        let new = (frame.into_pfn() << PAGE_SHIFT) as u64 | prot.bits();
        let old = entry.load(Ordering::Relaxed);
        if old & PRESENT == 0 {
            entry.store(new, Ordering::Release);
            publish();
            self.pages += 1;
            return Ok(None);
        }
        // Break before make.
        entry.store(0, Ordering::Relaxed);
        self.flush_page(va);
        entry.store(new, Ordering::Release);
        publish();
        // SAFETY: (1) `map` gave this reference up with `into_pfn`; the entry that held it is gone.
        Ok(Some(unsafe { Frame::from_pfn((old & ADDRESS) as usize >> PAGE_SHIFT) }))
    }

    /// What is mapped at a page.
    pub fn query(&self, va: usize) -> Option<(Frame, Prot)> {
        if va >= USER_END {
            return None;
        }
        let value = self.leaf(va)?.load(Ordering::Relaxed);
        if value & PRESENT == 0 {
            return None;
        }
        // SAFETY: (1) the entry holds a reference; the clone counts one more and the original is forgotten again.
        let frame = unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) };
        let out = frame.clone();
        core::mem::forget(frame);
        Some((out, Prot::of(value)))
    }

    /// Moves the pages of `from..from + len` to `to`, where nothing is mapped, with their rights. All or nothing.
    pub fn move_range(&mut self, from: usize, to: usize, len: usize) -> Result<(), NoMemory> {
        let end = from + len;
        // Tables first: a page that has been taken out must find its place.
        let mut at = from;
        while let Some(va) = self.next_present(at, end) {
            self.leaf_or_make(va - from + to)?;
            at = va + PAGE_SIZE;
        }
        let mut at = from;
        let mut moved = false;
        while let Some(va) = self.next_present(at, end) {
            if let (Some(old), Some(new)) = (self.leaf(va), self.leaf(va - from + to)) {
                new.store(old.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                moved = true;
            }
            at = va + PAGE_SIZE;
        }
        if moved {
            self.flush_all();
        }
        Ok(())
    }

    /// The first mapped page in `at..end`.
    fn next_present(&self, at: usize, end: usize) -> Option<usize> {
        let mut va = at;
        while va < end {
            let mut table = self.root.frame.addr().0;
            let mut step = PAGE_SIZE;
            for level in [3usize, 2, 1] {
                let value = Self::entry_in(table, va >> (PAGE_SHIFT + 9 * level)).load(Ordering::Relaxed);
                if value & VALID == 0 {
                    step = PAGE_SIZE << (9 * level);
                    break;
                }
                table = value & ADDRESS;
            }
            if step == PAGE_SIZE && Self::entry_in(table, va >> PAGE_SHIFT).load(Ordering::Relaxed) & PRESENT != 0 {
                return Some(va);
            }
            va = (va & !(step - 1)) + step;
        }
        None
    }

    /// Changes what a mapped page allows; false when nothing is mapped.
    pub fn protect_page(&mut self, va: usize, prot: Prot) -> bool {
        assert!(!(prot.write && prot.exec));
        let Some(entry) = self.leaf(va) else { return false };
        let old = entry.load(Ordering::Relaxed);
        if old & PRESENT == 0 {
            return false;
        }
        let new = (old & ADDRESS) | prot.bits();
        if new != old {
            if prot.exec
                && let Some((frame, _)) = self.query(va)
            {
                sync_icache(&frame);
            }
            entry.store(new, Ordering::Release);
            self.flush_page(va);
        }
        true
    }

    /// Calls `f` for every mapped page in `start..end` with its entry.
    fn for_each(&self, start: usize, end: usize, mut f: impl FnMut(usize, &'static Entry, u64)) {
        let mut va = start;
        while va < end {
            let mut at = self.root.frame.addr().0;
            let mut skip = 0;
            for level in [3usize, 2, 1] {
                let value = Self::entry_in(at, va >> (PAGE_SHIFT + 9 * level)).load(Ordering::Relaxed);
                if value & VALID == 0 {
                    skip = PAGE_SIZE << (9 * level);
                    break;
                }
                at = value & ADDRESS;
            }
            if skip != 0 {
                va = (va & !(skip - 1)) + skip;
                continue;
            }
            loop {
                let entry = Self::entry_in(at, va >> PAGE_SHIFT);
                let value = entry.load(Ordering::Relaxed);
                if value & PRESENT != 0 {
                    f(va, entry, value);
                }
                va += PAGE_SIZE;
                if va >= end || (va >> PAGE_SHIFT).is_multiple_of(512) {
                    break;
                }
            }
        }
    }

    /// Unmaps `start..end`; the frames are given back after every CPU has dropped its translations.
    pub fn unmap_range(&mut self, start: usize, end: usize) {
        let mut gone: Vec<Frame> = Vec::new();
        let mut resume = start;
        // In bounded batches, so that the list stays short.
        while resume < end {
            let mut last = end;
            self.for_each(resume, end, |va, entry, value| {
                if gone.len() >= 512 {
                    last = last.min(va);
                    return;
                }
                entry.store(0, Ordering::Relaxed);
                // SAFETY: (1) `map` gave this reference up; its entry is gone.
                gone.push(unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) });
            });
            self.pages -= gone.len();
            if gone.len() > 64 {
                self.flush_all();
            } else if !gone.is_empty() {
                self.flush_range(resume, last);
            }
            gone.clear();
            resume = last;
        }
    }

    /// Changes what the mapped pages of `start..end` allow; `prot` says for each from its present rights.
    pub fn protect_range(&mut self, start: usize, end: usize, prot: impl Fn(Prot) -> Prot) {
        let mut changed = false;
        self.for_each(start, end, |_, entry, value| {
            let new = prot(Prot::of(value));
            assert!(!(new.write && new.exec));
            if new.exec && !Prot::of(value).exec {
                // SAFETY: (1) the entry holds a reference; it is forgotten again.
                let frame = unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) };
                sync_icache(&frame);
                core::mem::forget(frame);
            }
            let bits = (value & ADDRESS) | new.bits();
            if bits != value {
                entry.store(bits, Ordering::Release);
                changed = true;
            }
        });
        if changed {
            if end - start > 64 * PAGE_SIZE {
                self.flush_all()
            } else {
                self.flush_range(start, end)
            }
        }
    }

    /// Maps the pages of `start..end` in `child` too. With `copy_on_write` neither may write them any more. The caller
    /// flushes with [`Self::flush_all`] when all ranges are done.
    pub fn share_range(
        &mut self,
        child: &mut Self,
        start: usize,
        end: usize,
        copy_on_write: bool,
    ) -> Result<(), NoMemory> {
        let mut out = Ok(());
        let mut leaf: Option<(usize, &'static Entry)> = None;
        self.for_each(start, end, |va, entry, value| {
            if out.is_err() {
                return;
            }
            let mut value = value;
            if copy_on_write && value & RO == 0 {
                value |= RO;
                entry.store(value, Ordering::Release);
            }
            // The child's leaf table is the same for 512 pages.
            let at = match leaf {
                Some((base, first)) if base == va >> 21 => {
                    // SAFETY: (1) entries of one table lie side by side.
                    unsafe { &*core::ptr::from_ref(first).add((va >> PAGE_SHIFT) & 511) }
                }
                _ => match child.leaf_or_make(va & !0x1f_ffff) {
                    Ok(first) => {
                        leaf = Some((va >> 21, first));
                        // SAFETY: (1) as above.
                        unsafe { &*core::ptr::from_ref(first).add((va >> PAGE_SHIFT) & 511) }
                    }
                    Err(e) => {
                        out = Err(e);
                        return;
                    }
                },
            };
            // SAFETY: (1) the parent's entry holds a reference; the child's gets one of its own.
            let frame = unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) };
            core::mem::forget(frame.clone());
            core::mem::forget(frame);
            at.store(value, Ordering::Release);
            child.pages += 1;
        });
        publish();
        out
    }

    fn flush_page(&self, va: usize) {
        let arg = (va >> PAGE_SHIFT) as u64 & 0xfff_ffff_ffff | u64::from(self.root.asid) << 48;
        // SAFETY: (1) drops a translation on every CPU.
        unsafe { core::arch::asm!("dsb ishst", "tlbi vae1is, {0}", "dsb ish", "isb", in(reg) arg, options(nostack)) };
    }

    fn flush_range(&self, start: usize, end: usize) {
        if end.saturating_sub(start) > 64 * PAGE_SIZE {
            return self.flush_all();
        }
        // SAFETY: (1) drops translations on every CPU.
        unsafe { core::arch::asm!("dsb ishst", options(nostack)) };
        let mut va = start;
        while va < end {
            let arg = (va >> PAGE_SHIFT) as u64 & 0xfff_ffff_ffff | u64::from(self.root.asid) << 48;
            // SAFETY: (1) as above.
            unsafe { core::arch::asm!("tlbi vae1is, {0}", in(reg) arg, options(nostack)) };
            va += PAGE_SIZE;
        }
        // SAFETY: (1) as above.
        unsafe { core::arch::asm!("dsb ish", "isb", options(nostack)) };
    }

    /// Drops every translation of this space on every CPU.
    pub fn flush_all(&self) {
        let arg = u64::from(self.root.asid) << 48;
        // SAFETY: (1) drops translations on every CPU.
        unsafe { core::arch::asm!("dsb ishst", "tlbi aside1is, {0}", "dsb ish", "isb", in(reg) arg, options(nostack)) };
    }

    fn free_table(pa: u64, level: usize) {
        for index in 0..512 {
            let value = Self::entry_in(pa, index).load(Ordering::Relaxed);
            if value & PRESENT == 0 {
                continue;
            }
            if level > 0 {
                Self::free_table(value & ADDRESS, level - 1);
                TABLES.fetch_sub(1, Ordering::Relaxed);
            }
            // SAFETY: (1) the entry owned a reference to the frame or table, and goes away with its table.
            drop(unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) });
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // A CPU may still have the root active (nobody runs in it): take everything out of its sight first.
        let root = self.root.frame.addr().0;
        let mut below = Vec::new();
        for index in 0..512 {
            let value = Self::entry_in(root, index).swap(0, Ordering::Relaxed);
            if value & VALID != 0 {
                below.push(value);
            }
        }
        self.flush_all();
        for value in below {
            Self::free_table(value & ADDRESS, 2);
            TABLES.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: (1) the entry owned a reference to the table, and nobody can reach it any more.
            drop(unsafe { Frame::from_pfn((value & ADDRESS) as usize >> PAGE_SHIFT) });
        }
    }
}

/// Leaves whatever space is active on this CPU.
pub fn deactivate() {
    let irq = cpu::irq_save();
    write_ttbr0(super::kspace::image_pa(&raw const EMPTY as usize) as u64);
    // SAFETY: (1) this CPU's slot, interrupts masked.
    let old = unsafe { &mut *percpu::get().active_space.get() }.take();
    cpu::irq_restore(irq);
    drop(old);
}

/// Leaves the boot code's identity map: its entries are global, so this CPU would find them in every process's space.
pub(crate) fn leave_boot_map() {
    deactivate();
    // SAFETY: (1) drops this CPU's translations; the tables behind those in use are unchanged.
    unsafe { core::arch::asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}

#[repr(C, align(4096))]
struct EmptyTable([AtomicU64; 512]);
static EMPTY: EmptyTable = EmptyTable([const { AtomicU64::new(0) }; 512]);

fn write_ttbr0(value: u64) {
    // SAFETY: (1) `value` is a table of user addresses: kernel addresses go through TTBR1.
    unsafe { core::arch::asm!("msr ttbr0_el1, {0}", "isb", in(reg) value, options(nostack)) };
}

fn publish() {
    // SAFETY: (1) a barrier: the new entry is visible to table walks.
    unsafe { core::arch::asm!("dsb ishst", options(nostack)) };
}

/// Makes instructions just written visible to fetches on every CPU.
fn sync_icache(frame: &Frame) {
    let ctr = crate::cpu::ctr();
    let line = 4usize << ((ctr >> 16) & 0xf);
    let start = frame.ptr() as usize;
    let mut at = start;
    while at < start + PAGE_SIZE {
        // SAFETY: (1) cache maintenance of a frame that is held.
        unsafe { core::arch::asm!("dc cvau, {0}", in(reg) at, options(nostack)) };
        at += line;
    }
    // SAFETY: (1) cache maintenance; PIPT or VIPT caches alike.
    unsafe { core::arch::asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack)) };
}
