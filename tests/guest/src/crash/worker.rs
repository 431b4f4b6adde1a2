//! One worker: its plan, carried out.

use super::Options;
use super::log::Log;
use crate::sys::{PAGE, What, c, open, refused};
use sis_workload::content::{Author, fill};
use sis_workload::{Kind, Op, Plan, Tree, folder};

/// Bytes that are made and written at a time.
const CHUNK: u64 = 16 << 10;

/// Carries out the worker's plan in its folder until the power is cut.
pub(super) fn run(options: &Options<'_>, number: u32, log: &mut Log) -> Result<(), String> {
    let root = format!("{}/{}", options.directory, folder(options.seed, number));
    let path = c(&root);
    sys!(SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), 0o755).what(&root)?;
    let mut worker = Worker {
        root,
        author: Author {
            seed: options.seed,
            worker: number,
            file: 0,
        },
        tree: Tree::default(),
        is_synced: options.is_synced,
        mapping: None,
    };
    worker.is_synced = true;
    worker.sync(options.directory, libc::SYS_fsync)?;
    worker.is_synced = options.is_synced;
    log.write(Kind::Begin, 0, "")?;
    let mut plan = Plan::new(options.seed, number);
    loop {
        let group = plan.next_group();
        let last = group.last().map_or(0, |step| step.number);
        if last > options.steps {
            return Ok(());
        }
        log.write(Kind::Intent, last, "")?;
        for step in group {
            worker
                .carry_out(&step.op, step.number)
                .map_err(|why| format!("step {}, {:?}: {why}", step.number, step.op))?;
            if step.op.is_sync() {
                log.write(Kind::Ack, step.number, "")?;
            }
            worker.tree.apply(&step.op);
        }
    }
}

struct Worker {
    root: String,
    author: Author,
    tree: Tree,
    is_synced: bool,
    mapping: Option<Mapping>,
}

/// A shared mapping of a file's pages; gone with the value.
struct Mapping {
    at: usize,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _ = sys!(SYS_munmap, self.at, self.length);
    }
}

impl Worker {
    fn at(&self, path: &str) -> String {
        if path.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{path}", self.root)
        }
    }

    fn author(&self, path: &str) -> Result<Author, String> {
        let file = self.tree.file(path).ok_or("the plan names a file that is not there")?;
        Ok(Author { file, ..self.author })
    }

    fn carry_out(&mut self, op: &Op, number: u64) -> Result<(), String> {
        let here = libc::AT_FDCWD;
        match op {
            Op::Create { path, .. } => {
                let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
                open(&self.at(path), flags, 0o644).map(drop).what("open")
            }
            Op::Write { path, offset, length } => self.write(path, *offset, *length, number),
            Op::MapWrite { path, offset, length } => self.map_write(path, *offset, *length, number),
            Op::Truncate { path, size } => {
                let path = c(&self.at(path));
                sys!(SYS_truncate, path.as_ptr(), *size).map(drop).what("truncate")
            }
            Op::Rename { from, to } => {
                let (from, to) = (c(&self.at(from)), c(&self.at(to)));
                sys!(SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), 0)
                    .map(drop)
                    .what("rename")
            }
            Op::Link { from, to } => {
                let (from, to) = (c(&self.at(from)), c(&self.at(to)));
                sys!(SYS_linkat, here, from.as_ptr(), here, to.as_ptr(), 0)
                    .map(drop)
                    .what("link")
            }
            Op::Unlink { path } => {
                let name = c(&self.at(path));
                sys!(SYS_unlinkat, here, name.as_ptr(), 0).what("unlink")?;
                // The name is gone at once, whatever is on the disk.
                refused(
                    "open of what was unlinked",
                    open(&self.at(path), libc::O_RDONLY, 0),
                    libc::ENOENT,
                )
            }
            Op::MakeDirectory { path } => {
                let path = c(&self.at(path));
                sys!(SYS_mkdirat, here, path.as_ptr(), 0o755).map(drop).what("mkdir")
            }
            Op::RemoveDirectory { path } => {
                let path = c(&self.at(path));
                sys!(SYS_unlinkat, here, path.as_ptr(), libc::AT_REMOVEDIR)
                    .map(drop)
                    .what("rmdir")
            }
            Op::SyncFile { path, is_data_only } => {
                self.mapping = None;
                let call = if *is_data_only {
                    libc::SYS_fdatasync
                } else {
                    libc::SYS_fsync
                };
                self.sync(&self.at(path), call)
            }
            Op::SyncDirectory { path } => self.sync(&self.at(path), libc::SYS_fsync),
            Op::SyncMap { .. } => {
                let Some(mapping) = self.mapping.take() else {
                    return Err("the plan synchronises a mapping that is not there".to_owned());
                };
                if !self.is_synced {
                    return Ok(());
                }
                sys!(SYS_msync, mapping.at, mapping.length, libc::MS_SYNC)
                    .map(drop)
                    .what("msync")
            }
            Op::SyncAll if self.is_synced => sys!(SYS_sync).map(drop).what("sync"),
            Op::SyncAll => Ok(()),
        }
    }

    fn write(&self, path: &str, offset: u64, length: u64, version: u64) -> Result<(), String> {
        let author = self.author(path)?;
        let file = open(&self.at(path), libc::O_WRONLY, 0).what("open")?;
        let mut done = 0;
        while done < length {
            let mut bytes = vec![0; CHUNK.min(length - done) as usize];
            fill(author, version, offset + done, &mut bytes);
            let at = (offset + done) as i64;
            let count = sys!(SYS_pwrite64, &file, bytes.as_ptr(), bytes.len(), at).what("pwrite")?;
            if count <= 0 {
                return Err(format!("pwrite: {count} of {} bytes", bytes.len()));
            }
            done += count as u64;
        }
        Ok(())
    }

    fn map_write(&mut self, path: &str, offset: u64, length: u64, version: u64) -> Result<(), String> {
        let author = self.author(path)?;
        let file = open(&self.at(path), libc::O_RDWR, 0).what("open")?;
        let first = offset / PAGE as u64 * PAGE as u64;
        let mapped = (offset + length - first) as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = sys!(SYS_mmap, 0, mapped, protection, libc::MAP_SHARED, &file, first as i64).what("mmap")?;
        let mapping = Mapping {
            at: at as usize,
            length: mapped,
        };
        let mut bytes = vec![0; length as usize];
        fill(author, version, offset, &mut bytes);
        for (index, byte) in bytes.into_iter().enumerate() {
            crate::sys::poke(mapping.at + (offset - first) as usize + index, byte);
        }
        self.mapping = Some(mapping);
        Ok(())
    }

    fn sync(&self, path: &str, call: i64) -> Result<(), String> {
        if !self.is_synced {
            return Ok(());
        }
        let file = open(path, libc::O_RDONLY | libc::O_CLOEXEC, 0).what("open")?;
        // SAFETY: the call has a descriptor for its only argument.
        unsafe { crate::sys::raw(call, [file.0 as usize, 0, 0, 0, 0, 0]) }
            .map(drop)
            .what("fsync")
    }
}
