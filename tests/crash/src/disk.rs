//! A disk's bytes in memory, cheap to copy: blocks are shared until one of the copies writes to them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BLOCK_BYTES: usize = 4096;

type Block = [u8; BLOCK_BYTES];

/// A disk's bytes; most of a disk is zero and takes no memory.
#[derive(Clone, Debug)]
pub struct Disk {
    blocks: Vec<Option<Arc<Block>>>,
}

impl Disk {
    /// An empty disk of `size` bytes, rounded up to whole blocks of 4 KiB.
    #[must_use]
    pub fn zeros(size: u64) -> Self {
        Self {
            blocks: vec![None; size.div_ceil(BLOCK_BYTES as u64) as usize],
        }
    }

    /// Reads an image.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let mut disk = Self::zeros(bytes.len() as u64);
        disk.write(0, &bytes);
        Ok(disk)
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        (self.blocks.len() * BLOCK_BYTES) as u64
    }

    /// A range; what is outside reads as zero.
    #[must_use]
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        for (number, within, part) in pieces(offset, length) {
            if let Some(Some(block)) = self.blocks.get(number) {
                out[part.clone()].copy_from_slice(&block[within..within + part.len()]);
            }
        }
        out
    }

    /// Writes; what is outside is left out.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (number, within, part) in pieces(offset, data.len()) {
            let Some(block) = self.blocks.get_mut(number) else {
                return;
            };
            let data = &data[part];
            if block.is_none() && data.iter().all(|byte| *byte == 0) {
                continue;
            }
            let block = Arc::make_mut(block.get_or_insert_with(|| Arc::new([0; BLOCK_BYTES])));
            block[within..within + data.len()].copy_from_slice(data);
        }
    }

    /// Writes the image as a sparse file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size())?;
        // Neighbours in one call.
        let (mut run, mut start) = (Vec::new(), 0);
        for (number, block) in self.blocks.iter().enumerate() {
            match block {
                Some(block) => {
                    if run.is_empty() {
                        start = number;
                    }
                    run.extend_from_slice(block.as_slice());
                }
                None if run.is_empty() => {}
                None => {
                    file.write_all_at(&run, (start * BLOCK_BYTES) as u64)?;
                    run.clear();
                }
            }
        }
        file.write_all_at(&run, (start * BLOCK_BYTES) as u64)
    }
}

/// The blocks of a range: number, the first byte in it, and which part of the range that is.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= length {
            return None;
        }
        let place = offset.saturating_add(at as u64);
        let number = usize::try_from(place / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        let within = (place % BLOCK_BYTES as u64) as usize;
        let part = at..length.min(at + BLOCK_BYTES - within);
        at = part.end;
        Some((number, within, part))
    })
}

#[cfg(test)]
mod tests {
    use super::Disk;

    #[test]
    fn what_is_written_is_read_and_copies_are_their_own() {
        let mut disk = Disk::zeros(1 << 16);
        disk.write(4000, &[7; 9000]);
        let copy = disk.clone();
        disk.write(5000, &[8; 10]);
        assert_eq!(disk.read(4998, 4), [7, 7, 8, 8]);
        assert_eq!(copy.read(4998, 4), [7, 7, 7, 7]);
        assert_eq!(disk.read(3999, 2), [0, 7]);
        assert_eq!(disk.read(12_999, 2), [7, 0]);
        disk.write((1 << 16) - 1, &[9; 5]);
        assert_eq!(disk.read((1 << 16) - 1, 3), [9, 0, 0]);
        disk.write(u64::MAX, &[1]);
    }

    #[test]
    fn an_image_comes_back_from_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::zeros(1 << 20);
        disk.write(70_000, &[3; 100]);
        let path = folder.path().join("image");
        disk.save(&path).expect("is saved");
        let back = Disk::load(&path).expect("is read");
        assert_eq!(back.size(), 1 << 20);
        assert_eq!(back.read(69_999, 102), disk.read(69_999, 102));
    }
}
