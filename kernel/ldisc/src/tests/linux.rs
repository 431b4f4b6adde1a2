//! The same bytes to a pseudo-terminal of the Linux kernel that runs the test, and to the state machine.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    println,
    time::{Duration, Instant},
    vec::Vec,
};

use proptest::{prelude::*, test_runner::TestRunner};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, tcgetattr, tcsetattr},
};
use sis_abi::tty::{InputFlags, LocalFlags, OutputFlags, Termios};

use crate::LineDiscipline;

/// A pseudo-terminal: the side of the person, and the side of the program.
struct Pty {
    person: File,
    program: File,
}

impl Pty {
    fn open() -> Option<Self> {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
        grantpt(&person).ok()?;
        unlockpt(&person).ok()?;
        let name = ptsname(&person, Vec::new()).ok()?;
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, OFlags::NOCTTY.bits() as i32);
        let program = options.read(true).write(true).open(name.to_str().ok()?).ok()?;
        fcntl_setfl(&person, OFlags::NONBLOCK).ok()?;
        fcntl_setfl(&program, OFlags::NONBLOCK).ok()?;
        Some(Self {
            person: person.into(),
            program,
        })
    }

    /// The control characters stay those of a new terminal, which are also ours.
    fn set(&self, termios: &Termios) {
        let mut now = tcgetattr(&self.program).unwrap();
        now.input_modes = InputModes::from_bits_retain(termios.c_iflag);
        now.output_modes = OutputModes::from_bits_retain(termios.c_oflag);
        now.local_modes = LocalModes::from_bits_retain(termios.c_lflag);
        now.special_codes[SpecialCodeIndex::VEOL] = termios.c_cc[11];
        tcsetattr(&self.program, OptionalActions::Now, &now).unwrap();
    }
}

/// Reads so many bytes, or what has come after a while: what is asked for may be wrong, and Linux does its part later.
fn read_some(file: &mut File, wanted: usize, patience: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    let end = Instant::now() + patience;
    loop {
        let mut buffer = [0; 4096];
        match file.read(&mut buffer) {
            Ok(len) => out.extend(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        if out.len() >= wanted || Instant::now() > end {
            return out;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Whether Linux has printed its echo buffer from beyond its end: nothing here writes a NUL.
///
/// Linux 6.18 does so (`n_tty.c`, `__process_echoes`) when a write follows an erasure that is not finished, with `ECHOPRT`
/// and without `ECHOCTL`, and a `VLNEXT`: the mark up to which echoes are printed is behind their beginning then, and all
/// of the ring in between comes out. What follows cannot be compared.
fn has_run_over(output: &[u8]) -> bool {
    output.contains(&0)
}

/// One read of the program; `None` when there is nothing.
fn read_once(file: &mut File) -> Option<Vec<u8>> {
    let mut buffer = [0; 4096];
    match file.read(&mut buffer) {
        Ok(len) => Some(buffer[..len].to_vec()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Type(u8),
    Write(Vec<u8>),
    Read,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly what means something; no NUL, which some settings of Linux see as switched off and some do not.
    let special = b"\x03\x04\x08\x0f\x12\x15\x16\x17\x1a\x1c\x7f\r\n\t;";
    let byte = prop_oneof![
        6 => prop::sample::select(&b"ab_ Z1."[..]),
        6 => prop::sample::select(&special[..]),
        2 => prop::sample::select(&b"\xc3\xa9\xe2\x82\xac\xff\x01\x1b"[..]),
    ];
    let written = prop::sample::select(&b"ab\t\t\n\r\x08\x1b\xc3\xa9Z"[..]);
    let step = prop_oneof![
        20 => byte.prop_map(Step::Type),
        1 => proptest::collection::vec(written, 1..6).prop_map(Step::Write),
        2 => Just(Step::Read),
    ];
    proptest::collection::vec(step, 1..40)
}

fn settings() -> impl Strategy<Value = Termios> {
    let input = InputFlags::ICRNL
        | InputFlags::INLCR
        | InputFlags::IGNCR
        | InputFlags::ISTRIP
        | InputFlags::IUTF8
        | InputFlags::IUCLC;
    let output = OutputFlags::ONLCR
        | OutputFlags::OCRNL
        | OutputFlags::ONOCR
        | OutputFlags::ONLRET
        | OutputFlags::XTABS
        | OutputFlags::OLCUC
        | OutputFlags::OPOST;
    let local = LocalFlags::ISIG
        | LocalFlags::ICANON
        | LocalFlags::ECHO
        | LocalFlags::ECHOE
        | LocalFlags::ECHOK
        | LocalFlags::ECHONL
        | LocalFlags::NOFLSH
        | LocalFlags::ECHOCTL
        | LocalFlags::ECHOPRT
        | LocalFlags::ECHOKE
        | LocalFlags::IEXTEN;
    let flips = (
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
    );
    flips.prop_map(move |(a, b, c, d, e, f)| {
        // Each bit differs from the standard one time in four.
        let mut termios = Termios::STANDARD;
        termios.c_iflag ^= a & d & input.bits();
        termios.c_oflag ^= b & e & output.bits();
        termios.c_lflag ^= c & f & local.bits();
        // Both bits of a tab's delay or none.
        if termios.c_oflag & OutputFlags::XTABS.bits() != OutputFlags::XTABS.bits() {
            termios.c_oflag &= !OutputFlags::XTABS.bits();
        }
        // Flow control would hold the echo.
        termios.c_iflag &= !InputFlags::IXON.bits();
        termios.c_cc[11] = b';';
        termios
    })
}

/// Both do the same; `None` when there is no pseudo-terminal here.
///
/// Linux does its part a little later: what has no echo to wait for is given `settle`.
fn compare(termios: &Termios, steps: &[Step], settle: Duration) -> Option<Result<(), TestCaseError>> {
    let mut pty = Pty::open()?;
    let mut tty = LineDiscipline::new(*termios);
    pty.set(termios);
    let mut run = || -> Result<(), TestCaseError> {
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Type(byte) => {
                    let want = tty.receive(&[*byte]).echo;
                    pty.person.write_all(&[*byte]).unwrap();
                    let got = read_some(&mut pty.person, want.len(), Duration::from_secs(2));
                    prop_assert_eq!(got, want, "echo of step {}: {:?}", index, step);
                }
                Step::Write(bytes) => {
                    // A signal's flush may be on its way.
                    std::thread::sleep(settle);
                    let mut want = Vec::new();
                    tty.write(bytes, &mut want, usize::MAX);
                    pty.program.write_all(bytes).unwrap();
                    let got = read_some(&mut pty.person, want.len(), Duration::from_secs(2));
                    if has_run_over(&got) {
                        return Ok(());
                    }
                    prop_assert_eq!(got, want, "output of step {}: {:?}", index, step);
                }
                Step::Read => {
                    // Bytes without echo are on their way; a read too many tells.
                    std::thread::sleep(settle);
                    let want = crate::tests::read(&mut tty);
                    prop_assert_eq!(read_once(&mut pty.program), want, "read of step {}", index);
                }
            }
        }
        std::thread::sleep(settle);
        let left = read_some(&mut pty.person, usize::MAX, Duration::ZERO);
        prop_assert_eq!(left, Vec::<u8>::new(), "echo at the end");
        loop {
            let want = crate::tests::read(&mut tty);
            prop_assert_eq!(&read_once(&mut pty.program), &want, "reads at the end");
            if want.is_none() {
                return Ok(());
            }
        }
    };
    Some(run())
}

#[test]
fn linux_does_the_same() {
    if Pty::open().is_none() {
        println!("skipped: no pseudo-terminals here");
        return;
    }
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(150),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&(settings(), steps()), |(termios, steps)| {
        let quick = compare(&termios, &steps, Duration::from_millis(2)).unwrap_or(Ok(()));
        // On a busy host a difference may be one of time.
        quick.or_else(|_| compare(&termios, &steps, Duration::from_millis(150)).unwrap_or(Ok(())))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
