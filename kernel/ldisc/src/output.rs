//! Output processing: what a program writes, and what is echoed, as the terminal gets it.

use alloc::vec::Vec;

use sis_abi::tty::{InputFlags, OutputFlags};

use super::LineDiscipline;

/// Where the cursor is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Column {
    /// The column of the cursor, from 0.
    pub(super) now: usize,
    /// The column where the line that is being typed began.
    pub(super) line_start: usize,
}

/// The most bytes that one byte can become (a tab).
pub(super) const EXPANSION_MAX: usize = 8;

impl LineDiscipline {
    /// Processes what a program writes, as long as `out` stays within `limit` bytes; returns how many bytes were taken.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>, limit: usize) -> usize {
        if !self.oflag.contains(OutputFlags::OPOST) {
            let taken = data.get(..limit.saturating_sub(out.len())).unwrap_or(data);
            out.extend_from_slice(taken);
            return taken.len();
        }
        for (index, byte) in data.iter().enumerate() {
            if limit.saturating_sub(out.len()) < EXPANSION_MAX
                && limit.saturating_sub(out.len()) < self.expansion(*byte)
            {
                return index;
            }
            self.put(*byte, out);
        }
        data.len()
    }

    /// How many bytes a byte becomes (`do_output_char` of Linux needs as much space).
    fn expansion(&self, byte: u8) -> usize {
        match byte {
            b'\n' if self.oflag.contains(OutputFlags::ONLCR) => 2,
            b'\t' if self.oflag.contains(OutputFlags::XTABS) => 8 - self.column.now % 8,
            _ => 1,
        }
    }

    /// Processes one byte (`do_output_char`).
    pub(super) fn put(&mut self, mut byte: u8, out: &mut Vec<u8>) {
        let oflag = self.oflag;
        let column = &mut self.column;
        match byte {
            b'\n' => {
                if oflag.contains(OutputFlags::ONLRET) {
                    column.now = 0;
                }
                if oflag.contains(OutputFlags::ONLCR) {
                    column.now = 0;
                    out.push(b'\r');
                }
                column.line_start = column.now;
            }
            b'\r' => {
                if oflag.contains(OutputFlags::ONOCR) && column.now == 0 {
                    return;
                }
                if oflag.contains(OutputFlags::OCRNL) {
                    byte = b'\n';
                    if oflag.contains(OutputFlags::ONLRET) {
                        *column = Column::default();
                    }
                } else {
                    *column = Column::default();
                }
            }
            b'\t' => {
                let spaces = 8 - column.now % 8;
                column.now += spaces;
                if oflag.contains(OutputFlags::XTABS) {
                    out.extend(core::iter::repeat_n(b' ', spaces));
                    return;
                }
            }
            8 => column.now = column.now.saturating_sub(1),
            _ if is_control(byte) => {}
            _ => {
                if oflag.contains(OutputFlags::OLCUC) {
                    byte = upper(byte);
                }
                if !self.is_continuation(byte) {
                    self.column.now += 1;
                }
            }
        }
        out.push(byte);
    }

    /// Whether a byte is a later one of a UTF-8 character.
    pub(super) fn is_continuation(&self, byte: u8) -> bool {
        self.iflag.contains(InputFlags::IUTF8) && byte & 0xc0 == 0x80
    }
}

/// Whether a byte is a control character of ASCII.
pub(super) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// The upper-case letter, as Linux's `toupper` has it: of Latin-1.
fn upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => byte - 0x20,
        _ => byte,
    }
}

/// The lower-case letter, as Linux's `tolower` has it: of Latin-1.
pub(super) fn lower(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 0x20,
        _ => byte,
    }
}
