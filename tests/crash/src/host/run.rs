//! The workers' plans, a step here and a step there, with write-back and commits in between.

use super::NOW;
use super::cache::Cache;
use super::disk::Recorded;
use crate::disk::Disk;
use crate::states::Run;
use crate::trace::{Recorder, Trace};
use sis_ext4::{Device, Disk as _, Error, Ino, Kind as FileKind, MountOptions, NewFile, RenameMode, Volume};
use sis_workload::content::{Author, fill};
use sis_workload::{Kind, Op, Plan, Random, Record, Step, Tree, folder};
use std::collections::VecDeque;
use std::sync::Arc;

/// Why a run came to no end.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It cannot be mounted.
    #[error("mounting: {0}")]
    Mount(String),
    /// A step failed that must not.
    #[error("worker {worker}, step {number}, {op:?}: {error}")]
    Step {
        /// Whose.
        worker: u32,
        /// Which.
        number: u64,
        /// What.
        op: Box<Op>,
        /// Why.
        error: Error,
    },
    /// Something between the steps failed.
    #[error("between the steps: {0}")]
    Between(#[from] Error),
}

/// A run of the workload in this process.
#[derive(Clone, Debug)]
pub struct HostLoad {
    /// The run's seed.
    pub seed: u64,
    /// Workers, one after another in turn.
    pub workers: u32,
    /// When it ends.
    pub acks: u64,
    /// Synchronising does not write data back: the checker must find that.
    pub forgets_data: bool,
}

struct Worker {
    number: u32,
    plan: Plan,
    steps: VecDeque<Step>,
    tree: Tree,
    folder: Ino,
}

struct Machine {
    volume: Volume<Recorded>,
    recorder: Arc<Recorder>,
    cache: Cache,
    random: Random,
    seed: u64,
    forgets_data: bool,
}

impl HostLoad {
    /// Runs it on `disk`, which may be what earlier runs have left, and cuts its power.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn record_on(&self, disk: Disk, earlier: Vec<Run>) -> Result<Trace, HostError> {
        let recorder = Arc::new(Recorder::new(disk, self.seed).after(earlier));
        let mounted = Volume::mount(Recorded(Arc::clone(&recorder)), &MountOptions::default(), NOW);
        let (volume, _) = mounted.map_err(|error| HostError::Mount(error.to_string()))?;
        let mut machine = Machine {
            volume,
            recorder: Arc::clone(&recorder),
            cache: Cache::default(),
            random: Random::new(self.seed ^ 0xb0a4_d000),
            seed: self.seed,
            forgets_data: self.forgets_data,
        };
        let mut workers = Vec::new();
        for number in 0..self.workers {
            let name = folder(self.seed, number);
            let folder = machine.create(Ino::ROOT, &name, FileKind::Directory)?;
            machine.commit()?;
            machine.log(number, Kind::Begin, 0);
            workers.push(Worker {
                number,
                plan: Plan::new(self.seed, number),
                steps: VecDeque::new(),
                tree: Tree::default(),
                folder,
            });
        }
        let mut acks = 0;
        while acks < self.acks {
            let turn = machine.random.below(workers.len() as u64) as usize;
            let Some(worker) = workers.get_mut(turn) else { break };
            acks += u64::from(machine.step(worker)?);
            machine.between()?;
        }
        Ok(recorder.trace())
    }
}

impl Machine {
    fn log(&self, worker: u32, kind: Kind, number: u64) {
        let record = Record {
            seed: self.seed,
            worker,
            kind,
            number,
            text: String::new(),
        };
        self.recorder.log(&record.to_bytes());
    }

    fn create(&mut self, directory: Ino, name: &str, kind: FileKind) -> Result<Ino, Error> {
        let new = NewFile {
            kind,
            permissions: 0o644,
            uid: 0,
            gid: 0,
            device: Device::default(),
        };
        Ok(self.volume.create(directory, name.as_bytes(), &new, NOW)?.ino)
    }

    /// What fsync(2) does last: the device's flush in any case.
    fn commit(&mut self) -> Result<(), Error> {
        self.volume.commit(NOW)?;
        Ok(self.volume.disk().flush()?)
    }

    /// One step of a worker; whether it was acknowledged.
    fn step(&mut self, worker: &mut Worker) -> Result<bool, HostError> {
        if worker.steps.is_empty() {
            worker.steps = worker.plan.next_group().into();
            let last = worker.steps.back().map_or(0, |step| step.number);
            self.log(worker.number, Kind::Intent, last);
        }
        let Some(Step { number, op }) = worker.steps.pop_front() else {
            return Ok(false);
        };
        self.carry_out(worker, number, &op).map_err(|error| HostError::Step {
            worker: worker.number,
            number,
            op: Box::new(op.clone()),
            error,
        })?;
        worker.tree.apply(&op);
        if op.is_sync() {
            self.log(worker.number, Kind::Ack, number);
        }
        Ok(op.is_sync())
    }

    /// The directory that holds `path`, and its last name.
    fn place<'a>(&mut self, worker: &Worker, path: &'a str) -> Result<(Ino, &'a [u8]), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut directory = worker.folder;
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            directory = self.volume.lookup(directory, part.as_bytes())?.0;
        }
        Ok((directory, name.as_bytes()))
    }

    fn find(&mut self, worker: &Worker, path: &str) -> Result<Ino, Error> {
        let (directory, name) = self.place(worker, path)?;
        Ok(self.volume.lookup(directory, name)?.0)
    }

    fn carry_out(&mut self, worker: &Worker, number: u64, op: &Op) -> Result<(), Error> {
        match op {
            Op::Create { path, .. } | Op::MakeDirectory { path } => {
                let what = if matches!(op, Op::Create { .. }) {
                    FileKind::Regular
                } else {
                    FileKind::Directory
                };
                let (directory, name) = self.place(worker, path)?;
                self.create(directory, &String::from_utf8_lossy(name), what)?;
            }
            Op::Write { path, offset, length } | Op::MapWrite { path, offset, length } => {
                let ino = self.find(worker, path)?;
                let author = Author {
                    seed: self.seed,
                    worker: worker.number,
                    file: worker.tree.file(path).ok_or(Error::NotFound)?,
                };
                let mut bytes = vec![0; *length as usize];
                fill(author, number, *offset, &mut bytes);
                self.cache.write(&mut self.volume, ino, *offset, &bytes)?;
            }
            Op::Truncate { path, size } => {
                let ino = self.find(worker, path)?;
                self.cache.truncate(&mut self.volume, ino, *size)?;
            }
            Op::Rename { from, to } => {
                let from = self.place(worker, from)?;
                let to = self.place(worker, to)?;
                let replaced = self.volume.rename(from, to, RenameMode::Replace, NOW)?;
                if let Some(gone) = replaced.filter(|gone| gone.was_last) {
                    self.evict(gone.ino)?;
                }
            }
            Op::Link { from, to } => {
                let ino = self.find(worker, from)?;
                let (directory, name) = self.place(worker, to)?;
                self.volume.link(ino, directory, name, NOW)?;
            }
            Op::Unlink { path } => {
                let (directory, name) = self.place(worker, path)?;
                let gone = self.volume.unlink(directory, name, NOW)?;
                if gone.was_last {
                    self.evict(gone.ino)?;
                }
            }
            Op::RemoveDirectory { path } => {
                let (directory, name) = self.place(worker, path)?;
                let gone = self.volume.rmdir(directory, name, NOW)?;
                self.evict(gone.ino)?;
            }
            Op::SyncFile { path, .. } | Op::SyncMap { path } => {
                let ino = self.find(worker, path)?;
                if !self.forgets_data {
                    self.cache.write_back(&mut self.volume, ino, |_| true)?;
                }
                self.commit()?;
            }
            Op::SyncDirectory { .. } => self.commit()?,
            Op::SyncAll => {
                for ino in self.cache.inodes() {
                    self.cache.write_back(&mut self.volume, ino, |_| true)?;
                }
                self.commit()?;
            }
        }
        Ok(())
    }

    fn evict(&mut self, ino: Ino) -> Result<(), Error> {
        self.cache.forget(ino);
        self.volume.evict(ino, NOW)
    }

    /// Write-back and the commit timer, whenever they like.
    fn between(&mut self) -> Result<(), Error> {
        if self.random.chance(1, 4) {
            let inodes = self.cache.inodes();
            if let Some(ino) = self.random.pick(&inodes) {
                let percent = 20 + self.random.below(80);
                let mut random = self.random.clone();
                self.cache
                    .write_back(&mut self.volume, *ino, |_| random.chance(percent, 100))?;
            }
        }
        if self.random.chance(1, 8) {
            self.volume.commit(NOW)?;
        }
        if self.random.chance(1, 10) {
            // Memory gets scarce: clean content is read again.
            let inodes = self.cache.inodes();
            if let Some(ino) = self.random.pick(&inodes) {
                self.cache.write_back(&mut self.volume, *ino, |_| true)?;
                self.cache.forget(*ino);
            }
        }
        Ok(())
    }
}
