//! One gapless subscription: its cursor, and what is done with each frame.

use std::collections::VecDeque;

use sis_protocol::codec::DecodeError;
use sis_protocol::control::Event;
use sis_protocol::wire::{Cursor, EventFrame, MAX_FRAME_BYTES, Open, Opened, Start, Topic, frame};

use super::{Output, StreamId, SubscriptionId};

#[derive(Debug)]
pub(super) struct Subscription {
    topic: Topic,
    start: Start,
    cursor: Option<Cursor>,
    stream: Option<Stream>,
    /// Streams opened since the last event.
    fruitless: u32,
}

/// So many streams in a row may bring nothing before the board is taken to be broken.
const MAX_FRUITLESS: u32 = 10;

#[derive(Debug)]
struct Stream {
    id: StreamId,
    reader: frame::Reader,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Starting,
    Flowing,
}

/// What becomes of the stream after some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    OpenAgain,
    Over,
}

/// The board did not keep to the protocol.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the board started a subscription at another place than asked")]
    WrongStart,
    #[error("the board sent an event before it started the subscription")]
    NotStarted,
}

impl Subscription {
    pub(super) const fn new(topic: Topic, start: Start) -> Self {
        Self {
            topic,
            start,
            cursor: None,
            stream: None,
            fruitless: 0,
        }
    }

    pub(super) fn is_on(&self, stream: StreamId) -> bool {
        self.stream.as_ref().is_some_and(|open| open.id == stream)
    }

    pub(super) fn close(&mut self) -> Option<StreamId> {
        self.stream.take().map(|stream| stream.id)
    }

    /// A new connection: what an older one did counts no more.
    pub(super) const fn forgive(&mut self) {
        self.fruitless = 0;
    }

    /// The first frame of a stream that goes on where the subscription stands; `None` when too many have brought nothing.
    pub(super) fn open(&mut self, id: StreamId) -> Option<Open> {
        if self.fruitless == MAX_FRUITLESS {
            return None;
        }
        self.fruitless += 1;
        self.stream = Some(Stream {
            id,
            reader: frame::Reader::new(MAX_FRAME_BYTES),
            phase: Phase::Opening,
        });
        Some(Open::Subscribe {
            topic: self.topic,
            start: self.cursor.map_or(self.start, Start::After),
        })
    }

    pub(super) fn feed(
        &mut self,
        id: SubscriptionId,
        bytes: &[u8],
        outputs: &mut VecDeque<Output>,
    ) -> Result<Next, Violation> {
        let Some(stream) = &mut self.stream else {
            return Ok(Next::GoOn);
        };
        stream.reader.feed(bytes);
        loop {
            let Some(stream) = &mut self.stream else {
                return Ok(Next::GoOn);
            };
            if stream.phase == Phase::Opening {
                match stream.reader.next_open::<Opened>()? {
                    None => return Ok(Next::GoOn),
                    Some(Opened::Refused(failure)) => {
                        outputs.push_back(Output::SubscriptionRefused {
                            subscription: id,
                            failure,
                        });
                        return Ok(Next::Over);
                    }
                    Some(_) => stream.phase = Phase::Starting,
                }
                continue;
            }
            let Some(frame) = stream.reader.next_open::<EventFrame>()? else {
                return Ok(Next::GoOn);
            };
            match self.take(id, frame, outputs)? {
                Next::GoOn => {}
                other => return Ok(other),
            }
        }
    }

    fn take(
        &mut self,
        id: SubscriptionId,
        frame: EventFrame,
        outputs: &mut VecDeque<Output>,
    ) -> Result<Next, Violation> {
        match frame {
            EventFrame::Started { after, head_seq } => {
                if self.cursor.is_some_and(|cursor| cursor != after) {
                    return Err(Violation::WrongStart);
                }
                self.cursor = Some(after);
                if let Some(stream) = &mut self.stream {
                    stream.phase = Phase::Flowing;
                }
                outputs.push_back(Output::Started {
                    subscription: id,
                    cursor: after,
                    head_seq,
                });
                Ok(Next::GoOn)
            }
            EventFrame::Event(event) => self.take_event(id, event, outputs),
            EventFrame::StaleCursor { oldest, .. } => {
                let asked = self.cursor.or(match self.start {
                    Start::After(cursor) => Some(cursor),
                    _ => None,
                });
                let missed = asked
                    .filter(|cursor| cursor.epoch == oldest.epoch)
                    .and_then(|cursor| oldest.seq.checked_sub(cursor.seq));
                self.cursor = Some(oldest);
                outputs.push_back(Output::Bootstrap {
                    subscription: id,
                    missed,
                    cursor: oldest,
                });
                Ok(Next::OpenAgain)
            }
            _ => Ok(Next::GoOn),
        }
    }

    fn take_event(
        &mut self,
        id: SubscriptionId,
        event: Event,
        outputs: &mut VecDeque<Output>,
    ) -> Result<Next, Violation> {
        let is_flowing = self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.phase == Phase::Flowing);
        let cursor = self.cursor.filter(|_| is_flowing).ok_or(Violation::NotStarted)?;
        if event.seq <= cursor.seq {
            return Ok(Next::GoOn);
        }
        if event.seq - cursor.seq > 1 {
            // Something is missing in between: ask for it.
            return Ok(Next::OpenAgain);
        }
        let cursor = Cursor {
            seq: event.seq,
            ..cursor
        };
        self.cursor = Some(cursor);
        self.fruitless = 0;
        outputs.push_back(Output::Event {
            subscription: id,
            cursor,
            event: Box::new(event),
        });
        Ok(Next::GoOn)
    }
}
