//! Output processing (OPOST).

use alloc::vec::Vec;

use super::flags::{Settings, oflag};

/// Where the cursor is, as far as output processing needs it.
#[derive(Debug, Default)]
pub struct Output {
    column: usize,
}

impl Output {
    /// Appends `bytes` to `out` as the device is to get them.
    pub fn process(&mut self, bytes: &[u8], s: &Settings, out: &mut Vec<u8>) {
        if !s.has_output(oflag::OPOST) {
            out.extend_from_slice(bytes);
            return;
        }
        for &b in bytes {
            match b {
                b'\n' => {
                    if s.has_output(oflag::ONLCR) {
                        out.push(b'\r');
                        self.column = 0;
                    } else if s.has_output(oflag::ONLRET) {
                        self.column = 0;
                    }
                    out.push(b'\n');
                }
                b'\r' => {
                    if s.has_output(oflag::ONOCR) && self.column == 0 {
                        continue;
                    }
                    if s.has_output(oflag::OCRNL) {
                        out.push(b'\n');
                        if s.has_output(oflag::ONLRET) {
                            self.column = 0;
                        }
                        continue;
                    }
                    self.column = 0;
                    out.push(b'\r');
                }
                b'\t' => {
                    let width = 8 - self.column % 8;
                    self.column += width;
                    if s.output_tabs() {
                        out.extend(core::iter::repeat_n(b' ', width));
                    } else {
                        out.push(b'\t');
                    }
                }
                8 => {
                    self.column = self.column.saturating_sub(1);
                    out.push(8);
                }
                b => {
                    let b = if s.has_output(oflag::OLCUC) {
                        b.to_ascii_uppercase()
                    } else {
                        b
                    };
                    // Bytes inside a UTF-8 sequence take no column of their own.
                    if b >= 0x20 && b != 0x7f && b & 0xc0 != 0x80 {
                        self.column += 1;
                    }
                    out.push(b);
                }
            }
        }
    }
}
