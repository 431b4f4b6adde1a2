//! Displays: a rectangle of pixels.

/// A display whose memory is written directly; what is written is seen at once.
pub trait Display: Send + Sync {
    /// Pixels of a row, and rows.
    fn size(&self) -> (usize, usize);

    /// Writes pixels of one row from `x` on, as 0x00RRGGBB. What lies outside the display is left out.
    fn write_row(&self, x: usize, y: usize, pixels: &[u32]);
}
