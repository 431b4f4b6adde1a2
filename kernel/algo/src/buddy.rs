//! Page frames by the buddy system.
//!
//! One [`Buddy`] manages one contiguous *zone* of page frames, named by frame number (physical address / page size). A *block* of order
//! `n` is `2^n` frames whose first frame number is a multiple of `2^n`; its *buddy* is the block that differs from it in bit `n` alone.
//! A freed block whose buddy is free of the same order joins it, so that free memory is always in the largest possible blocks.
//!
//! The bookkeeping is one [`Link`] a frame, kept outside the frames: the allocator never touches the memory it hands out. A frame is
//! - *foreign* ([`Link::EMPTY`]): not yet given to the allocator (reserved, firmware, hole);
//! - the *head* of a free or of an allocated block, with the block's order;
//! - or *inner* to such a block.
//!
//! Because heads of allocated blocks carry their order, a wrong [`Buddy::free`] (twice, in the middle, with another order, out of range)
//! is refused and changes nothing. Every operation takes at most [`MAX_ORDER`] steps, but for [`Buddy::add_range`] and
//! [`Buddy::split`], which touch each frame once.

use thiserror::Error;

/// The largest order: blocks of 1024 frames (4 MiB with 4 KiB frames).
pub const MAX_ORDER: usize = 10;

/// How many orders there are (0 to [`MAX_ORDER`]).
pub const ORDERS: usize = MAX_ORDER + 1;

/// End of a list.
const NIL: u32 = u32::MAX;

/// What a frame is to the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Foreign,
    Inner,
    Free(u8),
    Allocated(u8),
}

/// The bookkeeping of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    next: u32,
    prev: u32,
    state: State,
}

impl Link {
    /// A frame that the allocator does not own.
    pub const EMPTY: Self = Self {
        next: NIL,
        prev: NIL,
        state: State::Foreign,
    };
}

/// Why a block was not taken back. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FreeError {
    /// The block is not (wholly) within the zone.
    #[error("the block is outside of the zone")]
    OutOfRange,
    /// The order is above [`MAX_ORDER`].
    #[error("the order is above {MAX_ORDER}")]
    BadOrder,
    /// The frame number is no multiple of the block's size.
    #[error("the frame number is not aligned to the block's size")]
    Misaligned,
    /// No allocated block begins there: it was freed before, lies inside of a block, or was never the allocator's.
    #[error("no allocated block begins at this frame (double free?)")]
    NotAllocated,
    /// The block was allocated with another order.
    #[error("the block was allocated with order {allocated}")]
    WrongOrder {
        /// The order it was allocated with.
        allocated: usize,
    },
}

/// Why a range was not given to the allocator. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddError {
    /// The range is not within the zone, or ends before it begins.
    #[error("the range is outside of the zone")]
    OutOfRange,
    /// A frame of the range was given before.
    #[error("frame {pfn:#x} already belongs to the allocator")]
    Overlap {
        /// The first such frame.
        pfn: usize,
    },
}

/// The allocator of one zone.
#[derive(Debug)]
pub struct Buddy<'a> {
    base_pfn: usize,
    links: &'a mut [Link],
    heads: [u32; ORDERS],
    blocks: [usize; ORDERS],
    /// Bit `n` is set while list `n` has a block.
    available: u32,
    free_frames: usize,
    total: usize,
}

impl<'a> Buddy<'a> {
    /// An allocator for frames `base_pfn .. base_pfn + links.len()`, none of which is free yet.
    ///
    /// The links are reset. Frames beyond 2^32 - 1 links are ignored.
    pub fn new(base_pfn: usize, links: &'a mut [Link]) -> Self {
        let most = (NIL as usize).min(usize::MAX - base_pfn);
        let count = links.len().min(most);
        let links = links.get_mut(..count).unwrap_or_default();
        links.fill(Link::EMPTY);
        Self {
            base_pfn,
            links,
            heads: [NIL; ORDERS],
            blocks: [0; ORDERS],
            available: 0,
            free_frames: 0,
            total: 0,
        }
    }

    /// The first frame number of the zone.
    pub fn base_pfn(&self) -> usize {
        self.base_pfn
    }

    /// The number of frames that the zone spans, foreign ones included.
    pub fn span(&self) -> usize {
        self.links.len()
    }

    /// The number of frames given to the allocator so far, free and allocated.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The number of free frames.
    pub fn free_frames(&self) -> usize {
        self.free_frames
    }

    /// The number of free blocks of exactly this order.
    pub fn free_blocks(&self, order: usize) -> usize {
        self.blocks.get(order).copied().unwrap_or(0)
    }

    /// The order of the allocated block that begins at `pfn`, if one does.
    pub fn allocated_order(&self, pfn: usize) -> Option<usize> {
        match self.state(self.index(pfn)?) {
            State::Allocated(order) => Some(usize::from(order)),
            State::Foreign | State::Inner | State::Free(_) => None,
        }
    }

    /// Gives frames `start_pfn .. end_pfn` to the allocator, as free.
    ///
    /// # Errors
    /// [`AddError`] when the range leaves the zone or a frame was given before; nothing is changed then.
    pub fn add_range(&mut self, start_pfn: usize, end_pfn: usize) -> Result<(), AddError> {
        let first = start_pfn.checked_sub(self.base_pfn).ok_or(AddError::OutOfRange)?;
        let end = end_pfn.checked_sub(self.base_pfn).ok_or(AddError::OutOfRange)?;
        let frames = self.links.get_mut(first..end).ok_or(AddError::OutOfRange)?;
        if let Some(at) = frames.iter().position(|link| link.state != State::Foreign) {
            return Err(AddError::Overlap { pfn: start_pfn + at });
        }
        for link in frames {
            link.state = State::Inner;
        }
        self.total += end - first;
        let mut pfn = start_pfn;
        while pfn < end_pfn {
            // The largest aligned block that begins here and fits.
            let aligned = pfn.trailing_zeros() as usize;
            let fits = (end_pfn - pfn).ilog2() as usize;
            let order = aligned.min(fits).min(MAX_ORDER);
            self.release(pfn, order);
            pfn += 1 << order;
        }
        Ok(())
    }

    /// Takes a free block of `2^order` frames; the number of its first frame, or `None` when there is none.
    pub fn alloc(&mut self, order: usize) -> Option<usize> {
        if order > MAX_ORDER {
            return None;
        }
        let candidates = self.available >> order;
        if candidates == 0 {
            return None;
        }
        let mut have = order + candidates.trailing_zeros() as usize;
        let index = self.heads.get(have).copied()? as usize;
        self.unlink(index, have);
        while have > order {
            // Keep the lower half, free the upper.
            have -= 1;
            self.link(index + (1 << have), have);
        }
        self.set_state(index, State::Allocated(small(order)));
        self.free_frames -= 1 << order;
        Some(self.base_pfn + index)
    }

    /// Takes back the block of order `order` that [`alloc`](Self::alloc) gave out at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] when that is not an allocated block of this order; nothing is changed then.
    pub fn free(&mut self, pfn: usize, order: usize) -> Result<(), FreeError> {
        let index = self.checked(pfn, order)?;
        self.set_state(index, State::Inner);
        self.release(pfn, order);
        Ok(())
    }

    /// Makes an allocated block of order `order` into `2^order` allocated blocks of order 0, to be freed one by one.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn split(&mut self, pfn: usize, order: usize) -> Result<(), FreeError> {
        let index = self.checked(pfn, order)?;
        for link in self.links.iter_mut().skip(index).take(1 << order) {
            link.state = State::Allocated(0);
        }
        Ok(())
    }

    /// The index of an allocated block, all things checked.
    fn checked(&self, pfn: usize, order: usize) -> Result<usize, FreeError> {
        if order > MAX_ORDER {
            return Err(FreeError::BadOrder);
        }
        let index = self.index(pfn).ok_or(FreeError::OutOfRange)?;
        if self.links.len() - index < 1 << order {
            return Err(FreeError::OutOfRange);
        }
        if !pfn.is_multiple_of(1 << order) {
            return Err(FreeError::Misaligned);
        }
        match self.state(index) {
            State::Allocated(allocated) if usize::from(allocated) == order => Ok(index),
            State::Allocated(allocated) => Err(FreeError::WrongOrder {
                allocated: allocated.into(),
            }),
            State::Foreign | State::Inner | State::Free(_) => Err(FreeError::NotAllocated),
        }
    }

    /// Puts an aligned block of inner frames on its list, joined with its buddies as far as they are free.
    fn release(&mut self, pfn: usize, order: usize) {
        self.free_frames += 1 << order;
        let mut pfn = pfn;
        let mut order = order;
        while order < MAX_ORDER {
            let Some(buddy) = self.index(pfn ^ (1 << order)) else {
                break;
            };
            if self.state(buddy) != State::Free(small(order)) {
                break;
            }
            self.unlink(buddy, order);
            pfn &= !(1 << order);
            order += 1;
        }
        self.link(pfn - self.base_pfn, order);
    }

    fn index(&self, pfn: usize) -> Option<usize> {
        pfn.checked_sub(self.base_pfn).filter(|index| *index < self.links.len())
    }

    fn state(&self, index: usize) -> State {
        self.links.get(index).map_or(State::Foreign, |link| link.state)
    }

    fn set_state(&mut self, index: usize, state: State) {
        if let Some(link) = self.links.get_mut(index) {
            link.state = state;
        }
    }

    /// Puts a block at the front of its list.
    fn link(&mut self, index: usize, order: usize) {
        let Some(head) = self.heads.get_mut(order) else { return };
        let next = core::mem::replace(head, index as u32);
        if let Some(link) = self.links.get_mut(index) {
            *link = Link {
                next,
                prev: NIL,
                state: State::Free(small(order)),
            };
        }
        if let Some(second) = self.links.get_mut(next as usize) {
            second.prev = index as u32;
        }
        self.available |= 1 << order;
        if let Some(blocks) = self.blocks.get_mut(order) {
            *blocks += 1;
        }
    }

    /// Takes a block off its list; its head becomes an inner frame.
    fn unlink(&mut self, index: usize, order: usize) {
        let Some(link) = self.links.get_mut(index) else { return };
        let Link { next, prev, .. } = core::mem::replace(
            link,
            Link {
                state: State::Inner,
                ..Link::EMPTY
            },
        );
        if let Some(before) = self.links.get_mut(prev as usize) {
            before.next = next;
        } else if let Some(head) = self.heads.get_mut(order) {
            *head = next;
            if next == NIL {
                self.available &= !(1 << order);
            }
        }
        if let Some(after) = self.links.get_mut(next as usize) {
            after.prev = prev;
        }
        if let Some(blocks) = self.blocks.get_mut(order) {
            *blocks -= 1;
        }
    }
}

/// An order as it is stored; orders are at most [`MAX_ORDER`].
fn small(order: usize) -> u8 {
    order as u8
}

#[cfg(test)]
mod tests;
