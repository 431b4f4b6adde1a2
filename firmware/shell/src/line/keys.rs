//! Bytes from a terminal become keys.
//!
//! Understood are UTF-8, the control characters, and the escape sequences of the VT100 family (ECMA-48 CSI and SS3) for
//! arrows, Home, End, Delete and word moves. What is not understood is passed over whole, so that an unknown key does
//! not leave letters in the line.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character to insert.
    Char(char),
    /// A control character as its letter: ^A is `Control('a')`.
    Control(char),
    /// End of the line.
    Enter,
    Tab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    WordLeft,
    WordRight,
    DeleteWordRight,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// Bytes of a character that is not complete.
    Utf8 { bytes: [u8; 4], have: usize, need: usize },
    /// After ESC.
    Escape,
    /// After ESC O.
    Ss3,
    /// After ESC [, with the parameter bytes so far.
    Csi { parameters: [u8; 8], have: usize },
}

/// The decoder: bytes in, keys out.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    state: State,
}

impl Keys {
    /// Takes one byte; a key when it completes one.
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte),
            State::Utf8 { bytes, have, need } => self.utf8(bytes, have, need, byte),
            State::Escape => self.escape(byte),
            State::Ss3 => final_byte(&[], byte),
            State::Csi { parameters, have } => self.csi(parameters, have, byte),
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'\r' | b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x08 | 0x7f => Some(Key::Backspace),
            0x1b => {
                self.state = State::Escape;
                None
            }
            0x01..=0x1a => Some(Key::Control(char::from(byte - 1 + b'a'))),
            0x00 | 0x1c..=0x1f => None,
            0x20..=0x7e => Some(Key::Char(char::from(byte))),
            0xc2..=0xf4 => {
                let need = match byte {
                    0xc2..=0xdf => 2,
                    0xe0..=0xef => 3,
                    _ => 4,
                };
                self.state = State::Utf8 {
                    bytes: [byte, 0, 0, 0],
                    have: 1,
                    need,
                };
                None
            }
            _ => Some(Key::Char(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn utf8(&mut self, mut bytes: [u8; 4], have: usize, need: usize, byte: u8) -> Option<Key> {
        if byte & 0xc0 != 0x80 {
            // A broken character: the new byte starts afresh, unless it is a key of its own that must not get lost.
            return self.ground(byte).or(Some(Key::Char(char::REPLACEMENT_CHARACTER)));
        }
        bytes[have] = byte;
        let have = have + 1;
        if have < need {
            self.state = State::Utf8 { bytes, have, need };
            return None;
        }
        let text = std::str::from_utf8(&bytes[..need]).ok();
        Some(Key::Char(
            text.and_then(|t| t.chars().next())
                .unwrap_or(char::REPLACEMENT_CHARACTER),
        ))
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' => {
                self.state = State::Csi {
                    parameters: [0; 8],
                    have: 0,
                }
            }
            b'O' => self.state = State::Ss3,
            0x1b => self.state = State::Escape,
            b'b' => return Some(Key::WordLeft),
            b'f' => return Some(Key::WordRight),
            b'd' => return Some(Key::DeleteWordRight),
            0x08 | 0x7f => return Some(Key::Control('w')),
            // Escape alone, then an ordinary control: ^C after a stray Escape still works.
            0x01..=0x1a => return self.ground(byte),
            _ => {}
        }
        None
    }

    fn csi(&mut self, mut parameters: [u8; 8], have: usize, byte: u8) -> Option<Key> {
        match byte {
            0x20..=0x3f => {
                let mut have = have;
                if let Some(place) = parameters.get_mut(have) {
                    *place = byte;
                    have += 1;
                }
                self.state = State::Csi { parameters, have };
                None
            }
            0x40..=0x7e => final_byte(&parameters[..have], byte),
            // Not part of a sequence at all.
            _ => self.ground(byte),
        }
    }
}

fn final_byte(parameters: &[u8], byte: u8) -> Option<Key> {
    // `ESC [ 1 ; 5 C` is Right with Control held, 3 is Alt.
    let is_word = matches!(parameters, [b'1', b';', b'3' | b'5'] | [b'5']);
    Some(match (byte, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if is_word => Key::WordRight,
        (b'D', _) if is_word => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"3") => Key::Delete,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Key, Keys};

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Keys::default();
        bytes.iter().filter_map(|&b| decoder.feed(b)).collect()
    }

    #[test]
    fn letters_controls_and_utf8() {
        assert_eq!(
            keys("aé界🦀\x01\r".as_bytes()),
            [
                Key::Char('a'),
                Key::Char('é'),
                Key::Char('界'),
                Key::Char('🦀'),
                Key::Control('a'),
                Key::Enter
            ]
        );
    }

    #[test]
    fn arrows_in_both_forms_and_unknown_sequences_whole() {
        assert_eq!(
            keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[3~\x1b[H"),
            [Key::Up, Key::Down, Key::WordRight, Key::Delete, Key::Home]
        );
        assert_eq!(keys(b"\x1b[200~x"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[123456789012345678qz"), [Key::Char('z')]);
        assert_eq!(keys(b"\x1b\x03"), [Key::Control('c')]);
    }

    #[test]
    fn broken_utf8_is_seen_and_loses_no_key() {
        assert_eq!(keys(&[0xff, b'a']), [Key::Char('\u{fffd}'), Key::Char('a')]);
        assert_eq!(keys(&[0xc3, b'\r']), [Key::Enter]);
        assert_eq!(keys(&[0xed, 0xa0, 0x80]), [Key::Char('\u{fffd}')]);
    }
}
