//! /proc/PID and /proc/PID/task/TID.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{descriptors, device, gone, memory, mounts, status};
use crate::fs::inode::{FileType, LinkTarget};
use crate::fs::path::Path;
use crate::fs::virt::{Body, Directory, Name, VirtualInode};
use crate::process::cred::Capability;
use crate::process::thread::{self, Thread};
use crate::process::{Process, State, table};
use crate::{Errno, Result};

/// Inode numbers of a process's files: its number, then a small one.
pub(super) fn ino(pid: u32, n: u64) -> u64 {
    (u64::from(pid) << 24) | n
}

/// What a file is made of.
#[derive(Clone, Copy)]
enum Make {
    Text(fn(&Subject) -> Result<Vec<u8>>),
    Setting(fn(&Subject) -> Result<Vec<u8>>, fn(&Subject, &[u8]) -> Result<()>),
    Link(fn(&Subject) -> Result<LinkTarget>),
    Directory(fn(Subject) -> Box<dyn Directory>),
}

/// Whom a directory is about: a process, or one of its threads.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    /// The process's number.
    pub(super) pid: u32,
    /// The thread's number; none for the process as a whole.
    pub(super) tid: Option<u32>,
}

impl Subject {
    /// The process; `ESRCH`.
    pub(super) fn process(&self) -> Result<Arc<Process>> {
        gone(table::get(self.pid).filter(|p| p.state() != State::Dead))
    }

    /// The thread, or the process's first; `ESRCH` for a zombie.
    pub(super) fn thread(&self) -> Result<Arc<Thread>> {
        match self.tid {
            Some(tid) => gone(table::thread(tid).filter(|t| t.process.pid == self.pid)),
            None => gone(self.process()?.main_thread()),
        }
    }

    /// As [`Self::thread`], if the reader may look into the process (ptrace(2), "access mode checking"): same user or
    /// CAP_SYS_PTRACE; `EACCES`.
    pub(super) fn open_thread(&self) -> Result<Arc<Thread>> {
        let target = self.thread()?;
        let Some(me) = thread::try_current() else {
            return Ok(target);
        };
        if Arc::ptr_eq(&me.process, &target.process) {
            return Ok(target);
        }
        let (mine, theirs) = (me.cred(), target.cred());
        let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|u| *u == mine.fsuid)
            && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|g| *g == mine.fsgid);
        if same || mine.has(Capability::SysPtrace) {
            Ok(target)
        } else {
            Err(Errno::EACCES)
        }
    }
}

/// The files, with their permission bits. Those after the first are only in a process's directory.
const FILES: &[(&str, u32, Make)] = &[
    ("stat", 0o444, Make::Text(status::stat)),
    ("status", 0o444, Make::Text(status::status)),
    ("statm", 0o444, Make::Text(status::statm)),
    ("cmdline", 0o444, Make::Text(memory::cmdline)),
    ("comm", 0o644, Make::Setting(status::comm, status::set_comm)),
    ("environ", 0o400, Make::Text(memory::environ)),
    ("auxv", 0o400, Make::Text(memory::auxv)),
    ("maps", 0o444, Make::Text(memory::maps)),
    ("limits", 0o444, Make::Text(status::limits)),
    ("io", 0o400, Make::Text(status::io)),
    ("wchan", 0o444, Make::Text(|_| Ok(b"0".to_vec()))),
    ("oom_score", 0o444, Make::Text(status::oom_score)),
    (
        "oom_score_adj",
        0o644,
        Make::Setting(status::oom_score_adj, status::set_oom_score_adj),
    ),
    ("sched", 0o444, Make::Text(status::schedstat)),
    ("schedstat", 0o444, Make::Text(status::schedstat)),
    ("personality", 0o400, Make::Text(status::personality)),
    ("cgroup", 0o444, Make::Text(|_| Ok(b"0::/\n".to_vec()))),
    ("mounts", 0o444, Make::Text(|s| root_of(s, mounts::mounts))),
    ("mountinfo", 0o444, Make::Text(|s| root_of(s, mounts::mountinfo))),
    ("mountstats", 0o400, Make::Text(|s| root_of(s, mounts::mountstats))),
    ("exe", 0o777, Make::Link(exe)),
    ("cwd", 0o777, Make::Link(cwd)),
    ("root", 0o777, Make::Link(root)),
    ("fd", 0o500, Make::Directory(|s| descriptors::directory(s, false))),
    ("fdinfo", 0o500, Make::Directory(|s| descriptors::directory(s, true))),
];

fn root_of(subject: &Subject, make: fn(&Path) -> alloc::string::String) -> Result<Vec<u8>> {
    Ok(make(&subject.thread()?.fs().root()).into_bytes())
}

fn place(path: Path) -> Result<LinkTarget> {
    let text = path.display(&thread::current().fs().root());
    Ok(LinkTarget::Place(path, text))
}

fn exe(s: &Subject) -> Result<LinkTarget> {
    place(s.open_thread()?.process.exe().ok_or(Errno::ENOENT)?)
}

fn cwd(s: &Subject) -> Result<LinkTarget> {
    place(s.open_thread()?.fs().cwd())
}

fn root(s: &Subject) -> Result<LinkTarget> {
    place(s.open_thread()?.fs().root())
}

/// The directory of a process, or of the process that a thread's number belongs to; `ENOENT`.
pub(super) fn directory(pid: u32) -> Result<Arc<VirtualInode>> {
    let process = table::get(pid)
        .or_else(|| table::thread(pid).map(|t| t.process.clone()))
        .ok_or(Errno::ENOENT)?;
    if process.state() == State::Dead {
        return Err(Errno::ENOENT);
    }
    Ok(make_directory(Subject {
        pid: process.pid,
        tid: None,
    }))
}

fn make_directory(subject: Subject) -> Arc<VirtualInode> {
    let number = subject.tid.unwrap_or(subject.pid);
    let base = if subject.tid.is_some() { 1 << 16 } else { 0 };
    let body = Body::Directory(Box::new(Files { subject, base }));
    VirtualInode::new(device(), ino(number, base), 0o555, owner(&subject), body)
}

/// Who owns a process's files: its effective user and group; the superuser for zombies.
fn owner(subject: &Subject) -> (u32, u32) {
    subject.thread().map_or((0, 0), |t| {
        let cred = t.cred();
        (cred.euid, cred.egid)
    })
}

struct Files {
    subject: Subject,
    base: u64,
}

impl Directory for Files {
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        let subject = self.subject;
        // A directory that outlives its process is empty.
        subject.process().map_err(|_| Errno::ENOENT)?;
        let number = subject.tid.unwrap_or(subject.pid);
        if name == b"task" && subject.tid.is_none() {
            let body = Body::Directory(Box::new(Tasks(subject)));
            return Ok(VirtualInode::new(
                device(),
                ino(number, 255),
                0o555,
                owner(&subject),
                body,
            ));
        }
        if name == b"net" {
            return super::tree().find(b"net");
        }
        let found = FILES.iter().enumerate().find(|(_, (n, _, _))| n.as_bytes() == name);
        let (n, (_, mode, make)) = found.ok_or(Errno::ENOENT)?;
        let body = match *make {
            Make::Text(f) => Body::File(Box::new(move || f(&subject)), None),
            Make::Setting(f, set) => Body::File(
                Box::new(move || f(&subject)),
                Some(Box::new(move |b: &[u8]| set(&subject, b))),
            ),
            Make::Link(f) => Body::Link(Box::new(move || f(&subject))),
            Make::Directory(f) => Body::Directory(f(subject)),
        };
        Ok(VirtualInode::new(
            device(),
            ino(number, self.base + n as u64 + 1),
            *mode,
            owner(&subject),
            body,
        ))
    }

    fn list(&self) -> Result<Vec<Name>> {
        self.subject.process().map_err(|_| Errno::ENOENT)?;
        let number = self.subject.tid.unwrap_or(self.subject.pid);
        let mut out: Vec<Name> = FILES
            .iter()
            .enumerate()
            .map(|(n, (name, _, make))| Name {
                name: name.as_bytes().to_vec(),
                ino: ino(number, self.base + n as u64 + 1),
                kind: match make {
                    Make::Text(_) | Make::Setting(..) => FileType::Regular,
                    Make::Link(_) => FileType::Symlink,
                    Make::Directory(_) => FileType::Directory,
                },
            })
            .collect();
        if self.subject.tid.is_none() {
            out.push(Name {
                name: b"task".to_vec(),
                ino: ino(number, 255),
                kind: FileType::Directory,
            });
        }
        Ok(out)
    }
}

struct Tasks(Subject);

impl Directory for Tasks {
    fn lookup(&self, name: &[u8]) -> Result<Arc<VirtualInode>> {
        let tid = super::number(name).ok_or(Errno::ENOENT)?;
        let subject = Subject {
            pid: self.0.pid,
            tid: Some(tid),
        };
        subject.thread().map_err(|_| Errno::ENOENT)?;
        Ok(make_directory(subject))
    }

    fn list(&self) -> Result<Vec<Name>> {
        let threads = self.0.process()?.threads();
        Ok(threads
            .iter()
            .map(|t| Name {
                name: alloc::format!("{}", t.tid()).into_bytes(),
                ino: ino(t.tid(), 1 << 16),
                kind: FileType::Directory,
            })
            .collect())
    }
}
