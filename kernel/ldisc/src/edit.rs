//! Editing the line that is being typed, and echoing what happens to it.

use alloc::vec::Vec;

use sis_abi::tty::{LocalFlags, OutputFlags, VERASE, VKILL};

use super::{
    LineDiscipline,
    output::{Column, is_control},
};

/// What is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erase {
    Character,
    Word,
    Line,
}

impl LineDiscipline {
    fn has(&self, flag: LocalFlags) -> bool {
        self.lflag.contains(flag)
    }

    /// Echoes a byte as it is, with output processing where that is on.
    pub(super) fn echo_raw(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if byte == 0xff {
            // Linux escapes this byte in its queue of echoes, and so never processes it.
            echo.push(byte);
            self.column.now += 1;
        } else if self.oflag.contains(OutputFlags::OPOST) {
            self.put(byte, echo);
        } else {
            echo.push(byte);
        }
    }

    /// Echoes a byte; control characters as `^X` with ECHOCTL.
    pub(super) fn echo_byte(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.has(LocalFlags::ECHOCTL) && is_control(byte) && byte != b'\t' {
            echo.extend([b'^', byte ^ 0o100]);
            self.column.now += 2;
        } else {
            self.echo_raw(byte, echo);
        }
    }

    /// Notes where the line begins, when it begins.
    pub(super) fn note_line_start(&mut self) {
        if self.edit.is_empty() {
            self.column.line_start = self.column.now;
        }
    }

    /// Ends what ECHOPRT shows of erased characters.
    pub(super) fn finish_erasing(&mut self, echo: &mut Vec<u8>) {
        if self.is_erasing {
            self.is_erasing = false;
            self.echo_raw(b'/', echo);
        }
    }

    /// Shows the line again (VREPRINT).
    pub(super) fn reprint(&mut self, byte: u8, echo: &mut Vec<u8>) {
        self.finish_erasing(echo);
        self.echo_byte(byte, echo);
        self.echo_raw(b'\n', echo);
        for byte in self.edit.clone() {
            self.echo_byte(byte, echo);
        }
    }

    /// Erases from the end of the line (`eraser` of Linux).
    pub(super) fn erase(&mut self, what: Erase, echo: &mut Vec<u8>) {
        if self.edit.is_empty() {
            return;
        }
        let has_echo = self.has(LocalFlags::ECHO);
        if what == Erase::Line {
            if !has_echo {
                self.edit.clear();
                return;
            }
            if !self
                .lflag
                .contains(LocalFlags::ECHOK | LocalFlags::ECHOKE | LocalFlags::ECHOE)
            {
                self.edit.clear();
                self.finish_erasing(echo);
                if let Some(kill) = self.termios.control(VKILL) {
                    self.echo_byte(kill, echo);
                }
                if self.has(LocalFlags::ECHOK) {
                    self.echo_raw(b'\n', echo);
                }
                return;
            }
        }
        let mut has_seen_word = false;
        while let Some(start) = self.last_character() {
            let Some(&first) = self.edit.get(start) else { break };
            if what == Erase::Word {
                if is_word(first) {
                    has_seen_word = true;
                } else if has_seen_word {
                    break;
                }
            }
            let erased = self.edit.split_off(start);
            if has_echo {
                self.echo_erased(what, &erased, echo);
            }
            if what == Erase::Character {
                break;
            }
        }
        if self.edit.is_empty() && has_echo {
            self.finish_erasing(echo);
        }
    }

    /// Where the last character begins; `None` when there is none, or when its beginning is missing.
    fn last_character(&self) -> Option<usize> {
        let start = self.edit.iter().rposition(|byte| !self.is_continuation(*byte))?;
        Some(start)
    }

    /// Takes a character off the screen.
    fn echo_erased(&mut self, what: Erase, erased: &[u8], echo: &mut Vec<u8>) {
        let Some((&first, rest)) = erased.split_first() else {
            return;
        };
        if self.has(LocalFlags::ECHOPRT) {
            if !self.is_erasing {
                self.is_erasing = true;
                self.echo_raw(b'\\', echo);
            }
            self.echo_byte(first, echo);
            echo.extend(rest);
        } else if what == Erase::Character && !self.has(LocalFlags::ECHOE) {
            if let Some(erase) = self.termios.control(VERASE) {
                self.echo_byte(erase, echo);
            }
        } else if first == b'\t' {
            for _ in 0..self.tab_width() {
                echo.push(8);
                self.column.now = self.column.now.saturating_sub(1);
            }
        } else {
            let cells = match is_control(first) {
                true if self.has(LocalFlags::ECHOCTL) => 2,
                true => 0,
                false => 1,
            };
            for _ in 0..cells {
                for byte in [8, b' ', 8] {
                    self.echo_raw(byte, echo);
                }
            }
        }
    }

    /// How many columns a tab took that stood behind the line as it is now.
    fn tab_width(&self) -> usize {
        let after_tab = self.edit.iter().rposition(|byte| *byte == b'\t');
        let before = self.edit.get(after_tab.map_or(0, |tab| tab + 1)..).unwrap_or_default();
        let width = |byte: &u8| match is_control(*byte) {
            true if self.has(LocalFlags::ECHOCTL) => 2,
            true => 0,
            false => usize::from(!self.is_continuation(*byte)),
        };
        let used: usize = before.iter().map(width).sum();
        let Column { line_start, .. } = self.column;
        // After another tab the columns count from a multiple of eight, else from where the line begins.
        let from = if after_tab.is_some() { 0 } else { line_start };
        8 - (from + used) % 8
    }
}

/// Whether a byte belongs to a word (`isalnum` of Linux, which knows Latin-1, and the underscore).
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0xc0 && byte != 0xd7 && byte != 0xf7
}
