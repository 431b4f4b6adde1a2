//! A frame buffer: pixels of 32 bits in memory that a display shows.

use core::fmt;

use sis_hal::{Display, Registers};

#[cfg(test)]
mod tests;

/// A frame buffer whose memory is a window of registers.
pub struct Framebuffer<R> {
    memory: R,
    width: usize,
    height: usize,
    pitch_bytes: usize,
}

/// The rows are not in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit;

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame buffer's rows do not fit its memory")
    }
}

impl core::error::Error for DoesNotFit {}

impl<R: Registers> Framebuffer<R> {
    /// Over memory of `height` rows of `width` pixels, `pitch_bytes` apart.
    ///
    /// # Errors
    /// [`DoesNotFit`].
    pub fn new(memory: R, width: usize, height: usize, pitch_bytes: usize) -> Result<Self, DoesNotFit> {
        let row = width.checked_mul(4).ok_or(DoesNotFit)?;
        let all = pitch_bytes.checked_mul(height).ok_or(DoesNotFit)?;
        if row > pitch_bytes || all > memory.size() || !pitch_bytes.is_multiple_of(4) {
            return Err(DoesNotFit);
        }
        Ok(Self {
            memory,
            width,
            height,
            pitch_bytes,
        })
    }
}

impl<R: Registers> Display for Framebuffer<R> {
    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn write_row(&self, x: usize, y: usize, pixels: &[u32]) {
        if y >= self.height || x >= self.width {
            return;
        }
        let room = self.width - x;
        let mut at = y * self.pitch_bytes + 4 * x;
        for pixel in pixels.iter().take(room) {
            self.memory.write32(at, *pixel);
            at += 4;
        }
    }
}
