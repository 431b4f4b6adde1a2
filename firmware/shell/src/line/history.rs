//! Lines typed before: in memory, and in a file so that the next shell knows them.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// How many lines are kept.
const MAX_LINES: usize = 500;

/// The history.
#[derive(Debug)]
pub(crate) struct History {
    lines: VecDeque<String>,
    file: Option<PathBuf>,
}

impl History {
    /// A history without a file.
    pub(crate) const fn in_memory() -> Self {
        Self {
            lines: VecDeque::new(),
            file: None,
        }
    }

    /// The history in a file, which need not exist.
    pub(crate) fn load(file: PathBuf) -> Self {
        let mut history = Self::in_memory();
        let bytes = fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let total = text.lines().count();
        for line in text.lines() {
            history.push(line);
        }
        // The file only grows while it is appended to: it is cut back here, once a start.
        if total > 2 * MAX_LINES {
            let kept: String = history.lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
            let _ = fs::write(&file, kept);
        }
        history.file = Some(file);
        history
    }

    fn push(&mut self, line: &str) -> bool {
        if line.trim().is_empty() || line.starts_with(' ') || self.lines.back().is_some_and(|last| last == line) {
            return false;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
        true
    }

    /// Notes a line: not when it is empty, begins with a space, or is the last one again.
    pub(crate) fn add(&mut self, line: &str) {
        if !self.push(line) {
            return;
        }
        if let Some(path) = &self.file {
            // A read-only or full root costs the history, not the shell.
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        }
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line, 0 is the oldest.
    pub(crate) fn get(&self, at: usize) -> Option<&str> {
        self.lines.get(at).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{History, MAX_LINES};

    #[test]
    fn keeps_the_newest_and_nothing_twice() {
        let mut history = History::in_memory();
        for line in ["a", "a", "", "  ", " secret", "b", "a"] {
            history.add(line);
        }
        assert_eq!(
            (0..9).map_while(|i| history.get(i)).collect::<Vec<_>>(),
            ["a", "b", "a"]
        );
        for n in 0..2 * MAX_LINES {
            history.add(&n.to_string());
        }
        assert_eq!(history.len(), MAX_LINES);
        assert_eq!(
            history.get(MAX_LINES - 1),
            Some((2 * MAX_LINES - 1).to_string().as_str())
        );
    }

    #[test]
    fn survives_in_a_file_even_one_that_is_not_text() {
        let path = std::env::temp_dir().join(format!("sis-history-{}", std::process::id()));
        std::fs::write(&path, b"old\n\xff\xfe\n").unwrap();
        History::load(path.clone()).add("new");
        let again = History::load(path.clone());
        std::fs::remove_file(path).unwrap();
        assert_eq!(again.get(0), Some("old"));
        assert_eq!(again.get(again.len() - 1), Some("new"));
    }
}
