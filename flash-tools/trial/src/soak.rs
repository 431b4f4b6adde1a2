//! Endurance: events without a pause while the client dies and the link is cut. Each must come once and in order, and the board must have its
//! memory back.
//!
//! The load is a script on the board: numbered lines through `/dev/kmsg`, processes that crash (an event each), and now and then a load on
//! memory that makes the memory manager propose something, which the client approves. A client's *life* ends without a goodbye, as when its
//! process is killed: the next one starts from the cursor where it was. Numbers are checked twice: the agent's own (one more an event, without
//! a gap), and those in the lines, which say whether anything was lost before the agent had it.

mod ledger;
mod life;

use std::time::{Duration, Instant};

use serde::Serialize;
use sis_client::{Client, Identity, PairedBoard};
use sis_protocol::control::{RequestBody, ResponseBody};
use tokio::runtime::Runtime;

use crate::board::{Program, TrialError, agent_process, line};
use ledger::Ledger;
use life::Life;

/// How long a client may take to be greeted, right after a cut too.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was made may take to come.
const LAST_PATIENCE: Duration = Duration::from_secs(60);
/// The agent keeps 3 MiB of events and lines; so much more it may be when those have filled up, with what keeping them costs.
const AGENT_GROWTH_BYTES: u64 = 8 << 20;
/// What the whole board may have less of at the end: the agent's growth, and caches.
const BOARD_GROWTH_BYTES: u64 = 24 << 20;
/// When everything that fills up is full, in a run that is long enough: what may still be lost from the middle to the end.
const LATER_GROWTH_BYTES: u64 = 2 << 20;
/// The shortest run whose second half counts as that.
const LONG: Duration = Duration::from_secs(300);

/// How it goes.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How long events are made.
    pub duration: Duration,
    /// From one disturbance to the next; every second one is a cut, a third of it long.
    pub every: Duration,
}

impl Plan {
    /// About ten disturbances, none longer apart than a minute.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        let every = (duration / 5).clamp(Duration::from_secs(4), Duration::from_secs(60));
        Self { duration, every }
    }
}

/// The board's memory at one moment.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The agent's resident memory.
    pub agent_rss_bytes: u64,
    /// What no one uses.
    pub free_bytes: u64,
}

/// What came of it. Serialises as the JSON that `sisctl soak` prints.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How long events were made.
    pub seconds: u64,
    /// Numbered lines written, each of which came once.
    pub lines: u64,
    /// Events of every kind that came, lines apart.
    pub events: u64,
    /// Of these, processes that crashed.
    pub crashes: u64,
    /// Proposals that came, and outcomes of those that were approved.
    pub proposals: u64,
    /// See [`proposals`](Self::proposals).
    pub outcomes: u64,
    /// Samples of the metrics that came, and those that did not.
    pub samples: u64,
    /// See [`samples`](Self::samples): datagrams may be lost, most in a cut.
    pub samples_lost: u64,
    /// Clients that were there one after another.
    pub clients: u32,
    /// Times the link was cut.
    pub cuts: u32,
    /// Times a client found its connection lost and came back by itself.
    pub reconnections: u32,
    /// At the beginning, in the middle, at the end.
    pub memory: [Memory; 3],
}

/// Cuts the board's link (`false`) and mends it.
pub type SetLink<'a> = &'a mut dyn FnMut(bool) -> Result<(), String>;

/// Holds the trial. `program` is the board's `sis-guest`; `said` hears how it goes.
///
/// # Errors
/// [`TrialError::Found`]: an event that was lost, came twice or out of order, memory that is gone, an agent that died.
pub fn run(
    board: &PairedBoard,
    identity: &Identity,
    program: &[u8],
    plan: Plan,
    set_link: SetLink<'_>,
    said: &mut dyn FnMut(&str),
) -> Result<Report, TrialError> {
    // The hand that sets the load up and reads memory: a connection of its own, so that the watched ones can die.
    let hand = Hand::new(board, identity)?;
    let agent = hand.do_it(agent_process(&hand.client))?;
    let program = hand.do_it(Program::send(&hand.client, "sis-guest", program))?;
    let mode = hand.approval_mode(Some(true))?;
    let outcome = Soak {
        board,
        identity,
        hand: &hand,
        plan,
        report: Report {
            seconds: plan.duration.as_secs(),
            ..Report::default()
        },
        ledger: Ledger::default(),
    }
    .run(program.path(), set_link, said);
    // What was found counts for more than what cannot be put back.
    let is_back = set_link(true).map_err(TrialError::Host).and_then(|()| {
        hand.do_it(hand_back(&hand.client))?;
        hand.approval_mode(Some(mode))?;
        hand.do_it(program.remove(&hand.client))?;
        hand.do_it(agent_process(&hand.client))
    });
    let report = outcome?;
    if is_back? != agent {
        return Err(TrialError::Found("the agent died".to_owned()));
    }
    Ok(report)
}

/// Ends the load, and takes its files away.
async fn hand_back(client: &Client) -> Result<(), TrialError> {
    client.wait_online(PATIENCE).await?;
    line(
        client,
        "touch /tmp/soak.stop; sleep 1; rm -f /tmp/soak.stop /tmp/soak.made",
    )
    .await
    .map(drop)
}

struct Hand {
    runtime: Runtime,
    client: Client,
}

impl Hand {
    fn new(board: &PairedBoard, identity: &Identity) -> Result<Self, TrialError> {
        let runtime = runtime()?;
        let client = {
            let _inside = runtime.enter();
            Client::connect(board, identity).map_err(|error| TrialError::Host(error.to_string()))?
        };
        runtime.block_on(client.wait_online(PATIENCE))?;
        Ok(Self { runtime, client })
    }

    fn do_it<T>(&self, work: impl Future<Output = Result<T, TrialError>>) -> Result<T, TrialError> {
        self.runtime.block_on(work)
    }

    /// Sets approval mode, or asks for it; what it was before.
    fn approval_mode(&self, on: Option<bool>) -> Result<bool, TrialError> {
        self.do_it(async {
            self.client.wait_online(PATIENCE).await?;
            let before = match self.client.control(RequestBody::MemStatus).await? {
                ResponseBody::MemStatus(status) => status.approval_mode,
                other => return Err(TrialError::Found(format!("the status of memory is {other:?}"))),
            };
            match self.client.control(RequestBody::MemApprovalMode { on }).await? {
                ResponseBody::Mode { .. } => Ok(before),
                other => Err(TrialError::Found(format!("approval mode is {other:?}"))),
            }
        })
    }

    fn memory(&self) -> Result<Memory, TrialError> {
        self.do_it(async {
            self.client.wait_online(PATIENCE).await?;
            let metrics = self.client.metrics_once().await?;
            match (metrics.agent_rss_bytes, metrics.mem_free_bytes) {
                (Some(agent_rss_bytes), Some(free_bytes)) => Ok(Memory {
                    agent_rss_bytes,
                    free_bytes,
                }),
                _ => Err(TrialError::Found("the board does not tell its memory".to_owned())),
            }
        })
    }
}

fn runtime() -> Result<Runtime, TrialError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| TrialError::Host(error.to_string()))
}

/// The load, detached from whoever starts it. `$0` is the guest's program, `$1` the second of the board's uptime at which it ends by itself, for
/// a host that died. Lines at the level of debugging: they need not be on the console.
const LOAD: &str = r#"
>/tmp/soak.begun
i=0
while [ ! -e /tmp/soak.stop ] && read up rest </proc/uptime && [ "${up%.*}" -lt "$1" ]; do
    for n in 1 2 3 4 5; do
        i=$((i + 1)); echo "<7>soak line $i" >/dev/kmsg
    done
    [ $((i % 25)) = 0 ] && sh -c 'kill -SEGV $$'
    [ $((i % 1500)) = 750 ] && "$0" stress-mem 48 >/dev/null 2>&1
    sleep 0.03
done
echo $i >/tmp/soak.made.part
mv /tmp/soak.made.part /tmp/soak.made
"#;

struct Soak<'a> {
    board: &'a PairedBoard,
    identity: &'a Identity,
    hand: &'a Hand,
    plan: Plan,
    report: Report,
    ledger: Ledger,
}

impl Soak<'_> {
    fn run(mut self, program: &str, set_link: SetLink<'_>, said: &mut dyn FnMut(&str)) -> Result<Report, TrialError> {
        let mut life = Life::start(self.board, self.identity, None)?;
        life.collect(&mut self.ledger, Duration::from_secs(2))?;
        self.report.memory[0] = self.hand.memory()?;
        // What a command leaves behind in its own group ends with it: the load is waited for until it has left.
        let start = format!(
            "rm -f /tmp/soak.stop /tmp/soak.made /tmp/soak.begun; read up rest </proc/uptime; \
             setsid sh -c '{}' {program} $((${{up%.*}} + {})) </dev/null >/dev/null 2>&1 & \
             until [ -e /tmp/soak.begun ]; do sleep 0.1; done",
            LOAD.replace('\'', "'\\''"),
            self.plan.duration.as_secs() + 600
        );
        self.hand.do_it(line(&self.hand.client, &start))?;

        let begun = Instant::now();
        let (mut next, mut number) = (self.plan.every, 0);
        let mut middle = None;
        while begun.elapsed() < self.plan.duration {
            life.collect(&mut self.ledger, Duration::from_millis(500))?;
            let now = begun.elapsed();
            if middle.is_none() && now >= self.plan.duration / 2 {
                middle = Some(self.hand.memory()?);
            }
            if now < next || now + self.plan.every / 2 > self.plan.duration {
                continue;
            }
            next += self.plan.every;
            number += 1;
            said(&self.progress(now));
            if number % 2 == 1 {
                life = self.another(life)?;
            } else {
                set_link(false).map_err(TrialError::Host)?;
                self.report.cuts += 1;
                let collected = life.collect(&mut self.ledger, self.plan.every / 3);
                set_link(true).map_err(TrialError::Host)?;
                collected?;
            }
        }
        self.report.memory[1] = middle.unwrap_or_default();
        let made = self.stop()?;
        let deadline = Instant::now() + LAST_PATIENCE;
        while (self.ledger.line < made || self.ledger.crashes < made / 25) && Instant::now() < deadline {
            life.collect(&mut self.ledger, Duration::from_millis(200))?;
        }
        self.end_life(life);
        self.report.memory[2] = self.hand.memory()?;
        said(&self.progress(begun.elapsed()));
        self.judge(made)
    }

    /// Kills a client's life and begins the next where it was.
    fn another(&mut self, life: Life) -> Result<Life, TrialError> {
        self.end_life(life);
        Life::start(self.board, self.identity, Some(&self.ledger))
    }

    fn end_life(&mut self, life: Life) {
        self.report.clients += 1;
        self.report.reconnections += life.reconnections();
        life.kill();
    }

    /// Ends the load; how many lines it made.
    fn stop(&self) -> Result<u64, TrialError> {
        let wait = "touch /tmp/soak.stop; n=0; while [ ! -e /tmp/soak.made ] && [ $n -lt 40 ]; do sleep 1; n=$((n + 1)); done; \
                    cat /tmp/soak.made || { ps >&2; exit 1; }";
        let said = self.hand.do_it(async {
            self.hand.client.wait_online(PATIENCE).await?;
            line(&self.hand.client, wait).await
        })?;
        said.trim()
            .parse()
            .map_err(|_| TrialError::Found(format!("the load says that it made {said:?} lines")))
    }

    fn progress(&self, now: Duration) -> String {
        format!(
            "{:>4} s  {} lines, {} events, {} clients, {} cuts",
            now.as_secs(),
            self.ledger.line,
            self.ledger.events,
            self.report.clients + 1,
            self.report.cuts
        )
    }

    fn judge(mut self, made: u64) -> Result<Report, TrialError> {
        let mut wrong = std::mem::take(&mut self.ledger.wrong);
        if self.ledger.line != made {
            wrong.push(format!(
                "{made} lines were made, and line {} is the last that came",
                self.ledger.line
            ));
        }
        if self.ledger.crashes < made / 25 {
            wrong.push(format!(
                "{} processes crashed, and {} were told of",
                made / 25,
                self.ledger.crashes
            ));
        }
        if made < self.plan.duration.as_secs() {
            wrong.push(format!("only {made} lines were made: that is no load"));
        }
        let [first, middle, last] = self.report.memory;
        let lost = |from: Memory, most: u64, what: &str, wrong: &mut Vec<String>| {
            let agent = last.agent_rss_bytes.saturating_sub(from.agent_rss_bytes);
            let board = from.free_bytes.saturating_sub(last.free_bytes);
            if agent > most.min(AGENT_GROWTH_BYTES) {
                wrong.push(format!("the agent grew by {agent} bytes {what}"));
            }
            if board > most {
                wrong.push(format!("the board has {board} bytes less free {what}"));
            }
        };
        lost(first, BOARD_GROWTH_BYTES, "from the beginning", &mut wrong);
        if self.plan.duration >= LONG {
            lost(middle, LATER_GROWTH_BYTES, "from the middle", &mut wrong);
        }
        let report = Report {
            lines: made,
            events: self.ledger.events,
            crashes: self.ledger.crashes,
            proposals: self.ledger.proposals,
            outcomes: self.ledger.outcomes,
            samples: self.ledger.samples,
            samples_lost: self.ledger.samples_lost,
            ..self.report
        };
        if wrong.is_empty() {
            return Ok(report);
        }
        let total = wrong.len();
        wrong.truncate(20);
        Err(TrialError::Found(format!(
            "{total} faults: {}; {report:?}",
            wrong.join("; ")
        )))
    }
}
