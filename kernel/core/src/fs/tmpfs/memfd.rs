//! Files without a place in the tree (memfd_create(2)).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::Once;

use super::TmpFs;
use super::node::TmpNode;
use crate::Result;
use crate::fs::file::{File, IoFlags, OpenFile, Whence};
use crate::fs::flags::O_RDWR;
use crate::fs::inode::Inode;
use crate::process::cred::Cred;
use crate::user::{Sink, Source};
use crate::vm::PageSource;

static FS: Once<Arc<TmpFs>> = Once::new();

struct MemFd {
    node: Arc<TmpNode>,
    name: Vec<u8>,
}

impl File for MemFd {
    fn read(&self, to: &mut Sink<'_>, offset: u64, flags: IoFlags) -> Result<usize> {
        File::read(&*self.node, to, offset, flags)
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        File::write(&*self.node, from, offset, flags)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, current: u64, offset: i64, whence: Whence) -> Result<u64> {
        self.node.seek(current, offset, whence)
    }

    fn mmap(&self) -> Result<Arc<dyn PageSource>> {
        self.node.mmap()
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.node.clone())
    }

    fn describe(&self) -> String {
        alloc::format!("/memfd:{} (deleted)", String::from_utf8_lossy(&self.name))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A new file in memory, open for reading and writing. `name` is for /proc alone.
pub fn create(name: &[u8], cred: &Cred) -> Result<Arc<OpenFile>> {
    let fs = FS.call_once(|| {
        TmpFs::with(
            "tmpfs",
            &super::Options {
                pages: Some(usize::MAX),
                ..Default::default()
            },
        )
    });
    let node = fs.loose_file(0o777, cred.fsuid, cred.fsgid)?;
    Ok(OpenFile::new(
        Arc::new(MemFd {
            node,
            name: name.to_vec(),
        }),
        O_RDWR,
        None,
    ))
}
