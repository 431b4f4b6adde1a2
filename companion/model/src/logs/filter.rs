//! Which lines are shown.

use sis_protocol::control::{Facility, Level};

use super::LogLine;

/// Where lines come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sources {
    /// From anywhere.
    #[default]
    All,
    /// From one of these.
    Only(Vec<Facility>),
}

/// What a line must be to be shown; the default shows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    least_severe: Option<Level>,
    sources: Sources,
    /// In lower case; empty: any.
    text: String,
}

impl LogFilter {
    /// Shows lines at least as severe as `level`. A level that this version does not know is shown always: it may be a grave one.
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.least_severe = Some(level);
        self
    }

    /// Shows lines from these sources.
    #[must_use]
    pub fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Shows lines that have this text somewhere, in upper or lower case.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = text.to_lowercase();
        self
    }

    /// Whether a line is shown.
    #[must_use]
    pub fn accepts(&self, line: &LogLine) -> bool {
        let is_severe = match (self.least_severe, line.level) {
            (None, _) | (_, Level::Unknown(_)) => true,
            (Some(least), level) => level.number() <= least.number(),
        };
        let is_from = match &self.sources {
            Sources::All => true,
            Sources::Only(sources) => sources.contains(&line.source),
        };
        is_severe && is_from && (self.text.is_empty() || line.text.to_lowercase().contains(&self.text))
    }
}
