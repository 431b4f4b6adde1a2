//! A text screen: what a terminal shows after the bytes that were sent to it.
//!
//! # Terms
//!
//! A *cell* is a place for one character. What is *shown* is what the screen's owner was last given to draw; cells that
//! have changed since are given by [`Screen::refresh`], so that scrolling costs no more than the text that moved.
//!
//! The control sequences are those of ECMA-48 that TERM=linux programs use to move, erase and colour (console_codes(4));
//! others are read to their end and ignored. Characters are Unicode's, in UTF-8; one that is malformed shows as `�`.

use alloc::vec;
use alloc::vec::Vec;

#[cfg(test)]
mod tests;

/// Parameters of a control sequence at most; more are ignored.
const PARAMETERS: usize = 16;
const TAB: usize = 8;

/// Colours and weight of a cell: 0 to 7 as ECMA-48 counts them, 8 to 15 the bright ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Of the character.
    pub foreground: u8,
    /// Behind it.
    pub background: u8,
}

impl Style {
    /// Light grey on black.
    pub const PLAIN: Self = Self {
        foreground: 7,
        background: 0,
    };
}

/// One place on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What stands there.
    pub character: char,
    /// How.
    pub style: Style,
}

impl Cell {
    /// Nothing.
    pub const BLANK: Self = Self {
        character: ' ',
        style: Style::PLAIN,
    };
}

/// How the pen is set; reverse video exchanges the colours when a cell is written.
#[derive(Clone, Copy)]
struct Pen {
    style: Style,
    is_bold: bool,
    is_reversed: bool,
}

impl Pen {
    const PLAIN: Self = Self {
        style: Style::PLAIN,
        is_bold: false,
        is_reversed: false,
    };

    fn style(self) -> Style {
        let mut style = self.style;
        if self.is_bold && style.foreground < 8 {
            style.foreground += 8;
        }
        if self.is_reversed {
            core::mem::swap(&mut style.foreground, &mut style.background);
        }
        style
    }
}

/// Where in a control sequence the input is.
enum Reading {
    Text,
    Escape,
    /// After `ESC (` and its kin: one more byte.
    Charset,
    /// `ESC ]`, to BEL or ST.
    Operating,
    Sequence {
        parameters: [u16; PARAMETERS],
        count: usize,
        /// `?`, `>` and others: a private sequence.
        is_private: bool,
    },
}

/// A text screen.
pub struct Screen {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    shown: Vec<Option<Cell>>,
    row: usize,
    column: usize,
    /// The last column was written; the next character begins a new row.
    is_wrapping: bool,
    has_cursor: bool,
    saved: (usize, usize),
    pen: Pen,
    reading: Reading,
    /// Bytes of a character that is not whole yet.
    partial: [u8; 4],
    partial_len: usize,
}

impl Screen {
    /// A blank screen. At least one row and one column.
    pub fn new(columns: usize, rows: usize) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Self {
            columns,
            rows,
            cells: vec![Cell::BLANK; columns * rows],
            shown: vec![None; columns * rows],
            row: 0,
            column: 0,
            is_wrapping: false,
            has_cursor: true,
            saved: (0, 0),
            pen: Pen::PLAIN,
            reading: Reading::Text,
            partial: [0; 4],
            partial_len: 0,
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// A row's text, without the blanks at its end.
    pub fn text(&self, row: usize) -> alloc::string::String {
        let start = row.saturating_mul(self.columns);
        let cells = self
            .cells
            .get(start..start.saturating_add(self.columns))
            .unwrap_or_default();
        let text: alloc::string::String = cells.iter().map(|c| c.character).collect();
        text.trim_end().into()
    }

    /// Gives each cell that is not shown as it is: row, column, cell; the cursor's is in reverse.
    pub fn refresh(&mut self, mut draw: impl FnMut(usize, usize, Cell)) {
        let cursor = self.has_cursor.then_some((self.row, self.column));
        let columns = self.columns;
        for (index, (cell, shown)) in self.cells.iter().zip(&mut self.shown).enumerate() {
            let at = (index / columns, index % columns);
            let mut cell = *cell;
            if cursor == Some(at) {
                core::mem::swap(&mut cell.style.foreground, &mut cell.style.background);
            }
            if *shown != Some(cell) {
                draw(at.0, at.1, cell);
                *shown = Some(cell);
            }
        }
    }

    /// Takes what a program sends.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.take(byte);
        }
    }

    fn take(&mut self, byte: u8) {
        match self.reading {
            Reading::Text => self.text_byte(byte),
            Reading::Escape => self.escape(byte),
            Reading::Charset => self.reading = Reading::Text,
            Reading::Operating => match byte {
                7 => self.reading = Reading::Text,
                0x1b => self.reading = Reading::Escape,
                _ => {}
            },
            Reading::Sequence { .. } => self.sequence(byte),
        }
    }

    fn text_byte(&mut self, byte: u8) {
        if self.partial_len > 0 && !(0x80..0xc0).contains(&byte) {
            self.partial_len = 0;
            self.put(char::REPLACEMENT_CHARACTER);
        }
        match byte {
            0x1b => self.reading = Reading::Escape,
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            b'\r' => self.go(self.row, 0),
            8 => self.go(self.row, self.column.saturating_sub(1)),
            b'\t' => self.go(self.row, (self.column / TAB + 1) * TAB),
            0..0x20 | 0x7f => {}
            0x20..0x7f => self.put(char::from(byte)),
            _ => self.part(byte),
        }
    }

    /// A byte of a character of several.
    fn part(&mut self, byte: u8) {
        let Some(slot) = self.partial.get_mut(self.partial_len) else {
            self.partial_len = 0;
            return;
        };
        *slot = byte;
        self.partial_len += 1;
        let so_far = self.partial.get(..self.partial_len).unwrap_or_default();
        match core::str::from_utf8(so_far) {
            Ok(text) => {
                let character = text.chars().next();
                self.partial_len = 0;
                if let Some(c) = character {
                    self.put(c);
                }
            }
            Err(e) if e.error_len().is_some() => {
                self.partial_len = 0;
                self.put(char::REPLACEMENT_CHARACTER);
            }
            Err(_) => {}
        }
    }

    fn put(&mut self, character: char) {
        if self.is_wrapping {
            self.line_feed();
            self.column = 0;
            self.is_wrapping = false;
        }
        let cell = Cell {
            character,
            style: self.pen.style(),
        };
        let at = self.row * self.columns + self.column;
        if let Some(slot) = self.cells.get_mut(at) {
            *slot = cell;
        }
        if self.column + 1 == self.columns {
            self.is_wrapping = true;
        } else {
            self.column += 1;
        }
    }

    fn go(&mut self, row: usize, column: usize) {
        self.row = row.min(self.rows - 1);
        self.column = column.min(self.columns - 1);
        self.is_wrapping = false;
    }

    fn blank(&self) -> Cell {
        Cell {
            character: ' ',
            style: Style {
                foreground: Style::PLAIN.foreground,
                background: self.pen.style.background,
            },
        }
    }

    fn line_feed(&mut self) {
        if self.row + 1 < self.rows {
            self.row += 1;
        } else {
            self.scroll(0, 1);
        }
        self.is_wrapping = false;
    }

    /// Moves the rows from `top` on up by `n`.
    fn scroll(&mut self, top: usize, n: usize) {
        let blank = self.blank();
        let start = top.min(self.rows) * self.columns;
        let by = n.min(self.rows - top.min(self.rows)) * self.columns;
        if let Some(cells) = self.cells.get_mut(start..) {
            cells.rotate_left(by);
            let keep = cells.len() - by;
            cells.iter_mut().skip(keep).for_each(|c| *c = blank);
        }
    }

    /// Moves the rows from `top` on down by `n`.
    fn scroll_down(&mut self, top: usize, n: usize) {
        let blank = self.blank();
        let start = top.min(self.rows) * self.columns;
        let by = n.min(self.rows - top.min(self.rows)) * self.columns;
        if let Some(cells) = self.cells.get_mut(start..) {
            cells.rotate_right(by);
            cells.iter_mut().take(by).for_each(|c| *c = blank);
        }
    }

    fn erase(&mut self, from: usize, to: usize) {
        let blank = self.blank();
        let to = to.min(self.cells.len());
        if let Some(cells) = self.cells.get_mut(from.min(to)..to) {
            cells.fill(blank);
        }
    }

    fn escape(&mut self, byte: u8) {
        self.reading = Reading::Text;
        match byte {
            b'[' => {
                self.reading = Reading::Sequence {
                    parameters: [0; PARAMETERS],
                    count: 0,
                    is_private: false,
                }
            }
            b']' => self.reading = Reading::Operating,
            b'(' | b')' | b'#' | b'%' => self.reading = Reading::Charset,
            b'D' => self.line_feed(),
            b'E' => {
                self.line_feed();
                self.column = 0;
            }
            b'M' if self.row == 0 => self.scroll_down(0, 1),
            b'M' => self.go(self.row - 1, self.column),
            b'7' => self.saved = (self.row, self.column),
            b'8' => self.go(self.saved.0, self.saved.1),
            b'c' => {
                let cells = self.cells.len();
                self.pen = Pen::PLAIN;
                self.has_cursor = true;
                self.erase(0, cells);
                self.go(0, 0);
            }
            _ => {}
        }
    }

    fn sequence(&mut self, byte: u8) {
        let Reading::Sequence {
            parameters,
            count,
            is_private,
        } = &mut self.reading
        else {
            return;
        };
        match byte {
            b'0'..=b'9' => {
                if let Some(p) = parameters.get_mut(*count) {
                    *p = p.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' | b':' => *count = (*count + 1).min(PARAMETERS),
            b'<'..=b'?' => *is_private = true,
            0x1b => self.reading = Reading::Escape,
            0x40..0x7f => {
                let (parameters, count, is_private) = (*parameters, *count, *is_private);
                self.reading = Reading::Text;
                let given = parameters.get(..(count + 1).min(PARAMETERS)).unwrap_or_default();
                if is_private {
                    self.private(byte, given);
                } else {
                    self.act(byte, given);
                }
            }
            0x20..0x30 => {}
            // Controls inside a sequence are done at once (ECMA-48 leaves it open; terminals agree).
            _ => {
                let reading = core::mem::replace(&mut self.reading, Reading::Text);
                self.text_byte(byte);
                self.reading = reading;
            }
        }
    }

    fn private(&mut self, last: u8, parameters: &[u16]) {
        if parameters.contains(&25) {
            match last {
                b'h' => self.has_cursor = true,
                b'l' => self.has_cursor = false,
                _ => {}
            }
        }
    }

    fn act(&mut self, last: u8, parameters: &[u16]) {
        let given = |i: usize| parameters.get(i).copied().unwrap_or(0);
        let number = |i: usize| usize::from(given(i)).max(1);
        let at = self.row * self.columns + self.column;
        let line = self.row * self.columns;
        match last {
            b'A' => self.go(self.row.saturating_sub(number(0)), self.column),
            b'B' | b'e' => self.go(self.row + number(0), self.column),
            b'C' | b'a' => self.go(self.row, self.column + number(0)),
            b'D' => self.go(self.row, self.column.saturating_sub(number(0))),
            b'E' => self.go(self.row + number(0), 0),
            b'F' => self.go(self.row.saturating_sub(number(0)), 0),
            b'G' | b'`' => self.go(self.row, number(0) - 1),
            b'H' | b'f' => self.go(number(0) - 1, number(1) - 1),
            b'd' => self.go(number(0) - 1, self.column),
            b'J' => match given(0) {
                0 => self.erase(at, usize::MAX),
                1 => self.erase(0, at + 1),
                _ => self.erase(0, usize::MAX),
            },
            b'K' => match given(0) {
                0 => self.erase(at, line + self.columns),
                1 => self.erase(line, at + 1),
                _ => self.erase(line, line + self.columns),
            },
            b'X' => self.erase(at, (at + number(0)).min(line + self.columns)),
            b'P' => {
                let (n, end) = (number(0), line + self.columns);
                let n = n.min(end - at);
                if let Some(cells) = self.cells.get_mut(at..end) {
                    cells.rotate_left(n);
                }
                self.erase(end - n, end);
            }
            b'@' => {
                let (n, end) = (number(0), line + self.columns);
                let n = n.min(end - at);
                if let Some(cells) = self.cells.get_mut(at..end) {
                    cells.rotate_right(n);
                }
                self.erase(at, at + n);
            }
            b'L' => self.scroll_down(self.row, number(0)),
            b'M' => self.scroll(self.row, number(0)),
            b's' => self.saved = (self.row, self.column),
            b'u' => self.go(self.saved.0, self.saved.1),
            b'm' => self.paint(parameters),
            _ => {}
        }
    }

    /// SGR.
    fn paint(&mut self, parameters: &[u16]) {
        let mut rest = parameters.iter().copied();
        while let Some(p) = rest.next() {
            let style = &mut self.pen.style;
            match p {
                0 => self.pen = Pen::PLAIN,
                1 => self.pen.is_bold = true,
                2 | 21 | 22 => self.pen.is_bold = false,
                7 => self.pen.is_reversed = true,
                27 => self.pen.is_reversed = false,
                30..=37 => style.foreground = (p - 30) as u8,
                39 => style.foreground = Style::PLAIN.foreground,
                40..=47 => style.background = (p - 40) as u8,
                49 => style.background = Style::PLAIN.background,
                90..=97 => style.foreground = (p - 90 + 8) as u8,
                100..=107 => style.background = (p - 100 + 8) as u8,
                // Of the 256 colours the first sixteen are these; the others are passed over with their parameters.
                38 | 48 => {
                    let colour = match rest.next() {
                        Some(5) => rest.next(),
                        Some(2) => rest.by_ref().take(3).last().and(None),
                        _ => None,
                    };
                    if let Some(c @ 0..=15) = colour {
                        if p == 38 {
                            style.foreground = c as u8;
                        } else {
                            style.background = c as u8;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
