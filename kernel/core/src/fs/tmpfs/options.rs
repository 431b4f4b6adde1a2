//! Mount options of tmpfs.

use sis_machine::mm::PAGE_SIZE;
use sis_machine::mm::frames::total_frames;

use super::UNLIMITED;
use crate::{Errno, Result};

/// What was asked for; the rest is default.
#[derive(Default)]
pub(super) struct Options {
    pub(super) pages: Option<usize>,
    pub(super) inodes: Option<usize>,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Options {
    /// From a comma-separated list. `EINVAL` for unknown options and malformed values.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut out = Self::default();
        for option in text.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "size" => out.pages = Some(limit(size(value)?.div_ceil(PAGE_SIZE))),
                "nr_blocks" => out.pages = Some(limit(number(value)?)),
                "nr_inodes" => out.inodes = Some(limit(number(value)?)),
                "mode" => out.mode = Some(u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777),
                "uid" => out.uid = Some(value.parse().map_err(|_| Errno::EINVAL)?),
                "gid" => out.gid = Some(value.parse().map_err(|_| Errno::EINVAL)?),
                // About placement, which there is none of; accepted as a kernel without NUMA and huge pages does.
                "mpol" | "huge" | "inode32" | "inode64" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(out)
    }
}

/// 0 means no limit.
fn limit(n: usize) -> usize {
    if n == 0 { UNLIMITED } else { n }
}

/// Bytes: a number with k, m or g, or a percentage of memory.
fn size(text: &str) -> Result<usize> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: usize = percent.parse().map_err(|_| Errno::EINVAL)?;
        return (total_frames() / 100 * PAGE_SIZE)
            .checked_mul(percent)
            .ok_or(Errno::EINVAL);
    }
    number(text)
}

/// A number with k, m or g.
fn number(text: &str) -> Result<usize> {
    let shift = match text.as_bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        _ => 0,
    };
    let digits = if shift == 0 {
        text
    } else {
        text.get(..text.len() - 1).unwrap_or_default()
    };
    let n: usize = digits.parse().map_err(|_| Errno::EINVAL)?;
    n.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}
