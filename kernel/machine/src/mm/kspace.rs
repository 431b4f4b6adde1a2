//! The kernel's address space: linear map, device registers, stacks.

use core::sync::atomic::{AtomicUsize, Ordering};

use sis_hal::PhysAddr;

use super::{LINEAR_BASE, PAGE_SHIFT, PAGE_SIZE, frames};
use crate::sync::{IrqLock, Rank};

pub(crate) const DEVICE_BASE: usize = 0xffff_9000_0000_0000;
pub(crate) const STACK_BASE: usize = 0xffff_a000_0000_0000;
pub(crate) const FDT_BASE: usize = 0xffff_b000_0000_0000;
/// Heap blocks for which there was no contiguous memory.
pub(crate) const HEAP_BASE: usize = 0xffff_c000_0000_0000;
pub(crate) const IMAGE_BASE: usize = 0xffff_8000_0000_0000;

const VALID: u64 = 1;
const TABLE: u64 = 3;
const PAGE: u64 = 3;
const BLOCK: u64 = 1;
const AF: u64 = 1 << 10;
const INNER: u64 = 3 << 8;
const RO: u64 = 1 << 7;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const XN: u64 = PXN | UXN;
/// `AP[1]`: EL0 may access it.
const EL0: u64 = 1 << 6;
const NORMAL: u64 = 1 << 2;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Kernel memory attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attr {
    /// Readable and writable memory.
    Data,
    /// Readable memory.
    ReadOnly,
    /// Device registers (nGnRE).
    Device,
}

impl Attr {
    fn bits(self) -> u64 {
        match self {
            Self::Data => AF | INNER | NORMAL | XN,
            Self::ReadOnly => AF | INNER | NORMAL | XN | RO,
            Self::Device => AF | XN,
        }
    }
}

/// Tables for the linear map, before frames exist.
const EARLY: usize = 48;
#[repr(C, align(4096))]
struct Tables([[u64; 512]; EARLY]);

struct Space {
    early_used: usize,
    frames_ready: bool,
}

static SPACE: IrqLock<Space> = IrqLock::new(
    Rank::KernelSpace,
    Space {
        early_used: 0,
        frames_ready: false,
    },
);
static mut EARLY_TABLES: Tables = Tables([[0; 512]; EARLY]);
static NEXT_DEVICE: AtomicUsize = AtomicUsize::new(DEVICE_BASE);

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// Link addresses of the image: start, end of text, end of rodata, end.
pub(crate) fn image() -> [usize; 4] {
    [
        &raw const __image_start as usize,
        &raw const __text_end as usize,
        &raw const __rodata_end as usize,
        &raw const __image_end as usize,
    ]
}

/// Physical address of an address inside the image.
pub(crate) fn image_pa(va: usize) -> usize {
    // SAFETY: (1) written once by the boot code.
    let pa = unsafe { crate::boot::sis_boot_notes.image_pa };
    va - IMAGE_BASE + pa as usize
}

/// Kernel address of a page table, by its physical address: those of the image through the image, others through the
/// linear map.
fn table(pa: usize) -> *mut u64 {
    let [start, _, _, end] = image();
    let base = image_pa(start);
    if pa >= base && pa < base + (end - start) {
        (pa - base + start) as *mut u64
    } else {
        (pa + LINEAR_BASE) as *mut u64
    }
}

fn new_table(space: &mut Space) -> usize {
    if space.frames_ready {
        let Some(frame) = frames::Frame::alloc_zeroed() else {
            panic!("no memory for a kernel page table")
        };
        return frame.into_pfn() << PAGE_SHIFT;
    }
    assert!(
        space.early_used < EARLY,
        "the device tree's memory map needs more than {EARLY} page tables"
    );
    let at = &raw const EARLY_TABLES as usize + space.early_used * PAGE_SIZE;
    space.early_used += 1;
    image_pa(at)
}

/// Maps one page or block of `1 << (12 + 9 * level)` bytes.
fn map_one(space: &mut Space, va: usize, pa: usize, level: usize, attr: Attr) {
    let mut at = &raw const crate::boot::sis_kernel_l0 as *mut u64;
    let mut depth = 3;
    loop {
        let index = (va >> (PAGE_SHIFT + 9 * depth)) & 511;
        // SAFETY: (1) `at` is a live kernel page table, writable through the image or the linear map, and the lock is
        // held; the walker only ever sees whole entries.
        let entry = unsafe { &*at.add(index).cast::<core::sync::atomic::AtomicU64>() };
        if depth == level {
            let kind = if level == 0 { PAGE } else { BLOCK };
            entry.store(pa as u64 | attr.bits() | kind, Ordering::Release);
            return;
        }
        let mut value = entry.load(Ordering::Relaxed);
        if value & VALID == 0 {
            value = new_table(space) as u64 | TABLE;
            entry.store(value, Ordering::Release);
        }
        assert!(
            value & TABLE == TABLE,
            "kernel address {va:#x} is inside a block already"
        );
        at = table((value & ADDRESS) as usize);
        depth -= 1;
    }
}

fn sync() {
    // SAFETY: (1) barriers after table writes.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack)) };
}

fn map_range(space: &mut Space, va: usize, pa: usize, len: usize, attr: Attr) {
    let mut done = 0;
    while done < len {
        let (v, p, left) = (va + done, pa + done, len - done);
        let level = [2usize, 1, 0]
            .into_iter()
            .find(|l| {
                let size = PAGE_SIZE << (9 * l);
                v.is_multiple_of(size) && p.is_multiple_of(size) && left >= size
            })
            .unwrap_or(0);
        map_one(space, v, p, level, attr);
        done += PAGE_SIZE << (9 * level);
    }
}

/// Adds RAM to the linear map; the kernel's text and read-only data are mapped read-only there too. Page bounds.
pub(crate) fn map_ram(start: usize, end: usize) {
    let [image_start, _, rodata_end, _] = image();
    let (ro_start, ro_end) = (image_pa(image_start), image_pa(rodata_end));
    let mut space = SPACE.lock();
    let space = &mut *space;
    let mut part = |from: usize, to: usize, attr| {
        let (from, to) = (from.max(start), to.min(end));
        if from < to {
            map_range(space, from + LINEAR_BASE, from, to - from, attr);
        }
    };
    part(start, ro_start, Attr::Data);
    part(ro_start, ro_end, Attr::ReadOnly);
    part(ro_end, end, Attr::Data);
    sync();
}

/// From now on page tables come from the frame allocator.
pub(crate) fn frames_ready() {
    SPACE.lock().frames_ready = true;
}

/// Maps device registers; returns their kernel address.
pub(crate) fn map_device(pa: PhysAddr, len: usize) -> usize {
    let pa = pa.0 as usize;
    let offset = pa % PAGE_SIZE;
    let size = (offset + len).next_multiple_of(PAGE_SIZE);
    // A page between two devices stays unmapped.
    let va = NEXT_DEVICE.fetch_add(size + PAGE_SIZE, Ordering::Relaxed);
    let mut space = SPACE.lock();
    let mut done = 0;
    while done < size {
        map_one(&mut space, va + done, pa - offset + done, 0, Attr::Device);
        done += PAGE_SIZE;
    }
    sync();
    va + offset
}

/// Maps one page of kernel memory.
pub(crate) fn map_page(va: usize, pa: usize) {
    map_one(&mut SPACE.lock(), va, pa, 0, Attr::Data);
    sync();
}

/// Unmaps one page of kernel memory on every CPU; gives back its physical address.
pub(crate) fn unmap_page(va: usize) -> Option<usize> {
    let _space = SPACE.lock();
    let entry = leaf(va)?;
    let old = entry.swap(0, Ordering::Relaxed);
    // SAFETY: (1) drops a translation that is gone from the tables, everywhere.
    unsafe {
        core::arch::asm!("dsb ishst", "tlbi vaae1is, {0}", "dsb ish", "isb", in(reg) (va >> PAGE_SHIFT) & 0xfff_ffff_ffff, options(nostack));
    }
    (old & VALID != 0).then_some((old & ADDRESS) as usize)
}

/// The 4 KiB entry of a kernel address, if its tables exist.
fn leaf(va: usize) -> Option<&'static core::sync::atomic::AtomicU64> {
    let mut at = &raw const crate::boot::sis_kernel_l0 as *mut u64;
    for depth in [3usize, 2, 1] {
        let index = (va >> (PAGE_SHIFT + 9 * depth)) & 511;
        // SAFETY: (1) as in `map_one`.
        let value = unsafe { &*at.add(index).cast::<core::sync::atomic::AtomicU64>() }.load(Ordering::Relaxed);
        if value & TABLE != TABLE {
            return None;
        }
        at = table((value & ADDRESS) as usize);
    }
    let index = (va >> PAGE_SHIFT) & 511;
    // SAFETY: (1) as in `map_one`; kernel tables are never freed.
    Some(unsafe { &*at.add(index).cast::<core::sync::atomic::AtomicU64>() })
}

/// Whether a kernel address is mapped, for backtraces that must not fault.
pub(crate) fn is_mapped(va: usize) -> bool {
    let out: u64;
    // SAFETY: (1) an address translation that faults only into PAR_EL1.
    unsafe {
        core::arch::asm!("at s1e1r, {0}", "isb", "mrs {1}, par_el1", in(reg) va, out(reg) out, options(nostack));
    }
    out & 1 == 0
}

/// What the kernel's page tables allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Bytes that the kernel may execute.
    pub executable: usize,
    /// Bytes that the kernel may write.
    pub writable: usize,
    /// The first address that is both.
    pub both: Option<usize>,
    /// The first address that EL0 may touch or execute.
    pub user: Option<usize>,
}

/// Walks all of the kernel's page tables.
pub fn kernel_mappings() -> Mappings {
    let mut out = Mappings::default();
    walk(
        &raw const crate::boot::sis_kernel_l0,
        3,
        IMAGE_BASE & !((1 << 48) - 1),
        &mut out,
    );
    out
}

/// Adds what a table of level `depth` (3 is the top) allows from `base` on.
fn walk(at: *const u64, depth: usize, base: usize, out: &mut Mappings) {
    for index in 0..512 {
        // SAFETY: (1) `at` is a live kernel page table, and kernel tables are never freed; entries change only as wholes.
        let value = unsafe { &*at.add(index).cast::<core::sync::atomic::AtomicU64>() }.load(Ordering::Relaxed);
        if value & VALID == 0 {
            continue;
        }
        let va = base + (index << (PAGE_SHIFT + 9 * depth));
        if depth > 0 && value & TABLE == TABLE {
            walk(table((value & ADDRESS) as usize), depth - 1, va, out);
            continue;
        }
        let size = PAGE_SIZE << (9 * depth);
        let (is_executable, is_writable) = (value & PXN == 0, value & RO == 0);
        out.executable += if is_executable { size } else { 0 };
        out.writable += if is_writable { size } else { 0 };
        if is_executable && is_writable {
            out.both.get_or_insert(va);
        }
        if value & EL0 != 0 || value & UXN == 0 {
            out.user.get_or_insert(va);
        }
    }
}
