//! A page cache as small as can be: the content of files that are in use, and which of their blocks are dirty.

use super::NOW;
use sis_ext4::{Disk, Error, Ino, Source, State, Volume};
use std::collections::{BTreeMap, BTreeSet};

/// A file's content in memory.
#[derive(Debug, Default)]
struct File {
    size: u64,
    blocks: BTreeMap<u32, Vec<u8>>,
    dirty: BTreeSet<u32>,
}

/// The content of all files, by inode.
#[derive(Debug, Default)]
pub(super) struct Cache(BTreeMap<Ino, File>);

impl Cache {
    fn file<D: Disk>(&mut self, volume: &mut Volume<D>, ino: Ino) -> Result<&mut File, Error> {
        match self.0.entry(ino) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let size = volume.inode(ino)?.size;
                Ok(entry.insert(File {
                    size,
                    ..File::default()
                }))
            }
        }
    }

    /// A block of a file, read when it is not there.
    fn block<'a, D: Disk>(
        volume: &mut Volume<D>,
        file: &'a mut File,
        ino: Ino,
        number: u32,
    ) -> Result<&'a mut Vec<u8>, Error> {
        if !file.blocks.contains_key(&number) {
            let mut bytes = vec![0; volume.block_bytes()];
            let mapping = volume.map(ino, u64::from(number), 1)?;
            if mapping.state == State::Written {
                volume.disk().read(mapping.physical * bytes.len() as u64, &mut bytes)?;
                // What is behind the end of the file is nobody's.
                let start = u64::from(number) * bytes.len() as u64;
                let inside = file.size.saturating_sub(start).min(bytes.len() as u64) as usize;
                bytes[inside..].fill(0);
            }
            file.blocks.insert(number, bytes);
        }
        file.blocks.get_mut(&number).ok_or(Error::Invalid)
    }

    pub(super) fn write<D: Disk>(
        &mut self,
        volume: &mut Volume<D>,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Error> {
        let bytes = volume.block_bytes() as u64;
        let file = self.file(volume, ino)?;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let number = u32::try_from(at / bytes).map_err(|_| Error::TooLarge)?;
            let within = (at % bytes) as usize;
            let count = (bytes as usize - within).min(data.len() - done);
            let block = Self::block(volume, file, ino, number)?;
            block[within..within + count].copy_from_slice(&data[done..done + count]);
            file.dirty.insert(number);
            done += count;
        }
        file.size = file.size.max(offset + data.len() as u64);
        Ok(())
    }

    pub(super) fn read<D: Disk>(&mut self, volume: &mut Volume<D>, ino: Ino) -> Result<Vec<u8>, Error> {
        let bytes = volume.block_bytes() as u64;
        let file = self.file(volume, ino)?;
        let mut out = Vec::new();
        for number in 0..file.size.div_ceil(bytes) {
            let number = u32::try_from(number).map_err(|_| Error::TooLarge)?;
            out.extend_from_slice(Self::block(volume, file, ino, number)?);
        }
        out.truncate(file.size as usize);
        Ok(out)
    }

    /// truncate(2). What is in the last block behind the new end is cleared, and on the disk before anything grows again.
    pub(super) fn truncate<D: Disk>(&mut self, volume: &mut Volume<D>, ino: Ino, size: u64) -> Result<(), Error> {
        let bytes = volume.block_bytes() as u64;
        let file = self.file(volume, ino)?;
        if size < file.size {
            let kept = size.div_ceil(bytes) as u32;
            file.blocks.retain(|number, _| *number < kept);
            file.dirty.retain(|number| *number < kept);
            let within = (size % bytes) as usize;
            if within != 0 {
                let block = Self::block(volume, file, ino, kept - 1)?;
                block[within..].fill(0);
                file.dirty.insert(kept - 1);
            }
        }
        file.size = size;
        volume.truncate(ino, size, NOW)
    }

    /// Writes back some of a file's dirty blocks: those that `is_due`.
    pub(super) fn write_back<D: Disk>(
        &mut self,
        volume: &mut Volume<D>,
        ino: Ino,
        mut is_due: impl FnMut(u32) -> bool,
    ) -> Result<(), Error> {
        let bytes = volume.block_bytes() as u64;
        let Some(file) = self.0.get_mut(&ino) else {
            return Ok(());
        };
        // What the size on the disk does not cover yet goes in order: nothing is behind the end, nothing waits before it.
        let size = volume.inode(ino)?.size;
        let mut due = Vec::new();
        for number in &file.dirty {
            if is_due(*number) {
                due.push(*number);
            } else if (u64::from(*number) + 1) * bytes > size {
                break;
            }
        }
        for number in due {
            let place = volume.allocate(ino, u64::from(number), 1, Source::Free)?;
            let place = place.pieces.first().ok_or(Error::Invalid)?;
            let block = file.blocks.get(&number).ok_or(Error::Invalid)?;
            volume.disk().write(place.physical * bytes, block)?;
            let end = ((u64::from(number) + 1) * bytes).min(file.size);
            volume.mark_written(ino, u64::from(number), 1, end, NOW)?;
            file.dirty.remove(&number);
        }
        if file.dirty.is_empty() && volume.inode(ino)?.size < file.size {
            volume.truncate(ino, file.size, NOW)?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, ino: Ino) {
        self.0.remove(&ino);
    }

    pub(super) fn inodes(&self) -> Vec<Ino> {
        self.0.keys().copied().collect()
    }
}
