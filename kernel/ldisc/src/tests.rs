//! What each setting does, by termios(3), and limits; `linux` compares with the terminals of a Linux host.

mod linux;

use std::{borrow::ToOwned, string::String, vec, vec::Vec};

use proptest::prelude::*;
use sis_abi::{
    signal::{SIGINT, SIGQUIT, SIGTSTP},
    tty::{InputFlags, LocalFlags, OutputFlags, Termios, VEOL, VEOL2, VMIN, VTIME},
};

use super::{BUFFER_BYTES, Flow, LineDiscipline, ReadMode, Received};

/// A terminal whose settings a function changed.
fn with(change: impl FnOnce(&mut Termios)) -> LineDiscipline {
    let mut termios = Termios::STANDARD;
    change(&mut termios);
    LineDiscipline::new(termios)
}

fn raw() -> LineDiscipline {
    with(|t| {
        t.c_iflag = 0;
        t.c_oflag = 0;
        t.c_lflag = 0;
    })
}

/// Types, and returns the echo.
fn echo(tty: &mut LineDiscipline, bytes: &[u8]) -> String {
    let received = tty.receive(bytes);
    assert_eq!(received.consumed, bytes.len());
    String::from_utf8_lossy(&received.echo).into_owned()
}

fn read(tty: &mut LineDiscipline) -> Option<Vec<u8>> {
    let mut buffer = [0; 2 * BUFFER_BYTES];
    tty.read(&mut buffer).map(|len| buffer[..len].to_vec())
}

fn output(tty: &mut LineDiscipline, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    assert_eq!(tty.write(bytes, &mut out, usize::MAX), bytes.len());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_is_read_when_it_is_complete() {
    let mut tty = LineDiscipline::default();
    assert_eq!(
        tty.receive(b"hello"),
        Received {
            consumed: 5,
            echo: b"hello".to_vec(),
            ..Received::default()
        }
    );
    assert_eq!((tty.is_readable(), tty.available(), read(&mut tty)), (false, 0, None));
    let received = tty.receive(b"\rnext\rpart");
    assert!(received.is_readable);
    assert_eq!(received.echo, b"\r\nnext\r\npart");
    assert_eq!(tty.available(), 11);
    let mut small = [0; 4];
    assert_eq!((tty.read(&mut small), &small), (Some(4), b"hell"));
    assert_eq!(read(&mut tty).unwrap(), b"o\n");
    assert_eq!(read(&mut tty).unwrap(), b"next\n");
    assert_eq!(read(&mut tty), None);
    assert_eq!(tty.read_mode(), ReadMode::Line);
}

#[test]
fn eof_ends_a_line_without_a_byte() {
    let mut tty = LineDiscipline::default();
    echo(&mut tty, b"abc\x04\x04rest\n");
    assert_eq!(tty.available(), 8);
    assert_eq!(read(&mut tty).unwrap(), b"abc");
    assert_eq!(read(&mut tty).unwrap(), b"");
    assert_eq!(read(&mut tty).unwrap(), b"rest\n");
    // One that is read exactly to its end leaves no end of file behind.
    echo(&mut tty, b"abc\x04");
    let mut exact = [0; 3];
    assert_eq!(tty.read(&mut exact), Some(3));
    assert_eq!(read(&mut tty), None);
    assert_eq!(tty.read(&mut []), None);
    echo(&mut tty, b"\x04");
    assert_eq!(tty.read(&mut exact), Some(0));
}

#[test]
fn other_ends_of_lines() {
    let mut tty = with(|t| {
        t.c_cc[VEOL] = b';';
        t.c_cc[VEOL2] = b'!';
    });
    assert_eq!(echo(&mut tty, b"a;b!c\n"), "a;b!c\r\n");
    assert_eq!(
        [read(&mut tty), read(&mut tty), read(&mut tty)],
        [&b"a;"[..], b"b!", b"c\n"].map(|line| Some(line.to_vec()))
    );
}

#[test]
fn editing() {
    let mut tty = LineDiscipline::default();
    assert_eq!(echo(&mut tty, b"\x7f\x15\x17"), "", "nothing to erase");
    assert_eq!(echo(&mut tty, b"ab\x7f"), "ab\x08 \x08");
    assert_eq!(echo(&mut tty, b"\x01\x7f"), "^A\x08 \x08\x08 \x08");
    assert_eq!(
        echo(&mut tty, b" two words  \x17"),
        " two words  ".to_owned() + &"\x08 \x08".repeat(7)
    );
    assert_eq!(echo(&mut tty, b"\x15"), "\x08 \x08".repeat(6));
    assert_eq!(echo(&mut tty, b"xy\n"), "xy\r\n");
    assert_eq!(read(&mut tty).unwrap(), b"xy\n");
    assert_eq!(echo(&mut tty, b"a\x16\x7f\x16\n\n"), "a^\x08^?^\x08^J\r\n");
    assert_eq!(read(&mut tty).unwrap(), b"a\x7f\n\n");
    assert_eq!(
        echo(&mut tty, b"ab\x03ignored\x7f\x12"),
        "^Cignored\x08 \x08^R\r\nignore"
    );
}

#[test]
fn tabs_are_erased_to_where_they_began() {
    let mut tty = LineDiscipline::default();
    assert_eq!(output(&mut tty, b"$ "), "$ ");
    assert_eq!(echo(&mut tty, b"a\t\t\x7f"), "a\t\t".to_owned() + &"\x08".repeat(8));
    assert_eq!(echo(&mut tty, b"\x7f"), "\x08".repeat(5));
    let mut tty = with(|t| t.c_oflag |= OutputFlags::XTABS.bits());
    assert_eq!(
        echo(&mut tty, b"ab\t\x7fc"),
        "ab      ".to_owned() + &"\x08".repeat(6) + "c"
    );
}

#[test]
fn erasing_follows_its_flags() {
    let flags = |flags: LocalFlags| with(|t| t.c_lflag = (LocalFlags::ICANON | LocalFlags::ECHO | flags).bits());
    assert_eq!(echo(&mut flags(LocalFlags::ECHOCTL), b"ab\x7f"), "ab^?");
    assert_eq!(
        echo(&mut flags(LocalFlags::ECHOCTL | LocalFlags::ECHOK), b"ab\x15"),
        "ab^U\r\n"
    );
    assert_eq!(echo(&mut flags(LocalFlags::ECHOCTL), b"ab\x15"), "ab^U");
    assert_eq!(
        echo(&mut flags(LocalFlags::ECHOPRT), b"abc\x7f\x7fd\n"),
        "abc\\cb/d\r\n"
    );
    assert_eq!(echo(&mut flags(LocalFlags::empty()), b"a\x01\n"), "a\x01\r\n");
    let mut silent = with(|t| t.c_lflag = (LocalFlags::ICANON | LocalFlags::ECHONL).bits());
    assert_eq!(echo(&mut silent, b"secret\x7f\x15hidden\n"), "\r\n");
    assert_eq!(read(&mut silent).unwrap(), b"hidden\n");
}

#[test]
fn characters_of_several_bytes_are_erased_whole() {
    let mut tty = with(|t| t.c_iflag |= InputFlags::IUTF8.bits());
    assert_eq!(
        echo(&mut tty, "aé€\x7f\x7f\x7f".as_bytes()),
        "aé€".to_owned() + &"\x08 \x08".repeat(3)
    );
    assert_eq!(
        echo(&mut tty, "é\t\x7f".as_bytes()),
        "é\t".to_owned() + &"\x08".repeat(7)
    );
    // A beginning that never came is not erased.
    let mut tty = with(|t| t.c_iflag |= InputFlags::IUTF8.bits());
    tty.receive(b"\x80\x80\x7f\n");
    assert_eq!(read(&mut tty).unwrap(), b"\x80\x80\n");
}

#[test]
fn signals_flush_and_are_echoed() {
    let mut tty = LineDiscipline::default();
    echo(&mut tty, b"done\nhalf");
    let received = tty.receive(b"x\x03y");
    assert_eq!((received.signals, received.has_output_flush), (vec![SIGINT], true));
    assert_eq!(received.echo, b"^Cy");
    assert_eq!(read(&mut tty), None);
    assert_eq!(tty.receive(b"\x1c\x1a").signals, [SIGQUIT, SIGTSTP]);
    let mut kept = with(|t| t.c_lflag |= LocalFlags::NOFLSH.bits());
    let received = kept.receive(b"a\x03b\n");
    assert_eq!(
        (received.signals, received.has_output_flush, received.echo),
        (vec![SIGINT], false, b"a^Cb\r\n".to_vec())
    );
    assert_eq!(read(&mut kept).unwrap(), b"ab\n");
    let mut off = with(|t| t.c_lflag &= !LocalFlags::ISIG.bits());
    assert_eq!(off.receive(b"\x03\n").signals, []);
    assert_eq!(read(&mut off).unwrap(), b"\x03\n");
    let mut disabled = with(|t| t.c_cc[0] = 0);
    assert_eq!(disabled.receive(b"\0\n").signals, []);
}

#[test]
fn output_is_stopped_and_started() {
    let mut tty = LineDiscipline::default();
    assert_eq!(tty.receive(b"\x13").flow, Some(Flow::Stop));
    assert!(tty.is_stopped());
    assert_eq!(tty.receive(b"a").flow, None);
    assert_eq!(tty.receive(b"\x11").flow, Some(Flow::Start));
    let mut any = with(|t| t.c_iflag |= InputFlags::IXANY.bits());
    any.receive(b"\x13");
    let received = any.receive(b"z\n");
    assert_eq!(
        (received.flow, read(&mut any).unwrap()),
        (Some(Flow::Start), b"z\n".to_vec())
    );
    any.receive(b"\x13");
    assert_eq!(any.receive(b"\x03").flow, Some(Flow::Start));
    any.receive(b"\x13");
    let off = Termios {
        c_iflag: 0,
        ..Termios::STANDARD
    };
    assert_eq!(any.set_termios(off).flow, Some(Flow::Start));
    assert_eq!(any.receive(b"\x13\n").flow, None);
    assert_eq!(read(&mut any).unwrap(), b"\x13\n");
}

#[test]
fn input_is_mapped() {
    let map = |flags: InputFlags, bytes: &[u8]| {
        let mut tty = with(|t| {
            t.c_iflag = flags.bits();
            t.c_lflag = LocalFlags::IEXTEN.bits();
        });
        tty.receive(bytes);
        read(&mut tty).unwrap()
    };
    assert_eq!(map(InputFlags::empty(), b"\r\n\xff"), b"\r\n\xff");
    assert_eq!(map(InputFlags::ICRNL, b"\r\n"), b"\n\n");
    assert_eq!(map(InputFlags::INLCR, b"\r\n"), b"\r\r");
    assert_eq!(map(InputFlags::INLCR | InputFlags::ICRNL, b"\r\n"), b"\n\r");
    assert_eq!(map(InputFlags::IGNCR | InputFlags::ICRNL, b"\r\n"), b"\n");
    assert_eq!(map(InputFlags::ISTRIP, b"\xe1\xff"), b"a\x7f");
    assert_eq!(map(InputFlags::IUCLC, b"AbC"), b"abc");
    assert_eq!(map(InputFlags::PARMRK, b"\xfe\xff"), b"\xfe\xff\xff");
}

#[test]
fn output_is_processed() {
    let out = |flags: OutputFlags, bytes: &[u8]| {
        let mut tty = with(|t| t.c_oflag = (OutputFlags::OPOST | flags).bits());
        output(&mut tty, bytes)
    };
    assert_eq!(out(OutputFlags::empty(), b"a\n\tb\r"), "a\n\tb\r");
    assert_eq!(out(OutputFlags::ONLCR, b"a\nb\r\n"), "a\r\nb\r\r\n");
    assert_eq!(out(OutputFlags::OCRNL, b"a\rb"), "a\nb");
    assert_eq!(out(OutputFlags::ONOCR, b"\ra\r\rb"), "a\rb");
    assert_eq!(out(OutputFlags::XTABS, b"ab\tc\n\td"), "ab      c\n       d");
    assert_eq!(
        out(OutputFlags::XTABS | OutputFlags::ONLCR, b"ab\n\td\x08\x08\tx"),
        "ab\r\n        d\x08\x08 x"
    );
    assert_eq!(out(OutputFlags::OLCUC, b"aZ"), "AZ");
    assert_eq!(out(OutputFlags::ONLRET | OutputFlags::XTABS, b"ab\n\t"), "ab\n        ");
    let mut raw = raw();
    assert_eq!(output(&mut raw, b"\n\t\r"), "\n\t\r");
}

#[test]
fn output_stops_at_its_limit() {
    let mut tty = with(|t| t.c_oflag = (OutputFlags::OPOST | OutputFlags::ONLCR | OutputFlags::XTABS).bits());
    let mut out = Vec::new();
    assert_eq!(tty.write(b"ab\ncd", &mut out, 3), 2);
    assert_eq!(tty.write(b"\ncd", &mut out, 4), 1);
    assert_eq!(tty.write(b"\tx", &mut out, 11), 0);
    assert_eq!(tty.write(b"\tx", &mut out, 12), 1);
    assert_eq!(out, b"ab\r\n        ");
    let mut out = Vec::new();
    assert_eq!(raw().write(b"abc", &mut out, 2), 2);
}

#[test]
fn noncanonical_reads() {
    let mode = |min, time| {
        let mut tty = raw();
        let mut termios = *tty.termios();
        termios.c_cc[VMIN] = min;
        termios.c_cc[VTIME] = time;
        tty.set_termios(termios);
        tty
    };
    assert_eq!(mode(0, 0).read_mode(), ReadMode::Immediate);
    assert_eq!(mode(0, 3).read_mode(), ReadMode::Within { ns: 300_000_000 });
    assert_eq!(mode(4, 0).read_mode(), ReadMode::AtLeast { bytes: 4 });
    assert_eq!(
        mode(4, 1).read_mode(),
        ReadMode::AtLeastOrPause {
            bytes: 4,
            ns: 100_000_000
        }
    );
    let mut tty = mode(3, 0);
    assert_eq!(echo(&mut tty, b"a\r"), "");
    assert_eq!((tty.is_readable(), tty.available()), (false, 2));
    echo(&mut tty, b"\x04");
    assert!(tty.is_readable());
    assert_eq!(read(&mut tty).unwrap(), b"a\r\x04");
    assert_eq!(read(&mut tty), None);
    let mut timed = mode(3, 1);
    timed.receive(b"a");
    assert!(timed.is_readable());
}

#[test]
fn changing_the_mode_keeps_what_was_typed() {
    let mut tty = LineDiscipline::default();
    echo(&mut tty, b"line\nend\x04half");
    let received = tty.set_termios(*raw().termios());
    assert!(received.is_readable);
    assert_eq!(read(&mut tty).unwrap(), b"line\nendhalf");
    echo(&mut tty, b"raw");
    assert!(tty.set_termios(Termios::STANDARD).is_readable);
    assert_eq!(read(&mut tty).unwrap(), b"raw");
    assert_eq!(read(&mut tty), None);
    assert!(!tty.set_termios(*raw().termios()).is_readable);
    tty.receive(b"gone");
    tty.flush_input();
    assert_eq!(read(&mut tty), None);
}

#[test]
fn a_line_that_is_too_long_keeps_its_beginning_and_its_end() {
    let mut tty = LineDiscipline::default();
    let long = vec![b'x'; 3 * BUFFER_BYTES];
    assert_eq!(tty.receive(&long).consumed, long.len());
    assert_eq!(tty.receive(b"\n").consumed, 1);
    let line = read(&mut tty).unwrap();
    assert_eq!((line.len(), line.last()), (BUFFER_BYTES, Some(&b'\n')));
    let mut tty = with(|t| t.c_iflag |= InputFlags::IMAXBEL.bits());
    tty.receive(&long[..BUFFER_BYTES - 1]);
    assert_eq!(echo(&mut tty, b"y"), "\x07");
}

#[test]
fn a_full_buffer_takes_no_more_but_signals() {
    let mut tty = raw();
    let long = vec![b'x'; BUFFER_BYTES + 10];
    assert_eq!(tty.receive(&long).consumed, BUFFER_BYTES - 1);
    assert_eq!(tty.receive(b"x").consumed, 0);
    let mut tty = LineDiscipline::default();
    let lines = b"line\n".repeat(BUFFER_BYTES / 5 + 1);
    let taken = tty.receive(&lines).consumed;
    assert!((BUFFER_BYTES - 5..=BUFFER_BYTES).contains(&taken));
    assert_eq!(tty.receive(&lines).consumed, 0);
    assert_eq!(tty.receive(b"\x03").signals, [SIGINT]);
    assert_eq!(tty.receive(&lines[..100]).consumed, 100);
}

#[test]
fn breaks() {
    assert_eq!(
        with(|t| t.c_iflag = InputFlags::IGNBRK.bits()).receive_break(),
        Received::default()
    );
    assert_eq!(
        with(|t| t.c_iflag = InputFlags::BRKINT.bits()).receive_break().signals,
        [SIGINT]
    );
    let mut tty = raw();
    tty.receive_break();
    assert_eq!(read(&mut tty).unwrap(), b"\0");
    let mut tty = raw();
    tty.set_termios(Termios {
        c_iflag: InputFlags::PARMRK.bits(),
        ..*tty.termios()
    });
    tty.receive_break();
    assert_eq!(read(&mut tty).unwrap(), b"\xff\0\0");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No settings and no bytes panic; counts stay right.
    #[test]
    fn anything_goes(
        flags in any::<[u32; 3]>(),
        cc in any::<[u8; 19]>(),
        steps in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), any::<bool>(), 0..100usize, any::<bool>()), 0..40),
    ) {
        let mut tty = LineDiscipline::default();
        let wild = Termios { c_iflag: flags[0], c_oflag: flags[1], c_lflag: flags[2], c_cc: cc, ..Termios::STANDARD };
        for (bytes, is_wild, len, does_write) in steps {
            tty.set_termios(if is_wild { wild } else { Termios::STANDARD });
            let received = tty.receive(&bytes);
            prop_assert!(received.consumed <= bytes.len());
            if does_write {
                let mut out = Vec::new();
                let taken = tty.write(&bytes, &mut out, len);
                prop_assert!(taken <= bytes.len() && out.len() <= len);
            }
            let available = tty.available();
            let mut buffer = vec![0; len];
            if let Some(count) = tty.read(&mut buffer) {
                prop_assert!(count <= len && count <= available);
                prop_assert_eq!(tty.available(), available - count);
            }
            prop_assert!(tty.ready.len() + tty.edit.len() <= BUFFER_BYTES);
            prop_assert_eq!(tty.lines, tty.ready.iter().filter(|cell| cell.end != super::End::None).count());
        }
    }
}
