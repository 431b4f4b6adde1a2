//! Extended attributes: in the inode after its fields, and in one block, which inodes may share.

use alloc::vec::Vec;

use crate::bytes::{low16, low32, put, put_u8, put_u16, put_u32, slice, u8_at, u16_at, u32_at};
use crate::cache::Role;
use crate::crc::crc32c;
use crate::inode::Raw;
use crate::transaction::NAMES_CREDITS;
use crate::types::{Ino, Timestamp};
use crate::volume::Volume;
use crate::{Disk, Error};

mod acl;

const MAGIC: u32 = 0xea02_0000;
/// Bytes of a block before its entries.
const BLOCK_HEAD: usize = 32;
/// Bytes of an entry before its name.
const HEAD: usize = 16;
const CHECKSUM: usize = 16;
const BAD: Error = Error::Corrupt("extended attributes");

/// Prefixes by their number on the disk. A name that is all prefix is stored without more.
const PREFIXES: [(u8, &[u8]); 6] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
];

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn entry_len(&self) -> usize {
        (HEAD + self.name.len()).next_multiple_of(4)
    }

    fn value_len(&self) -> usize {
        self.value.len().next_multiple_of(4)
    }

    fn is(&self, key: (u8, &[u8])) -> bool {
        self.index == key.0 && self.name == key.1
    }

    /// The name as users know it; `None` for a prefix that is not known.
    fn full_name(&self) -> Option<Vec<u8>> {
        let (index, prefix) = PREFIXES.iter().find(|(index, _)| *index == self.index)?;
        if matches!(index, 2 | 3) != self.name.is_empty() {
            return None;
        }
        Some([*prefix, &self.name].concat())
    }

    fn hash(&self) -> u32 {
        let mut hash = 0u32;
        for b in &self.name {
            hash = hash.rotate_left(5) ^ u32::from(*b);
        }
        for word in self.value.chunks(4) {
            let mut bytes = [0; 4];
            for (to, from) in bytes.iter_mut().zip(word) {
                *to = *from;
            }
            hash = hash.rotate_left(16) ^ u32::from_le_bytes(bytes);
        }
        hash
    }
}

/// The number and the rest of a full name.
fn key(name: &[u8]) -> Result<(u8, &[u8]), Error> {
    for (index, prefix) in PREFIXES {
        if matches!(index, 2 | 3) {
            if name == prefix {
                return Ok((index, &[]));
            }
        } else if let Some(rest) = name.strip_prefix(prefix)
            && !rest.is_empty()
        {
            return if rest.len() > 255 {
                Err(Error::Range)
            } else {
                Ok((index, rest))
            };
        }
    }
    Err(Error::Unsupported)
}

/// Reads entries from `from` on; values are counted from `base`.
fn parse(b: &[u8], from: usize, base: usize) -> Result<Vec<Attribute>, Error> {
    let mut found = Vec::new();
    let mut at = from;
    // Four bytes of zeros end the entries; the end of the space does too.
    while at + 4 <= b.len() && u32_at(b, at)? != 0 {
        let name_len = usize::from(u8_at(b, at)?);
        let len = usize::try_from(u32_at(b, at + 8)?).map_err(|_| BAD)?;
        if u32_at(b, at + 4)? != 0 {
            return Err(Error::Corrupt("an attribute in an inode of its own"));
        }
        let offset = usize::from(u16_at(b, at + 2)?);
        let value = if len == 0 {
            &[]
        } else {
            slice(b, base + offset, len).map_err(|_| BAD)?
        };
        found.push(Attribute {
            index: u8_at(b, at + 1)?,
            name: slice(b, at + HEAD, name_len).map_err(|_| BAD)?.to_vec(),
            value: value.to_vec(),
        });
        at += (HEAD + name_len).next_multiple_of(4);
    }
    Ok(found)
}

fn fits(attributes: &[Attribute], room: usize) -> bool {
    let all: usize = attributes.iter().map(|a| a.entry_len() + a.value_len()).sum();
    all + 4 <= room
}

/// Writes attributes to `b` from `from` on, values from its end; offsets are counted from `base`.
fn write(b: &mut [u8], from: usize, base: usize, attributes: &[Attribute], hashed: bool) -> Result<(), Error> {
    let mut at = from;
    let mut end = b.len();
    for a in attributes {
        end = end.checked_sub(a.value_len()).ok_or(Error::NoSpace)?;
        if at + a.entry_len() + 4 > end {
            return Err(Error::NoSpace);
        }
        put_u8(b, at, low16(a.name.len() as u32) as u8)?;
        put_u8(b, at + 1, a.index)?;
        put_u16(
            b,
            at + 2,
            if a.value.is_empty() {
                0
            } else {
                low16((end - base) as u32)
            },
        )?;
        put_u32(b, at + 4, 0)?;
        put_u32(b, at + 8, low32(a.value.len() as u64))?;
        put_u32(b, at + 12, if hashed { a.hash() } else { 0 })?;
        put(b, at + HEAD, &a.name)?;
        put(b, end, &a.value)?;
        at += a.entry_len();
    }
    Ok(())
}

fn block_sum(block: u64, b: &[u8], seed: u32) -> Result<u32, Error> {
    let sum = crc32c(seed, &block.to_le_bytes());
    let sum = crc32c(sum, slice(b, 0, CHECKSUM)?);
    let sum = crc32c(sum, &[0; 4]);
    Ok(crc32c(sum, slice(b, CHECKSUM + 4, b.len() - CHECKSUM - 4)?))
}

/// Checks a block of attributes.
pub(crate) fn verify_block(block: u64, b: &[u8], seed: Option<u32>) -> Result<(), Error> {
    if u32_at(b, 0)? != MAGIC || u32_at(b, 8)? != 1 || u32_at(b, 4)? == 0 || u32_at(b, 4)? > 1024 {
        return Err(Error::Corrupt("block of extended attributes"));
    }
    if let Some(seed) = seed
        && block_sum(block, b, seed)? != u32_at(b, CHECKSUM)?
    {
        return Err(Error::Corrupt("checksum of extended attributes"));
    }
    parse(b, BLOCK_HEAD, 0).map(|_| ())
}

/// Writes the checksum of a block of attributes.
pub(crate) fn seal_block(block: u64, b: &mut [u8], seed: u32) -> Result<(), Error> {
    let sum = block_sum(block, b, seed)?;
    put_u32(b, CHECKSUM, sum)
}

/// Where the inode's own attributes begin: after its fields and the magic; `None` where there is no room.
fn inode_area(raw: &Raw) -> Option<usize> {
    let at = 128 + raw.extra();
    (raw.bytes.len() > 128 && raw.extra() > 0 && at + 8 <= raw.bytes.len()).then_some(at)
}

impl<D: Disk> Volume<D> {
    fn inode_attributes(raw: &Raw) -> Result<Vec<Attribute>, Error> {
        match inode_area(raw) {
            Some(at) if u32_at(&raw.bytes, at)? == MAGIC => parse(&raw.bytes, at + 4, at + 4),
            _ => Ok(Vec::new()),
        }
    }

    fn check_attribute_block(&self, raw: &Raw) -> Result<Option<u64>, Error> {
        match raw.attribute_block() {
            0 => Ok(None),
            block if self.is_data_run(block, 1) => Ok(Some(block)),
            _ => Err(Error::Corrupt("a block of attributes is not where files may be")),
        }
    }

    fn block_attributes(&mut self, raw: &Raw) -> Result<Vec<Attribute>, Error> {
        match self.check_attribute_block(raw)? {
            None => Ok(Vec::new()),
            Some(block) => {
                let b = self.block(block, Role::Attributes)?;
                parse(&b, BLOCK_HEAD, 0)
            }
        }
    }

    /// An attribute's value, as `getxattr` answers it.
    ///
    /// # Errors
    /// [`Error::NoAttribute`]; [`Error::Unsupported`] for a prefix that is not known.
    pub fn attribute(&mut self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Error> {
        let key = key(name)?;
        let found = self.live(ino.0).and_then(|raw| {
            let mut all = Self::inode_attributes(&raw)?;
            all.extend(self.block_attributes(&raw)?);
            all.into_iter().find(|a| a.is(key)).ok_or(Error::NoAttribute)
        });
        let found = self.seen(found)?;
        let value = if matches!(key.0, 2 | 3) {
            acl::to_user(&found.value)
        } else {
            Ok(found.value)
        };
        self.seen(value)
    }

    /// The names of all attributes.
    ///
    /// # Errors
    /// The disk's.
    pub fn attributes(&mut self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        let found = self.live(ino.0).and_then(|raw| {
            let mut all = Self::inode_attributes(&raw)?;
            all.extend(self.block_attributes(&raw)?);
            Ok(all)
        });
        Ok(self.seen(found)?.iter().filter_map(Attribute::full_name).collect())
    }

    /// Sets an attribute. `must_exist` demands that it is there already, or that it is not.
    ///
    /// # Errors
    /// [`Error::NoAttribute`], [`Error::Exists`]; [`Error::NoSpace`] for more than inode and block hold.
    pub fn set_attribute(
        &mut self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        must_exist: Option<bool>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let key = key(name)?;
        let value = if matches!(key.0, 2 | 3) {
            acl::to_disk(value)?
        } else {
            value.to_vec()
        };
        self.transact(NAMES_CREDITS, now, |v| {
            v.change_attribute(ino, key, Some(&value), must_exist, now)
        })
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`].
    pub fn remove_attribute(&mut self, ino: Ino, name: &[u8], now: Timestamp) -> Result<(), Error> {
        let key = key(name)?;
        self.transact(NAMES_CREDITS, now, |v| {
            v.change_attribute(ino, key, None, Some(true), now)
        })
    }

    fn change_attribute(
        &mut self,
        ino: Ino,
        key: (u8, &[u8]),
        value: Option<&[u8]>,
        must_exist: Option<bool>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut raw = self.live(ino.0)?;
        let mut inner = Self::inode_attributes(&raw)?;
        let outer_before = self.block_attributes(&raw)?;
        let mut outer = outer_before.clone();
        let is_there = inner.iter().chain(&outer).any(|a| a.is(key));
        match must_exist {
            Some(true) if !is_there => return Err(Error::NoAttribute),
            Some(false) if is_there => return Err(Error::Exists),
            _ => {}
        }
        inner.retain(|a| !a.is(key));
        outer.retain(|a| !a.is(key));
        if let Some(value) = value {
            let new = Attribute {
                index: key.0,
                name: key.1.to_vec(),
                value: value.to_vec(),
            };
            inner.push(new);
            let room = inode_area(&raw).map_or(0, |at| raw.bytes.len() - at - 4);
            if room == 0 || !fits(&inner, room) {
                outer.extend(inner.pop());
            }
            if !fits(&outer, self.layout.block_bytes - BLOCK_HEAD) {
                return Err(Error::NoSpace);
            }
        }
        if let Some(at) = inode_area(&raw) {
            let area = raw.bytes.get_mut(at..).ok_or(BAD)?;
            area.fill(0);
            if !inner.is_empty() {
                put_u32(area, 0, MAGIC)?;
                write(area, 4, 4, &inner, false)?;
            }
        }
        if outer != outer_before {
            self.put_attribute_block(&mut raw, outer)?;
        }
        raw.set_ctime(now);
        self.store(&mut raw)
    }

    fn put_attribute_block(&mut self, raw: &mut Raw, mut attributes: Vec<Attribute>) -> Result<(), Error> {
        if attributes.is_empty() {
            return self.drop_attribute_block(raw);
        }
        attributes.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
        let shared = match self.check_attribute_block(raw)? {
            Some(block) => {
                let b = self.block(block, Role::Attributes)?;
                (u32_at(&b, 4)? == 1).then_some(block)
            }
            None => None,
        };
        let block = match shared {
            Some(own) => own,
            None => {
                self.drop_attribute_block(raw)?;
                let goal = self.group_goal(raw.ino);
                let block = self.take_block(goal)?;
                raw.add_blocks(&self.layout, 1)?;
                raw.set_attribute_block(block);
                self.fresh(block, Role::Attributes)?;
                block
            }
        };
        let hashes: Vec<u32> = attributes.iter().map(Attribute::hash).collect();
        let mut all = 0u32;
        for hash in &hashes {
            all = all.rotate_left(16) ^ hash;
        }
        if hashes.contains(&0) {
            all = 0;
        }
        self.modify(block, Role::Attributes, |b| {
            b.fill(0);
            put_u32(b, 0, MAGIC)?;
            put_u32(b, 4, 1)?;
            put_u32(b, 8, 1)?;
            put_u32(b, 12, all)?;
            write(b, BLOCK_HEAD, 0, &attributes, true)
        })
    }

    /// An inode uses its block of attributes no more.
    pub(crate) fn drop_attribute_block(&mut self, raw: &mut Raw) -> Result<(), Error> {
        let Some(block) = self.check_attribute_block(raw)? else {
            return Ok(());
        };
        let users = u32_at(&self.block(block, Role::Attributes)?, 4)?;
        if users > 1 {
            self.modify(block, Role::Attributes, |b| put_u32(b, 4, users - 1))?;
        } else {
            self.free_run(block, 1, true)?;
        }
        raw.set_attribute_block(0);
        raw.add_blocks(&self.layout, -1)
    }
}
