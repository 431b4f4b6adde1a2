//! The line editor: keys in, what to write to the terminal out. No input or output of its own.
//!
//! Characters typed at the end of the line are written as they are and nothing else, so that a program on the other end
//! of the line reads its own echo. Every other change redraws the line, over several rows when it is long.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::complete::{Completer, Completion};
use super::history::History;
use super::keys::Key;

/// The longest line; more is refused with the bell.
pub(crate) const MAX_CHARS: usize = 4096;

const BELL: &str = "\x07";

/// What a key came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The line goes on.
    More,
    /// The line is complete.
    Line(String),
    /// ^C: the line is thrown away.
    Interrupted,
    /// ^D on an empty line.
    End,
}

/// One line in the making.
#[derive(Debug)]
pub(crate) struct Editor<'a> {
    prompt: &'a str,
    columns: usize,
    line: Vec<char>,
    cursor: usize,
    /// Row of the terminal's cursor, counted from the prompt's.
    row: usize,
    /// Which line of the history is shown, and the line that was being typed.
    recalled: Option<(usize, Vec<char>)>,
    killed: Vec<char>,
    was_tab: bool,
}

impl<'a> Editor<'a> {
    /// An empty line after `prompt` (already on the terminal) on a terminal of `columns`.
    pub(crate) fn new(prompt: &'a str, columns: usize) -> Self {
        Self {
            prompt,
            columns: columns.max(1),
            line: Vec::new(),
            cursor: 0,
            row: 0,
            recalled: None,
            killed: Vec::new(),
            was_tab: false,
        }
    }

    /// Takes one key; what there is to write is appended to `out`.
    pub(crate) fn key(&mut self, key: Key, history: &History, completer: &dyn Completer, out: &mut String) -> Step {
        let was_tab = std::mem::replace(&mut self.was_tab, key == Key::Tab);
        match key {
            Key::Char(c) => self.insert(c, out),
            Key::Enter => {
                self.go_to_end(out);
                out.push_str("\r\n");
                return Step::Line(self.line.iter().collect());
            }
            Key::Control('c') => {
                self.go_to_end(out);
                out.push_str("^C\r\n");
                return Step::Interrupted;
            }
            Key::Control('d') if self.line.is_empty() => {
                out.push_str("\r\n");
                return Step::End;
            }
            Key::Tab => self.complete(completer, was_tab, out),
            Key::Control('l') => {
                out.push_str("\x1b[H\x1b[2J");
                self.row = 0;
                self.redraw(out);
            }
            Key::Up | Key::Control('p') => self.recall(history, true, out),
            Key::Down | Key::Control('n') => self.recall(history, false, out),
            Key::Left | Key::Control('b') => self.go(self.cursor.saturating_sub(1), out),
            Key::Right | Key::Control('f') => self.go(self.cursor + 1, out),
            Key::Home | Key::Control('a') => self.go(0, out),
            Key::End | Key::Control('e') => self.go(usize::MAX, out),
            Key::WordLeft => self.go(self.word_left(), out),
            Key::WordRight => self.go(self.word_right(), out),
            Key::Backspace => self.cut(self.cursor.saturating_sub(1), self.cursor, false, out),
            Key::Delete | Key::Control('d') => self.cut(self.cursor, self.cursor + 1, false, out),
            Key::Control('k') => self.cut(self.cursor, usize::MAX, true, out),
            Key::Control('u') => self.cut(0, self.cursor, true, out),
            Key::Control('w') => self.cut(self.word_left(), self.cursor, true, out),
            Key::DeleteWordRight => self.cut(self.cursor, self.word_right(), true, out),
            Key::Control('y') => {
                for c in std::mem::take(&mut self.killed) {
                    self.killed.push(c);
                    self.insert(c, out);
                }
            }
            Key::Control(_) => {}
        }
        Step::More
    }

    fn insert(&mut self, c: char, out: &mut String) {
        if self.line.len() >= MAX_CHARS {
            out.push_str(BELL);
            return;
        }
        let is_at_end = self.cursor == self.line.len();
        self.line.insert(self.cursor, c);
        self.cursor += 1;
        if is_at_end {
            out.push(c);
            self.row = self.place(self.cursor).0;
            if self.place(self.cursor).1 == 0 {
                // The terminal holds its cursor in the last column until the next character: move it for good.
                out.push_str("\r\n");
            }
        } else {
            self.redraw(out);
        }
    }

    fn cut(&mut self, from: usize, to: usize, is_kept: bool, out: &mut String) {
        let to = to.min(self.line.len());
        if from >= to {
            return;
        }
        let cut: Vec<char> = self.line.drain(from..to).collect();
        if is_kept {
            self.killed = cut;
        }
        self.cursor = from;
        self.redraw(out);
    }

    fn go(&mut self, to: usize, out: &mut String) {
        let to = to.min(self.line.len());
        if to != self.cursor {
            self.cursor = to;
            self.redraw(out);
        }
    }

    fn go_to_end(&mut self, out: &mut String) {
        self.go(usize::MAX, out);
    }

    fn word_left(&self) -> usize {
        let mut at = self.cursor;
        while at > 0 && self.line[at - 1].is_whitespace() {
            at -= 1;
        }
        while at > 0 && !self.line[at - 1].is_whitespace() {
            at -= 1;
        }
        at
    }

    fn word_right(&self) -> usize {
        let mut at = self.cursor;
        while at < self.line.len() && self.line[at].is_whitespace() {
            at += 1;
        }
        while at < self.line.len() && !self.line[at].is_whitespace() {
            at += 1;
        }
        at
    }

    fn recall(&mut self, history: &History, is_older: bool, out: &mut String) {
        let newest = history.len();
        let at = self.recalled.as_ref().map_or(newest, |(at, _)| *at);
        let to = if is_older {
            at.checked_sub(1)
        } else {
            Some(at + 1).filter(|&to| to <= newest)
        };
        let Some(to) = to else {
            out.push_str(BELL);
            return;
        };
        let typed = self
            .recalled
            .take()
            .map_or_else(|| std::mem::take(&mut self.line), |(_, typed)| typed);
        if let Some(text) = history.get(to) {
            self.line = text.chars().collect();
            self.recalled = Some((to, typed));
        } else {
            self.line = typed;
        }
        self.cursor = self.line.len();
        self.redraw(out);
    }

    fn complete(&mut self, completer: &dyn Completer, was_tab: bool, out: &mut String) {
        let before: String = self.line[..self.cursor].iter().collect();
        let Completion { insert, candidates } = completer.complete(&before);
        if !insert.is_empty() {
            for c in insert.chars() {
                self.insert(c, out);
            }
        } else if candidates.is_empty() || !was_tab {
            out.push_str(BELL);
        } else {
            let cursor = std::mem::replace(&mut self.cursor, self.line.len());
            self.redraw(out);
            out.push_str("\r\n");
            self.list(&candidates, out);
            self.row = 0;
            self.cursor = cursor;
            self.redraw(out);
        }
    }

    /// The candidates in columns.
    fn list(&self, candidates: &[String], out: &mut String) {
        let width = candidates.iter().map(|c| c.width()).max().unwrap_or(0) + 2;
        let per_row = (self.columns / width).max(1);
        for row in candidates.chunks(per_row) {
            for name in row {
                let _ = write!(out, "{name}{}", " ".repeat(width.saturating_sub(name.width())));
            }
            out.push_str("\r\n");
        }
    }

    /// Row and column of a place in the line, counted from the start of the prompt.
    fn place(&self, at: usize) -> (usize, usize) {
        let (mut row, mut column) = (0, 0);
        for width in self
            .prompt
            .chars()
            .chain(self.line[..at].iter().copied())
            .map(|c| c.width().unwrap_or(0))
        {
            // A wide character that does not fit is put on the next row whole.
            if column + width > self.columns {
                row += 1;
                column = 0;
            }
            column += width;
        }
        if column >= self.columns {
            (row + 1, 0)
        } else {
            (row, column)
        }
    }

    fn redraw(&mut self, out: &mut String) {
        if self.row > 0 {
            let _ = write!(out, "\x1b[{}A", self.row);
        }
        out.push_str("\r\x1b[J");
        out.push_str(self.prompt);
        out.extend(self.line.iter());
        let (end_row, end_column) = self.place(self.line.len());
        if end_column == 0 && end_row > 0 {
            out.push_str("\r\n");
        }
        let (row, column) = self.place(self.cursor);
        if self.cursor < self.line.len() {
            if end_row > row {
                let _ = write!(out, "\x1b[{}A", end_row - row);
            }
            out.push('\r');
            if column > 0 {
                let _ = write!(out, "\x1b[{column}C");
            }
        }
        self.row = row;
    }
}

#[cfg(test)]
mod tests;
