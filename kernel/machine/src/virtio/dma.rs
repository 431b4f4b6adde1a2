//! Memory for virtio devices.

use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use crate::mm::kspace::IMAGE_BASE;
use crate::mm::{LINEAR_BASE, PAGE_SHIFT, PAGE_SIZE, frames, linear};

/// How the `virtio-drivers` crate gets at memory: page frames through the linear map, coherent with the device.
pub(super) struct KernelMemory;

fn order_of(pages: usize) -> usize {
    pages.max(1).next_power_of_two().trailing_zeros() as usize
}

// SAFETY: (1) `dma_alloc` hands out zeroed blocks of the frame allocator, which nobody else has until `dma_dealloc`;
// (2) a block of order n is aligned to its size, so to a page; (3) physical and kernel address differ by LINEAR_BASE for
// all RAM; (4) `share` copies nothing and so changes nothing for anybody else.
unsafe impl Hal for KernelMemory {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let order = order_of(pages);
        let Some(pfn) = frames::take_block(order) else {
            return (0, NonNull::dangling());
        };
        let at = linear(pfn << PAGE_SHIFT);
        // SAFETY: (1) RAM just taken from the allocator.
        unsafe { core::ptr::write_bytes(at, 0, PAGE_SIZE << order) };
        match NonNull::new(at) {
            Some(p) => ((pfn << PAGE_SHIFT) as PhysAddr, p),
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        frames::give_block(paddr as usize >> PAGE_SHIFT, order_of(pages));
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        panic!("only the PCI transport maps registers by itself, and it is not used");
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        let at = buffer.cast::<u8>().as_ptr() as usize;
        assert!(
            (LINEAR_BASE..IMAGE_BASE).contains(&at),
            "a buffer at {at:#x} is not RAM in the linear map: no device can reach it"
        );
        (at - LINEAR_BASE) as PhysAddr
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// A row of equal buffers that a device reads or writes.
pub(super) struct Buffers {
    pfn: usize,
    order: usize,
    each: usize,
    count: usize,
}

impl Buffers {
    /// `count` zeroed buffers of `each` bytes (a power of two, at most a page); `None` without memory.
    pub(super) fn new(count: usize, each: usize) -> Option<Self> {
        debug_assert!(each.is_power_of_two() && each <= PAGE_SIZE);
        let order = order_of((count * each).div_ceil(PAGE_SIZE));
        let pfn = frames::take_block(order)?;
        // SAFETY: (1) RAM just taken from the allocator.
        unsafe { core::ptr::write_bytes(linear(pfn << PAGE_SHIFT), 0, PAGE_SIZE << order) };
        Some(Self {
            pfn,
            order,
            each,
            count,
        })
    }

    /// Buffer `index`.
    ///
    /// # Safety
    /// (1) `index` is below the count; (2) the device does not have the buffer, or has it only while the slice is not
    /// looked at; (3) no other slice of this buffer is alive.
    pub(super) unsafe fn slice(&mut self, index: usize) -> &mut [u8] {
        debug_assert!(index < self.count);
        let at = linear((self.pfn << PAGE_SHIFT) + index * self.each);
        // SAFETY: (1) inside the block by (1); (2) unique by (2) and (3).
        unsafe { core::slice::from_raw_parts_mut(at, self.each) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        frames::give_block(self.pfn, self.order);
    }
}
