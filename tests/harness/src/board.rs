//! A running board, as a test uses it.

use crate::failure::{Failure, Result};
use crate::scaled;
use crate::slots::Slot;
use regex::bytes::Regex;
use sis_qemu::lines::{BOOT_MARKERS, Event};
use sis_qemu::shell::Output;
use sis_qemu::{Console, Machine, Qmp};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// From power on to the prompt, on a busy host.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a crash's report may take.
const REPORT_TIMEOUT: Duration = Duration::from_secs(4);
/// So long without a byte is the end of a crash's report.
const QUIET: Duration = Duration::from_millis(300);
/// How much of the console a failure shows.
const TAIL_BYTES: usize = 6000;

/// A board under QEMU; it ends when this is dropped.
#[derive(Debug)]
pub struct Board {
    // In this order: the console goes before QEMU does, and the place is free when both are gone.
    console: Console,
    machine: Machine,
    /// Given back when the machine has ended: a test that starts another must not hold two, or two such tests wait for each other.
    slot: Option<Slot>,
    expects_panic: bool,
    /// A loader comes before the kernel, and says things that look like a prompt.
    has_loader: bool,
    /// A failure has told of the crash already.
    has_told: Cell<bool>,
    markers: Vec<usize>,
    metrics: BTreeMap<String, i64>,
    checks: Vec<(String, bool)>,
    lines: Vec<String>,
}

impl Board {
    pub(crate) fn new(machine: Machine, console: Console, slot: Slot, expects_panic: bool, has_loader: bool) -> Self {
        Self {
            console,
            machine,
            slot: Some(slot),
            expects_panic,
            has_loader,
            has_told: Cell::new(false),
            markers: Vec::new(),
            metrics: BTreeMap::new(),
            checks: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Whether the Pi's kernel asked the firmware for the other system, once.
    #[must_use]
    pub fn has_asked_for_tryboot(&self) -> bool {
        sis_qemu::qmp::has_asked_for_tryboot(self.machine.run_folder())
    }

    /// Waits for the first prompt: `sis> `, or that of the shell that was given as init.
    ///
    /// # Errors
    /// A crash, the machine's end, or time running out.
    pub fn wait_shell(&mut self) -> Result<()> {
        if let (true, Some(last)) = (self.has_loader, BOOT_MARKERS.last()) {
            self.expect(&regex::escape(last), BOOT_TIMEOUT)?;
        }
        self.console
            .wait_prompt(scaled(BOOT_TIMEOUT))
            .map_err(|error| self.failure(format_args!("no prompt: {error}")))
    }

    /// Runs one command line at the waiting prompt. What it says, standard error included, and its exit status.
    ///
    /// # Errors
    /// A crash, the machine's end, or time running out; then the command has been interrupted.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.console
            .run(command, scaled(limit))
            .map_err(|error| self.failure(format_args!("running {command:?}: {error}")))
    }

    /// Runs a command that must succeed, and gives what it said.
    ///
    /// # Errors
    /// As [`run`](Self::run), and an exit status that is not 0.
    pub fn run_ok(&mut self, command: &str, limit: Duration) -> Result<String> {
        let output = self.run(command, limit)?;
        if output.status != 0 {
            return Err(self.failure(format_args!("{command:?} ended with status {}", output.status)));
        }
        Ok(output.text)
    }

    /// Types `text` as it is; a line needs its `\n`.
    ///
    /// # Errors
    /// The machine's end.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.console
            .write(text.as_bytes())
            .map_err(|error| self.failure(format_args!("typing {text:?}: {error}")))
    }

    /// Types Ctrl and a letter: `ctrl('c')`.
    ///
    /// # Errors
    /// The machine's end.
    pub fn ctrl(&mut self, letter: char) -> Result<()> {
        let byte = (letter.to_ascii_uppercase() as u8) & 0x1f;
        self.console
            .write(&[byte])
            .map_err(|error| self.failure(format_args!("typing ^{letter}: {error}")))
    }

    /// Waits until the console has said something that matches `pattern`, after what was last waited for; gives the
    /// groups (0 is the whole match).
    ///
    /// # Errors
    /// A crash, the machine's end, or time running out.
    ///
    /// # Panics
    /// When `pattern` is no regular expression.
    pub fn expect(&mut self, pattern: &str, limit: Duration) -> Result<Vec<String>> {
        let regex = Regex::new(pattern).expect("the pattern is a regular expression");
        let find = |text: &[u8]| {
            let found = regex.captures(text)?;
            let group = |group: Option<regex::bytes::Match<'_>>| {
                group.map_or_else(String::new, |text| {
                    String::from_utf8_lossy(text.as_bytes()).into_owned()
                })
            };
            Some((found.get(0)?.end(), found.iter().map(group).collect()))
        };
        self.console
            .wait(scaled(limit), find)
            .map_err(|error| self.failure(format_args!("waiting for {pattern:?}: {error}")))
    }

    /// Waits for a prompt, such as after [`ctrl`](Self::ctrl).
    ///
    /// # Errors
    /// A crash, the machine's end, or time running out.
    pub fn wait_prompt(&mut self, limit: Duration) -> Result<()> {
        self.console
            .wait_prompt(scaled(limit))
            .map_err(|error| self.failure(format_args!("waiting for a prompt: {error}")))
    }

    /// Waits until QEMU has ended (power off, or a reset without [`reboots`](crate::Boot::reboots)).
    ///
    /// # Errors
    /// Time running out.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = self.machine.wait(scaled(limit));
        if ended.is_some() {
            self.slot = None;
        }
        ended.ok_or_else(|| self.failure("QEMU has not ended"))
    }

    /// The boot markers seen so far, in the order in which they came.
    pub fn markers(&mut self) -> Vec<&'static str> {
        self.take_events();
        self.markers
            .iter()
            .filter_map(|index| BOOT_MARKERS.get(*index).copied())
            .collect()
    }

    /// The newest value of each `METRIC` seen so far.
    pub fn metrics(&mut self) -> BTreeMap<String, i64> {
        self.take_events();
        self.metrics.clone()
    }

    /// Each `[PASS]` and `[FAIL]` seen so far.
    pub fn checks(&mut self) -> Vec<(String, bool)> {
        self.take_events();
        self.checks.clone()
    }

    /// Every whole line said so far, escapes taken out.
    pub fn lines(&mut self) -> Vec<String> {
        self.take_events();
        self.lines.clone()
    }

    /// Everything said so far, as it came.
    #[must_use]
    pub fn console_text(&self) -> String {
        String::from_utf8_lossy(&self.console.text()).into_owned()
    }

    /// Whether the kernel has crashed.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.console.has_panicked()
    }

    /// QEMU's monitor: pause, resume, unplug the network, quit.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn qmp(&self) -> Result<Qmp> {
        self.machine.qmp().map_err(|error| self.failure(error))
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.machine.pid()
    }

    /// Where this run's logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.machine.run_folder()
    }

    /// A failure with the end of the console in it, for a test's own findings.
    pub fn failure(&self, message: impl std::fmt::Display) -> Failure {
        if self.has_panicked() && !self.has_told.replace(true) {
            self.wait_quiet();
        }
        let text = self.console.text();
        let tail = text.get(text.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let mut console = String::from_utf8_lossy(tail).replace('\r', "");
        let log = self.machine.log();
        if !log.is_empty() {
            console.push_str("\n--- QEMU ---\n");
            console.push_str(&log);
        }
        Failure::with_console(format_args!("{message} (in {})", self.folder().display()), console)
    }

    /// A crash's report is on its way when its first line has been seen.
    fn wait_quiet(&self) {
        let deadline = Instant::now() + REPORT_TIMEOUT;
        let mut length = 0;
        while Instant::now() < deadline && !self.console.has_ended() {
            let now = self.console.text().len();
            if now == length {
                return;
            }
            length = now;
            std::thread::sleep(QUIET);
        }
    }

    fn take_events(&mut self) {
        for event in self.console.take_events() {
            match event {
                Event::Marker(index) => self.markers.push(index),
                Event::Metric { name, value } => {
                    self.metrics.insert(name, value);
                }
                Event::Check { name, has_passed } => self.checks.push((name, has_passed)),
                Event::Line(line) => self.lines.push(line),
                Event::Prompt | Event::Ready | Event::Panic(_) => {}
            }
        }
    }
}

impl Drop for Board {
    /// A crash that no failure has told of still fails the test.
    fn drop(&mut self) {
        for name in ["console.sock", "qmp.sock", "console.lock", "initrd"] {
            let _ = std::fs::remove_file(self.folder().join(name));
        }
        if self.has_panicked() && !self.expects_panic && !self.has_told.get() && !std::thread::panicking() {
            panic!("{}", self.failure("the kernel crashed during the test"));
        }
    }
}
