//! From the boot assembly to the board: memory map, frames, heap.

use sis_algo::buddy::Link;
use sis_algo::fdt::{self, Fdt};

use crate::mm::frames::{self, Meta};
use crate::mm::{PAGE_SHIFT, PAGE_SIZE, kspace, linear};
use crate::{boot, cpu, log, percpu, smp, symbols, timer};

/// What a board's `main` gets.
pub struct BootInfo {
    /// The device tree.
    pub fdt: Fdt<'static>,
    /// The initial root, as the loader left it.
    pub initrd: Option<Initrd>,
    /// Exception level at entry.
    pub entry_el: u64,
    /// Counter at entry.
    pub entry_ticks: u64,
    /// Nanoseconds from entry until the MMU was on.
    pub mmu_enable_ns: u64,
}

/// The memory of the initial root; given back when dropped.
pub struct Initrd {
    start: usize,
    end: usize,
}

impl Initrd {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: (1) RAM in the linear map that was kept from the allocator and is given to it only by `drop`.
        unsafe { core::slice::from_raw_parts(linear(self.start), self.end - self.start) }
    }
}

impl Drop for Initrd {
    fn drop(&mut self) {
        // Partial pages at the ends hold other things.
        frames::add_range(self.start.div_ceil(PAGE_SIZE), self.end >> PAGE_SHIFT);
    }
}

static EARLY_UART: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

/// Sends a byte on the board's PL011 before its driver runs; nothing when there is none.
pub(crate) fn early_putc(byte: u8) {
    let base = EARLY_UART.load(core::sync::atomic::Ordering::Relaxed);
    if base == 0 {
        return;
    }
    for _ in 0..100_000 {
        // SAFETY: (1) the flag register of the mapped PL011.
        let flags = unsafe { core::ptr::read_volatile((base + 0x18) as *const u32) };
        if flags & (1 << 5) == 0 {
            break;
        }
    }
    // SAFETY: (1) the data register of the mapped PL011.
    unsafe { core::ptr::write_volatile(base as *mut u32, u32::from(byte)) };
}

unsafe extern "Rust" {
    /// The board's entry.
    safe fn sis_board_main(info: BootInfo) -> !;
}

/// Most ranges that are kept from the allocator.
const RESERVED: usize = 64;

struct Ranges {
    list: [(usize, usize); RESERVED],
    len: usize,
}

impl Ranges {
    fn add(&mut self, start: usize, end: usize) {
        if start < end {
            assert!(
                self.len < RESERVED,
                "the device tree reserves more than {RESERVED} ranges"
            );
            self.list[self.len] = (start, end);
            self.len += 1;
        }
    }

    /// Calls `f` with the parts of `start..end` that are not reserved, page aligned.
    fn free_parts(&self, start: usize, end: usize, f: &mut dyn FnMut(usize, usize)) {
        let mut at = start;
        while at < end {
            // The reservation that covers `at`, or else the next one.
            let covering = self.list[..self.len]
                .iter()
                .filter(|r| r.0 <= at && at < r.1)
                .map(|r| r.1)
                .max();
            if let Some(to) = covering {
                at = to.next_multiple_of(PAGE_SIZE);
                continue;
            }
            let next = self.list[..self.len]
                .iter()
                .map(|r| r.0)
                .filter(|s| *s > at)
                .min()
                .unwrap_or(end)
                .min(end);
            let to = next & !(PAGE_SIZE - 1);
            if at < to {
                f(at, to);
            }
            at = next.max(at + 1);
            if !self.list[..self.len].iter().any(|r| r.0 <= at && at < r.1) && at < end {
                at = at.next_multiple_of(PAGE_SIZE);
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn sis_machine_start() -> ! {
    // SAFETY: (1) written once, by the boot code, before this.
    let notes = unsafe { &boot::sis_boot_notes };
    percpu::install(0);
    timer::init();
    // SAFETY: (1) a constant of the board, in the image's text.
    let uart = unsafe { boot::sis_early_uart } as usize;
    if uart != 0 {
        let at = kspace::map_device(sis_hal::PhysAddr(uart as u64), 0x1000);
        EARLY_UART.store(at, core::sync::atomic::Ordering::Relaxed);
    }

    let fdt_pa = notes.fdt as usize;
    let offset = fdt_pa & 0x1f_ffff;
    let va = kspace::FDT_BASE + offset;
    // SAFETY: (1) the boot code mapped the 4 MiB from the 2 MiB boundary below the tree read-only, for good.
    let window = unsafe { core::slice::from_raw_parts(va as *const u8, (4 << 20) - offset) };
    let size = window.get(..40).and_then(fdt::total_size_of).unwrap_or(0);
    let Some(Ok(tree)) = window.get(..size).map(Fdt::new) else {
        panic!("no device tree at {fdt_pa:#x}: the loader must pass one in x0");
    };

    let mut reserved = Ranges {
        list: [(0, 0); RESERVED],
        len: 0,
    };
    let [image_start, _, _, image_end] = kspace::image();
    let image_pa = kspace::image_pa(image_start);
    reserved.add(
        image_pa,
        image_pa + (image_end - image_start).next_multiple_of(PAGE_SIZE) + symbols::len(),
    );
    reserved.add(fdt_pa, fdt_pa + size);
    // Page 0 holds the spin table on some boards, and is nobody's.
    reserved.add(0, PAGE_SIZE);
    for r in tree.reservations() {
        reserved.add(r.start as usize, (r.start.saturating_add(r.size)) as usize);
    }
    let initrd = tree.chosen().initrd.map(|(s, e)| (s as usize, e as usize));
    let mut low = usize::MAX;
    let mut high = 0;
    for (start, size) in tree.memory() {
        let start = (start as usize).next_multiple_of(PAGE_SIZE);
        let end = (start as u64 + size) as usize & !(PAGE_SIZE - 1);
        kspace::map_ram(start, end);
        low = low.min(start);
        high = high.max(end);
    }
    assert!(low < high, "the device tree names no memory");
    let initrd = initrd.filter(|(s, e)| *s >= low && *e <= high);
    if let Some((s, e)) = initrd {
        reserved.add(s, e);
    }

    let count = (high - low) >> PAGE_SHIFT;
    let link_bytes = (count * size_of::<Link>()).next_multiple_of(64);
    let need = (link_bytes + count * size_of::<Meta>()).next_multiple_of(PAGE_SIZE);
    let mut at = None;
    for (start, size) in tree.memory() {
        reserved.free_parts(start as usize, (start + size) as usize, &mut |from, to| {
            if to - from >= need && at.is_none() {
                at = Some(from);
            }
        });
    }
    let Some(at) = at else {
        panic!("no room for {need} bytes of frame tables")
    };
    reserved.add(at, at + need);
    let links = linear(at).cast::<Link>();
    let meta = linear(at + link_bytes).cast::<Meta>();
    for i in 0..count {
        // SAFETY: (1) inside the range just reserved, which is RAM in the linear map.
        unsafe { links.add(i).write(Link::EMPTY) };
    }
    // SAFETY: (1) inside the range just reserved; zeros are a valid `Meta` (atomics of zero).
    let (links, meta) = unsafe {
        core::ptr::write_bytes(meta, 0, count);
        (
            core::slice::from_raw_parts_mut(links, count),
            core::slice::from_raw_parts(meta, count),
        )
    };
    frames::init(low >> PAGE_SHIFT, links, meta);
    for (start, size) in tree.memory() {
        reserved.free_parts(start as usize, (start + size) as usize, &mut |from, to| {
            frames::add_range(from >> PAGE_SHIFT, to >> PAGE_SHIFT);
        });
    }
    kspace::frames_ready();
    // The guard below the boot stack: its lower half was only there for the alignment.
    let bottom = &raw const boot::sis_boot_stack_bottom as usize;
    for page in (bottom..bottom + 32 * 1024).step_by(PAGE_SIZE) {
        let _ = kspace::unmap_page(page);
    }
    log::init();
    smp::init_cpu();
    crate::vdso::init();
    let mmu_enable_ns = timer::ticks_to_ns(notes.counter_mmu_after - notes.counter_mmu_before);
    // The boot code has printed these two; they are kept for the log.
    log::record_quietly(6, "KERNEL(U)");
    log::record_quietly(6, "STACK OK");
    log::record(
        6,
        format_args!("entered at EL{}, image at {image_pa:#x}", notes.entry_el),
    );
    sctlr_marker();
    log::marker("MMU ON");
    sis_board_main(BootInfo {
        fdt: tree,
        initrd: initrd.map(|(start, end)| Initrd { start, end }),
        entry_el: notes.entry_el,
        entry_ticks: notes.counter_entry,
        mmu_enable_ns,
    })
}

fn sctlr_marker() {
    log::marker(&alloc::format!("MMU: SCTLR={:#x}", cpu::sctlr()));
}
