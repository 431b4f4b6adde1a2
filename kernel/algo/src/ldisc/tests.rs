//! The line discipline against termios(3).

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use proptest::prelude::*;

fn feed(l: &mut LineDiscipline, bytes: &[u8]) -> (Vec<u8>, Vec<Signal>) {
    let (mut echo, mut signals) = (Vec::new(), Vec::new());
    for b in bytes {
        signals.extend(l.input(*b, &mut echo).signal);
    }
    (echo, signals)
}

fn read(l: &mut LineDiscipline, n: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0; n];
    let n = l.read(&mut buf)?;
    buf.truncate(n);
    Some(buf)
}

fn with(change: impl FnOnce(&mut Settings)) -> LineDiscipline {
    let mut s = Settings::default();
    change(&mut s);
    LineDiscipline::new(s)
}

#[test]
fn a_line_is_readable_only_when_it_ends() {
    let mut l = LineDiscipline::default();
    assert_eq!(feed(&mut l, b"ls").0, b"ls");
    assert!(!l.is_readable());
    assert_eq!(read(&mut l, 10), None);
    assert_eq!(feed(&mut l, b"\r").0, b"\r\n");
    assert_eq!(l.available(), 3);
    assert_eq!(read(&mut l, 10).as_deref(), Some(&b"ls\n"[..]));
    assert_eq!(read(&mut l, 10), None);
}

#[test]
fn a_read_gives_one_line_and_a_short_one_leaves_the_rest() {
    let mut l = LineDiscipline::default();
    feed(&mut l, b"one\ntwo\n");
    assert_eq!(read(&mut l, 2).as_deref(), Some(&b"on"[..]));
    assert_eq!(read(&mut l, 100).as_deref(), Some(&b"e\n"[..]));
    assert_eq!(read(&mut l, 100).as_deref(), Some(&b"two\n"[..]));
}

#[test]
fn end_of_file_gives_what_is_typed_or_nothing() {
    let mut l = LineDiscipline::default();
    feed(&mut l, b"abc\x04\x04");
    assert_eq!(read(&mut l, 10).as_deref(), Some(&b"abc"[..]));
    assert_eq!(read(&mut l, 10).as_deref(), Some(&b""[..]));
    assert_eq!(read(&mut l, 10), None);
}

#[test]
fn erase_word_and_kill_edit_the_line_and_the_screen() {
    let mut l = LineDiscipline::default();
    assert_eq!(feed(&mut l, b"ab\x7f").0, b"ab\x08 \x08");
    feed(&mut l, b"cd ef  \x17x\n");
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"acd x\n"[..]));
    feed(&mut l, b"junk\x15ok\n");
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"ok\n"[..]));
}

#[test]
fn erasing_nothing_echoes_nothing() {
    let mut l = LineDiscipline::default();
    assert_eq!(feed(&mut l, b"\x7f\x17\x15").0, b"");
}

#[test]
fn utf8_is_erased_by_the_character() {
    let mut l = with(|s| s.c_iflag |= iflag::IUTF8);
    let (echo, _) = feed(&mut l, "ä\x7f".as_bytes());
    assert_eq!(echo, "ä\x08 \x08".as_bytes());
    feed(&mut l, "ñb\n".as_bytes());
    assert_eq!(read(&mut l, 20).as_deref(), Some("ñb\n".as_bytes()));
}

#[test]
fn a_tab_is_erased_by_its_width() {
    let mut l = LineDiscipline::default();
    feed(&mut l, b"abc\t");
    assert_eq!(feed(&mut l, b"\x7f").0, b"\x08\x08\x08\x08\x08");
}

#[test]
fn signals_flush_the_line_and_are_echoed() {
    let mut l = LineDiscipline::default();
    let (echo, signals) = feed(&mut l, b"rm -rf\x03");
    assert_eq!(echo, b"rm -rf^C");
    assert_eq!(signals, [Signal::Interrupt]);
    feed(&mut l, b"\n");
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"\n"[..]));
    assert_eq!(feed(&mut l, b"\x1a\x1c").1, [Signal::Suspend, Signal::Quit]);
    let mut keeps = with(|s| s.c_lflag |= lflag::NOFLSH);
    feed(&mut keeps, b"ab\x03c\n");
    assert_eq!(read(&mut keeps, 20).as_deref(), Some(&b"abc\n"[..]));
}

#[test]
fn raw_mode_gives_bytes_as_they_come() {
    let mut l = with(|s| {
        s.c_lflag = 0;
        s.c_iflag = 0;
    });
    let (echo, signals) = feed(&mut l, b"\x03a\r\x04");
    assert!(echo.is_empty() && signals.is_empty());
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"\x03a\r\x04"[..]));
}

#[test]
fn vmin_holds_back_raw_reads() {
    let mut l = with(|s| {
        s.c_lflag = 0;
        s.c_cc[cc::VMIN] = 3;
    });
    feed(&mut l, b"ab");
    assert!(!l.is_readable());
    feed(&mut l, b"c");
    assert!(l.is_readable());
}

#[test]
fn switching_modes_keeps_what_was_typed() {
    let mut l = LineDiscipline::default();
    feed(&mut l, b"half");
    let mut raw = l.settings().clone();
    raw.c_lflag &= !lflag::ICANON;
    l.set(raw);
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"half"[..]));
}

#[test]
fn stop_and_start_are_not_data() {
    let mut l = LineDiscipline::default();
    feed(&mut l, b"a\x13");
    assert!(l.is_stopped());
    feed(&mut l, b"\x11b\n");
    assert!(!l.is_stopped());
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"ab\n"[..]));
}

#[test]
fn literal_next_takes_a_control_character_as_data() {
    let mut l = LineDiscipline::default();
    let (echo, signals) = feed(&mut l, b"\x16\x03\n");
    assert!(signals.is_empty());
    assert_eq!(echo, b"^\x08^C\r\n");
    assert_eq!(read(&mut l, 20).as_deref(), Some(&b"\x03\n"[..]));
}

#[test]
fn output_is_processed() {
    let mut l = LineDiscipline::default();
    let mut out = Vec::new();
    l.write(b"a\nb\tc", &mut out);
    assert_eq!(out, b"a\r\nb\tc");
    let mut tabs = with(|s| s.c_oflag |= oflag::TAB3);
    let mut out = Vec::new();
    tabs.write(b"ab\tc\n\td", &mut out);
    assert_eq!(out, b"ab      c\r\n        d");
}

#[test]
fn a_line_has_a_limit_and_still_ends() {
    let mut l = LineDiscipline::default();
    feed(&mut l, &vec![b'x'; 2 * LINE_MAX]);
    feed(&mut l, b"\n");
    let line = read(&mut l, 3 * LINE_MAX).unwrap();
    assert_eq!(line.len(), LINE_MAX);
    assert_eq!(line.last(), Some(&b'\n'));
}

proptest! {
    #[test]
    fn memory_is_bounded_and_reads_never_exceed_what_came(bytes in proptest::collection::vec(any::<u8>(), 0..3000), raw in any::<bool>()) {
        let mut l = with(|s| if raw { s.c_lflag &= !lflag::ICANON });
        let mut echo = Vec::new();
        let mut total = 0;
        for b in &bytes {
            l.input(*b, &mut echo);
        }
        while let Some(part) = read(&mut l, 100) {
            total += part.len();
            if part.is_empty() && raw { break; }
        }
        prop_assert!(total <= bytes.len());
        prop_assert!(echo.len() <= bytes.len() * 64);
    }
}
