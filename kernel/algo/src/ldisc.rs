//! The terminal line discipline N_TTY (termios(3)) as a state machine: bytes and settings in, echo, signals and readable
//! bytes out. No clock and no waiting: VTIME is the caller's.

mod flags;
mod output;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub use flags::{Settings, cc, iflag, lflag, oflag};
pub use output::Output;

/// Most bytes of a line in canonical mode, its end included (N_TTY_BUF_SIZE).
pub const LINE_MAX: usize = 4096;
/// Most bytes kept for readers.
pub const INPUT_MAX: usize = 16384;

/// A signal for the foreground process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTSTP.
    Suspend,
}

/// What an input byte led to besides echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// To be sent to the foreground process group; input and output have been flushed unless NOFLSH is set.
    pub signal: Option<Signal>,
    /// Readers may find something now.
    pub is_readable: bool,
}

/// The state of one terminal's line discipline.
#[derive(Debug)]
pub struct LineDiscipline {
    /// The settings; [`Self::set`] changes them.
    settings: Settings,
    /// The line being edited (canonical mode).
    edit: Vec<u8>,
    /// Bytes for readers.
    ready: VecDeque<u8>,
    /// Canonical mode: bytes of each whole line in `ready`, and whether it ended by the end-of-file character.
    lines: VecDeque<(usize, bool)>,
    /// The next byte is taken as it is (VLNEXT).
    is_literal: bool,
    /// Output is stopped (IXON).
    is_stopped: bool,
    output: Output,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl LineDiscipline {
    /// A new terminal.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            edit: Vec::new(),
            ready: VecDeque::new(),
            lines: VecDeque::new(),
            is_literal: false,
            is_stopped: false,
            output: Output::default(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings. Between canonical and raw mode what has been typed stays readable.
    pub fn set(&mut self, settings: Settings) {
        let was = self.settings.has_local(lflag::ICANON);
        self.settings = settings;
        let is = self.settings.has_local(lflag::ICANON);
        if was && !is {
            self.ready.extend(self.edit.drain(..));
            self.lines.clear();
        } else if !was && is && !self.ready.is_empty() {
            self.lines.clear();
            self.lines.push_back((self.ready.len(), false));
        }
        if !self.settings.has_input(iflag::IXON) {
            self.is_stopped = false;
        }
    }

    /// Drops what has not been read (TCIFLUSH).
    pub fn flush_input(&mut self) {
        self.edit.clear();
        self.ready.clear();
        self.lines.clear();
        self.is_literal = false;
    }

    /// Whether output is stopped (^S).
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Stops or starts output (TCOOFF, TCOON).
    pub fn set_stopped(&mut self, stopped: bool) {
        self.is_stopped = stopped;
    }

    /// Bytes that a read gives now (FIONREAD).
    pub fn available(&self) -> usize {
        if self.settings.has_local(lflag::ICANON) {
            self.lines.iter().map(|(n, _)| n).sum()
        } else {
            self.ready.len()
        }
    }

    /// Whether a read has something to give: a whole line (or end of file), or in raw mode at least `VMIN` bytes (at
    /// least one where `VTIME` or a minimum of 0 leave the wait to the caller).
    pub fn is_readable(&self) -> bool {
        if self.settings.has_local(lflag::ICANON) {
            return !self.lines.is_empty();
        }
        let min = match (self.settings.control(cc::VMIN), self.settings.control(cc::VTIME)) {
            (0, _) => 1,
            (n, 0) => usize::from(n),
            _ => 1,
        };
        self.ready.len() >= min
    }

    /// Takes what a read gives: at most one line in canonical mode. `Some(0)` is end of file; `None` nothing yet.
    pub fn read(&mut self, out: &mut [u8]) -> Option<usize> {
        if !self.settings.has_local(lflag::ICANON) {
            if self.ready.is_empty() {
                return None;
            }
            return Some(self.take(out, usize::MAX));
        }
        let (len, ends_file) = *self.lines.front()?;
        let n = self.take(out, len);
        if n == len {
            self.lines.pop_front();
        } else if let Some(first) = self.lines.front_mut() {
            *first = (len - n, ends_file);
        }
        Some(n)
    }

    fn take(&mut self, out: &mut [u8], most: usize) -> usize {
        let n = out.len().min(most).min(self.ready.len());
        for (to, from) in out.iter_mut().zip(self.ready.drain(..n)) {
            *to = from;
        }
        n
    }

    /// Prepares program output for the device (OPOST).
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.output.process(bytes, &self.settings, out);
    }

    /// A byte came from the device; what is to be echoed is appended to `echo`.
    pub fn input(&mut self, byte: u8, echo: &mut Vec<u8>) -> Reaction {
        let s = self.settings.clone();
        let mut byte = byte;
        if s.has_input(iflag::ISTRIP) {
            byte &= 0x7f;
        }
        if self.is_literal {
            self.is_literal = false;
            return self.accept(byte, echo);
        }
        if s.has_input(iflag::IXON) {
            if s.is_control(cc::VSTOP, byte) && !s.is_control(cc::VSTART, byte) {
                self.is_stopped = true;
                return Reaction::default();
            }
            if s.is_control(cc::VSTART, byte) {
                self.is_stopped = false;
                return Reaction::default();
            }
            if self.is_stopped && s.has_input(iflag::IXANY) {
                self.is_stopped = false;
            }
        }
        if s.has_local(lflag::ISIG) {
            let signal = if s.is_control(cc::VINTR, byte) {
                Some(Signal::Interrupt)
            } else if s.is_control(cc::VQUIT, byte) {
                Some(Signal::Quit)
            } else if s.is_control(cc::VSUSP, byte) {
                Some(Signal::Suspend)
            } else {
                None
            };
            if signal.is_some() {
                if !s.has_local(lflag::NOFLSH) {
                    self.flush_input();
                }
                self.is_stopped = false;
                if s.has_local(lflag::ECHO) {
                    self.echo_control(byte, echo);
                }
                return Reaction {
                    signal,
                    is_readable: false,
                };
            }
        }
        match byte {
            b'\r' if s.has_input(iflag::IGNCR) => return Reaction::default(),
            b'\r' if s.has_input(iflag::ICRNL) => byte = b'\n',
            b'\n' if s.has_input(iflag::INLCR) => byte = b'\r',
            _ => {}
        }
        if s.has_input(iflag::IUCLC) && s.has_local(lflag::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if s.has_local(lflag::ICANON) {
            self.canonical(byte, &s, echo)
        } else {
            self.accept(byte, echo)
        }
    }

    fn canonical(&mut self, byte: u8, s: &Settings, echo: &mut Vec<u8>) -> Reaction {
        let extended = s.has_local(lflag::IEXTEN);
        if s.is_control(cc::VERASE, byte) {
            self.erase(echo);
        } else if extended && s.is_control(cc::VWERASE, byte) {
            self.erase_word(echo);
        } else if s.is_control(cc::VKILL, byte) {
            self.kill(byte, s, echo);
        } else if extended && s.is_control(cc::VLNEXT, byte) {
            self.is_literal = true;
            if s.has_local(lflag::ECHO) && s.has_local(lflag::ECHOCTL) {
                self.emit(b"^\x08", echo);
            }
        } else if extended && s.is_control(cc::VREPRINT, byte) && s.has_local(lflag::ECHO) {
            self.echo_control(byte, echo);
            self.emit(b"\n", echo);
            let line = self.edit.clone();
            for b in line {
                self.echo_byte(b, echo);
            }
        } else if s.is_control(cc::VEOF, byte) {
            return self.finish_line(true);
        } else if byte == b'\n' || s.is_control(cc::VEOL, byte) || (extended && s.is_control(cc::VEOL2, byte)) {
            if s.has_local(lflag::ECHO) || (byte == b'\n' && s.has_local(lflag::ECHONL)) {
                self.echo_byte(byte, echo);
            }
            self.edit.push(byte);
            return self.finish_line(false);
        } else {
            return self.accept(byte, echo);
        }
        Reaction::default()
    }

    /// The byte is data.
    fn accept(&mut self, byte: u8, echo: &mut Vec<u8>) -> Reaction {
        let canonical = self.settings.has_local(lflag::ICANON);
        let full = if canonical {
            self.edit.len() >= LINE_MAX - 1
        } else {
            self.ready.len() >= INPUT_MAX
        };
        if full {
            if self.settings.has_input(iflag::IMAXBEL) {
                echo.push(7);
            }
            return Reaction::default();
        }
        if self.settings.has_local(lflag::ECHO) {
            self.echo_byte(byte, echo);
        }
        if canonical {
            self.edit.push(byte);
            return Reaction::default();
        }
        self.ready.push_back(byte);
        Reaction {
            signal: None,
            is_readable: self.is_readable(),
        }
    }

    fn finish_line(&mut self, ends_file: bool) -> Reaction {
        if self.ready.len() + self.edit.len() > INPUT_MAX {
            self.edit.clear();
            return Reaction::default();
        }
        self.lines.push_back((self.edit.len(), ends_file));
        self.ready.extend(self.edit.drain(..));
        Reaction {
            signal: None,
            is_readable: true,
        }
    }

    /// Takes the last character off the line: with IUTF8 all bytes of it.
    fn pop_character(&mut self) -> Option<u8> {
        let mut last = self.edit.pop()?;
        if self.settings.has_input(iflag::IUTF8) {
            while last & 0xc0 == 0x80 {
                match self.edit.pop() {
                    Some(b) => last = b,
                    None => break,
                }
            }
        }
        Some(last)
    }

    fn erase(&mut self, echo: &mut Vec<u8>) {
        let Some(gone) = self.pop_character() else { return };
        self.echo_erase(gone, echo);
    }

    fn erase_word(&mut self, echo: &mut Vec<u8>) {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        let mut seen = false;
        while let Some(&last) = self.edit.last() {
            if is_word(last) {
                seen = true;
            } else if seen {
                break;
            }
            self.erase(echo);
        }
    }

    fn kill(&mut self, byte: u8, s: &Settings, echo: &mut Vec<u8>) {
        if s.has_local(lflag::ECHOKE) && s.has_local(lflag::ECHOE) {
            while !self.edit.is_empty() {
                self.erase(echo);
            }
            return;
        }
        self.edit.clear();
        if s.has_local(lflag::ECHO) {
            self.echo_control(byte, echo);
            if s.has_local(lflag::ECHOK) {
                self.emit(b"\n", echo);
            }
        }
    }

    fn echo_erase(&mut self, gone: u8, echo: &mut Vec<u8>) {
        let s = &self.settings;
        if !s.has_local(lflag::ECHO) {
            return;
        }
        if !s.has_local(lflag::ECHOE) {
            let erase = s.control(cc::VERASE);
            self.echo_control(erase, echo);
            return;
        }
        if gone == b'\t' {
            // Back to where the rest of the line ends.
            let width = self.tab_width();
            for _ in 0..width {
                self.emit(b"\x08", echo);
            }
            return;
        }
        let width = if is_control(gone) && s.has_local(lflag::ECHOCTL) {
            2
        } else {
            usize::from(!is_control(gone))
        };
        for _ in 0..width {
            self.emit(b"\x08 \x08", echo);
        }
    }

    /// Columns that a tab at the end of the line takes.
    fn tab_width(&self) -> usize {
        let mut column = 0;
        for &b in &self.edit {
            column = match b {
                b'\t' => (column / 8 + 1) * 8,
                b if is_control(b) => column + if self.settings.has_local(lflag::ECHOCTL) { 2 } else { 0 },
                b if b & 0xc0 == 0x80 && self.settings.has_input(iflag::IUTF8) => column,
                _ => column + 1,
            };
        }
        8 - column % 8
    }

    fn echo_byte(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if is_control(byte) && byte != b'\t' && byte != b'\n' && self.settings.has_local(lflag::ECHOCTL) {
            self.echo_control(byte, echo);
        } else {
            self.emit(&[byte], echo);
        }
    }

    fn echo_control(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if is_control(byte) && self.settings.has_local(lflag::ECHOCTL) {
            self.emit(&[b'^', byte ^ 0x40], echo);
        } else {
            self.emit(&[byte], echo);
        }
    }

    fn emit(&mut self, bytes: &[u8], echo: &mut Vec<u8>) {
        self.output.process(bytes, &self.settings, echo);
    }
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}
