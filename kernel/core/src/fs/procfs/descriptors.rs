//! /proc/PID/fd and fdinfo.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::{Rank, SpinLock};

use super::process::{Subject, ino};
use super::{device, number};
use crate::fs::file::OpenFile;
use crate::fs::inode::{Attachment, FileType, Inode, LinkTarget, Metadata, Owner};
use crate::fs::path::Path;
use crate::fs::pipe;
use crate::fs::virt::{Body, Directory, Name, VirtualInode};
use crate::process::thread;
use crate::{Errno, Result};

/// Where inode numbers of descriptors begin.
const FIRST: u64 = 1 << 20;

/// The directory; `info`: fdinfo.
pub(super) fn directory(subject: Subject, info: bool) -> Box<dyn Directory> {
    Box::new(Descriptors { subject, info })
}

struct Descriptors {
    subject: Subject,
    info: bool,
}

impl Descriptors {
    fn number(&self, fd: u32) -> u64 {
        let base = if self.info { FIRST + (FIRST >> 1) } else { FIRST };
        ino(self.subject.tid.unwrap_or(self.subject.pid), base + u64::from(fd))
    }
}

impl Directory for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        let fd = if name == b"0" {
            0
        } else {
            number(name).ok_or(Errno::ENOENT)?
        };
        let subject = self.subject;
        let signed = i32::try_from(fd).map_err(|_| Errno::ENOENT)?;
        let thread = subject.open_thread()?;
        let file = thread.files().get(signed).map_err(|_| Errno::ENOENT)?;
        let cred = thread.cred();
        let owner = (cred.euid, cred.egid);
        if self.info {
            let body = Body::File(Box::new(move || info(&subject, signed)), None);
            return Ok(VirtualInode::new(device(), self.number(fd), 0o400, owner, body));
        }
        let mode = 0o100 | if file.readable() { 0o400 } else { 0 } | if file.writable() { 0o200 } else { 0 };
        let body = Body::Link(Box::new(move || target(&subject, signed)));
        Ok(VirtualInode::new(device(), self.number(fd), mode, owner, body))
    }

    fn list(&self) -> Result<Vec<Name>> {
        let files = self.subject.open_thread()?.files();
        let kind = if self.info {
            FileType::Regular
        } else {
            FileType::Symlink
        };
        Ok(files
            .list()
            .iter()
            .map(|(fd, _)| Name {
                name: alloc::format!("{fd}").into_bytes(),
                ino: self.number(u32::try_from(*fd).unwrap_or(0)),
                kind,
            })
            .collect())
    }
}

fn file(subject: &Subject, fd: i32) -> Result<Arc<OpenFile>> {
    subject.open_thread()?.files().get(fd).map_err(|_| Errno::ENOENT)
}

fn target(subject: &Subject, fd: i32) -> Result<LinkTarget> {
    let file = file(subject, fd)?;
    if let Some(path) = &file.path {
        let text = path.display(&thread::current().fs().root());
        return Ok(LinkTarget::Place(path.clone(), text));
    }
    let text = file.ops.describe().into_bytes();
    let inode: Arc<dyn Inode> = match file.ops.inode() {
        Some(inode) => inode,
        None => Arc::new(Loose::new(&file)),
    };
    Ok(LinkTarget::Place(Path::outside(inode), text))
}

fn info(subject: &Subject, fd: i32) -> Result<Vec<u8>> {
    let thread = subject.open_thread()?;
    let file = file(subject, fd)?;
    let mut flags = file.flags();
    if thread.files().close_on_exec(fd).unwrap_or(false) {
        flags |= crate::fs::flags::O_CLOEXEC;
    }
    let position = *file.position.lock();
    let mount = file.path.as_ref().map_or(0, |p| p.mount.id);
    let ino = file
        .inode()
        .map(|i| i.metadata())
        .or_else(|| file.ops.metadata())
        .map_or(0, |m| m.ino);
    let own = file.ops.fdinfo();
    Ok(alloc::format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{ino}\n{own}").into_bytes())
}

/// A file that is in no tree, as an inode: what stat and open of /proc/PID/fd/N see of a pipe or a socket.
struct Loose {
    metadata: Metadata,
    attachment: Attachment,
}

impl Loose {
    fn new(file: &OpenFile) -> Self {
        let blank = Metadata {
            mode: 0o100600,
            nlink: 1,
            block_size: 4096,
            ..Metadata::default()
        };
        let pipe = pipe::end_of(file).map(|e| e.pipe() as Arc<dyn Any + Send + Sync>);
        Self {
            metadata: file.ops.metadata().unwrap_or(blank),
            attachment: SpinLock::new(Rank::Leaf, pipe),
        }
    }
}

impl Inode for Loose {
    fn kind(&self) -> FileType {
        FileType::from_mode(self.metadata.mode).unwrap_or(FileType::Regular)
    }

    fn owner(&self) -> Owner {
        Owner {
            mode: self.metadata.mode,
            uid: self.metadata.uid,
            gid: self.metadata.gid,
        }
    }

    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn attachment(&self) -> Option<&Attachment> {
        Some(&self.attachment)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
