//! The newest events, each kind of them with room of its own.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use sis_protocol::control::{Event, EventKind, LogRecord, Outcome, Proposal};
use sis_protocol::wire::Cursor;

use crate::resent::Resent;
use crate::text::{LINE_BYTES, NAME_BYTES, SENTENCE_BYTES, clean, clean_option};

/// So many entries of each category are kept.
const ENTRIES_MAX: usize = 1000;

/// What an event is to a person. Each has its own room, so that a flood of one does not push out another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Category {
    /// What the board proposed, what was decided, what came of it.
    Decision,
    /// Something went wrong: a crash, memory that ran out, events that were lost.
    Incident,
    /// Who may do what: pairing and unpairing.
    Access,
    /// Starts of the kernel and of the agent.
    Lifecycle,
    /// Of a kind that this version does not know.
    Unknown,
}

impl Category {
    /// What an event is.
    #[must_use]
    pub const fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Proposal(_)
            | EventKind::ApprovalDecided { .. }
            | EventKind::Outcome(_)
            | EventKind::StrategyChanged { .. } => Self::Decision,
            EventKind::OomKill { .. } | EventKind::ProcessCrash { .. } | EventKind::Lost { .. } => Self::Incident,
            EventKind::Paired { .. } | EventKind::Unpaired { .. } => Self::Access,
            EventKind::Boot { .. } | EventKind::AgentStarted { .. } => Self::Lifecycle,
            _ => Self::Unknown,
        }
    }

    /// Whether it belongs in an audit: who decided and changed what.
    #[must_use]
    pub const fn is_audit(self) -> bool {
        matches!(self, Self::Decision | Self::Access | Self::Lifecycle)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// How many entries this timeline had before it: the order of all categories.
    pub number: u64,
    /// Its place in the board's log.
    pub cursor: Cursor,
    /// The kernel's own number, where it has given one.
    pub kernel_seq: Option<u64>,
    /// When: nanoseconds of the board's monotonic clock.
    pub ts_ns: u64,
    /// When: Unix milliseconds, by the board's own word.
    pub wall_ms: Option<u64>,
    /// What, with its texts cut to what is kept.
    pub kind: EventKind,
}

impl Entry {
    /// The event at its place, its texts made safe to keep and show.
    pub(super) fn new(cursor: Cursor, event: Event) -> Self {
        Self {
            number: 0,
            cursor,
            kernel_seq: event.kernel_seq,
            ts_ns: event.ts_ns,
            wall_ms: event.wall_ms,
            kind: clean_kind(event.kind),
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    categories: BTreeMap<Category, VecDeque<Entry>>,
    count: u64,
    resent: Resent,
}

impl Timeline {
    /// The entries of one category, oldest first.
    pub fn of(&self, category: Category) -> impl DoubleEndedIterator<Item = &Entry> {
        self.categories.get(&category).into_iter().flatten()
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<&Entry> {
        self.in_order(|_| true)
    }

    /// Who decided and changed what, oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<&Entry> {
        self.in_order(Category::is_audit)
    }

    /// How many entries there were, kept or not.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    fn in_order(&self, is_wanted: impl Fn(Category) -> bool) -> Vec<&Entry> {
        let wanted = self.categories.iter().filter(|(category, _)| is_wanted(**category));
        let mut entries: Vec<&Entry> = wanted.flat_map(|(_, entries)| entries).collect();
        entries.sort_unstable_by_key(|entry| entry.number);
        entries
    }

    /// The board's log begins a new life, and may tell again what is here.
    pub(super) fn begin_life(&mut self) {
        let kept = self.categories.values().flatten();
        self.resent = Resent::expect(kept.map(|entry| (entry.kernel_seq, entry.ts_ns)));
    }

    /// Adds an entry, unless it was told before, in an earlier life.
    pub(super) fn push(&mut self, mut entry: Entry) {
        if self.resent.contains(entry.kernel_seq, entry.ts_ns) {
            return;
        }
        entry.number = self.count;
        self.count += 1;
        let entries = self.categories.entry(Category::of(&entry.kind)).or_default();
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
}

/// An event with bounded texts.
fn clean_kind(mut kind: EventKind) -> EventKind {
    match &mut kind {
        EventKind::LogLine(LogRecord { text, .. }) => keep(text, LINE_BYTES),
        EventKind::Proposal(proposal) => clean_proposal(proposal),
        EventKind::ApprovalDecided { by, .. } => *by = clean_option(by.take(), NAME_BYTES),
        EventKind::Outcome(outcome) => clean_outcome(outcome),
        EventKind::OomKill { name, .. }
        | EventKind::ProcessCrash { name, .. }
        | EventKind::Paired { name, .. }
        | EventKind::Unpaired { name } => keep(name, NAME_BYTES),
        EventKind::Boot {
            release,
            board,
            build_id,
            ..
        } => {
            keep(release, NAME_BYTES);
            keep(board, NAME_BYTES);
            *build_id = clean_option(build_id.take(), NAME_BYTES);
        }
        EventKind::AgentStarted { software } => keep(software, NAME_BYTES),
        EventKind::Unknown | EventKind::StrategyChanged { .. } | EventKind::Lost { .. } => {}
        // A kind that has been added to the protocol and not here: its texts are not known to be bounded.
        _ => return EventKind::Unknown,
    }
    kind
}

/// A proposal with bounded texts, and numbers within what they mean.
pub(super) fn clean_proposal(proposal: &mut Proposal) {
    keep(&mut proposal.reason, SENTENCE_BYTES);
    proposal.risk = proposal.risk.min(100);
    proposal.confidence = proposal.confidence.min(1000);
}

/// An outcome with bounded texts.
pub(super) fn clean_outcome(outcome: &mut Outcome) {
    keep(&mut outcome.reason, SENTENCE_BYTES);
    outcome.decided_by = clean_option(outcome.decided_by.take(), NAME_BYTES);
}

fn keep(text: &mut String, max_bytes: usize) {
    *text = clean(std::mem::take(text), max_bytes);
}
