//! One board.

use sis_protocol::control::{MemStatus, RequestBody, ResponseBody};
use sis_protocol::pairing::{Permission, Role};
use sis_protocol::wire::{Cursor, Info, Welcome};

use super::link::{Compatibility, LinkStatus, clean_info, clean_link};
use crate::clock::{Clock, RoundTrip};
use crate::events::{Approvals, DecideError, Decision, Events};
use crate::input::{Input, Link};
use crate::logs::LogStore;
use crate::metrics::{self, MetricsStore, TimedSample};

/// How much is kept of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardLimits {
    /// Of its samples.
    pub metrics: metrics::Limits,
    /// Lines of its log.
    pub log_lines: usize,
    /// Bytes of these lines.
    pub log_bytes: usize,
}

impl Default for BoardLimits {
    fn default() -> Self {
        Self {
            metrics: metrics::Limits::default(),
            log_lines: 10_000,
            log_bytes: 4 << 20,
        }
    }
}

/// Everything that is known of one board.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    now_ms: u64,
    link: Option<LinkStatus>,
    welcome: Option<Box<Welcome>>,
    last_seen_ms: Option<u64>,
    info: Option<Box<Info>>,
    memory: Option<(u64, Box<MemStatus>)>,
    clock: Clock,
    metrics: MetricsStore,
    events: Events,
    logs: LogStore,
    unknown: u64,
}

impl Default for Board {
    fn default() -> Self {
        Self::new(BoardLimits::default())
    }
}

impl Board {
    /// A board of which nothing is known.
    #[must_use]
    pub fn new(limits: BoardLimits) -> Self {
        Self {
            now_ms: 0,
            link: None,
            welcome: None,
            last_seen_ms: None,
            info: None,
            memory: None,
            clock: Clock::default(),
            metrics: MetricsStore::new(limits.metrics),
            events: Events::default(),
            logs: LogStore::new(limits.log_lines, limits.log_bytes),
            unknown: 0,
        }
    }

    /// Takes what came of the board at `at_ms`, Unix milliseconds of the host. The same inputs at the same times make the same board. Time does
    /// not run back: an earlier `at_ms` than the last counts as the last.
    pub fn apply(&mut self, at_ms: u64, input: Input) {
        self.now_ms = self.now_ms.max(at_ms);
        if !matches!(input, Input::Link(_) | Input::Unknown) {
            self.last_seen_ms = Some(self.now_ms);
        }
        match input {
            Input::Unknown | Input::Link(Link::Unknown) => self.unknown += 1,
            Input::Link(link) => self.apply_link(clean_link(link)),
            Input::Events(delivery) => self.events.apply(delivery),
            Input::Logs(delivery) => self.logs.apply(delivery),
            Input::Sample { seq, ts_ns, metrics } => {
                self.clock.add_arrival(self.now_ms, ts_ns);
                let at_ms = self.clock.host_ms(ts_ns).unwrap_or(self.now_ms);
                let sample = TimedSample {
                    seq,
                    ts_ns,
                    at_ms,
                    metrics: &metrics,
                };
                self.metrics.take(sample, self.now_ms);
            }
            Input::Answer(ResponseBody::MemStatus(status)) => self.memory = Some((self.now_ms, status)),
            Input::Answer(ResponseBody::Unknown) => self.unknown += 1,
            Input::Answer(answer) => self.events.apply_answer(&answer),
            Input::Info(info) => self.info = Some(Box::new(clean_info(*info))),
            Input::RoundTrip {
                sent_ms,
                received_ms,
                board_ns,
            } => self.clock.add_round_trip(RoundTrip {
                sent_ms,
                received_ms,
                board_ns,
            }),
        }
    }

    fn apply_link(&mut self, link: Link) {
        if let Link::Online(welcome) = &link {
            self.last_seen_ms = Some(self.now_ms);
            self.metrics.restart();
            if self.welcome.as_ref().is_some_and(|known| known.epoch != welcome.epoch) {
                // The board may have started again: then its clock has too.
                self.clock = Clock::default();
            }
            self.welcome = Some(welcome.clone());
        }
        self.link = Some(LinkStatus {
            link,
            since_ms: self.now_ms,
        });
    }

    /// How it is connected; `None` until the first word of it.
    #[must_use]
    pub const fn link(&self) -> Option<&LinkStatus> {
        self.link.as_ref()
    }

    /// Whether it is connected and has greeted.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|status| matches!(status.link, Link::Online(_)))
    }

    /// When something last came from it, Unix milliseconds of the host.
    #[must_use]
    pub const fn last_seen_ms(&self) -> Option<u64> {
        self.last_seen_ms
    }

    /// Its last greeting: name, versions, and whether it has a control device.
    #[must_use]
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_deref()
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.welcome()?.hello.name.as_deref()
    }

    /// This companion's role on it.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        Some(self.welcome()?.role)
    }

    /// Whether this companion's role reaches. The board asks the same; here it is for what need not be offered.
    #[must_use]
    pub fn allows(&self, permission: Permission) -> bool {
        self.role().is_some_and(|role| role.allows(permission))
    }

    /// Whether approvals, strategies and self-checks are to be had.
    #[must_use]
    pub fn has_control(&self) -> bool {
        self.welcome().is_some_and(|welcome| welcome.has_control)
    }

    /// How its protocol goes with this program's.
    #[must_use]
    pub fn compatibility(&self) -> Option<Compatibility> {
        Some(Compatibility::of(&self.welcome()?.hello))
    }

    /// What it and its software are, as last told.
    #[must_use]
    pub fn info(&self) -> Option<&Info> {
        self.info.as_deref()
    }

    /// The memory manager's state, and when it was told, Unix milliseconds of the host.
    #[must_use]
    pub fn memory(&self) -> Option<(u64, &MemStatus)> {
        self.memory.as_ref().map(|(at_ms, status)| (*at_ms, status.as_ref()))
    }

    /// Its clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Its samples.
    #[must_use]
    pub const fn metrics(&self) -> &MetricsStore {
        &self.metrics
    }

    /// What happened on it, and what waits for a person.
    #[must_use]
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Its approvals, to undo a decision and to say what became of one that was sent.
    pub const fn approvals_mut(&mut self) -> &mut Approvals {
        self.events.approvals_mut()
    }

    /// Its log.
    #[must_use]
    pub const fn logs(&self) -> &LogStore {
        &self.logs
    }

    /// Inputs, links and answers that this version does not know; unknown events are counted by [`Events::unknown`].
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// When something happened that the board has stamped, Unix milliseconds of the host: by what is known of its clock if it is still in
    /// the life of the log that `cursor` is of, else by the board's own word.
    #[must_use]
    pub fn shown_ms(&self, cursor: Cursor, ts_ns: u64, wall_ms: Option<u64>) -> Option<u64> {
        let is_of_now = self.welcome().is_some_and(|welcome| welcome.epoch == cursor.epoch);
        let by_clock = if is_of_now { self.clock.host_ms(ts_ns) } else { None };
        by_clock.or(wall_ms)
    }

    /// A person decides. The decision is held back for `hold_ms`, in which [`Approvals::undo`] takes it back; then [`Self::poll_request`]
    /// hands it out.
    ///
    /// # Errors
    /// [`DecideError`]: the board cannot be reached, the role does not, or the proposal is not one that waits.
    pub fn decide(&mut self, id: u64, decision: Decision, now_ms: u64, hold_ms: u64) -> Result<(), DecideError> {
        self.may_decide()?;
        self.events.approvals_mut().decide(id, decision, now_ms, hold_ms)
    }

    /// The next request that is due, and the proposal that it decides; to be asked until `None`. Nothing is due while the board cannot be
    /// reached. Whoever sends it, and only on the connection that there is now, says how that ended: [`Approvals::answered`],
    /// [`Approvals::refused`] or [`Approvals::unanswered`].
    pub fn poll_request(&mut self, now_ms: u64) -> Option<(u64, RequestBody)> {
        self.may_decide().ok()?;
        self.events.approvals_mut().poll_request(now_ms)
    }

    /// When [`Self::poll_request`] will have something, Unix milliseconds of the host.
    #[must_use]
    pub fn next_request_ms(&self) -> Option<u64> {
        self.may_decide().ok()?;
        self.events.approvals().next_request_ms()
    }

    /// Whether decisions can be made, and would be about what is shown.
    fn may_decide(&self) -> Result<(), DecideError> {
        let welcome = self
            .welcome()
            .filter(|_| self.is_online())
            .ok_or(DecideError::Offline)?;
        if !welcome.role.allows(Permission::Decide) {
            return Err(DecideError::Forbidden);
        }
        match self.events.feed().cursor() {
            Some(cursor) if cursor.epoch == welcome.epoch => Ok(()),
            _ => Err(DecideError::CatchingUp),
        }
    }
}
