//! The machine protocol of QEMU (`docs/interop/qmp-spec.rst`), as little of it as is needed.

use crate::socket;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long QEMU may take to answer; it does so from its main loop, in milliseconds unless the host is starved.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to QEMU's monitor. QEMU serves one at a time: keep it short.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// Why the monitor did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The connection broke or timed out.
    #[error("QEMU's monitor does not answer: {0}")]
    Io(#[from] io::Error),
    /// It answered something that is no JSON.
    #[error("QEMU's monitor said something that is not QMP: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It refused.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// Its words.
        reason: String,
    },
}

/// Tag of the firmware's property that sets the flags of the next start, as QEMU writes down that it was asked.
const REBOOT_FLAGS: &str = "tag:0x00038064";

/// How a run ended that [`crate::Options::plays_firmware`] was set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The board restarts.
    Restart {
        /// It asked for the other system, once.
        is_tryboot: bool,
    },
    /// It is off, or QEMU was ended.
    Off,
}

/// Watches how a run ends.
#[derive(Debug)]
pub struct Watch {
    qmp: Qmp,
    folder: PathBuf,
}

/// Whether the machine of this run folder asked its firmware for the other system, once.
#[must_use]
pub fn has_asked_for_tryboot(run_folder: &Path) -> bool {
    let asked = std::fs::read_to_string(run_folder.join(crate::command::FIRMWARE_LOG));
    asked.is_ok_and(|asked| asked.contains(REBOOT_FLAGS))
}

impl Watch {
    /// Connects to the machine whose run folder this is.
    ///
    /// # Errors
    /// [`QmpError::Io`] when no machine runs there.
    pub fn connect(run_folder: &Path) -> Result<Self, QmpError> {
        let qmp = Qmp::over(socket::connect(run_folder, crate::command::EVENTS_SOCKET)?)?;
        qmp.writer.set_read_timeout(None)?;
        Ok(Self {
            qmp,
            folder: run_folder.into(),
        })
    }

    /// Waits for the end.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        let mut is_reset = false;
        // The connection ends with QEMU.
        while let Ok(event) = self.qmp.read() {
            if event.get("event").and_then(Value::as_str) == Some("SHUTDOWN") {
                is_reset = event.pointer("/data/reason").and_then(Value::as_str) == Some("guest-reset");
            }
        }
        if !is_reset {
            return Ended::Off;
        }
        Ended::Restart {
            is_tryboot: has_asked_for_tryboot(&self.folder),
        }
    }
}

impl Qmp {
    /// Connects to the machine whose run folder this is.
    ///
    /// # Errors
    /// [`QmpError::Io`] when no machine runs there.
    pub fn connect(run_folder: &Path) -> Result<Self, QmpError> {
        Self::over(socket::connect(run_folder, crate::command::QMP_SOCKET)?)
    }

    pub(crate) fn over(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut qmp = Self {
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
        };
        qmp.read()?; // the greeting
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    fn read(&mut self) -> Result<Value, QmpError> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Runs one command and gives what it returned; events that come in between are dropped.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.writer.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                let reason = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason given")
                    .to_owned();
                return Err(QmpError::Refused {
                    command: command.into(),
                    reason,
                });
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Lets the CPUs run.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn resume(&mut self) -> Result<(), QmpError> {
        self.execute("cont", Value::Null).map(drop)
    }

    /// Stops the CPUs.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn pause(&mut self) -> Result<(), QmpError> {
        self.execute("stop", Value::Null).map(drop)
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn quit(&mut self) -> Result<(), QmpError> {
        self.execute("quit", Value::Null).map(drop)
    }

    /// Plugs or unplugs the network cable.
    ///
    /// # Errors
    /// [`QmpError`]; refused on a board without a network card.
    pub fn set_link(&mut self, is_up: bool) -> Result<(), QmpError> {
        self.execute("set_link", json!({ "name": "net0", "up": is_up }))
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor that greets, then answers each line with the next of `answers`.
    fn fake(answers: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        std::thread::spawn(move || {
            let mut writer = theirs.try_clone().expect("clones");
            let mut lines = BufReader::new(theirs).lines();
            writeln!(writer, r#"{{"QMP": {{}}}}"#).expect("greets");
            for answer in answers {
                let _ = lines.next();
                writeln!(writer, "{answer}").expect("answers");
            }
        });
        ours
    }

    #[test]
    fn events_in_between_are_no_answer() {
        let ours = fake(&[
            r#"{"return": {}}"#,
            "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}",
        ]);
        let answer = Qmp::over(ours)
            .expect("greets")
            .execute("query-status", Value::Null)
            .expect("answers");
        assert_eq!(answer["status"], "running");
    }

    #[test]
    fn a_refusal_and_an_end_are_errors() {
        let ours = fake(&[
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such device"}}"#,
        ]);
        let mut qmp = Qmp::over(ours).expect("greets");
        assert!(matches!(qmp.set_link(false), Err(QmpError::Refused { reason, .. }) if reason == "no such device"));
        assert!(matches!(qmp.quit(), Err(QmpError::Io(_))));
        let garbage = fake(&["what?"]);
        assert!(matches!(Qmp::over(garbage), Err(QmpError::Syntax(_))));
    }
}
