//! Samples, [`METRICS_HZ`] a second while somebody looks on and none otherwise.

use std::sync::Arc;
use std::time::Duration;

use sis_protocol::control::{Metrics, RequestBody, ResponseBody};
use sis_protocol::wire::METRICS_HZ;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::state::State;

/// Resident memory is read once in so many samples: it changes slowly and costs a file.
const RSS_EVERY: u32 = METRICS_HZ;

/// The newest sample, for every connection that wants it.
pub(crate) struct Sampler {
    newest: watch::Sender<Option<Arc<Metrics>>>,
    wanted: Notify,
}

impl Sampler {
    pub(crate) fn new() -> Self {
        Self {
            newest: watch::Sender::new(None),
            wanted: Notify::new(),
        }
    }

    /// Samples from now on, until the receiver is dropped.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Metrics>>> {
        let receiver = self.newest.subscribe();
        self.wanted.notify_one();
        receiver
    }
}

/// Takes samples for ever.
pub(crate) async fn run(state: Arc<State>) {
    let sampler = &state.sampler;
    let mut ticks = interval(Duration::from_secs(1) / METRICS_HZ);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut rss_bytes, mut count) = (None, 0u32);
    loop {
        while sampler.newest.receiver_count() == 0 {
            sampler.wanted.notified().await;
            ticks.reset_immediately();
        }
        ticks.tick().await;
        let ResponseBody::Metrics(mut metrics) = state.source.ask(RequestBody::Metrics).await else {
            continue;
        };
        if count.is_multiple_of(RSS_EVERY) {
            rss_bytes = resident_bytes();
        }
        count = count.wrapping_add(1);
        fill_in(&mut metrics, &state, rss_bytes);
        sampler.newest.send_replace(Some(Arc::from(metrics)));
    }
}

/// Adds what only the agent knows.
pub(crate) fn fill_in(metrics: &mut Metrics, state: &State, rss_bytes: Option<u64>) {
    metrics.ts_ns.get_or_insert_with(clock::monotonic_ns);
    metrics.agent_rss_bytes = rss_bytes;
    metrics.agent_cpu_ns = Some(clock::process_cpu_ns());
    metrics.agent_clients = u32::try_from(state.connected()).ok();
}

/// Resident memory of this process, proc(5) `statm`.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}
