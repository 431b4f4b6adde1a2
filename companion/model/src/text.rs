//! Text from the network, made safe to keep and to show.
//!
//! A board may send any text of up to a frame's length. What is kept is cut to a length, and what could drive a terminal or turn the
//! direction of a line (control characters, Unicode's bidirectional controls) is written as an escape.

/// Bytes of a name: of a board, a client, a process.
pub(crate) const NAME_BYTES: usize = 128;
/// Bytes of a sentence for people.
pub(crate) const SENTENCE_BYTES: usize = 1024;
/// Bytes of a line of the log.
pub(crate) const LINE_BYTES: usize = 4096;

/// What stands at the end of a text that was cut.
const CUT: char = '…';

/// `text` as it may be kept: at most `max_bytes` long (and never shorter than the mark of a cut), without characters that do
/// something instead of being seen. Cleaning what is clean changes nothing.
pub(crate) fn clean(text: String, max_bytes: usize) -> String {
    if text.len() <= max_bytes && !text.chars().any(is_acting) {
        return text;
    }
    let mut out = String::with_capacity(text.len().min(max_bytes));
    // Where the text would be cut: the last place that leaves room for the mark.
    let mut cut_at = 0;
    for c in text.chars() {
        if is_acting(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max_bytes {
            out.truncate(cut_at);
            out.push(CUT);
            return out;
        }
        if out.len() + CUT.len_utf8() <= max_bytes {
            cut_at = out.len();
        }
    }
    out
}

/// [`clean`], where there may be no text.
pub(crate) fn clean_option(text: Option<String>, max_bytes: usize) -> Option<String> {
    text.map(|text| clean(text, max_bytes))
}

/// Whether a character does something instead of being seen. A tab is only space.
const fn is_acting(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\n'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_drive_a_terminal_is_shown_instead() {
        let hostile = "a\x1b[2Jb\nc\td\u{202e}e".to_owned();
        assert_eq!(clean(hostile, 100), "a\\u{1b}[2Jb\\nc\td\\u{202e}e");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_shows_it() {
        assert_eq!(clean("abcdef".into(), 6), "abcdef");
        assert_eq!(clean("abcdefg".into(), 6), "abc…");
        assert_eq!(clean("äöüß".into(), 7), "äö…");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_and_clean(text in "\\PC*|[\\x00-\\x7f]*|.*", max_bytes in 3..60_usize) {
            let once = clean(text, max_bytes);
            prop_assert!(once.len() <= max_bytes);
            prop_assert!(!once.chars().any(is_acting));
            prop_assert_eq!(clean(once.clone(), max_bytes), once);
        }
    }
}
