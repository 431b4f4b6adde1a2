//! What readers hold: subscriptions and samples, with bounded queues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sis_protocol::control::{Event, Failure};
use sis_protocol::wire::{Cursor, Sample, Start, Topic};
use tokio::sync::{Notify, mpsc};

use crate::shell::Command;

/// So many deliveries wait for a slow reader before the stream is no longer read; the board then holds what comes, as far as it keeps it.
const HIGH_WATER: usize = 256;
/// So many samples wait for a slow reader; older ones are dropped.
const SAMPLES_KEPT: usize = 64;

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The next event.
    Event(Box<Event>),
    /// Events are missing (`None`: the board's log has begun a new life): take the state afresh.
    Bootstrap {
        /// How many.
        missed: Option<u64>,
    },
    /// Delivery has (again) begun; `head_seq` is the newest number on the board at this moment.
    Started {
        /// The newest sequence number.
        head_seq: u64,
    },
    /// The board refuses; nothing follows.
    Refused(Failure),
}

/// A bounded queue between the shell and one reader.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> Queue<T> {
    fn new() -> Arc<Self> {
        let state = Mutex::new(State {
            items: VecDeque::new(),
            is_closed: false,
        });
        Arc::new(Self {
            state,
            filled: Notify::new(),
            drained: Notify::new(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // No code that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, item: T) {
        self.lock().items.push_back(item);
        self.filled.notify_one();
    }

    fn push_dropping_oldest(&self, item: T, kept: usize) {
        let mut state = self.lock();
        if state.items.len() >= kept {
            state.items.pop_front();
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
        self.drained.notify_one();
    }

    async fn next(&self) -> Option<T> {
        loop {
            {
                let mut state = self.lock();
                if let Some(item) = state.items.pop_front() {
                    if state.items.len() < HIGH_WATER {
                        self.drained.notify_one();
                    }
                    return Some(item);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Waits until the reader has caught up enough to be given more.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            {
                let state = self.lock();
                if state.items.len() < HIGH_WATER || state.is_closed {
                    return;
                }
            }
            self.drained.notified().await;
        }
    }
}

impl Queue<Sample> {
    pub(crate) fn push_sample(&self, sample: Sample) {
        self.push_dropping_oldest(sample, SAMPLES_KEPT);
    }
}

pub(crate) type Deliveries = Arc<Queue<(Delivery, Option<Cursor>)>>;

/// Events or log lines in order, without a gap between two [`Delivery::Bootstrap`]s.
#[derive(Debug)]
pub struct Subscription {
    queue: Deliveries,
    cursor: Option<Cursor>,
    /// Keeps the client alive, and ends the subscription when dropped.
    commands: mpsc::UnboundedSender<Command>,
}

impl Subscription {
    pub(crate) fn new(commands: &mpsc::UnboundedSender<Command>, topic: Topic, start: Start) -> Self {
        let queue = Queue::new();
        let _ = commands.send(Command::Subscribe {
            topic,
            start,
            queue: Arc::clone(&queue),
        });
        Self {
            queue,
            cursor: None,
            commands: commands.clone(),
        }
    }

    /// The next delivery; `None` when the client has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        let (delivery, cursor) = self.queue.next().await?;
        self.cursor = cursor.or(self.cursor);
        Some(delivery)
    }

    /// The place after the last delivery taken; kept and given to [`Start::After`], it resumes there, in another process even.
    #[must_use]
    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        let _ = self.commands.send(Command::Unsubscribe(Arc::clone(&self.queue)));
    }
}

/// Samples as they come.
#[derive(Debug)]
pub struct MetricsStream {
    queue: Arc<Queue<Sample>>,
    commands: mpsc::UnboundedSender<Command>,
}

impl MetricsStream {
    pub(crate) fn new(commands: &mpsc::UnboundedSender<Command>) -> Self {
        let queue = Queue::new();
        let _ = commands.send(Command::AddMetrics(Arc::clone(&queue)));
        Self {
            queue,
            commands: commands.clone(),
        }
    }

    /// The next sample; `None` when the client has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Sample> {
        self.queue.next().await
    }
}

impl Drop for MetricsStream {
    fn drop(&mut self) {
        self.queue.close();
        let _ = self.commands.send(Command::RemoveMetrics(Arc::clone(&self.queue)));
    }
}
