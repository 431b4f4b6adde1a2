//! The workers' plans, a step here and a step there, with write-back and commits in between.

use super::NOW_NS;
use super::cache::Cache;
use super::disk::Recorded;
use crate::disk::Disk;
use crate::states::Run;
use crate::trace::{Recorder, Trace};
use sis_ext4::{Disk as _, Error, NewFile, Owner, ROOT, Rename, Volume};
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
    folder: u32,
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
        let mounted = Volume::mount(Recorded(Arc::clone(&recorder)), false, NOW_NS);
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
            let folder = machine.create(ROOT, &name, &NewFile::Directory)?;
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

    fn create(&mut self, directory: u32, name: &str, what: &NewFile<'_>) -> Result<u32, Error> {
        let owner = Owner {
            uid: 0,
            gid: 0,
            mode: 0o644,
        };
        self.volume.create(directory, name.as_bytes(), what, owner, NOW_NS)
    }

    /// What fsync(2) does last: the device's flush in any case.
    fn commit(&mut self) -> Result<(), Error> {
        self.volume.commit(NOW_NS)?;
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
    fn place<'a>(&mut self, worker: &Worker, path: &'a str) -> Result<(u32, &'a [u8]), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut directory = worker.folder;
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            directory = self.volume.lookup(directory, part.as_bytes())?;
        }
        Ok((directory, name.as_bytes()))
    }

    fn find(&mut self, worker: &Worker, path: &str) -> Result<u32, Error> {
        let (directory, name) = self.place(worker, path)?;
        self.volume.lookup(directory, name)
    }

    fn carry_out(&mut self, worker: &Worker, number: u64, op: &Op) -> Result<(), Error> {
        match op {
            Op::Create { path, .. } | Op::MakeDirectory { path } => {
                let what = if matches!(op, Op::Create { .. }) {
                    NewFile::Regular
                } else {
                    NewFile::Directory
                };
                let (directory, name) = self.place(worker, path)?;
                self.create(directory, &String::from_utf8_lossy(name), &what)?;
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
                if let Some(gone) = self.volume.rename(from, to, Rename::Replace, NOW_NS)? {
                    self.evict(gone)?;
                }
            }
            Op::Link { from, to } => {
                let ino = self.find(worker, from)?;
                let (directory, name) = self.place(worker, to)?;
                self.volume.link(directory, name, ino, NOW_NS)?;
            }
            Op::Unlink { path } => {
                let (directory, name) = self.place(worker, path)?;
                if let (ino, true) = self.volume.unlink(directory, name, NOW_NS)? {
                    self.evict(ino)?;
                }
            }
            Op::RemoveDirectory { path } => {
                let (directory, name) = self.place(worker, path)?;
                let ino = self.volume.rmdir(directory, name, NOW_NS)?;
                self.evict(ino)?;
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

    fn evict(&mut self, ino: u32) -> Result<(), Error> {
        self.cache.forget(ino);
        self.volume.evict(ino, NOW_NS)
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
            self.volume.commit(NOW_NS)?;
        }
        if self.random.chance(1, 40) {
            self.volume.checkpoint()?;
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
