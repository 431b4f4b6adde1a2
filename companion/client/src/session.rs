//! The client's side of the protocol as a pure state machine: time, bytes and randomness are passed in, what is to be done comes out.
//!
//! A [`Session`] keeps one connection to one board alive and every subscription on it gapless:
//!
//! ```text
//!  Waiting --timeout--> Connecting --connected--> Greeting --welcome--> Online
//!     ^                     |failed                  |refused, lost        |lost
//!     +---------------------+------------------------+---------------------+       Refused: nothing until a person acts
//! ```
//!
//! On the way to `Online` each subscription is opened again at its *cursor*, the last event it delivered; the board either goes on from
//! there or says that the cursor is stale. Then the session delivers one [`Output::Bootstrap`], so that the reader takes the state afresh,
//! and goes on from the oldest event that is kept. Between two bootstraps no event is missing and none comes twice.

mod backoff;
mod output;
mod subscription;

#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use sis_protocol::hello::{self, Hello};
use sis_protocol::wire::{Assembler, CloseCode, MAX_FRAME_BYTES, Open, Opened, Start, Topic, Welcome, frame};

pub use output::{Disconnect, LinkState, Output, StreamId, SubscriptionId};

use backoff::Backoff;
use subscription::Subscription;

/// How long a connection may take to be greeted, milliseconds.
const GREETING_TIMEOUT_MS: u64 = 10_000;

#[derive(Debug)]
enum Link {
    Idle,
    Waiting {
        until_ms: u64,
    },
    Connecting,
    Greeting {
        stream: StreamId,
        reader: frame::Reader,
        until_ms: u64,
    },
    Online {
        metrics: Option<(StreamId, frame::Reader)>,
        assembler: Assembler,
    },
    Refused,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    hello: Hello,
    link: Link,
    attempt: u32,
    backoff: Backoff,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    wants_metrics: bool,
    next_id: u64,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A session that has not started; `seed` is for the jitter of its retries.
    #[must_use]
    pub fn new(hello: Hello, seed: u64) -> Self {
        Self {
            hello,
            link: Link::Idle,
            attempt: 0,
            backoff: Backoff::new(seed),
            subscriptions: BTreeMap::new(),
            wants_metrics: false,
            next_id: 1,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next; to be asked until `None` after every call of another method.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::on_timeout`] wants to be called, milliseconds.
    #[must_use]
    pub const fn next_timeout_ms(&self) -> Option<u64> {
        match &self.link {
            Link::Waiting { until_ms } | Link::Greeting { until_ms, .. } => Some(*until_ms),
            _ => None,
        }
    }

    /// Begins to connect.
    pub fn start(&mut self) {
        if matches!(self.link, Link::Idle) {
            self.connect();
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now_ms: u64) {
        match &self.link {
            Link::Waiting { until_ms } if *until_ms <= now_ms => self.connect(),
            Link::Greeting { until_ms, .. } if *until_ms <= now_ms => {
                self.fail(now_ms, "the board did not answer the greeting");
            }
            _ => {}
        }
    }

    /// The connection that [`Output::Connect`] asked for is there.
    pub fn on_connected(&mut self, now_ms: u64) {
        if !matches!(self.link, Link::Connecting) {
            return;
        }
        let stream = StreamId(self.fresh_id());
        let bytes = frame::encode(&Open::Hello(self.hello.clone()));
        self.outputs.push_back(Output::OpenStream {
            stream,
            subscription: None,
            bytes,
        });
        let reader = frame::Reader::new(MAX_FRAME_BYTES);
        self.link = Link::Greeting {
            stream,
            reader,
            until_ms: now_ms + GREETING_TIMEOUT_MS,
        };
    }

    /// The connection ended, or could not be made.
    pub fn on_disconnected(&mut self, now_ms: u64, why: &Disconnect) {
        if matches!(self.link, Link::Idle | Link::Waiting { .. } | Link::Refused) {
            return;
        }
        let is_final = why.code.and_then(CloseCode::from_code).is_some_and(CloseCode::is_final);
        if is_final {
            self.refuse(why.reason.clone());
        } else {
            self.wait(now_ms, why.reason.clone());
        }
    }

    /// Bytes came on a stream.
    pub fn on_stream_bytes(&mut self, now_ms: u64, stream: StreamId, bytes: &[u8]) {
        match &mut self.link {
            Link::Greeting {
                stream: greeting,
                reader,
                ..
            } if *greeting == stream => {
                reader.feed(bytes);
                match reader.next_open::<Opened>() {
                    Ok(None) => {}
                    Ok(Some(Opened::Welcome(welcome))) => self.greeted(now_ms, welcome),
                    Ok(Some(Opened::Refused(failure))) => self.refuse_and_close(failure.message),
                    Ok(Some(_)) => self.fail(now_ms, "the board answered the greeting with something else"),
                    Err(error) => self.fail(now_ms, &error.to_string()),
                }
            }
            Link::Online {
                metrics: Some((metrics, reader)),
                ..
            } if *metrics == stream => {
                reader.feed(bytes);
                if !matches!(reader.next_open::<Opened>(), Ok(None | Some(Opened::Ready))) {
                    // Metrics are refused: the rest of the session does not hang on them.
                    self.wants_metrics = false;
                    self.close_metrics();
                }
            }
            Link::Online { .. } => self.subscription_bytes(now_ms, stream, bytes),
            _ => {}
        }
    }

    /// A stream was finished or reset by the board.
    pub fn on_stream_end(&mut self, now_ms: u64, stream: StreamId) {
        match &mut self.link {
            Link::Greeting { stream: greeting, .. } if *greeting == stream => {
                self.fail(now_ms, "the board ended the greeting");
            }
            Link::Online { metrics, .. } => {
                if metrics.as_ref().is_some_and(|(metrics, _)| *metrics == stream) {
                    *metrics = None;
                } else if let Some(id) = self.subscription_of(stream) {
                    // Ended without a word: from the cursor on again, with the rest of the connection.
                    self.open_subscription(now_ms, id);
                }
            }
            _ => {}
        }
    }

    /// A datagram came.
    pub fn on_datagram(&mut self, bytes: &[u8]) {
        if let Link::Online { assembler, .. } = &mut self.link
            && let Ok(Some(sample)) = assembler.feed(bytes)
        {
            self.outputs.push_back(Output::Sample(Box::new(sample)));
        }
    }

    /// Asks for samples, or for no more.
    pub fn set_metrics(&mut self, wanted: bool) {
        if wanted == self.wants_metrics {
            return;
        }
        self.wants_metrics = wanted;
        if wanted {
            self.open_metrics()
        } else {
            self.close_metrics()
        }
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, topic: Topic, start: Start) -> SubscriptionId {
        let id = SubscriptionId(self.fresh_id());
        self.subscriptions.insert(id, Subscription::new(topic, start));
        if matches!(self.link, Link::Online { .. }) {
            // Its first stream: there is nothing yet to give up for.
            self.open_subscription(0, id);
        }
        id
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        if let Some(stream) = self
            .subscriptions
            .remove(&id)
            .and_then(|mut subscription| subscription.close())
        {
            self.outputs.push_back(Output::CloseStream(stream));
        }
    }

    /// Gives a refused session another try: a person has done something about it.
    pub fn retry(&mut self) {
        if matches!(self.link, Link::Refused | Link::Waiting { .. }) {
            self.connect();
        }
    }

    const fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn connect(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        self.link = Link::Connecting;
        self.outputs
            .push_back(Output::State(LinkState::Connecting { attempt: self.attempt }));
        self.outputs.push_back(Output::Connect);
    }

    fn greeted(&mut self, now_ms: u64, welcome: Welcome) {
        if let Err(sentence) = hello::check(&welcome.hello) {
            self.refuse_and_close(sentence);
            return;
        }
        self.attempt = 0;
        self.backoff.reset();
        self.link = Link::Online {
            metrics: None,
            assembler: Assembler::default(),
        };
        self.outputs
            .push_back(Output::State(LinkState::Online(Box::new(welcome))));
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in ids {
            if let Some(subscription) = self.subscriptions.get_mut(&id) {
                subscription.forgive();
            }
            self.open_subscription(now_ms, id);
        }
        if self.wants_metrics {
            self.open_metrics();
        }
    }

    fn open_metrics(&mut self) {
        let id = StreamId(self.fresh_id());
        if let Link::Online {
            metrics: metrics @ None,
            assembler,
        } = &mut self.link
        {
            *metrics = Some((id, frame::Reader::new(MAX_FRAME_BYTES)));
            *assembler = Assembler::default();
            let bytes = frame::encode(&Open::Metrics);
            self.outputs.push_back(Output::OpenStream {
                stream: id,
                subscription: None,
                bytes,
            });
        }
    }

    fn close_metrics(&mut self) {
        if let Link::Online { metrics, .. } = &mut self.link
            && let Some((stream, _)) = metrics.take()
        {
            self.outputs.push_back(Output::CloseStream(stream));
        }
    }

    fn subscription_of(&self, stream: StreamId) -> Option<SubscriptionId> {
        self.subscriptions
            .iter()
            .find(|(_, subscription)| subscription.is_on(stream))
            .map(|(id, _)| *id)
    }

    fn open_subscription(&mut self, now_ms: u64, id: SubscriptionId) {
        let stream = StreamId(self.fresh_id());
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        match subscription.open(stream) {
            Some(open) => {
                let bytes = frame::encode(&open);
                self.outputs.push_back(Output::OpenStream {
                    stream,
                    subscription: Some(id),
                    bytes,
                });
            }
            None => self.fail(now_ms, "the board ends a subscription again and again"),
        }
    }

    fn subscription_bytes(&mut self, now_ms: u64, stream: StreamId, bytes: &[u8]) {
        let Some(id) = self.subscription_of(stream) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        match subscription.feed(id, bytes, &mut self.outputs) {
            Ok(subscription::Next::GoOn) => {}
            Ok(subscription::Next::OpenAgain) => {
                self.outputs.push_back(Output::CloseStream(stream));
                self.open_subscription(now_ms, id);
            }
            Ok(subscription::Next::Over) => {
                self.outputs.push_back(Output::CloseStream(stream));
                self.subscriptions.remove(&id);
            }
            Err(error) => self.fail(now_ms, &error.to_string()),
        }
    }

    /// The peer cannot be talked to on this connection: another one may do.
    fn fail(&mut self, now_ms: u64, reason: &str) {
        self.outputs.push_back(Output::Disconnect(CloseCode::ProtocolError));
        self.wait(now_ms, reason.to_owned());
    }

    fn refuse_and_close(&mut self, reason: String) {
        self.outputs.push_back(Output::Disconnect(CloseCode::Done));
        self.refuse(reason);
    }

    fn refuse(&mut self, reason: String) {
        self.drop_streams();
        self.link = Link::Refused;
        self.outputs.push_back(Output::State(LinkState::Refused { reason }));
    }

    fn wait(&mut self, now_ms: u64, reason: String) {
        self.drop_streams();
        let retry_in_ms = self.backoff.next_delay_ms();
        self.link = Link::Waiting {
            until_ms: now_ms + retry_in_ms,
        };
        self.outputs
            .push_back(Output::State(LinkState::Waiting { retry_in_ms, reason }));
    }

    fn drop_streams(&mut self) {
        for subscription in self.subscriptions.values_mut() {
            subscription.close();
        }
    }
}
