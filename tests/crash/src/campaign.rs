//! Many cuts of one run, checked on all CPUs.

use crate::check::{self, CheckError, Loss};
use crate::disk::Disk;
use crate::host;
use crate::machine::Kernel;
use crate::recovery::of_writer;
use crate::states::{Cut, Honesty, Run, Tearing, Walk};
use crate::trace::{Event, Trace};
use sis_workload::{Kind, Random};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What to do with a run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Chooses where to cut, and what becomes of what no flush had covered.
    pub seed: u64,
    /// How many cuts.
    pub cuts: usize,
    /// How honest the disk is.
    pub honesty: Honesty,
    /// Who recovers the states.
    pub recovery: Recovery,
    /// What may be torn where [`Recovery::E2fsck`] recovers it.
    pub tearing: Tearing,
    /// Threads.
    pub threads: usize,
    /// Where the images of losses go, before recovery, with lists of the events; nowhere if `None`.
    pub keep: Option<PathBuf>,
}

/// Who recovers the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// `e2fsck` replays, and `debugfs` reads.
    E2fsck,
    /// `sis-ext4` mounts, reads and unmounts in this process; `e2fsck` judges what it leaves.
    Ours,
}

/// A cut that lost something.
#[derive(Debug)]
pub struct Found {
    /// The cut.
    pub cut: Cut,
    /// What was lost.
    pub loss: Loss,
    /// The image, if it was kept.
    pub image: Option<PathBuf>,
}

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cuts made.
    pub cuts: usize,
    /// Cuts with acknowledgements at stake.
    pub with_acks: usize,
    /// Cuts with writes that no flush had covered.
    pub with_uncovered: usize,
    /// Those that lost something.
    pub losses: Vec<Found>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// A check could not be made.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A file could not be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The workload had done nothing before the power went.
    #[error("the trace has no workload in it")]
    Empty,
}

impl Campaign {
    /// For what `kernel` has written: ours leaves no commit block that could be torn.
    #[must_use]
    pub fn of(kernel: Kernel, seed: u64, cuts: usize) -> Self {
        Self {
            tearing: of_writer(kernel),
            ..Self::new(seed, cuts)
        }
    }

    /// Honest, two threads, images not kept; for what Linux has written.
    #[must_use]
    pub fn new(seed: u64, cuts: usize) -> Self {
        Self {
            seed,
            cuts,
            honesty: Honesty::Honest,
            recovery: Recovery::E2fsck,
            tearing: Tearing::SectorsButCommits,
            threads: 2,
            keep: None,
        }
    }

    /// Makes the cuts; `told` is called after each with how many are done and how many have lost something.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub fn run(&self, trace: &Trace, told: &(dyn Fn(usize, usize) + Sync)) -> Result<Summary, CampaignError> {
        let places = self.places(trace).ok_or(CampaignError::Empty)?;
        let (done, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let summary = Mutex::new(Summary::default());
        let share = places.len().div_ceil(self.threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let work = |places: &[(usize, u64)]| -> Result<(), CampaignError> {
                let folder = scratch()?;
                let mut walk = Walk::new(trace, self.honesty);
                for (after, seed) in places {
                    walk.go(*after);
                    let tearing = match self.recovery {
                        Recovery::E2fsck => self.tearing,
                        Recovery::Ours => Tearing::Sectors,
                    };
                    let (cut, disk) = walk.cut_with(*seed, tearing);
                    let (image, runs) = (folder.path().join("image"), trace.runs(cut.reached));
                    let loss = match self.recovery {
                        Recovery::E2fsck => examine(&disk, &image, &runs)?.err(),
                        Recovery::Ours => examine_ours(&disk, &image, &runs)?.err(),
                    };
                    let image = loss.as_ref().and_then(|_| self.keep_image(&cut, &disk, trace));
                    let losses = lost.fetch_add(usize::from(loss.is_some()), Ordering::Relaxed);
                    let losses = losses + usize::from(loss.is_some());
                    if let Ok(mut summary) = summary.lock() {
                        summary.cuts += 1;
                        summary.with_acks += usize::from(cut.reached.iter().any(|reached| reached.acked > 0));
                        summary.with_uncovered += usize::from(cut.uncovered > 0);
                        summary.losses.extend(loss.map(|loss| Found { cut, loss, image }));
                    }
                    told(done.fetch_add(1, Ordering::Relaxed) + 1, losses);
                }
                Ok(())
            };
            let workers: Vec<_> = places
                .chunks(share)
                .map(|places| scope.spawn(move || work(places)))
                .collect();
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| std::io::Error::other("a thread of the check has died"))??;
            }
            Ok::<(), CampaignError>(())
        })?;
        Ok(summary.into_inner().unwrap_or_default())
    }

    /// Where to cut, in order: after the first worker has begun.
    pub(crate) fn places(&self, trace: &Trace) -> Option<Vec<(usize, u64)>> {
        let has_begun = |event: &Event| matches!(event, Event::Log(record) if record.kind == Kind::Begin);
        let first = trace.events.iter().position(has_begun)?;
        let mut random = Random::new(self.seed ^ 0xc0ff_ee00);
        let span = (trace.events.len() - first) as u64;
        let mut places: Vec<(usize, u64)> = (0..self.cuts)
            .map(|_| (first + 1 + random.below(span) as usize, random.next()))
            .collect();
        places.sort_unstable();
        Some(places)
    }

    /// Keeps the image of a loss, and beside it what had happened to the disk, a line an event.
    pub(crate) fn keep_image(&self, cut: &Cut, disk: &Disk, trace: &Trace) -> Option<PathBuf> {
        let folder = self.keep.as_ref()?;
        let path = folder.join(format!("cut-{}-{}-{:016x}.img", self.seed, cut.after, cut.seed));
        std::fs::create_dir_all(folder).ok()?;
        disk.save(&path).ok()?;
        let lines: String = trace
            .events
            .iter()
            .take(cut.after)
            .map(|event| format!("{event}\n"))
            .collect();
        std::fs::write(path.with_extension("events"), lines).ok()?;
        Some(path)
    }
}

/// A folder in memory where there is one: images come and go by the thousand.
pub(crate) fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
}

/// Recovers a state by mounting it here, and checks it.
fn examine_ours(disk: &Disk, image: &Path, runs: &[Run]) -> Result<Result<(), Loss>, CampaignError> {
    match host::recover(disk.clone(), runs) {
        Err(loss) => Ok(Err(loss)),
        Ok(recovered) => {
            recovered.save(image)?;
            Ok(check::sound(image)?)
        }
    }
}

/// Recovers a state with `e2fsck`, and checks it.
pub(crate) fn examine(disk: &Disk, image: &Path, runs: &[Run]) -> Result<Result<(), Loss>, CampaignError> {
    disk.save(image)?;
    if let Err(loss) = check::replay(image)? {
        return Ok(Err(loss));
    }
    if let Err(loss) = check::sound(image)? {
        return Ok(Err(loss));
    }
    Ok(check::files(image, runs)?)
}
