//! The extended attributes of a file in memory: `trusted.` and `security.`, as Linux' tmpfs has had them since 3.0.
//! Only the administrator can set them, and no file has more than a bound.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};

use crate::{Errno, Result};

/// Most attributes of a file, and most bytes of their names and values together.
const COUNT_MAX: usize = 128;
const BYTES_MAX: usize = 128 << 10;

#[derive(Default)]
struct Kept {
    values: BTreeMap<Box<[u8]>, Arc<[u8]>>,
    bytes: usize,
}

pub(super) struct Xattrs(SpinLock<Kept>);

impl Xattrs {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(
            Rank::Leaf,
            Kept {
                values: BTreeMap::new(),
                bytes: 0,
            },
        ))
    }

    fn check(name: &[u8]) -> Result<()> {
        if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
            Ok(())
        } else {
            Err(Errno::EOPNOTSUPP)
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        Self::check(name)?;
        let value = self.0.lock().values.get(name).cloned();
        value.map(|v| v.to_vec()).ok_or(Errno::ENODATA)
    }

    pub(super) fn set(&self, name: &[u8], value: Option<&[u8]>, must_exist: Option<bool>) -> Result<()> {
        Self::check(name)?;
        let value: Option<Arc<[u8]>> = value.map(Arc::from);
        let key: Box<[u8]> = Box::from(name);
        // What is replaced is freed outside of the lock.
        let old = {
            let mut kept = self.0.lock();
            let there = kept.values.get(name).map(|v| v.len());
            match (must_exist, there) {
                (Some(true), None) => return Err(Errno::ENODATA),
                (Some(false), Some(_)) => return Err(Errno::EEXIST),
                _ => {}
            }
            let freed = there.map_or(0, |len| name.len() + len);
            let taken = value.as_ref().map_or(0, |v| name.len() + v.len());
            let bytes = kept.bytes.saturating_sub(freed) + taken;
            if bytes > BYTES_MAX || (there.is_none() && value.is_some() && kept.values.len() >= COUNT_MAX) {
                return Err(Errno::ENOSPC);
            }
            kept.bytes = bytes;
            match value {
                Some(value) => kept.values.insert(key, value),
                None => kept.values.remove(name),
            }
        };
        drop(old);
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        self.0.lock().values.keys().map(|name| name.to_vec()).collect()
    }
}
