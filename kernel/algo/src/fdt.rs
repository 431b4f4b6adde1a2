//! A reader of flattened device trees (Devicetree Specification 0.4, chapter 5) over borrowed bytes, without allocation.
//!
//! [`Fdt::new`] walks the whole tree once: after that every name is a string, every property lies within the blob, nodes nest properly
//! and at most [`MAX_DEPTH`] deep. What remains possible in a bad tree is a property that does not have the expected shape; the readers
//! answer `None` then. No input panics, and every walk is bounded by the size of the blob.
//!
//! - `node`: nodes, properties, children, and lookup by path, by `compatible`, by phandle;
//! - `address`: `reg`, translated through the `ranges` of the ancestors;
//! - `system`: what a kernel asks first: memory, reservations, `/chosen`, CPUs.

mod address;
mod node;
mod system;

pub use address::{DmaRange, RawReg, Reg};
pub use node::{Cells, Children, Compatible, Node, Nodes, Properties, Property, Strings};
pub use system::{Chosen, Cpu, Memory, Reservation, Reservations};

use thiserror::Error;

/// How deep nodes may nest, the root included.
pub const MAX_DEPTH: usize = 32;

/// The size of the header.
pub const HEADER_BYTES: usize = 40;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// It does not begin with 0xd00dfeed.
    #[error("not a device tree: the magic number is missing")]
    BadMagic,
    /// There are fewer bytes than the header, or the header, says.
    #[error("the device tree is cut short")]
    Truncated,
    /// Neither version 17 nor compatible with it.
    #[error("device tree version {0} is not supported (17 is)")]
    BadVersion(u32),
    /// A block of the header leaves the blob or is not aligned.
    #[error("a block of the device tree lies outside of it")]
    BadLayout,
    /// The structure block is malformed.
    #[error("the device tree is malformed at structure offset {0:#x}")]
    BadStructure(usize),
    /// Nodes nest deeper than [`MAX_DEPTH`].
    #[error("the device tree is nested deeper than {MAX_DEPTH} nodes")]
    TooDeep,
}

/// A checked device tree.
#[derive(Clone, Copy, Debug)]
pub struct Fdt<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reserved: &'a [u8],
    total_size: usize,
    boot_cpu: u32,
}

/// One element of the structure block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token<'a> {
    Begin(&'a str),
    End,
    Property(&'a str, &'a [u8]),
    Finish,
}

/// The total size in bytes that the header of a blob announces; `None` when the bytes (at least 8 are needed) do not begin a device tree.
pub fn total_size_of(header: &[u8]) -> Option<usize> {
    (be32(header, 0)? == MAGIC).then_some(())?;
    be32(header, 4).map(|size| size as usize)
}

impl<'a> Fdt<'a> {
    /// Checks a blob; bytes after its total size are ignored.
    ///
    /// # Errors
    /// [`enum@Error`] when it is no device tree, is cut short, or is malformed anywhere.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        if be32(bytes, 0).ok_or(Error::Truncated)? != MAGIC {
            return Err(Error::BadMagic);
        }
        let field = |at: usize| be32(bytes, at).map(|value| value as usize).ok_or(Error::Truncated);
        let total_size = field(4)?;
        if total_size < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let bytes = bytes.get(..total_size).ok_or(Error::Truncated)?;
        let version = be32(bytes, 20).ok_or(Error::Truncated)?;
        if version < 17 || field(24)? > 17 {
            return Err(Error::BadVersion(version));
        }
        let block = |offset: usize, size: usize| {
            let end = offset.checked_add(size).ok_or(Error::BadLayout)?;
            bytes.get(offset..end).ok_or(Error::BadLayout)
        };
        let structure_at = field(8)?;
        let reserved_at = field(16)?;
        if !structure_at.is_multiple_of(4) || !reserved_at.is_multiple_of(8) {
            return Err(Error::BadLayout);
        }
        let fdt = Self {
            structure: block(structure_at, field(36)?)?,
            strings: block(field(12)?, field(32)?)?,
            reserved: bytes.get(reserved_at..).ok_or(Error::BadLayout)?,
            total_size,
            boot_cpu: be32(bytes, 28).ok_or(Error::Truncated)?,
        };
        fdt.check()?;
        Ok(fdt)
    }

    /// The size in bytes that the header gives, padding included.
    pub fn total_size(&self) -> usize {
        self.total_size
    }

    /// The hardware id of the CPU that the firmware started (the header's `boot_cpuid_phys`).
    pub fn boot_cpu(&self) -> u32 {
        self.boot_cpu
    }

    /// Walks all tokens: one root, balanced, no deeper than allowed, ended.
    fn check(&self) -> Result<(), Error> {
        let mut at = 0;
        let mut depth = 0;
        let mut roots = 0;
        loop {
            let (token, next) = self.token(at).ok_or(Error::BadStructure(at))?;
            match token {
                Token::Begin(name) => {
                    if depth == 0 {
                        roots += 1;
                    }
                    if (depth == 0) != name.is_empty() || roots > 1 {
                        return Err(Error::BadStructure(at));
                    }
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(Error::TooDeep);
                    }
                }
                Token::End if depth > 0 => depth -= 1,
                Token::Property(..) if depth > 0 => {}
                Token::Finish if depth == 0 && roots == 1 => return Ok(()),
                Token::End | Token::Property(..) | Token::Finish => return Err(Error::BadStructure(at)),
            }
            at = next;
        }
    }

    /// The token at an offset of the structure block, and the offset after it. `None` only when malformed, so never after `check`.
    pub(crate) fn token(&self, mut at: usize) -> Option<(Token<'a>, usize)> {
        loop {
            let kind = be32(self.structure, at)?;
            at += 4;
            return match kind {
                NOP => continue,
                BEGIN_NODE => {
                    let name = c_str(self.structure.get(at..)?)?;
                    Some((Token::Begin(name), align4(at + name.len() + 1)))
                }
                END_NODE => Some((Token::End, at)),
                PROP => {
                    let len = be32(self.structure, at)? as usize;
                    let name = c_str(self.strings.get(be32(self.structure, at + 4)? as usize..)?)?;
                    let start = at + 8;
                    let end = start.checked_add(len)?;
                    Some((Token::Property(name, self.structure.get(start..end)?), align4(end)))
                }
                END => Some((Token::Finish, at)),
                _ => None,
            };
        }
    }
}

fn align4(at: usize) -> usize {
    at.saturating_add(3) & !3
}

/// A NUL-terminated string of UTF-8 (the specification allows a part of ASCII).
pub(crate) fn c_str(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(bytes.get(..end)?).ok()
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests;
