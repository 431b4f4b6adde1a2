//! Finding, making, moving and removing names.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use embedded_sdmmc::{LfnBuffer, Mode, ShortFileName};

use super::content::Chain;
use super::{Place, Volume};
use crate::check::SLOTS_MAX;
use crate::directories::At;
use crate::index::Index;
use crate::slot::{ARCHIVE, READ_ONLY, Slot, Times};
use crate::window::with_directory;
use crate::{Disk, Error, long_name};

/// Bytes of the longest name: 255 UTF-16 units.
const NAME_BYTES: usize = 255 * 3;

/// A file or directory, as its entry describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the long one if it has one.
    pub name: String,
    /// Its name in 8 and 3 characters, by which it can be found too.
    pub short_name: String,
    /// Where its entry is.
    pub place: Place,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether it may not be written.
    pub is_read_only: bool,
    /// Bytes; 0 for a directory.
    pub size: u32,
    /// Where its content is.
    pub chain: Chain,
    /// Its times.
    pub times: Times,
}

/// Two files that exchange their names, each with its directory.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// One file.
    pub one: (Chain, Place),
    /// The other.
    pub other: (Chain, Place),
}

/// An entry, how many come before it in its directory, and the name by which the crate knows it.
struct Found {
    entry: Entry,
    position: u32,
    short: ShortFileName,
}

impl<D: Disk> Volume<D> {
    /// Every file of a directory with how many entries come before it, in the order of the disk, until `body` has enough.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a directory that was removed, [`Error::Corrupt`].
    pub fn list(&mut self, directory: Chain, mut body: impl FnMut(u32, Entry) -> ControlFlow<()>) -> Result<(), Error> {
        self.each(directory, |found| body(found.position, found.entry))
    }

    /// The file of that name, in whatever case it is written.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn find(&mut self, directory: Chain, name: &str) -> Result<Entry, Error> {
        let name = long_name::checked(name).map_err(|_| Error::NotFound)?;
        let index = self.index(directory)?;
        let at = index.find(name).ok_or(Error::NotFound)?;
        let long = index.long(at).map(String::from);
        let slot = self.slot(Place(at))?;
        Ok(entry(at, &slot, long.as_deref()))
    }

    /// The names of a directory, which are read unless they are known.
    fn index(&mut self, directory: Chain) -> Result<&Index, Error> {
        if self.indexes.get(directory.0).is_none() {
            let mut index = Index::default();
            self.each(directory, |found| {
                let e = &found.entry;
                let long = Some(e.name.as_str()).filter(|name| *name != e.short_name);
                index.insert(e.place.0, &e.short_name, long);
                ControlFlow::Continue(())
            })?;
            self.indexes.insert(directory.0, index);
        }
        self.indexes.get(directory.0).ok_or(Error::NotFound)
    }

    /// Subdirectories of a directory.
    pub fn subdirectories(&self, directory: Chain) -> u32 {
        self.entries(directory)
            .filter(|(_, s)| s.is_file() && s.is_directory())
            .count() as u32
    }

    /// A file has a name that was not known.
    fn note(&mut self, directory: Chain, at: At, long: Option<&str>) {
        let short = long_name::shown(&self.slot_at(at));
        if let Some(index) = self.indexes.get_mut(directory.0) {
            index.insert(at, &short, long);
        }
    }

    fn each(&mut self, directory: Chain, mut body: impl FnMut(Found) -> ControlFlow<()>) -> Result<(), Error> {
        // One that was removed has no names, and is nothing to show to the crate.
        if !self.tables.directories.has(directory.0) {
            return Err(Error::NotFound);
        }
        let slots = self.slots(directory);
        let mut storage = vec![0; NAME_BYTES];
        let shared = self.shared();
        let mut position = 0;
        with_directory(&shared, directory.0, |d| {
            d.iterate_dir_lfn(&mut LfnBuffer::new(&mut storage), |e, long| {
                let Ok(tables) = shared.try_borrow() else {
                    return ControlFlow::Break(());
                };
                let at = tables.geometry.at(e.entry_block, e.entry_offset);
                // Entries come in the order of the slots.
                while slots.get(position).is_some_and(|s| Some(*s) != at) {
                    position += 1;
                }
                let before = position.checked_sub(1).and_then(|n| slots.get(n));
                let before = before.and_then(|at| tables.directories.slot(*at));
                let slot = at.and_then(|at| Some((at, tables.directories.slot(at)?)));
                drop(tables);
                match slot {
                    Some((at, slot)) if slot.is_file() => {
                        // The crate remembers a long name for longer than it holds.
                        let has_long = before.is_some_and(|b| b.is_long() && !b.is_free());
                        let long = long.filter(|name| has_long && long_name::checked(name) == Ok(name));
                        body(Found {
                            entry: entry(at, &slot, long),
                            position: position as u32,
                            short: e.name,
                        })
                    }
                    _ => ControlFlow::Continue(()),
                }
            })
        })
    }

    /// Where the entries of a directory are, in order.
    fn slots(&self, directory: Chain) -> Vec<At> {
        let per_cluster = self.tables.directories.slots_per_cluster();
        self.tables
            .table
            .chain(directory.0)
            .flat_map(|cluster| (0..per_cluster).map(move |slot| At { cluster, slot }))
            .collect()
    }

    /// The entries of a directory, in order.
    fn entries(&self, directory: Chain) -> impl Iterator<Item = (At, Slot)> {
        let chain = self.tables.table.chain(directory.0);
        chain.flat_map(|cluster| self.tables.directories.slots(cluster))
    }

    fn slot_at(&self, at: At) -> Slot {
        self.tables.directories.slot(at).unwrap_or(Slot::EMPTY)
    }

    /// Makes an empty file or directory.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::InvalidName`], [`Error::NameTooLong`], [`Error::NoSpace`], [`Error::ReadOnly`].
    pub fn create(&mut self, directory: Chain, name: &str, is_directory: bool, times: &Times) -> Result<Entry, Error> {
        self.writable()?;
        let name = long_name::checked(name)?;
        match self.find(directory, name) {
            Ok(_) => return Err(Error::Exists),
            Err(Error::NotFound) if self.tables.directories.has(directory.0) => {}
            Err(e) => return Err(e),
        }
        let (short, long) = self.names_for(directory, name)?;
        self.make_room(directory, long.len() + 1)?;
        if is_directory {
            self.two_free()?;
        }
        let text = text_of(&short);
        let shared = self.shared();
        with_directory(&shared, directory.0, |d| {
            if is_directory {
                d.make_dir_in_dir(text.as_str())
            } else {
                d.open_file_in_dir(text.as_str(), Mode::ReadWriteCreate)?.close()
            }
        })?;
        let at = self.with_short_name(directory, &short)?;
        let mut slot = self.slot_at(at);
        slot.set_times(times);
        if !is_directory {
            slot.set_attributes(ARCHIVE);
        }
        self.tables.directories.set_slot(at, &slot);
        let at = if long.is_empty() {
            at
        } else {
            let mut gone = slot;
            gone.free();
            self.tables.directories.set_slot(at, &gone);
            self.put(directory, &long, &slot)?
        };
        let long = (!long.is_empty()).then_some(name);
        self.note(directory, at, long);
        if is_directory {
            self.finish_directory(Chain(slot.first()), directory, times);
        }
        Ok(entry(at, &slot, long))
    }

    /// The crate looks for a free cluster twice when it takes one, and fails if it finds only the one.
    fn two_free(&mut self) -> Result<(), Error> {
        if self.tables.table.free_clusters() < 2 || self.tables.directories.is_full() {
            return Err(Error::NoSpace);
        }
        // What has been freed can be had when the disk knows.
        let (first, second) = (self.take(None)?, self.take(None)?);
        self.tables.table.free_chain(first);
        self.tables.table.free_chain(second);
        Ok(())
    }

    /// A new directory was made as if its parent were the root.
    fn finish_directory(&mut self, new: Chain, parent: Chain, times: &Times) {
        self.set_parent(new, parent);
        for slot in 0..2 {
            let at = At { cluster: new.0, slot };
            let mut dot = self.slot_at(at);
            dot.set_times(times);
            self.tables.directories.set_slot(at, &dot);
        }
    }

    /// Where `..` leads, if there is one.
    fn set_parent(&mut self, directory: Chain, parent: Chain) {
        let at = At {
            cluster: directory.0,
            slot: 1,
        };
        let mut slot = self.slot_at(at);
        if slot.short() == *b"..         " {
            // The root has no number there (FAT specification, "FAT Directory Structure").
            let is_root = parent.0 == self.tables.geometry.root;
            slot.set_first(if is_root { 0 } else { parent.0 });
            self.tables.directories.set_slot(at, &slot);
        }
    }

    fn with_short_name(&self, directory: Chain, short: &[u8; 11]) -> Result<At, Error> {
        let mut entries = self.entries(directory);
        let found = entries.find(|(_, slot)| slot.is_file() && slot.short() == *short);
        found.map(|(at, _)| at).ok_or(Error::NotFound)
    }

    /// The short name for a file that is to be called `name`, and the entries of its long name; none if the short one says
    /// it all.
    fn names_for(&mut self, directory: Chain, name: &str) -> Result<([u8; 11], Vec<Slot>), Error> {
        if let Some(short) = long_name::as_short(name) {
            return Ok((short, Vec::new()));
        }
        let index = self.index(directory)?;
        let short = long_name::alias(name, |short| index.find(&text_of(short)).is_some())?;
        Ok((short, long_name::entries(name, &short)))
    }

    /// The first of `count` free entries in a row; the directory grows for them if it has to.
    fn make_room(&mut self, directory: Chain, count: usize) -> Result<usize, Error> {
        loop {
            let (mut run, mut len, mut last) = (0, 0, None);
            for (at, slot) in self.entries(directory) {
                len += 1;
                last = Some(at.cluster);
                run = if slot.is_free() { run + 1 } else { 0 };
                if run == count {
                    return Ok(len - count);
                }
            }
            let per_cluster = self.tables.directories.slots_per_cluster() as usize;
            if len + per_cluster > SLOTS_MAX as usize || self.tables.directories.is_full() {
                return Err(Error::NoSpace);
            }
            let cluster = self.take(last)?;
            self.tables.directories.add(cluster);
        }
    }

    /// Puts an entry with its long name into a directory.
    fn put(&mut self, directory: Chain, long: &[Slot], slot: &Slot) -> Result<At, Error> {
        let first = self.make_room(directory, long.len() + 1)?;
        let slots = self.slots(directory);
        let mut last = None;
        for (at, slot) in slots.iter().skip(first).zip(long.iter().chain(core::iter::once(slot))) {
            self.tables.directories.set_slot(*at, slot);
            last = Some(*at);
        }
        last.ok_or(Error::NoSpace)
    }

    /// A file loses its names: they are not known any more, and the entries of the long one are free. Its own entry is the
    /// caller's, and is as it was in `slot`.
    fn forget(&mut self, directory: Chain, place: Place, slot: &Slot) {
        if let Some(index) = self.indexes.get_mut(directory.0) {
            index.remove(place.0, &long_name::shown(slot));
        }
        let slots = self.slots(directory);
        let before = slots.iter().position(|at| *at == place.0).and_then(|n| slots.get(..n));
        for at in before.unwrap_or_default().iter().rev() {
            let mut part = self.slot_at(*at);
            if part.is_free() || !part.is_long() {
                return;
            }
            part.free();
            self.tables.directories.set_slot(*at, &part);
        }
    }

    /// Removes a name. A file keeps its content until [`Self::free`]; a directory, which must be empty, loses it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`], [`Error::ReadOnly`].
    pub fn remove(&mut self, directory: Chain, place: Place) -> Result<(), Error> {
        self.writable()?;
        let slot = self.slot(place)?;
        let short = self.short_name(directory, place, &slot)?;
        let shared = self.shared();
        with_directory(&shared, directory.0, |d| d.delete_entry_in_dir(short))?;
        self.forget(directory, place, &slot);
        if slot.is_directory() {
            self.free_directory(Chain(slot.first()));
        }
        Ok(())
    }

    /// The name by which the crate knows a file.
    fn short_name(&mut self, directory: Chain, place: Place, slot: &Slot) -> Result<ShortFileName, Error> {
        if let Ok(short) = ShortFileName::create_from_str(&text_of(&slot.short()))
            && short.csum() == long_name::checksum(&slot.short())
        {
            return Ok(short);
        }
        // One that it would not make, but has read.
        let mut out = Err(Error::NotFound);
        self.each(directory, |found| {
            if found.entry.place == place {
                out = Ok(found.short);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        out
    }

    /// Frees the content of a file whose name has been removed.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn free(&mut self, chain: Chain) -> Result<(), Error> {
        self.shorten(chain, 0).map(drop)
    }

    fn free_directory(&mut self, chain: Chain) {
        let clusters: Vec<u32> = self.tables.table.chain(chain.0).collect();
        for cluster in clusters {
            self.tables.directories.remove(cluster);
        }
        self.indexes.remove(chain.0);
        self.tables.table.free_chain(chain.0);
    }

    /// Moves a file to `name` of another or the same directory. `replaced` has that name now, and is no directory that has
    /// names in it; if it is a file, its content stays until [`Self::free`]. The answer is where the file is afterwards.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NameTooLong`], [`Error::NotEmpty`], [`Error::NoSpace`], [`Error::ReadOnly`].
    pub fn rename(
        &mut self,
        (from, place): (Chain, Place),
        to: Chain,
        name: &str,
        replaced: Option<Place>,
    ) -> Result<Place, Error> {
        self.writable()?;
        let name = long_name::checked(name)?;
        if !self.tables.directories.has(to.0) {
            return Err(Error::NotFound);
        }
        let slot = self.slot(place)?;
        let new = match replaced {
            Some(replaced) => {
                let old = self.slot(replaced)?;
                if old.is_directory() {
                    self.must_be_empty(Chain(old.first()))?;
                }
                self.tables.directories.set_slot(replaced.0, &old.with_file_of(&slot));
                if old.is_directory() {
                    self.free_directory(Chain(old.first()));
                }
                self.forget(from, place, &slot);
                replaced
            }
            None => {
                let (short, long) = self.names_for(to, name)?;
                let mut moved = slot;
                moved.set_short(&short);
                moved.forget_case();
                let at = self.put(to, &long, &moved)?;
                // First: it may be the same name in another case.
                self.forget(from, place, &slot);
                self.note(to, at, (!long.is_empty()).then_some(name));
                Place(at)
            }
        };
        let mut gone = slot;
        gone.free();
        self.tables.directories.set_slot(place.0, &gone);
        if slot.is_directory() && from != to {
            self.set_parent(Chain(slot.first()), to);
        }
        Ok(new)
    }

    fn must_be_empty(&mut self, directory: Chain) -> Result<(), Error> {
        let mut out = Ok(());
        self.each(directory, |_| {
            out = Err(Error::NotEmpty);
            ControlFlow::Break(())
        })?;
        out
    }

    /// Two names exchange their files: each is in the other's place afterwards.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    pub fn exchange(&mut self, Exchange { one, other }: Exchange) -> Result<(), Error> {
        self.writable()?;
        let (a, b) = (self.slot(one.1)?, self.slot(other.1)?);
        self.tables.directories.set_slot(one.1.0, &a.with_file_of(&b));
        self.tables.directories.set_slot(other.1.0, &b.with_file_of(&a));
        for (slot, parent) in [(a, other.0), (b, one.0)] {
            if slot.is_directory() {
                self.set_parent(Chain(slot.first()), parent);
            }
        }
        Ok(())
    }
}

fn entry(at: At, slot: &Slot, long: Option<&str>) -> Entry {
    let short_name = long_name::shown(slot);
    Entry {
        name: long.map_or_else(|| short_name.clone(), String::from),
        short_name,
        place: Place(at),
        is_directory: slot.is_directory(),
        is_read_only: slot.attributes() & READ_ONLY != 0,
        size: if slot.is_directory() { 0 } else { slot.size() },
        chain: Chain(slot.first()),
        times: slot.times(),
    }
}

/// A short name of ours as text: all of its bytes are ASCII.
fn text_of(short: &[u8; 11]) -> String {
    let mut slot = Slot::EMPTY;
    slot.set_short(short);
    long_name::shown(&slot)
}
