//! What a run has done to its disk, in order, and what its workload said meanwhile.

use crate::disk::Disk;
use crate::states::{Reached, Run};
use sis_workload::{Kind, RECORD_BYTES, Record, WORKERS};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// Nothing that anybody asks for later.
    pub const NONE: Self = Self(0);
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write came. From now on it may be on the medium, in part or whole.
    Write {
        /// Its number.
        id: Id,
        /// From which byte on.
        offset: u64,
        /// What.
        data: Vec<u8>,
        /// Forced unit access: durable when completed.
        is_durable: bool,
    },
    /// A flush came.
    Flush(Id),
    /// The machine was told that these are done.
    Completed(Vec<Id>),
    /// The workload's log got a record.
    Log(Record),
}

impl std::fmt::Display for Event {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write {
                id,
                offset,
                data,
                is_durable,
            } => {
                let durable = if *is_durable { ", durable" } else { "" };
                let (block, length) = (offset / 4096, data.len());
                // The first bytes tell a journal's block, a directory's, a file's.
                let start = data.get(..4.min(length)).unwrap_or_default();
                write!(
                    formatter,
                    "write {} at {offset} (4 KiB block {block}), {length} bytes{durable}, begins {start:02x?}",
                    id.0
                )
            }
            Self::Flush(id) => write!(formatter, "flush {}", id.0),
            Self::Completed(ids) => {
                let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
                write!(formatter, "completed {ids:?}")
            }
            Self::Log(record) => write!(
                formatter,
                "worker {}: {:?} {} {}",
                record.worker, record.kind, record.number, record.text
            ),
        }
    }
}

/// A run's beginning and events.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The disk before the first event.
    pub start: Disk,
    /// What happened.
    pub events: Vec<Event>,
    /// The seed of the run that did it.
    pub seed: u64,
    /// Earlier runs, cut and recovered, whose files are still on the disk.
    pub earlier: Vec<Run>,
}

impl Trace {
    /// All runs whose files must be there when the last one had come so far.
    #[must_use]
    pub fn runs(&self, reached: [Reached; WORKERS as usize]) -> Vec<Run> {
        let seed = self.seed;
        self.earlier.iter().copied().chain([Run { seed, reached }]).collect()
    }
}

/// Called with each record, while the machine waits for its write to complete, with the disk and what has happened to it
/// since the last call.
pub type Hook = Box<dyn FnMut(&Record, &mut Disk, Vec<Event>) + Send>;

/// Plays the disk, and writes down what happens to it.
pub struct Recorder {
    state: Mutex<State>,
    has_grown: Condvar,
    size: u64,
}

struct State {
    start: Disk,
    disk: Disk,
    events: Vec<Event>,
    next: u64,
    /// A run with another seed is not ours.
    seed: u64,
    earlier: Vec<Run>,
    hook: Option<Hook>,
    /// What has happened since the hook was last called.
    since: Vec<Event>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// A disk as it is before the run with this `seed`.
    #[must_use]
    pub fn new(disk: Disk, seed: u64) -> Self {
        Self {
            size: disk.size(),
            has_grown: Condvar::new(),
            state: Mutex::new(State {
                start: disk.clone(),
                disk,
                events: Vec::new(),
                next: 1,
                seed,
                earlier: Vec::new(),
                hook: None,
                since: Vec::new(),
            }),
        }
    }

    /// The requests go to `hook`, which may change what is on the disk; only the log's records are kept here.
    #[must_use]
    pub fn with_hook(self, hook: Hook) -> Self {
        self.state().hook = Some(hook);
        self
    }

    /// What earlier runs have left is on the disk.
    #[must_use]
    pub fn after(self, earlier: Vec<Run>) -> Self {
        self.state().earlier = earlier;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        self.state().disk.read(offset, length)
    }

    pub(crate) fn write(&self, offset: u64, data: Vec<u8>, is_durable: bool) -> Id {
        let mut state = self.state();
        state.disk.write(offset, &data);
        let id = state.id();
        state.add(Event::Write {
            id,
            offset,
            data,
            is_durable,
        });
        id
    }

    pub(crate) fn flush(&self) -> Id {
        let mut state = self.state();
        let id = state.id();
        state.add(Event::Flush(id));
        id
    }

    pub(crate) fn completed(&self, ids: &[Id]) {
        if !ids.is_empty() {
            self.state().add(Event::Completed(ids.to_vec()));
        }
    }

    /// The log may come in larger pieces than it was written in, and again.
    pub(crate) fn log(&self, data: &[u8]) {
        let mut state = self.state();
        let seed = state.seed;
        for record in data.chunks(RECORD_BYTES).filter_map(Record::from_bytes) {
            if record.seed != seed {
                continue;
            }
            if let Some(mut hook) = state.hook.take() {
                let since = std::mem::take(&mut state.since);
                hook(&record, &mut state.disk, since);
                state.hook = Some(hook);
            }
            state.events.push(Event::Log(record));
        }
        drop(state);
        self.has_grown.notify_all();
    }

    /// Waits until the log satisfies `is_enough`, or for as long as `limit`; whether it does.
    pub fn wait(&self, limit: Duration, mut is_enough: impl FnMut(&Progress) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        let (mut seen, mut progress) = (0, Progress::default());
        loop {
            for event in state.events.iter().skip(seen) {
                progress.add(event);
            }
            seen = state.events.len();
            if is_enough(&progress) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .has_grown
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let mut state = self.state();
        Trace {
            start: state.start.clone(),
            events: std::mem::take(&mut state.events),
            seed: state.seed,
            earlier: state.earlier.clone(),
        }
    }
}

impl State {
    fn id(&mut self) -> Id {
        let id = Id(self.next);
        self.next += 1;
        id
    }

    fn add(&mut self, event: Event) {
        if self.hook.is_some() {
            self.since.push(event);
        } else {
            self.events.push(event);
        }
    }
}

/// How far a run has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Acknowledgements.
    pub acks: u64,
    /// Writes to the disk.
    pub writes: u64,
    /// Flushes of it.
    pub flushes: u64,
    /// Workers that have come to their end.
    pub ended: u64,
    /// States that were mounted and unmounted.
    pub recovered: u64,
    /// What went wrong on the board.
    pub failure: Option<String>,
}

impl Progress {
    /// All of a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let mut progress = Self::default();
        trace.events.iter().for_each(|event| progress.add(event));
        progress
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Write { .. } => self.writes += 1,
            Event::Flush(_) => self.flushes += 1,
            Event::Completed(_) => {}
            Event::Log(record) => match record.kind {
                Kind::Ack => self.acks += 1,
                Kind::End => self.ended += 1,
                Kind::Recovered => self.recovered += 1,
                Kind::Failed => {
                    self.failure
                        .get_or_insert_with(|| format!("worker {}: {}", record.worker, record.text));
                }
                Kind::Begin | Kind::Intent | Kind::Next => {}
            },
        }
    }
}
