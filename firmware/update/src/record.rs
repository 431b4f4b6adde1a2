//! What is known of an update across restarts: files on the data partition, each replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sis_bundle::Slot;
use sis_bundle::selection::Selection;

use crate::{UpdateError, at};

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is coming in.
    Receiving,
    /// It is being written.
    Writing,
    /// It starts next.
    Armed,
    /// It runs and is being checked.
    Trial,
}

/// An update that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Its version.
    pub version: String,
    /// The version that it replaces.
    pub from_version: String,
    /// The slot that it goes into.
    pub slot: Slot,
    /// How far it is.
    pub phase: Phase,
    /// Names of the checks that failed before it, and so do not count against it.
    #[serde(default)]
    pub known_failures: Vec<String>,
    /// Why the trial was given up, where it could say.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How the last update ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Its version.
    pub version: String,
    /// The version that it was to replace.
    pub from_version: String,
    /// The slot that it went into.
    pub slot: Slot,
    /// Whether it runs now.
    pub succeeded: bool,
    /// A sentence.
    pub reason: String,
}

/// The folder that has the records.
#[derive(Clone, Debug)]
pub struct Records(PathBuf);

/// Where the records are, below the folder that the agent keeps its things in.
pub const FOLDER: &str = "update";

const PENDING: &str = "pending.json";
const LAST: &str = "last.json";

impl Records {
    /// Records in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The update that is under way. A record that cannot be read counts as none: it is in nobody's way.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        self.load(PENDING)
    }

    /// How the last update ended.
    #[must_use]
    pub fn last(&self) -> Option<Outcome> {
        self.load(LAST)
    }

    /// Keeps `pending`.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn set_pending(&self, pending: &Pending) -> Result<(), UpdateError> {
        self.save(PENDING, pending)
    }

    /// Keeps how it ended: nothing is under way any more.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn end(&self, outcome: &Outcome) -> Result<(), UpdateError> {
        self.save(LAST, outcome)?;
        let path = self.0.join(PENDING);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
            _ => self.sync(),
        }
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), UpdateError> {
        fs::create_dir_all(&self.0).map_err(at(&self.0))?;
        let (path, part) = (self.0.join(name), self.0.join(format!("{name}.part")));
        let text = serde_json::to_vec(value).map_err(|error| at(&path)(error.into()))?;
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(at(&path))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), UpdateError> {
        File::open(&self.0)
            .and_then(|folder| folder.sync_all())
            .map_err(at(&self.0))
    }
}

/// What a start means for the update that was under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// None was.
    Nothing,
    /// This system is on trial: it must be checked, and committed or left.
    OnTrial(Pending),
    /// It is over.
    Over(Outcome),
}

/// Looks at an update that was under way when the board was started last: `running` is the slot that was started now, and
/// `selection` what the loader starts.
#[must_use]
pub fn resume(pending: Option<Pending>, running: Slot, selection: Selection) -> Resumed {
    let Some(pending) = pending else {
        return Resumed::Nothing;
    };
    let over = |succeeded, reason: String| {
        Resumed::Over(Outcome {
            version: pending.version.clone(),
            from_version: pending.from_version.clone(),
            slot: pending.slot,
            succeeded,
            reason,
        })
    };
    let own = running == pending.slot;
    match (own, selection.committed == pending.slot, pending.phase) {
        (true, true, _) => over(true, "the checks passed".into()),
        (true, false, _) => Resumed::OnTrial(pending),
        (false, _, Phase::Receiving) => over(false, "it was interrupted while the bundle came in".into()),
        (false, _, Phase::Writing) => over(
            false,
            format!("it was interrupted while slot {} was written", pending.slot),
        ),
        (false, _, Phase::Armed | Phase::Trial) => over(
            false,
            pending.reason.clone().unwrap_or_else(|| {
                format!(
                    "slot {} was started and did not come up to say why: its kernel stopped, or the power was cut",
                    pending.slot
                )
            }),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(phase: Phase) -> Pending {
        Pending {
            version: "2.0.0".into(),
            from_version: "1.0.0".into(),
            slot: Slot::B,
            phase,
            known_failures: vec!["random".into()],
            reason: None,
        }
    }

    #[test]
    fn records_outlive_a_restart_and_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path().join("update"));
        assert_eq!((records.pending(), records.last()), (None, None));
        records.set_pending(&pending(Phase::Writing)).expect("is kept");
        assert_eq!(records.pending(), Some(pending(Phase::Writing)));
        let Resumed::Over(outcome) = resume(records.pending(), Slot::A, Selection::of(Slot::A)) else {
            panic!("it is over");
        };
        records.end(&outcome).expect("is kept");
        assert_eq!((records.pending(), records.last()), (None, Some(outcome)));
        fs::write(folder.path().join("update/pending.json"), "{").expect("is written");
        assert_eq!(records.pending(), None);
    }

    #[test]
    fn every_way_to_be_started_again_has_its_meaning() {
        let (a, b) = (Selection::of(Slot::A), Selection::of(Slot::B));
        let outcome = |phase, running, selection| match resume(Some(pending(phase)), running, selection) {
            Resumed::Over(outcome) => Some((outcome.succeeded, outcome.reason)),
            Resumed::OnTrial(_) => None,
            Resumed::Nothing => panic!("something was under way"),
        };
        for phase in [Phase::Armed, Phase::Trial] {
            assert_eq!(outcome(phase, Slot::B, a), None, "{phase:?}");
            let (succeeded, _) = outcome(phase, Slot::B, b).expect("is over");
            assert!(succeeded);
            let (succeeded, reason) = outcome(phase, Slot::A, a).expect("is over");
            assert!(!succeeded && reason.contains("did not come up"), "{reason}");
        }
        let (succeeded, reason) = outcome(Phase::Writing, Slot::A, a).expect("is over");
        assert!(!succeeded && reason.contains("slot b was written"), "{reason}");
        let (succeeded, _) = outcome(Phase::Receiving, Slot::A, a).expect("is over");
        assert!(!succeeded);
        let told = Pending {
            reason: Some("no network".into()),
            ..pending(Phase::Trial)
        };
        let Resumed::Over(told) = resume(Some(told), Slot::A, a) else {
            panic!("it is over");
        };
        assert_eq!(told.reason, "no network");
        assert_eq!(resume(None, Slot::A, a), Resumed::Nothing);
    }
}
