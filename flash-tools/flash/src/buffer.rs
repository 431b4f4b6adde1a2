//! Memory that a chunk lies in, placed so that devices can be written and read without the page cache.

/// What a chunk lies on a multiple of in memory, in bytes: the largest logical block that disks have.
pub(crate) const ALIGNMENT: usize = 4096;

/// The most that a [`Buffer`] holds, in bytes.
pub(crate) const CAPACITY: usize = 4 << 20;

/// Room for up to [`CAPACITY`] bytes that begins on a multiple of [`ALIGNMENT`].
pub(crate) struct Buffer {
    /// A little too long; never grown, so that it stays where it is.
    room: Vec<u8>,
    /// Where the multiple of [`ALIGNMENT`] is in `room`.
    start: usize,
    /// Bytes in use.
    len: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let room = vec![0; CAPACITY + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT);
        Self { room, start, len: 0 }
    }

    /// Takes `len` bytes, at most [`CAPACITY`], into use. What they hold is left from before.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(CAPACITY);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.get(self.start..self.start + self.len).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_where_direct_input_and_output_want_it() {
        let mut buffers: Vec<Buffer> = (0..3).map(|_| Buffer::new()).collect();
        for buffer in &mut buffers {
            buffer.set_len(CAPACITY + 1);
            assert_eq!(buffer.bytes().len(), CAPACITY);
            assert_eq!(buffer.bytes_mut().as_ptr().align_offset(ALIGNMENT), 0);
        }
    }
}
