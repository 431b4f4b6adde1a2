//! What stands between a terminal and the programs that read and write it: N_TTY, the line discipline of termios(3), as a pure state
//! machine that behaves as Linux's drivers/tty/n_tty.c.
//!
//! Bytes from the terminal go in through [`LineDiscipline::receive`], which answers what to echo, which signals to send, and whether to stop
//! or start output. Programs take complete lines, or raw bytes, with [`LineDiscipline::read`]; what they write becomes what the terminal
//! gets in [`LineDiscipline::write`]. Both echo and output move the *column*, which tabs and erasing depend on.
//!
//! Not here: waiting (VMIN and VTIME are told by [`LineDiscipline::read_mode`]), job control (who may read, who gets the signals), queues of
//! output, the speed and modem lines of `c_cflag`, parity, packet mode.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod edit;
mod input;
mod output;

use alloc::{collections::VecDeque, vec::Vec};

use sis_abi::{
    signal::Signal,
    tty::{InputFlags, LocalFlags, OutputFlags, Termios, VMIN, VTIME},
};

use output::Column;

/// How much unread input is kept; a line has one byte less without its end.
pub const BUFFER_BYTES: usize = 4096;

/// What a byte of input is the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Of nothing: there is more of the line.
    None,
    /// Of a line, and a byte of it.
    Line,
    /// Of a line that EOF ended: no byte, only an end.
    Eof,
}

/// An unread byte.
#[derive(Clone, Copy, Debug)]
struct Cell {
    byte: u8,
    end: End,
}

/// Whether output is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Hold output (VSTOP).
    Stop,
    /// Go on (VSTART).
    Start,
}

/// What follows from input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes were taken. When it is not all, the buffer is full: offer the rest when something has been read.
    pub consumed: usize,
    /// Whether to throw away output that waits (and was not echoed by this answer).
    pub has_output_flush: bool,
    /// What the terminal gets now.
    pub echo: Vec<u8>,
    /// The signals for the foreground process group, in order.
    pub signals: Vec<Signal>,
    /// Whether to hold output or to go on.
    pub flow: Option<Flow>,
    /// Whether there may be more to read than before: wake the readers.
    pub is_readable: bool,
}

/// When a read is done (termios(3), canonical and noncanonical mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// When there is a line, or a part of one that fills the buffer.
    Line,
    /// At once, with what is there.
    Immediate,
    /// When there is a byte, or after the time: with nothing then.
    Within {
        /// The time in nanoseconds, from the beginning of the read.
        ns: u64,
    },
    /// When there are so many bytes (or as many as the buffer holds).
    AtLeast {
        /// How many.
        bytes: usize,
    },
    /// When there are so many bytes (or as many as the buffer holds), or when, after the first, none has come for the time.
    AtLeastOrPause {
        /// How many.
        bytes: usize,
        /// The time in nanoseconds, from the last byte.
        ns: u64,
    },
}

/// The state of one terminal.
#[derive(Clone, Debug)]
pub struct LineDiscipline {
    termios: Termios,
    iflag: InputFlags,
    oflag: OutputFlags,
    lflag: LocalFlags,
    /// What can be read: complete lines, or bytes in noncanonical mode.
    ready: VecDeque<Cell>,
    /// How many lines of `ready` are complete.
    lines: usize,
    /// The line that is being typed; empty in noncanonical mode.
    edit: Vec<u8>,
    column: Column,
    /// The next byte is taken as it is (VLNEXT).
    is_quoted: bool,
    /// Between the `\` and the `/` of ECHOPRT.
    is_erasing: bool,
    is_stopped: bool,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new(Termios::STANDARD)
    }
}

impl LineDiscipline {
    /// A terminal without input, at column 0.
    pub fn new(termios: Termios) -> Self {
        Self {
            iflag: termios.input(),
            oflag: termios.output(),
            lflag: termios.local(),
            termios,
            ready: VecDeque::new(),
            lines: 0,
            edit: Vec::new(),
            column: Column::default(),
            is_quoted: false,
            is_erasing: false,
            is_stopped: false,
        }
    }

    /// The settings, as they were set.
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes the settings; answers what follows (output goes on when IXON goes off). When canonical mode goes on or off, what was not
    /// read becomes readable, as on Linux.
    pub fn set_termios(&mut self, termios: Termios) -> Received {
        let mut received = Received::default();
        let was_canonical = self.is_canonical();
        self.termios = termios;
        self.iflag = termios.input();
        self.oflag = termios.output();
        self.lflag = termios.local();
        if was_canonical != self.is_canonical() {
            self.ready.retain(|cell| cell.end != End::Eof);
            self.ready.iter_mut().for_each(|cell| cell.end = End::None);
            let typed = self.edit.drain(..).map(|byte| Cell { byte, end: End::None });
            self.ready.extend(typed);
            self.lines = 0;
            if self.is_canonical()
                && let Some(last) = self.ready.back_mut()
            {
                // Readable as it is, as if a line ended here.
                last.end = End::Line;
                self.lines = 1;
            }
            self.is_quoted = false;
            self.is_erasing = false;
            received.is_readable = !self.ready.is_empty();
        }
        if self.is_stopped && !self.iflag.contains(InputFlags::IXON) {
            self.is_stopped = false;
            received.flow = Some(Flow::Start);
        }
        received
    }

    /// Whether input comes line by line.
    pub fn is_canonical(&self) -> bool {
        self.lflag.contains(LocalFlags::ICANON)
    }

    /// Whether VSTOP has stopped output.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Stops or starts output as tcflow(3) does.
    pub fn set_stopped(&mut self, is_stopped: bool) {
        self.is_stopped = is_stopped;
    }

    /// Whether a read would return at once: for poll(2).
    pub fn is_readable(&self) -> bool {
        let (min, time) = self.counts();
        let wanted = if time == 0 { min.max(1) } else { 1 };
        if self.is_canonical() {
            self.lines > 0
        } else {
            self.ready.len() >= wanted
        }
    }

    /// How many bytes can be read: for FIONREAD.
    pub fn available(&self) -> usize {
        self.ready.iter().filter(|cell| cell.end != End::Eof).count()
    }

    /// When a read is done.
    pub fn read_mode(&self) -> ReadMode {
        let (bytes, time) = self.counts();
        let ns = time * 100_000_000;
        match (bytes, time) {
            _ if self.is_canonical() => ReadMode::Line,
            (0, 0) => ReadMode::Immediate,
            (0, _) => ReadMode::Within { ns },
            (_, 0) => ReadMode::AtLeast { bytes },
            _ => ReadMode::AtLeastOrPause { bytes, ns },
        }
    }

    /// VMIN and VTIME.
    fn counts(&self) -> (usize, u64) {
        let number = |which: usize| self.termios.c_cc.get(which).copied().unwrap_or(0);
        (number(VMIN).into(), number(VTIME).into())
    }

    /// Reads what is there: in canonical mode a line or the beginning of one. `None` when there is no line, or no byte; `Some(0)` is the end
    /// of file. The caller knows when enough has been read ([`read_mode`](Self::read_mode)).
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if if self.is_canonical() {
            self.lines == 0
        } else {
            self.ready.is_empty()
        } {
            return None;
        }
        let mut count = 0;
        for to in buffer.iter_mut() {
            let Some(Cell { byte, end }) = self.ready.pop_front() else {
                break;
            };
            if end != End::None {
                self.lines -= 1;
            }
            if end == End::Eof {
                return Some(count);
            }
            *to = byte;
            count += 1;
            if end == End::Line {
                return Some(count);
            }
        }
        // An EOF right behind a full buffer belongs to what was read: it is no end of file of its own.
        if count > 0 && self.ready.front().is_some_and(|cell| cell.end == End::Eof) {
            self.ready.pop_front();
            self.lines -= 1;
        }
        Some(count)
    }

    /// Throws unread input away: for TCIFLUSH and TCSETSF.
    pub fn flush_input(&mut self) {
        self.ready.clear();
        self.edit.clear();
        self.lines = 0;
        self.is_quoted = false;
        self.is_erasing = false;
    }
}

#[cfg(test)]
mod tests;
