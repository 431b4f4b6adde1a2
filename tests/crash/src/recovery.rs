//! Recovery by the board: it mounts a crash state, looks at all of it and unmounts it, one state after another without a
//! reboot, because the disk's player changes what is on the disk in between. Then the power is cut once more, while it
//! was mounting.

use crate::campaign::{Campaign, CampaignError, examine, scratch};
use crate::check::{self, Loss};
use crate::disk::Disk;
use crate::machine::{Kernel, Machine};
use crate::states::{Cut, Honesty, Reached, Tearing, Walk};
use crate::trace::{Event, Recorder, Trace};
use sis_harness::Failure;
use sis_workload::{Kind, Random, Record, WORKERS};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the board may take for a state, and for its start.
const LIMIT: Duration = Duration::from_secs(120);

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// States mounted and unmounted.
    pub mounts: usize,
    /// States in which the power went again while they were mounted.
    pub second_cuts: usize,
    /// What was lost, and in which cut.
    pub losses: Vec<(Cut, Loss)>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The board.
    #[error(transparent)]
    Board(#[from] Failure),
    /// The checks.
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    /// A tool.
    #[error(transparent)]
    Check(#[from] check::CheckError),
    /// A file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A state that the board is done with.
struct Done {
    number: usize,
    text: String,
    disk: Disk,
    trace: Trace,
}

/// Lets `kernel` recover as many states of the run `trace` as `campaign` has cuts, with these mount options.
///
/// # Errors
/// [`RecoveryError`].
pub fn run(campaign: &Campaign, trace: &Trace, kernel: Kernel, options: &str) -> Result<Summary, RecoveryError> {
    let mut walk = Walk::new(trace, Honesty::Honest);
    // Of what our kernel wrote everything may be torn, whoever mounts it.
    let tearing = match campaign.tearing {
        Tearing::Sectors => Tearing::Sectors,
        _ => tearing_of(kernel),
    };
    let places = campaign.places(trace).ok_or(CampaignError::Empty)?;
    let states: Vec<(Cut, Disk)> = places
        .into_iter()
        .map(|(after, seed)| {
            walk.go(after);
            walk.cut_with(seed, tearing)
        })
        .collect();
    let count = states.len();
    let states = Arc::new(states);
    let (recorder, done) = player(&states, trace.seed, trace.start.size());
    let options = if options.is_empty() { "-" } else { options };
    let command = format!("sis-guest crash-recover /mnt {options} {} {count}", trace.seed);
    let machine = Machine::start(kernel, &recorder, &command)?;

    let mut summary = Summary::default();
    let folder = scratch()?;
    let image = folder.path().join("image");
    for number in 1..=count as u64 {
        machine.wait(&recorder, LIMIT, |progress| progress.recovered >= number)?;
        let Ok(done) = done.recv() else { break };
        let Some((cut, start)) = states.get(done.number) else {
            continue;
        };
        let runs = trace.runs(cut.reached);
        summary.mounts += 1;
        let lost = |loss| {
            campaign.keep_image(cut, start, trace);
            (*cut, loss)
        };
        if !done.text.is_empty() {
            summary.losses.push(lost(Loss::Mount(done.text)));
            continue;
        }
        done.disk.save(&image)?;
        let judged = match check::sound(&image)? {
            Ok(()) => check::files(&image, &runs)?,
            unsound => unsound,
        };
        summary.losses.extend(judged.err().map(lost));
        let (second, disk) = second_cut(&done.trace, cut.reached, cut.seed, of_writer(kernel));
        summary.second_cuts += 1;
        let judged = examine(&disk, &image, &runs)?;
        summary.losses.extend(judged.err().map(|loss| (second, loss)));
    }
    Ok(summary)
}

/// What a disk that `kernel` mounts may have torn.
///
/// Where the block that commits a transaction is torn Linux refuses to mount until e2fsck was there ("journal transaction N is
/// corrupt", jbd2_journal_load): no data is lost, but there is nothing to see. Ours must take it for the log's end.
#[must_use]
pub const fn tearing_of(kernel: Kernel) -> Tearing {
    match kernel {
        Kernel::Linux => Tearing::Never,
        Kernel::Sis => Tearing::Sectors,
    }
}

/// What may be torn of what `kernel` wrote where e2fsck recovers it.
#[must_use]
pub const fn of_writer(kernel: Kernel) -> Tearing {
    match kernel {
        Kernel::Linux => Tearing::SectorsButCommits,
        Kernel::Sis => Tearing::Sectors,
    }
}

/// Somewhere between the first request of mounting and the last of unmounting.
fn second_cut(trace: &Trace, reached: [Reached; WORKERS as usize], seed: u64, tearing: Tearing) -> (Cut, Disk) {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut walk = Walk::recovery(trace, reached);
    walk.go(random.below(trace.events.len() as u64 + 1) as usize);
    walk.cut_with(random.next(), tearing)
}

/// Plays the disk: state N when the board asks for it, and what it has become when it is done with it.
fn player(states: &Arc<Vec<(Cut, Disk)>>, seed: u64, size: u64) -> (Arc<Recorder>, Receiver<Done>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let states = Arc::clone(states);
    let hook = move |record: &Record, disk: &mut Disk, since: Vec<Event>| {
        let number = record.number as usize;
        let Some((_, start)) = states.get(number) else { return };
        match record.kind {
            Kind::Next => *disk = start.clone(),
            Kind::Recovered => {
                let done = Done {
                    number,
                    text: record.text.clone(),
                    disk: disk.clone(),
                    trace: Trace {
                        start: start.clone(),
                        events: since,
                        seed,
                        earlier: Vec::new(),
                    },
                };
                // Nobody waits any more: the board is about to end.
                let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(done);
            }
            _ => {}
        }
    };
    let recorder = Recorder::new(Disk::zeros(size), seed).with_hook(Box::new(hook));
    (Arc::new(recorder), receiver)
}
