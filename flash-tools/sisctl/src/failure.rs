//! What a person reads when something did not work: a stable code, what happened, and what to do about it.

use std::process::ExitCode;

/// Exit codes. 0 is success; `exec` passes the command's own code through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failed = 1,
    /// It was asked wrongly (clap's own code for a wrong command line).
    Usage = 2,
    /// The board is not running.
    NotRunning = 3,
    /// This host is not paired with the board.
    NotPaired = 4,
    /// Time ran out.
    Timeout = 5,
    /// Something else is using it.
    Busy = 6,
    /// A tool, target or package is missing.
    Missing = 7,
    /// It was interrupted.
    Interrupted = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure on its way to the person.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Stable, for scripts and for searching: `build.kernel`.
    pub(crate) code: &'static str,
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

/// What a command gives.
pub(crate) type Outcome<T = ExitCode> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            exit: Exit::Failed,
            message: message.to_string(),
            fix: None,
        }
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Nobody reads the output any more.
    fn closed() -> Self {
        Self::new(CLOSED, "the output is closed")
    }

    pub(crate) fn print(&self, is_json: bool) {
        if self.code == CLOSED {
            return;
        }
        if is_json {
            let error = serde_json::json!({ "code": self.code, "message": self.message, "fix": self.fix });
            println!("{}", serde_json::json!({ "error": error }));
            return;
        }
        eprintln!("error[{}]: {}", self.code, self.message);
        if let Some(fix) = &self.fix {
            eprintln!("  fix: {fix}");
        }
    }
}

const CLOSED: &str = "output.closed";

/// Writes bytes to a stream of this process, at once.
pub(crate) fn write(stream: &mut impl std::io::Write, bytes: &[u8]) -> Outcome<()> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::closed()),
        other => other.or_fail("output.write"),
    }
}

/// Turns any error into a failure with a stable code.
pub(crate) trait OrFail<T> {
    /// `code` names what was tried.
    fn or_fail(self, code: &'static str) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: &'static str) -> Outcome<T> {
        self.map_err(|error| Failure::new(code, error))
    }
}
