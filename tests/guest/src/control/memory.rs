//! The memory manager: load that makes it propose, and every way that can end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sis_protocol::control::{
    EventKind, MemStatus, Outcome as Effect, OutcomeStatus, Proposal, RequestBody, ResponseBody, Selection, Strategy,
    Verdict,
};

use super::client::Client;
use crate::sys::{Ended, Outcome, PAGE, child, map, now_ns, poke, sleep_ms, wait};

/// Pages touched at a time, by all processes together: more than the pool of strategy Balanced holds, less than that of
/// Aggressive, with 512 MiB.
const BURST_PAGES: usize = 3600;
/// Pages that a process takes from the burst at a time: all CPUs are busy until its end, so that none fills the pool.
const PART_PAGES: usize = 24;
/// Between the beginnings of bursts.
const PERIOD_MS: u64 = 150;

/// Bursts of page faults on all CPUs until it is dropped.
///
/// A process on each CPU, not a thread: threads wait for one another where they share an address space, and the CPU of
/// one that waits fills the pool.
struct Load {
    shared: Shared,
    pids: Vec<i32>,
}

/// A page that the processes share.
#[derive(Clone, Copy)]
struct Shared(usize);

impl Shared {
    fn new() -> Result<Self, String> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let at = sys!(SYS_mmap, 0, PAGE, protection, flags, -1, 0).map_err(String::from)?;
        Ok(Self(at as usize))
    }

    /// Parts of bursts that have been taken since the load began.
    fn taken(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped until the process ends, the word is aligned and only used as an atomic.
        unsafe { AtomicU64::from_ptr(self.0 as *mut u64) }
    }

    /// Not 0 when the load is to end.
    fn is_over(&self) -> &AtomicU64 {
        // SAFETY: as above, for the word after it.
        unsafe { AtomicU64::from_ptr((self.0 + 8) as *mut u64) }
    }
}

impl Load {
    fn start() -> Result<Self, String> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let first = period();
        let shared = Shared::new()?;
        let mut load = Self {
            shared,
            pids: Vec::new(),
        };
        for cpu in 0..cpus {
            load.pids.push(child(|| match bursts(shared, cpu, first) {
                Ok(()) => 0,
                Err(why) => {
                    eprintln!("load on CPU {cpu}: {why}");
                    1
                }
            })?);
        }
        Ok(load)
    }

    fn stop(mut self) -> Outcome {
        self.end()
    }

    fn end(&mut self) -> Outcome {
        self.shared.is_over().store(1, Ordering::Relaxed);
        for pid in self.pids.drain(..) {
            same!(
                wait(pid, 0).map_err(String::from)?,
                Ended::Exit(0),
                "the end of a process of the load"
            );
        }
        Ok(())
    }
}

fn period() -> u64 {
    now_ns(libc::CLOCK_MONOTONIC) / 1_000_000 / PERIOD_MS
}

fn bursts(shared: Shared, cpu: usize, first: u64) -> Outcome {
    let only = 1u64 << cpu;
    sys!(SYS_sched_setaffinity, 0, 8, &raw const only).map_err(String::from)?;
    while shared.is_over().load(Ordering::Relaxed) == 0 {
        let next = period() + 1;
        sleep_ms((next * PERIOD_MS).saturating_sub(now_ns(libc::CLOCK_MONOTONIC) / 1_000_000));
        // Parts that all processes together have taken at the end of this burst.
        let goal = (next - first) * (BURST_PAGES / PART_PAGES) as u64;
        let at = map(BURST_PAGES, libc::PROT_READ | libc::PROT_WRITE).map_err(String::from)?;
        let mut pages = at..at + BURST_PAGES * PAGE;
        let take = |n: u64| (n < goal).then_some(n + 1);
        while shared
            .taken()
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
            && !pages.is_empty()
        {
            for _ in 0..PART_PAGES {
                poke(pages.start, 1);
                pages.start += PAGE;
            }
        }
        sys!(SYS_munmap, at, BURST_PAGES * PAGE).map_err(String::from)?;
    }
    Ok(())
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn status(client: &mut Client) -> Result<MemStatus, String> {
    match client.ask(RequestBody::MemStatus)? {
        ResponseBody::MemStatus(status) => Ok(*status),
        other => Err(format!("{other:?}")),
    }
}

fn approvals(client: &mut Client) -> Result<Vec<Proposal>, String> {
    match client.ask(RequestBody::MemApprovals)? {
        ResponseBody::Approvals(list) => Ok(list),
        other => Err(format!("{other:?}")),
    }
}

/// A client for questions, and one that follows events.
fn clients() -> Result<(Client, Client), String> {
    let mut follower = Client::open()?;
    follower.follow()?;
    Ok((Client::open()?, follower))
}

/// Waits for a proposal and looks whether the queue has it.
fn proposal(asker: &mut Client, follower: &Client, ms: u64) -> Result<Proposal, String> {
    let (_, made) = follower.event("proposal", ms, |kind| match kind {
        EventKind::Proposal(proposal) => Some(proposal.clone()),
        _ => None,
    })?;
    println!("{made:?}");
    check!(made.expires_ns > made.created_ns && !made.reason.is_empty(), "{made:?}");
    let waiting = approvals(asker)?;
    check!(waiting.contains(&made), "{waiting:?} does not have {made:?}");
    same!(status(asker)?.pending as usize, waiting.len(), "how many wait");
    Ok(made)
}

fn decided(follower: &Client, id: u64, wanted: Verdict, who: Option<&str>) -> Outcome {
    let (_, (by, verdict)) = follower.event("decision", 5000, |kind| match kind {
        EventKind::ApprovalDecided { id: of, by, verdict } if *of == id => Some((by.clone(), *verdict)),
        _ => None,
    })?;
    same!((by.as_deref(), verdict), (who, wanted), "the decision");
    Ok(())
}

fn outcome(follower: &Client, id: u64, ms: u64) -> Result<Effect, String> {
    let (_, outcome) = follower.event("outcome", ms, |kind| match kind {
        EventKind::Outcome(outcome) if outcome.id == id => Some(outcome.clone()),
        _ => None,
    })?;
    println!("{outcome:?}");
    Ok(outcome)
}

fn decide(asker: &mut Client, id: u64, is_yes: bool) -> Result<sis_protocol::control::Counts, String> {
    let (which, by) = (Selection::Ids(vec![id]), Some("tester".to_owned()));
    let body = if is_yes {
        RequestBody::MemApprove { which, by }
    } else {
        RequestBody::MemReject { which, by }
    };
    match asker.ask(body)? {
        ResponseBody::Decided(counts) => Ok(counts),
        other => Err(format!("{other:?}")),
    }
}

/// Load, a proposal, yes, and the measured effect; then quiet, and the way back refused.
pub(super) fn approve() -> Outcome {
    let (mut asker, follower) = clients()?;
    let before = status(&mut asker)?;
    same!(before.strategy, Strategy::Balanced, "the first strategy");
    check!(before.approval_mode && !before.query_mode, "{before:?}");
    let load = Load::start()?;
    let made = proposal(&mut asker, &follower, 40_000)?;
    same!(
        (made.from, made.to),
        (Some(Strategy::Balanced), Some(Strategy::Aggressive)),
        "what is proposed"
    );
    let counts = decide(&mut asker, made.id, true)?;
    same!(
        (counts.executed, counts.skipped, counts.failed, counts.not_found),
        (1, 0, 0, 0),
        "the answer"
    );
    decided(&follower, made.id, Verdict::Approved, Some("tester"))?;
    follower.event("change of strategy", 2000, |kind| match kind {
        EventKind::StrategyChanged { from, to } => {
            (*from == Strategy::Balanced && *to == Strategy::Aggressive).then_some(())
        }
        _ => None,
    })?;
    let after = status(&mut asker)?;
    same!(after.strategy, Strategy::Aggressive, "the strategy now");
    check!(
        after.zero_pool_target_pages > before.zero_pool_target_pages
            && after.low_watermark_pages > before.low_watermark_pages,
        "what is set was {before:?} and is {after:?}"
    );
    let twice = decide(&mut asker, made.id, true)?;
    same!((twice.executed, twice.not_found), (0, 1), "an approval used twice");
    let effect = outcome(&follower, made.id, 30_000)?;
    same!(effect.status, OutcomeStatus::Executed, "the outcome");
    same!(effect.decided_by.as_deref(), Some("tester"), "who decided");
    let (Some(was), Some(is)) = (effect.before, effect.after) else {
        return Err(format!("no effect was measured: {effect:?}"));
    };
    check!(
        was.samples > 0 && is.samples >= 200 && was.mean_ns > 0 && is.mean_ns > 0,
        "{effect:?}"
    );
    println!("fault latency {} ns -> {} ns", was.mean_ns, is.mean_ns);
    let history = match asker.ask(RequestBody::MemHistory { max: 10 })? {
        ResponseBody::History(list) => list,
        other => return Err(format!("{other:?}")),
    };
    same!(history.first(), Some(&effect), "the history");
    load.stop()?;
    // Nothing asks for the large pool any more.
    let back = proposal(&mut asker, &follower, 40_000)?;
    same!(
        (back.from, back.to),
        (Some(Strategy::Aggressive), Some(Strategy::Balanced)),
        "the way back"
    );
    same!(decide(&mut asker, back.id, false)?.rejected, 1, "the answer");
    decided(&follower, back.id, Verdict::Rejected, Some("tester"))?;
    same!(
        status(&mut asker)?.strategy,
        Strategy::Aggressive,
        "the strategy after a no"
    );
    Ok(())
}

/// No: nothing changes, and the same is not proposed again at once. And one that is no longer needed is skipped.
pub(super) fn reject() -> Outcome {
    let (mut asker, follower) = clients()?;
    let load = Load::start()?;
    let made = proposal(&mut asker, &follower, 40_000)?;
    let counts = decide(&mut asker, made.id, false)?;
    same!((counts.rejected, counts.executed), (1, 0), "the answer");
    decided(&follower, made.id, Verdict::Rejected, Some("tester"))?;
    let after = status(&mut asker)?;
    same!(
        (after.strategy, after.pending, after.rejected),
        (Strategy::Balanced, 0, Some(1)),
        "after a no"
    );
    let again = follower.event("proposal", 12_000, |kind| {
        matches!(kind, EventKind::Proposal(_)).then_some(())
    });
    check!(again.is_err(), "the same is proposed again at once");
    let unknown = decide(&mut asker, 4711, false)?;
    same!((unknown.rejected, unknown.not_found), (0, 1), "a no to nothing");
    load.stop()
}

/// Nobody answers: that means no. `sis.approval_expiry_ms` makes it soon.
pub(super) fn expire() -> Outcome {
    let (mut asker, follower) = clients()?;
    let load = Load::start()?;
    let made = proposal(&mut asker, &follower, 40_000)?;
    let wait_ms = (made.expires_ns - made.created_ns) / 1_000_000;
    check!(
        wait_ms <= 20_000,
        "it waits for {wait_ms} ms: boot with sis.approval_expiry_ms=4000"
    );
    decided(&follower, made.id, Verdict::Expired, None)
        .or_else(|_| decided(&follower, made.id, Verdict::Expired, None))
        .or_else(|_| decided(&follower, made.id, Verdict::Expired, None))?;
    let end = outcome(&follower, made.id, 2000)?;
    same!(end.status, OutcomeStatus::Expired, "the outcome");
    let late = decide(&mut asker, made.id, true)?;
    same!((late.executed, late.not_found), (0, 1), "a yes that comes too late");
    let after = status(&mut asker)?;
    same!(
        (after.strategy, after.expired),
        (Strategy::Balanced, Some(1)),
        "after the time"
    );
    load.stop()
}

/// With approval mode off it is done at once, and told.
pub(super) fn without_approval() -> Outcome {
    let (mut asker, follower) = clients()?;
    match asker.ask(RequestBody::MemApprovalMode { on: Some(false) })? {
        ResponseBody::Mode { on: false } => {}
        other => return Err(format!("{other:?}")),
    }
    let load = Load::start()?;
    let (_, made) = follower.event("proposal", 40_000, |kind| match kind {
        EventKind::Proposal(proposal) => Some(proposal.clone()),
        _ => None,
    })?;
    decided(&follower, made.id, Verdict::Approved, None)?;
    let effect = outcome(&follower, made.id, 30_000)?;
    same!(
        (effect.status, effect.decided_by.as_deref()),
        (OutcomeStatus::Executed, None),
        "the outcome"
    );
    same!(status(&mut asker)?.strategy, Strategy::Aggressive, "the strategy");
    load.stop()
}

/// Query mode predicts and does nothing; strategies can be set by hand all the same.
pub(super) fn query_mode() -> Outcome {
    let (mut asker, follower) = clients()?;
    match asker.ask(RequestBody::MemQueryMode { on: Some(true) })? {
        ResponseBody::Mode { on: true } => {}
        other => return Err(format!("{other:?}")),
    }
    let load = Load::start()?;
    let made = follower.event("proposal", 15_000, |kind| {
        matches!(kind, EventKind::Proposal(_)).then_some(())
    });
    check!(made.is_err(), "a proposal in query mode");
    check!(approvals(&mut asker)?.is_empty(), "something waits in query mode");
    load.stop()?;
    for strategy in [Strategy::Conservative, Strategy::Aggressive, Strategy::Balanced] {
        match asker.ask(RequestBody::MemSetStrategy { strategy })? {
            ResponseBody::MemStatus(status) => {
                same!(status.strategy, strategy, "set by hand");
            }
            other => return Err(format!("{other:?}")),
        }
        follower.event("change", 2000, |kind| match kind {
            EventKind::StrategyChanged { to, .. } => (*to == strategy).then_some(()),
            _ => None,
        })?;
    }
    Ok(())
}

/// A board that has nothing to do is left alone.
pub(super) fn idle() -> Outcome {
    let (mut asker, follower) = clients()?;
    let made = follower.event("proposal", 30_000, |kind| {
        matches!(kind, EventKind::Proposal(_)).then_some(())
    });
    check!(made.is_err(), "an idle board has a proposal");
    same!(status(&mut asker)?.proposed, Some(0), "proposals of an idle board");
    Ok(())
}

/// A child takes all memory there is: it is killed, that is told, and the board goes on.
pub(super) fn out_of_memory() -> Outcome {
    let (mut asker, follower) = clients()?;
    let total = usize::try_from(status(&mut asker)?.total_pages).unwrap_or(0);
    let pid = child(|| {
        // In pieces: one map of more than there is is refused.
        for _ in 0..16 {
            let Ok(at) = map(total / 8, libc::PROT_READ | libc::PROT_WRITE) else {
                return 3;
            };
            for page in 0..total / 8 {
                poke(at + page * PAGE, 1);
            }
        }
        0
    })?;
    let (_, (killed, rss)) = follower.event("kill", 60_000, |kind| match kind {
        EventKind::OomKill { pid, rss_bytes, .. } => Some((*pid, *rss_bytes)),
        _ => None,
    })?;
    same!(killed, pid as u32, "who was killed");
    check!(rss.is_some_and(|b| b > total as u64 * 4096 / 2), "it had {rss:?} bytes");
    same!(
        wait(pid, 0).map_err(String::from)?,
        Ended::Signal(libc::SIGKILL),
        "its end"
    );
    check!(
        status(&mut asker)?
            .observation
            .free_pages
            .is_some_and(|n| n > total as u64 / 2),
        "memory is not back"
    );
    Ok(())
}

/// The load alone, and what the memory manager makes of it: to try things by hand.
pub(super) fn load() -> Outcome {
    let (mut asker, _) = clients()?;
    let load = Load::start()?;
    for _ in 0..10 {
        thread::sleep(Duration::from_secs(1));
        println!("{:?}", status(&mut asker)?);
    }
    load.stop()
}
