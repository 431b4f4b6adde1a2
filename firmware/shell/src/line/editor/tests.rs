use super::super::complete::{Completer, Completion};
use super::super::history::History;
use super::super::keys::{Key, Keys};
use super::{Editor, MAX_CHARS, Step};

struct Names(&'static [&'static str]);

impl Completer for Names {
    fn complete(&self, before: &str) -> Completion {
        Completion::among(before, self.0.iter().map(|n| format!("{n} ")).collect())
    }
}

fn history() -> History {
    let mut history = History::in_memory();
    history.add("first");
    history.add("second");
    history
}

/// Types bytes at a terminal of 20 columns; the result and all that was written.
fn typed(bytes: &[u8]) -> (Step, String) {
    let history = history();
    let (mut editor, mut keys, mut out) = (Editor::new("sis> ", 20), Keys::default(), String::new());
    for &byte in bytes {
        if let Some(key) = keys.feed(byte) {
            let step = editor.key(key, &history, &Names(&["memctl", "metrics", "selfcheck"]), &mut out);
            if step != Step::More {
                return (step, out);
            }
        }
    }
    (Step::More, out)
}

fn line(bytes: &[u8]) -> String {
    match typed(bytes).0 {
        Step::Line(line) => line,
        other => panic!("no line but {other:?}"),
    }
}

#[test]
fn what_is_typed_at_the_end_is_echoed_and_nothing_else() {
    assert_eq!(typed(b"ls -l\r"), (Step::Line("ls -l".into()), "ls -l\r\n".into()));
}

#[test]
fn moves_and_cuts() {
    assert_eq!(line(b"bc\x01a\x05d\r"), "abcd");
    assert_eq!(line(b"abc\x1b[D\x1b[DX\r"), "aXbc");
    assert_eq!(line(b"one two  \x17three\r"), "one three");
    assert_eq!(line(b"abcdef\x1b[D\x1b[D\x0b\r"), "abcd");
    assert_eq!(line(b"abcdef\x1b[D\x1b[D\x15\r"), "ef");
    assert_eq!(line(b"abc\x15\x19\x19\r"), "abcabc");
    assert_eq!(line(b"ab\x7f\x7f\x7f\x7fc\r"), "c");
    assert_eq!(line(b"abc\x01\x1b[3~\r"), "bc");
    assert_eq!(line(b"one two\x1bbX\r"), "one Xtwo");
    assert_eq!(line("naïve\x1b[D\x7f\r".as_bytes()), "naïe");
}

#[test]
fn control_c_throws_away_and_control_d_ends_only_an_empty_line() {
    assert_eq!(typed(b"rm\x03").0, Step::Interrupted);
    assert_eq!(typed(b"\x04").0, Step::End);
    assert_eq!(line(b"ab\x01\x04\r"), "b");
}

#[test]
fn history_goes_back_and_forth_and_keeps_what_was_typed() {
    assert_eq!(line(b"\x1b[A\r"), "second");
    assert_eq!(line(b"\x1b[A\x1b[A\x1b[A\r"), "first");
    assert_eq!(line(b"new\x1b[A\x1b[A\x1b[B\x1b[B\r"), "new");
    assert_eq!(line(b"\x1b[B\x1b[Ax\r"), "secondx");
}

#[test]
fn tab_completes_and_lists() {
    assert_eq!(line(b"se\t\r"), "selfcheck ");
    assert_eq!(line(b"m\t\r"), "me");
    let (_, out) = typed(b"me\t\t");
    assert!(out.contains("memctl") && out.contains("metrics"), "{out:?}");
    assert_eq!(line(b"zz\t\tz\r"), "zzz");
}

#[test]
fn long_lines_wrap_and_are_redrawn_from_their_first_row() {
    let (_, out) = typed(b"0123456789012345678901234\x01");
    assert!(out.ends_with("\x1b[1A\r\x1b[5C"), "{out:?}");
    // Exactly full: the cursor is moved to the next row at once.
    assert!(typed(b"012345678901234").1.ends_with("4\r\n"));
}

#[test]
fn a_line_has_a_limit() {
    let mut bytes = vec![b'x'; MAX_CHARS + 10];
    bytes.push(b'\r');
    assert_eq!(line(&bytes).len(), MAX_CHARS);
}

#[test]
fn keys_without_a_meaning_do_nothing() {
    let mut out = String::new();
    let mut editor = Editor::new("sis> ", 80);
    assert_eq!(
        editor.key(Key::Control('o'), &history(), &Names(&[]), &mut out),
        Step::More
    );
    assert!(out.is_empty());
}
