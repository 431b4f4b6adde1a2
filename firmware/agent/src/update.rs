//! Updates: one at a time, from a bundle that comes in to a system that has proved itself or has been left again.
//!
//! What is done is in `sis-update`; here it is run, told to clients, and picked up again after a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sis_bundle::{BundleError, Slot};
use sis_protocol::control::{ErrorCode, Failure, RequestBody, ResponseBody};
use sis_protocol::wire::{PendingUpdate, PowerAction, UpdateOutcome, UpdateOutput, UpdateStatus, UpdateStep};
use sis_update::card::{Card, Places};
use sis_update::install::{self, Step};
use sis_update::receive::{self, Receiver};
use sis_update::record::{Outcome, Pending, Phase, Records, Resumed};
use sis_update::selector::Selector;
use sis_update::{UpdateError, record};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::power;
use crate::state::State;
use crate::stderr;

mod health;

use health::{prove, self_check};

/// Progress is told after so many bytes.
const TELL_BYTES: u64 = 1 << 20;
/// Places in the queue to the client that are left for the last word.
const ROOM_FOR_THE_END: usize = 1;
/// The client hears that the board restarts before it does.
const BEFORE_RESTART: Duration = Duration::from_millis(300);

/// What comes from the client.
pub(crate) enum Input {
    /// More of the bundle.
    Bytes(Vec<u8>),
    /// The bundle's end.
    End,
}

/// See the module's documentation.
pub(crate) struct Updates {
    records: Records,
    places: Places,
    is_busy: AtomicBool,
    under_way: Mutex<Option<PendingUpdate>>,
}

/// Keeps others out until it is dropped.
pub(crate) struct Busy(Arc<State>);

impl Busy {
    /// `None` while somebody else is in.
    fn enter(state: &Arc<State>) -> Option<Self> {
        let was_busy = state.updates.is_busy.swap(true, Ordering::Acquire);
        (!was_busy).then(|| Self(Arc::clone(state)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.updates.set_step(None);
        self.0.updates.is_busy.store(false, Ordering::Release);
    }
}

/// Why an update is not done, for the client.
pub(crate) fn failure(error: &UpdateError) -> Failure {
    let code = match error {
        UpdateError::NoCard(_) => ErrorCode::Unavailable,
        UpdateError::OnTrial(_) => ErrorCode::Busy,
        UpdateError::Bundle(BundleError::Io(_)) | UpdateError::ReadBack { .. } | UpdateError::Io { .. } => {
            ErrorCode::Internal
        }
        _ => ErrorCode::InvalidRequest,
    };
    Failure {
        code,
        message: error.to_string(),
    }
}

impl Updates {
    pub(crate) fn new(folder: PathBuf, places: Places) -> Self {
        Self {
            records: Records::new(folder),
            places,
            is_busy: AtomicBool::new(false),
            under_way: Mutex::new(None),
        }
    }

    /// The card, if the records are on it and outlive the slot that runs.
    fn card(&self) -> Result<Card, UpdateError> {
        let card = Card::find(&self.places)?;
        let device = |path: &std::path::Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        let above = self.records.folder().parent().unwrap_or(self.records.folder());
        if device(above) == device(&self.places.root) {
            return Err(UpdateError::NoCard("its data partition is not mounted".into()));
        }
        Ok(card)
    }

    fn set_step(&self, step: Option<PendingUpdate>) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(crate) fn status(&self) -> Result<UpdateStatus, UpdateError> {
        let card = self.card()?;
        let selection = Selector::open(card.select()?)?.read()?;
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pending = under_way.or_else(|| self.records.pending().map(|pending| to_wire(&pending)));
        let last = self.records.last().map(|last| UpdateOutcome {
            version: last.version,
            from_version: last.from_version,
            slot: last.slot.to_string(),
            succeeded: last.succeeded,
            reason: last.reason,
        });
        Ok(UpdateStatus {
            version: card.release.version.to_string(),
            revision: card.release.revision,
            running: card.running.to_string(),
            committed: selection.committed.to_string(),
            pending,
            last,
        })
    }
}

fn to_wire(pending: &Pending) -> PendingUpdate {
    let step = match pending.phase {
        Phase::Receiving => UpdateStep::Receive,
        Phase::Writing => UpdateStep::Write,
        Phase::Armed => UpdateStep::Restart,
        Phase::Trial => UpdateStep::Trial,
    };
    PendingUpdate {
        version: pending.version.clone(),
        slot: pending.slot.to_string(),
        step,
    }
}

/// An update that may begin: the card, and the lock that keeps others out.
pub(crate) struct Begun {
    busy: Busy,
    card: Card,
}

/// Whether an update may begin.
pub(crate) fn begin(state: &Arc<State>) -> Result<Begun, Failure> {
    let card = state.updates.card().map_err(|error| failure(&error))?;
    let busy = Busy::enter(state).ok_or_else(|| Failure {
        code: ErrorCode::Busy,
        message: "another update is under way: wait until it has ended".to_owned(),
    })?;
    let selection = Selector::open(card.select().map_err(|error| failure(&error))?)
        .and_then(|selector| selector.read())
        .map_err(|error| failure(&error))?;
    if selection.committed != card.running {
        return Err(failure(&UpdateError::OnTrial(card.running)));
    }
    Ok(Begun { busy, card })
}

/// Does an update. `input` brings the bundle, `tell` takes what there is to tell; nobody need listen.
pub(crate) fn run(
    begun: Begun,
    by: &str,
    may_downgrade: bool,
    input: mpsc::Receiver<Input>,
    tell: &mpsc::Sender<UpdateOutput>,
) {
    let state = Arc::clone(&begun.busy.0);
    let result = Run {
        state: &state,
        card: &begun.card,
        slot: begun.card.running.other(),
        tell,
        pending: None,
    }
    .all(by, may_downgrade, input);
    match result {
        Ok(()) => {
            let _ = tell.try_send(UpdateOutput::Restarting);
            std::thread::sleep(BEFORE_RESTART);
            if let Err(failure) = power::power(&state, PowerAction::Reboot, by) {
                stderr::error(format_args!("the update needs a restart, which failed: {failure}"));
            }
        }
        Err(error) => {
            stderr::error(format_args!("update by {by}: {error}"));
            let _ = tell.try_send(UpdateOutput::Failed(failure(&error)));
        }
    }
}

struct Run<'a> {
    state: &'a State,
    card: &'a Card,
    slot: Slot,
    tell: &'a mpsc::Sender<UpdateOutput>,
    pending: Option<Pending>,
}

impl Run<'_> {
    fn all(mut self, by: &str, may_downgrade: bool, input: mpsc::Receiver<Input>) -> Result<(), UpdateError> {
        let result = self.steps(by, may_downgrade, input);
        if let (Err(error), Some(pending)) = (&result, &self.pending) {
            // What runs goes on running; how it ended is for whoever asks later.
            let _ = self.records().end(&Outcome {
                version: pending.version.clone(),
                from_version: pending.from_version.clone(),
                slot: pending.slot,
                succeeded: false,
                reason: error.to_string(),
            });
        }
        let _ = receive::clear(self.records().folder());
        result
    }

    fn steps(&mut self, by: &str, may_downgrade: bool, mut input: mpsc::Receiver<Input>) -> Result<(), UpdateError> {
        let mut receiver = Receiver::new(self.records().folder(), self.card.clone(), may_downgrade)?;
        let mut told = 0;
        // Gone without the end: the bundle has no more bytes.
        while let Some(Input::Bytes(bytes)) = input.blocking_recv() {
            if let Some(head) = receiver.feed(&bytes)? {
                let (version, from_version) =
                    (head.manifest.version.to_string(), self.card.release.version.to_string());
                stderr::info(format_args!(
                    "{by} updates slot {} from {from_version} to {version}",
                    self.slot
                ));
                self.to_client(UpdateOutput::Accepted {
                    version: version.clone(),
                    from_version: from_version.clone(),
                    slot: self.slot.to_string(),
                });
                self.enter(Phase::Receiving, version, from_version)?;
            }
            let (done, total) = receiver.progress();
            if done >= told + TELL_BYTES {
                told = done;
                self.progress(UpdateStep::Receive, done, total);
            }
        }
        let received = receiver.finish()?;
        self.progress(UpdateStep::Check, 0, 0);
        let known_failures = self_check().into_iter().map(|(name, _)| name).collect();
        self.change(|pending| {
            pending.known_failures = known_failures;
            pending.phase = Phase::Writing;
        })?;
        let mut told = 0;
        let mut last = Step::Write;
        install::install(self.card, &received, self.slot, &mut |step, done, total| {
            if step != last || done >= told + TELL_BYTES || done == total {
                (last, told) = (step, done);
                let step = match step {
                    Step::Write => UpdateStep::Write,
                    Step::Verify => UpdateStep::Verify,
                };
                self.progress(step, done, total);
            }
        })?;
        self.change(|pending| pending.phase = Phase::Armed)?;
        let selector = Selector::open(self.card.select()?)?;
        let armed = selector.arm(self.card.running).and_then(|argument| match argument {
            Some(argument) => self.arm_firmware(argument),
            None => Ok(()),
        });
        if armed.is_err() {
            // Half told is not told: what runs is what starts.
            let _ = selector.commit(self.card.running);
        }
        armed?;
        self.progress(UpdateStep::Restart, 0, 0);
        Ok(())
    }

    /// The firmware's part of starting the other slot once.
    fn arm_firmware(&self, argument: &str) -> Result<(), UpdateError> {
        let argument = argument.to_owned();
        let asked = self.state.source.ask(RequestBody::RestartArgument { argument });
        match Handle::current().block_on(asked) {
            ResponseBody::Done => Ok(()),
            ResponseBody::Error(failure) => Err(UpdateError::Firmware(failure.message)),
            _ => Err(UpdateError::Firmware("the kernel does not know the request".into())),
        }
    }

    fn records(&self) -> &Records {
        &self.state.updates.records
    }

    fn enter(&mut self, phase: Phase, version: String, from_version: String) -> Result<(), UpdateError> {
        self.pending = Some(Pending {
            version,
            from_version,
            slot: self.slot,
            phase,
            known_failures: Vec::new(),
            reason: None,
        });
        self.change(|_| {})
    }

    fn change(&mut self, change: impl FnOnce(&mut Pending)) -> Result<(), UpdateError> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        change(pending);
        self.state.updates.records.set_pending(pending)
    }

    fn progress(&self, step: UpdateStep, done: u64, total: u64) {
        if let Some(pending) = &self.pending {
            self.state.updates.set_step(Some(PendingUpdate {
                step,
                ..to_wire(pending)
            }));
        }
        self.to_client(UpdateOutput::Progress { step, done, total });
    }

    /// A client that is slow or gone does not hold the update up: it misses some of its progress, never how it ends.
    fn to_client(&self, output: UpdateOutput) {
        if self.tell.capacity() > ROOM_FOR_THE_END {
            let _ = self.tell.try_send(output);
        }
    }
}

/// Picks up an update that was under way when the board started: a system on trial is checked. Others are kept out from now on until
/// that is done.
pub(crate) fn resume(state: &Arc<State>) -> impl Future<Output = ()> + Send + use<> {
    let busy = Busy::enter(state);
    async move {
        let Some(busy) = busy else { return };
        // Nothing here panics, and nobody waits for it.
        let _ = tokio::task::spawn_blocking(move || {
            if let Err(error) = resume_now(&busy.0) {
                stderr::error(format_args!("update: {error}"));
            }
        })
        .await;
    }
}

fn resume_now(state: &Arc<State>) -> Result<(), UpdateError> {
    let updates = &state.updates;
    // No card, no updates.
    let Ok(card) = updates.card() else {
        return Ok(());
    };
    receive::clear(updates.records.folder())?;
    let selector = Selector::open(card.select()?)?;
    let pending = updates.records.pending();
    // Under way until others may begin again, and not just until its record is gone.
    updates.set_step(pending.as_ref().map(to_wire));
    match record::resume(pending, card.running, selector.read()?) {
        Resumed::Nothing => Ok(()),
        Resumed::Over(outcome) => end(updates, &outcome),
        Resumed::OnTrial(mut pending) => {
            pending.phase = Phase::Trial;
            updates.records.set_pending(&pending)?;
            match prove(&pending) {
                Ok(()) => {
                    selector.commit(card.running)?;
                    end(
                        updates,
                        &Outcome {
                            version: pending.version,
                            from_version: pending.from_version,
                            slot: pending.slot,
                            succeeded: true,
                            reason: "the checks passed".into(),
                        },
                    )
                }
                Err(reason) => {
                    stderr::error(format_args!("the update is given up: {reason}"));
                    pending.reason = Some(reason);
                    updates.records.set_pending(&pending)?;
                    power::power(state, PowerAction::Reboot, "the update")
                        .map_err(|failure| UpdateError::NoCard(format!("it cannot be restarted: {failure}")))
                }
            }
        }
    }
}

fn end(updates: &Updates, outcome: &Outcome) -> Result<(), UpdateError> {
    let (from, to) = (&outcome.from_version, &outcome.version);
    if outcome.succeeded {
        stderr::info(format_args!("updated from {from} to {to}: {}", outcome.reason));
    } else {
        stderr::error(format_args!(
            "the update from {from} to {to} failed: {}",
            outcome.reason
        ));
    }
    updates.records.end(outcome)
}
