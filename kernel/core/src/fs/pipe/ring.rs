//! The bytes of a pipe.
//!
//! Page frames are taken when first touched; when the ring runs empty all but the first are given back.

use alloc::vec::Vec;

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::Frame;

use crate::user::{Sink, Source};
use crate::{Errno, Result};

/// Bytes in a ring of page frames.
pub(super) struct Ring {
    frames: Vec<Option<Frame>>,
    /// Where reading goes on, in bytes from the ring's start.
    head: usize,
    pub(super) len: usize,
}

impl Ring {
    /// Room for `pages` pages.
    pub(super) fn new(pages: usize) -> Self {
        Self {
            frames: (0..pages).map(|_| None).collect(),
            head: 0,
            len: 0,
        }
    }

    /// Bytes that it holds when full.
    pub(super) fn capacity(&self) -> usize {
        self.frames.len() * PAGE_SIZE
    }

    /// Frame index, offset in it, and bytes to its end, of the byte `n` after the head.
    fn locate(&self, n: usize) -> (usize, usize, usize) {
        let at = (self.head + n) % self.capacity();
        (at / PAGE_SIZE, at % PAGE_SIZE, PAGE_SIZE - at % PAGE_SIZE)
    }

    /// Moves bytes out, as many as there are and fit.
    pub(super) fn take(&mut self, to: &mut Sink<'_>) -> Result<usize> {
        let mut done = 0;
        while self.len > 0 && to.remaining() > 0 {
            let (index, within, to_end) = self.locate(0);
            let n = to_end.min(self.len).min(to.remaining());
            let Some(Some(frame)) = self.frames.get(index) else {
                break;
            };
            match to.put_frame(frame, within, n) {
                Ok(k) => {
                    self.head = (self.head + k) % self.capacity();
                    self.len -= k;
                    done += k;
                    if k < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        if self.len == 0 {
            self.head = 0;
            for f in self.frames.iter_mut().skip(1) {
                if f.is_none() {
                    break;
                }
                *f = None;
            }
        }
        Ok(done)
    }

    /// Moves bytes in, at most `most`, as many as there is room for.
    pub(super) fn put(&mut self, from: &mut Source<'_>, most: usize) -> Result<usize> {
        let mut done = 0;
        let capacity = self.capacity();
        while done < most && self.len < capacity {
            let (index, within, to_end) = self.locate(self.len);
            let n = to_end.min(capacity - self.len).min(most - done);
            let Some(slot) = self.frames.get_mut(index) else { break };
            if slot.is_none() {
                *slot = Frame::alloc_user();
            }
            let step = match slot {
                Some(frame) => from.take_to_frame(frame, within, n),
                None => Err(Errno::ENOMEM),
            };
            match step {
                Ok(k) => {
                    self.len += k;
                    done += k;
                    if k < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}
