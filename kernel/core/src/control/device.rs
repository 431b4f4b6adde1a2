//! `/dev/sis`: each write is one request, each read is one message.
//!
//! An open file has a queue of answers, bounded: who does not read his answers cannot ask more. After a subscription it
//! also has a cursor into the ring of [`events`]; answers come before events. A message is taken off only when all of it
//! has reached the reader: a buffer that is too small gets `EMSGSIZE`, and the message is still there.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use sis_machine::sync::{Mutex, Rank, SpinLock};
use sis_protocol::control::{ErrorCode, Failure, MAX_MESSAGE_BYTES, Message, ResponseBody};

use super::events::{self, Next};
use super::requests;
use crate::fs::devfs;
use crate::fs::file::{File, IoFlags};
use crate::poll::{Events, PollTable};
use crate::user::{Sink, Source};
use crate::wait::{Observer, Registration, WaitQueue};
use crate::{Errno, Result};

/// Miscellaneous devices (Documentation/admin-guide/devices.txt).
const MAJOR: u32 = 10;
/// A minor number that no Linux driver uses.
const MINOR: u32 = 213;
/// Answers that wait for a reader; no more requests are taken then.
const ANSWERS: usize = 16;
/// Bytes of answers that wait, before no more requests are taken.
const ANSWER_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// Registers the device.
pub(super) fn init() {
    let open = |_flags: u32| -> Result<Arc<dyn File>> {
        Ok(Arc::new(ControlFile {
            client: Arc::new(Client::new()),
            reading: Mutex::new(Rank::Stream, ()),
        }))
    };
    if let Err(e) = devfs::register_char("sis", MAJOR, MINOR, 0o600, Arc::new(open)) {
        sis_machine::error!("/dev/sis: {e}");
    }
}

/// One open file, as those see it who have something to tell it.
pub(super) struct Client {
    queue: Arc<WaitQueue>,
    state: SpinLock<State>,
}

struct State {
    answers: VecDeque<Arc<[u8]>>,
    answer_bytes: usize,
    /// Requests taken whose answers are not there yet.
    promised: usize,
    /// The last event seen, of a subscriber.
    cursor: Option<u64>,
}

/// What a read gets, and what is to be done once it has it.
enum Peeked {
    Answer(Arc<[u8]>),
    Event { bytes: Arc<[u8]>, cursor: u64 },
    Lost { bytes: Vec<u8>, cursor: u64, after: u64 },
}

impl Peeked {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Answer(bytes) | Self::Event { bytes, .. } => bytes,
            Self::Lost { bytes, .. } => bytes,
        }
    }
}

impl Client {
    fn new() -> Self {
        let state = State {
            answers: VecDeque::new(),
            answer_bytes: 0,
            promised: 0,
            cursor: None,
        };
        Self {
            queue: Arc::new(WaitQueue::new()),
            state: SpinLock::new(Rank::Leaf, state),
        }
    }

    /// Tells those who wait for the file.
    pub(super) fn wake(&self, what: Events) {
        self.queue.wake_all(what);
    }

    /// Makes room for one more answer, if there is any.
    fn promise(&self) -> Option<()> {
        let mut state = self.state.lock();
        let has_room = state.has_room();
        if has_room {
            state.promised += 1;
        }
        has_room.then_some(())
    }

    fn break_promise(&self) {
        self.state.lock().promised -= 1;
        self.wake(Events::WRITE);
    }

    /// Puts the answer to a request that was taken.
    pub(super) fn answer(&self, id: u32, body: ResponseBody) {
        let mut bytes = Message::Response { id, body }.to_cbor();
        if bytes.len() > MAX_MESSAGE_BYTES {
            let failure = Failure {
                code: ErrorCode::Internal,
                message: alloc::format!(
                    "the answer is {} bytes long and a message at most {MAX_MESSAGE_BYTES}: ask for fewer items",
                    bytes.len()
                ),
            };
            let body = ResponseBody::Error(failure);
            bytes = Message::Response { id, body }.to_cbor();
        }
        let bytes: Arc<[u8]> = bytes.into();
        {
            let mut state = self.state.lock();
            state.promised -= 1;
            state.answer_bytes += bytes.len();
            state.answers.push_back(bytes);
        }
        self.wake(Events::READ);
    }

    /// Lets events after number `cursor` through from now on.
    pub(super) fn subscribe(self: &Arc<Self>, cursor: u64) {
        let before = self.state.lock().cursor.replace(cursor);
        if before.is_none() {
            events::subscribe(self);
        }
        self.wake(Events::READ);
    }

    /// No more events.
    pub(super) fn unsubscribe(&self) {
        let before = self.state.lock().cursor.take();
        if before.is_some() {
            events::unsubscribe(self);
        }
    }

    fn is_readable(&self) -> bool {
        let state = self.state.lock();
        !state.answers.is_empty() || state.cursor.is_some_and(|cursor| events::head() > cursor)
    }

    fn peek(&self) -> Option<Peeked> {
        let cursor = {
            let state = self.state.lock();
            if let Some(answer) = state.answers.front() {
                return Some(Peeked::Answer(answer.clone()));
            }
            state.cursor?
        };
        match events::after(cursor) {
            Next::Nothing => None,
            Next::Event(bytes) => Some(Peeked::Event { bytes, cursor }),
            Next::Lost { count, cursor: after } => Some(Peeked::Lost {
                bytes: Message::Lost { count }.to_cbor(),
                cursor,
                after,
            }),
        }
    }

    /// Takes off what was peeked at. Only the one reader at a time calls this; a new subscription since then counts.
    fn take(&self, peeked: &Peeked) {
        let mut state = self.state.lock();
        let (was, is) = match *peeked {
            Peeked::Answer(_) => {
                let gone = state.answers.pop_front();
                state.answer_bytes -= gone.as_ref().map_or(0, |bytes| bytes.len());
                drop(state);
                drop(gone);
                self.wake(Events::WRITE);
                return;
            }
            Peeked::Event { cursor, .. } => (cursor, cursor + 1),
            Peeked::Lost { cursor, after, .. } => (cursor, after),
        };
        if state.cursor == Some(was) {
            state.cursor = Some(is);
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.answers.len() + self.promised < ANSWERS && self.answer_bytes < ANSWER_BYTES
    }
}

/// One open of the device.
struct ControlFile {
    client: Arc<Client>,
    /// Held while a message is copied out, so that each goes to one reader.
    reading: Mutex<()>,
}

impl Drop for ControlFile {
    fn drop(&mut self) {
        self.client.unsubscribe();
        // Also where two threads subscribed and unsubscribed at once.
        events::unsubscribe(&self.client);
    }
}

impl ControlFile {
    /// Copies one message out; none when there is none.
    fn read_one(&self, to: &mut Sink<'_>) -> Result<Option<usize>> {
        let _one_at_a_time = self.reading.lock();
        let Some(peeked) = self.client.peek() else {
            return Ok(None);
        };
        let bytes = peeked.bytes();
        if to.remaining() < bytes.len() {
            return Err(Errno::EMSGSIZE);
        }
        if to.put(bytes)? < bytes.len() {
            return Err(Errno::EFAULT);
        }
        self.client.take(&peeked);
        Ok(Some(bytes.len()))
    }
}

/// All bytes of a write.
fn take_all(from: &mut Source<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(from.remaining()).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(from.remaining(), 0);
    if from.take(&mut bytes)? < bytes.len() {
        return Err(Errno::EFAULT);
    }
    Ok(bytes)
}

impl File for ControlFile {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, flags: IoFlags) -> Result<usize> {
        events::catch_up();
        loop {
            if let Some(n) = self.read_one(to)? {
                return Ok(n);
            }
            if flags.nonblock {
                return Err(Errno::EAGAIN);
            }
            self.client.queue.wait(|| self.client.is_readable().then_some(()))?;
        }
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, flags: IoFlags) -> Result<(usize, u64)> {
        let length = from.remaining();
        if length == 0 {
            return Err(Errno::EINVAL);
        }
        if length > MAX_MESSAGE_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        match self.client.promise() {
            Some(()) => {}
            None if flags.nonblock => return Err(Errno::EAGAIN),
            None => self.client.queue.wait(|| self.client.promise())?,
        }
        match take_all(from) {
            Ok(bytes) => requests::take(&self.client, &bytes),
            Err(e) => {
                self.client.break_promise();
                return Err(e);
            }
        }
        Ok((length, offset))
    }

    fn poll(&self, table: Option<&mut PollTable>) -> Events {
        if let Some(t) = table {
            t.watch(&self.client.queue);
        }
        events::catch_up();
        let mut ready = Events::empty();
        if self.client.is_readable() {
            ready |= Events::READ;
        }
        if self.client.state.lock().has_room() {
            ready |= Events::WRITE;
        }
        ready
    }

    fn observe(&self, observer: Weak<dyn Observer>) -> Result<Vec<Registration>> {
        Ok(alloc::vec![self.client.queue.observe(observer)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
