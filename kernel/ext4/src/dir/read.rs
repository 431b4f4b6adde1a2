//! Listing a directory, with places to go on from that survive changes.
//!
//! Where the directory has an index, or may get one (it still has a single block), entries come in the order of their
//! hashes, and a place is a hash: inserting, removing, splitting a block and making the index move no name to another
//! place. Other directories (`dir_index` is off) never move an entry, and a place is an offset in bytes.

use alloc::vec::Vec;

use super::hash::{Hash, Hasher};
use super::{entries, entry_at};
use crate::inode::Raw;
use crate::types::{Entry, Ino, Kind};
use crate::volume::Volume;
use crate::{Disk, Error};

/// The place after the last entry.
pub const END: u64 = i64::MAX as u64;
/// Places of the entries for the directory itself and its parent.
const DOT: u64 = 0;
const DOT_DOT: u64 = 1;
const FIRST: u64 = 2;
/// Leaves that may share one hash: many more than names that collide by chance.
const MAX_SHARED: usize = 64;

fn place(hash: Hash) -> u64 {
    (u64::from(hash.major >> 1) << 32 | u64::from(hash.minor)).clamp(FIRST, END - 1)
}

/// A name that was collected, and its place.
struct Found {
    place: u64,
    ino: u32,
    kind: u8,
    name: Vec<u8>,
}

impl<D: Disk> Volume<D> {
    /// Calls `each` for the directory's entries from `from` on (0 to begin) until it answers false: it did not take that
    /// entry. Answers the place of the first entry not taken, which is [`END`] when all were. An entry's `next` is valid
    /// as `from` at any later time.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], or the disk's.
    pub fn read_dir(&mut self, dir: Ino, from: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<u64, Error> {
        let result = self.directory(dir).and_then(|raw| {
            let is_hashed = self.layout.has_dir_index() && (self.is_indexed(&raw) || self.directory_blocks(&raw)? == 1);
            if is_hashed {
                self.read_hashed(&raw, from, each)
            } else {
                self.read_linear(&raw, from, each)
            }
        });
        self.seen(result)
    }

    fn read_linear(&mut self, raw: &Raw, from: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<u64, Error> {
        let bytes = self.layout.block_bytes as u64;
        let first = u32::try_from(from / bytes).unwrap_or(u32::MAX);
        for n in first..self.directory_blocks(raw)? {
            let start = u64::from(n) * bytes;
            let (_, b) = self.directory_block(raw, n)?;
            for slot in entries(&b, self.entries_end(), self.layout.has_file_types()) {
                let slot = slot?;
                let at = start + slot.at as u64;
                if at < from || slot.ino == 0 {
                    continue;
                }
                let entry = Entry {
                    name: slot.name(&b)?,
                    ino: Ino(slot.ino),
                    kind: Kind::from_entry_type(slot.kind),
                    next: start + slot.end() as u64,
                };
                if !each(&entry) {
                    return Ok(at);
                }
            }
        }
        Ok(END)
    }

    /// The entries of one block that are at `from` or after.
    fn collect(&mut self, raw: &Raw, n: u32, hasher: Hasher, from: u64, found: &mut Vec<Found>) -> Result<(), Error> {
        let (_, b) = self.directory_block(raw, n)?;
        for slot in entries(&b, self.entries_end(), self.layout.has_file_types()) {
            let slot = slot?;
            let name = slot.name(&b)?;
            if slot.ino == 0 || name == b"." || name == b".." {
                continue;
            }
            let place = place(Self::name_hash(hasher, name)?);
            if place >= from {
                found.push(Found {
                    place,
                    ino: slot.ino,
                    kind: slot.kind,
                    name: name.to_vec(),
                });
            }
        }
        Ok(())
    }

    fn read_hashed(&mut self, raw: &Raw, from: u64, each: &mut dyn FnMut(&Entry<'_>) -> bool) -> Result<u64, Error> {
        let mut from = from;
        let has_types = self.layout.has_file_types();
        if from < FIRST {
            let (_, b) = self.directory_block(raw, 0)?;
            let dot = entry_at(&b, 0, has_types)?;
            let parent = entry_at(&b, dot.end(), has_types)?;
            let both: [(u64, &[u8], u32); 2] = [(DOT, b".", dot.ino), (DOT_DOT, b"..", parent.ino)];
            for (place, name, ino) in both {
                if place < from {
                    continue;
                }
                let next = place + 1;
                let kind = Some(Kind::Directory);
                if !each(&Entry {
                    name,
                    ino: Ino(ino),
                    kind,
                    next,
                }) {
                    return Ok(place);
                }
            }
            from = FIRST;
        }
        if from >= END {
            return Ok(END);
        }
        let mut path = None;
        let hasher = if self.is_indexed(raw) {
            let found = self.probe(raw, ((from >> 32) as u32) << 1)?;
            let hasher = found.hasher;
            path = Some(found);
            hasher
        } else {
            self.hasher(self.layout.hash_version)
        };
        for _ in 0..self.directory_blocks(raw)? {
            let mut found: Vec<Found> = Vec::new();
            let mut next = None;
            match &mut path {
                None => self.collect(raw, 0, hasher, from, &mut found)?,
                Some(path) => {
                    self.collect(raw, path.leaf, hasher, from, &mut found)?;
                    next = self.next_leaf(raw, path)?;
                    let mut shared = 0;
                    while let Some(hash) = next
                        && hash & 1 == 1
                    {
                        shared += 1;
                        if shared > MAX_SHARED {
                            return Err(Error::Corrupt("index of a directory"));
                        }
                        self.collect(raw, path.leaf, hasher, from, &mut found)?;
                        next = self.next_leaf(raw, path)?;
                    }
                }
            }
            found.sort_unstable_by(|a, b| (a.place, &a.name).cmp(&(b.place, &b.name)));
            let mut rest = found.iter().peekable();
            while let Some(f) = rest.next() {
                // Names with one hash are told again rather than left out, if the caller stops between them.
                let is_shared = rest.peek().is_some_and(|n| n.place == f.place);
                let entry = Entry {
                    name: &f.name,
                    ino: Ino(f.ino),
                    kind: Kind::from_entry_type(f.kind),
                    next: if is_shared { f.place } else { f.place + 1 },
                };
                if !each(&entry) {
                    return Ok(f.place);
                }
                from = from.max(entry.next);
            }
            match next {
                None => return Ok(END),
                Some(hash) => from = from.max(u64::from(hash >> 1) << 32),
            }
        }
        Err(Error::Corrupt("index of a directory"))
    }
}
