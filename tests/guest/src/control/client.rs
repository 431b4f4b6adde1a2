//! One open of the device.

use sis_protocol::control::{Event, EventKind, MAX_MESSAGE_BYTES, Message, Request, RequestBody, ResponseBody};

use crate::sys::{Errno, Fd, Outcome, now_ns, open, read, write};

const PATH: &str = "/dev/sis";

/// One open of the device.
pub(super) struct Client {
    pub(super) fd: Fd,
    next_id: u32,
}

impl Client {
    pub(super) fn open() -> Result<Self, String> {
        let fd =
            open(PATH, libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC, 0).map_err(|e| format!("{PATH}: {e}"))?;
        Ok(Self { fd, next_id: 1 })
    }

    /// Writes a request; its id.
    pub(super) fn send(&mut self, body: RequestBody) -> Result<u32, Errno> {
        let id = self.next_id;
        let bytes = Request { id, body }.to_cbor();
        let written = write(&self.fd, &bytes)?;
        assert_eq!(written, bytes.len(), "a request is taken whole or not at all");
        self.next_id += 1;
        Ok(id)
    }

    /// The next message; none when none is there.
    pub(super) fn receive(&self) -> Result<Option<Message>, String> {
        match read(&self.fd, MAX_MESSAGE_BYTES) {
            Ok(bytes) => Message::from_cbor(&bytes)
                .map(Some)
                .map_err(|e| format!("message: {e}")),
            Err(Errno(libc::EAGAIN)) => Ok(None),
            Err(e) => Err(format!("read: {e}")),
        }
    }

    /// The next message, within so many milliseconds; none when none comes.
    pub(super) fn wait(&self, ms: u64) -> Result<Option<Message>, String> {
        let end = now_ns(libc::CLOCK_MONOTONIC) + ms * 1_000_000;
        loop {
            if let Some(message) = self.receive()? {
                return Ok(Some(message));
            }
            let left = end.saturating_sub(now_ns(libc::CLOCK_MONOTONIC));
            if left == 0 {
                return Ok(None);
            }
            self.poll(libc::POLLIN, left.div_ceil(1_000_000))?;
        }
    }

    /// What the file is ready for.
    pub(super) fn poll(&self, events: i16, ms: u64) -> Result<i16, String> {
        let mut set = libc::pollfd {
            fd: self.fd.0,
            events,
            revents: 0,
        };
        let time = libc::timespec {
            tv_sec: (ms / 1000) as i64,
            tv_nsec: (ms % 1000 * 1_000_000) as i64,
        };
        sys!(SYS_ppoll, &raw mut set, 1, &raw const time, 0, 0).map_err(|e| format!("ppoll: {e}"))?;
        Ok(set.revents)
    }

    /// Asks, and passes over events until the answer comes.
    pub(super) fn ask(&mut self, body: RequestBody) -> Result<ResponseBody, String> {
        let asked = self.send(body).map_err(|e| format!("write: {e}"))?;
        self.answer_to(asked)
    }

    pub(super) fn answer_to(&self, asked: u32) -> Result<ResponseBody, String> {
        loop {
            match self.wait(10_000)? {
                Some(Message::Response { id, body }) if id == asked => return Ok(body),
                Some(Message::Response { id, .. }) => return Err(format!("an answer to {id} instead of {asked}")),
                Some(_) => {}
                None => return Err(format!("no answer to {asked}")),
            }
        }
    }

    /// Events from now on.
    pub(super) fn follow(&mut self) -> Outcome {
        let head = match self.ask(RequestBody::Subscribe { after_seq: 0 })? {
            ResponseBody::Subscribed { head_cursor, .. } => head_cursor,
            other => return Err(format!("subscribe: {other:?}")),
        };
        match self.ask(RequestBody::Subscribe { after_seq: head })? {
            ResponseBody::Subscribed { .. } => Ok(()),
            other => Err(format!("subscribe: {other:?}")),
        }
    }

    /// The next event that `is_wanted` wants, within so many milliseconds.
    pub(super) fn event<T>(
        &self,
        what: &str,
        ms: u64,
        mut is_wanted: impl FnMut(&EventKind) -> Option<T>,
    ) -> Result<(Event, T), String> {
        let end = now_ns(libc::CLOCK_MONOTONIC) + ms * 1_000_000;
        loop {
            let left = end.saturating_sub(now_ns(libc::CLOCK_MONOTONIC)) / 1_000_000;
            match self.wait(left)? {
                Some(Message::Event(event)) => {
                    if let Some(found) = is_wanted(&event.kind) {
                        return Ok((event, found));
                    }
                }
                Some(_) => {}
                None => return Err(format!("no {what} within {ms} ms")),
            }
        }
    }
}
