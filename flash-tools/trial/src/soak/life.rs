//! One client from its connection to its death.

use std::time::{Duration, Instant};

use sis_client::{Client, Identity, LinkState, MetricsStream, PairedBoard, Subscription};
use sis_protocol::control::{RequestBody, Selection};
use sis_protocol::wire::{Start, Topic};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::ledger::Ledger;
use super::{PATIENCE, runtime};
use crate::board::TrialError;

pub(super) struct Life {
    runtime: Runtime,
    client: Client,
    events: Subscription,
    logs: Subscription,
    metrics: MetricsStream,
    /// Counts how often the client was online.
    watcher: JoinHandle<()>,
    greetings: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

impl Life {
    /// Connects, and goes on where `ledger` is.
    pub(super) fn start(board: &PairedBoard, identity: &Identity, ledger: Option<&Ledger>) -> Result<Self, TrialError> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let client = Client::connect(board, identity).map_err(|error| TrialError::Host(error.to_string()))?;
        let from = |cursor| match cursor {
            Some(cursor) => Start::After(cursor),
            None => Start::Newest(0),
        };
        let events = client.events(from(ledger.and_then(|ledger| ledger.event_cursor)));
        let logs = client.logs(from(ledger.and_then(|ledger| ledger.log_cursor)));
        let metrics = client.metrics();
        let greetings = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (mut state, theirs) = (client.watch_state(), greetings.clone());
        let watcher = tokio::spawn(async move {
            loop {
                if matches!(&*state.borrow_and_update(), LinkState::Online(_)) {
                    theirs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                if state.changed().await.is_err() {
                    return;
                }
            }
        });
        drop(inside);
        runtime.block_on(client.wait_online(PATIENCE))?;
        Ok(Self {
            runtime,
            client,
            events,
            logs,
            metrics,
            watcher,
            greetings,
        })
    }

    /// Takes what comes for so long, and approves what waits.
    pub(super) fn collect(&mut self, ledger: &mut Ledger, time: Duration) -> Result<(), TrialError> {
        let end = tokio::time::Instant::from_std(Instant::now() + time);
        let Self {
            runtime,
            client,
            events,
            logs,
            metrics,
            ..
        } = self;
        let gone = || TrialError::Found("the client gave up".to_owned());
        runtime.block_on(async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(end) => return Ok(()),
                    delivery = events.next() => {
                        let delivery = delivery.ok_or_else(gone)?;
                        if let Some(id) = ledger.take(Topic::Events, &delivery, events.cursor()) {
                            let client = client.clone();
                            // Interrupted or too late: it then expires, which is an event too.
                            tokio::spawn(async move {
                                let which = Selection::Ids(vec![id]);
                                let _ = client.control(RequestBody::MemApprove { which, by: None }).await;
                            });
                        }
                    }
                    delivery = logs.next() => {
                        let delivery = delivery.ok_or_else(gone)?;
                        ledger.take(Topic::Logs, &delivery, logs.cursor());
                    }
                    sample = metrics.next() => {
                        let sample = sample.ok_or_else(gone)?;
                        ledger.samples += 1;
                        ledger.samples_lost += sample.lost_before;
                    }
                }
            }
        })
    }

    /// Times it came back by itself.
    pub(super) fn reconnections(&self) -> u32 {
        self.greetings
            .load(std::sync::atomic::Ordering::Relaxed)
            .saturating_sub(1)
    }

    /// Ends it as a killed process ends: nothing is said to the board.
    pub(super) fn kill(self) {
        self.watcher.abort();
        // Tasks are dropped where they stand; the socket is closed under the connection.
        self.runtime.shutdown_background();
    }
}
