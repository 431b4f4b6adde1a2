//! Where metrics, events and log lines come from, and where requests to the system go.

mod control;
mod kmsg;
mod proc;

use sis_protocol::control::{ErrorCode, Event, EventKind, Failure, RequestBody, ResponseBody};
use tokio::sync::{mpsc, oneshot};

pub use control::{ControlError, control, control_with};
pub use proc::proc;

/// Requests that wait for the source; more are refused.
const QUEUE: usize = 16;

/// A request and where its answer goes.
pub type Asked = (RequestBody, oneshot::Sender<ResponseBody>);

/// What kind of source it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The kernel's control device.
    Control,
    /// A Linux host's `/proc`.
    Proc,
}

impl SourceKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Proc => "proc",
        }
    }
}

/// What a source tells by itself.
#[derive(Debug)]
pub enum Told {
    /// Something happened (log lines too); the sequence number is the kernel's.
    Event(Box<Event>),
    /// Something happened on a host that does not number events.
    Unnumbered {
        /// `CLOCK_MONOTONIC`.
        ts_ns: u64,
        /// What.
        kind: EventKind,
    },
    /// So many events were lost on the way here.
    Lost(u64),
}

/// A running source; it ends when this is dropped.
pub struct Source {
    kind: SourceKind,
    requests: mpsc::Sender<Asked>,
    samples: mpsc::Sender<Asked>,
    told: Option<mpsc::Receiver<Told>>,
}

impl Source {
    /// A source whose workers are at the other ends: `requests` and `samples` are answered in order, each at its own pace.
    #[must_use]
    pub const fn new(
        kind: SourceKind,
        requests: mpsc::Sender<Asked>,
        samples: mpsc::Sender<Asked>,
        told: mpsc::Receiver<Told>,
    ) -> Self {
        Self {
            kind,
            requests,
            samples,
            told: Some(told),
        }
    }

    pub(crate) const fn kind(&self) -> SourceKind {
        self.kind
    }

    pub(crate) const fn take_told(&mut self) -> Option<mpsc::Receiver<Told>> {
        self.told.take()
    }

    /// Asks; every failure is an answer too.
    pub(crate) async fn ask(&self, body: RequestBody) -> ResponseBody {
        // A sample must not wait behind a self-check.
        let queue = if matches!(body, RequestBody::Metrics) {
            &self.samples
        } else {
            &self.requests
        };
        let (answer, answered) = oneshot::channel();
        if queue.try_send((body, answer)).is_err() {
            return failure(ErrorCode::Busy, "too many requests wait for the kernel: try again");
        }
        answered
            .await
            .unwrap_or_else(|_| failure(ErrorCode::Internal, "the request was given up"))
    }
}

pub(crate) fn failure(code: ErrorCode, message: impl Into<String>) -> ResponseBody {
    ResponseBody::Error(Failure {
        code,
        message: message.into(),
    })
}

/// A non-blocking device file that the runtime polls.
#[expect(
    deprecated,
    reason = "`register` is unsafe for types whose descriptor may change; a `File` owns one descriptor for its whole life"
)]
fn watched(file: std::fs::File) -> std::io::Result<tokio::io::unix::AsyncFd<std::fs::File>> {
    tokio::io::unix::AsyncFd::new(file)
}
