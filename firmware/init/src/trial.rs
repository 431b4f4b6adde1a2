//! A system on trial: it is left again when it has not proved itself in time.
//!
//! The agent checks it and commits it. Here is what happens when that does not come about, whatever the reason: the board
//! starts again, and the loader starts the last good system, because it was told to try this one once.

use std::path::Path;
use std::time::{Duration, Instant};

use sis_bundle::Slot;
use sis_update::UpdateError;
use sis_update::card::{Card, Places};
use sis_update::record::{FOLDER, Records, Resumed, resume};
use sis_update::selector::Selector;

use crate::log;

/// How long a system may take to prove itself. Longer than the agent tries.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub(crate) struct Trial {
    slot: Slot,
    selector: Selector,
    records: Records,
    deadline: Instant,
}

impl Trial {
    /// The trial that this start is, if it is one. The agent keeps its things in `agent`.
    pub(crate) fn find(agent: &Path) -> Option<Self> {
        let card = Card::find(&Places::default()).ok()?;
        let records = Records::new(agent.join(FOLDER));
        let pending = records.pending()?;
        let look = || -> Result<_, UpdateError> {
            let selector = Selector::open(card.select()?)?;
            let selection = selector.read()?;
            Ok((selector, selection))
        };
        let (selector, selection) = look()
            .inspect_err(|error| log::warn(&format!("the update cannot be looked at: {error}")))
            .ok()?;
        let Resumed::OnTrial(pending) = resume(Some(pending), card.running, selection) else {
            return None;
        };
        log::info(&format!(
            "slot {} with {} is on trial for {} s",
            pending.slot,
            pending.version,
            LIMIT.as_secs()
        ));
        Some(Self {
            slot: pending.slot,
            selector,
            records,
            deadline: Instant::now() + LIMIT,
        })
    }

    /// How long it has left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// At the end of its time: whether it failed. Notes why.
    pub(crate) fn has_failed(&self) -> bool {
        // Whoever cannot ask the card whether this system is the committed one has not committed it.
        if self
            .selector
            .read()
            .is_ok_and(|selection| selection.committed == self.slot)
        {
            return false;
        }
        let reason = format!("it did not prove itself within {} s", LIMIT.as_secs());
        log::warn(&format!("slot {} is left: {reason}", self.slot));
        if let Some(mut pending) = self.records.pending() {
            pending.reason.get_or_insert(reason);
            if let Err(error) = self.records.set_pending(&pending) {
                log::warn(&format!("cannot note why: {error}"));
            }
        }
        true
    }
}
