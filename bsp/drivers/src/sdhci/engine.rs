//! One request in the controller, driven by its events, and the queue behind it.
//!
//! A request is a sequence of steps; a step is one command and the events that end it. An error leads into the steps of
//! recovery (`Status`, `Stop`, `Wait`, `Tune`), which lead back to the request's beginning or to its end.

use alloc::collections::VecDeque;
use core::sync::atomic::Ordering;

use sis_hal::{BlockCompletion, BlockError, BlockOp, BlockRequest, Clock, DmaBuffer, Registers};

use super::command::Direction;
use super::dma::Plan;
use super::host::CommandError;
use super::identify::CardInfo;
use super::regs::event;
use super::{QUEUE_DEPTH, Sdhci};

mod recovery;
mod steps;

/// How long the events of a step may take before an interrupt is taken for lost; longer than the controller's own data
/// time-out (2^27 clocks) at the usual rates. Looked at whenever the disk is polled.
const STEP_NS: u64 = 10_000_000_000;
/// The bus does not get slower than this by errors.
const SLOWEST_HZ: u32 = 6_250_000;
/// Steps of one recovery.
const ROUNDS_MAX: u8 = 8;
/// Questions without an answer until a card is gone.
const SILENT_MAX: u8 = 2;
/// Looks at the events in one call; what is left interrupts again.
const LOOKS_MAX: usize = 64;
/// Bytes of a block.
const BLOCK_BYTES: usize = 512;

/// What is to be told to the block layer.
pub(super) enum Told {
    /// A request has ended.
    Ended(u64, Result<(), BlockError>),
    /// The card has gone.
    Removed,
}

/// What the lock keeps.
pub(super) struct State {
    is_attaching: bool,
    generation: u32,
    card: Option<CardInfo>,
    pub(super) completion: Option<&'static dyn BlockCompletion>,
    waiting: VecDeque<BlockRequest>,
    current: Option<Active>,
    ended: VecDeque<(u64, Result<(), BlockError>)>,
    is_removal_due: bool,
    /// The card was left in an unknown state: ask it before the next request.
    needs_recovery: bool,
}

/// A step: one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The data.
    Transfer,
    /// CMD32, CMD33, CMD38.
    EraseFirst,
    EraseLast,
    Erase,
    /// CMD13 of a flush.
    Flush,
    /// CMD13 and until the card is not busy, of a flush.
    FlushWait,
    /// CMD13 of a recovery.
    Status,
    /// CMD13 and until the card is not busy, of a recovery.
    Wait,
    /// CMD12.
    Stop,
    /// CMD19, with the rounds so far.
    Tune(u8),
}

/// What is in the controller.
struct Active {
    /// `None` when it was given up: only the recovery is left.
    request: Option<BlockRequest>,
    step: Step,
    /// Events that the step still waits for.
    awaited: u32,
    plan: Plan,
    /// Blocks that went through the buffer.
    blocks_moved: u32,
    /// Where SDMA stops next.
    sdma_next: u32,
    response: u32,
    attempt: u8,
    rounds: u8,
    silent: u8,
    cause: BlockError,
    is_dma_broken: bool,
    needs_recovery: bool,
    deadline_ns: u64,
}

/// What a step's end means.
enum Outcome {
    /// The next step is under way.
    Pending,
    /// The request has ended.
    Ended(Result<(), BlockError>),
    /// The card has.
    Gone,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            is_attaching: false,
            generation: 0,
            card: None,
            completion: None,
            waiting: VecDeque::with_capacity(QUEUE_DEPTH),
            current: None,
            ended: VecDeque::with_capacity(QUEUE_DEPTH),
            is_removal_due: false,
            needs_recovery: false,
        }
    }

    pub(super) fn begin_attach(&mut self) -> bool {
        if self.is_attaching || self.card.is_some() || !self.ended.is_empty() || self.is_removal_due {
            return false;
        }
        self.is_attaching = true;
        true
    }

    /// Answers the card's generation.
    pub(super) fn end_attach(&mut self, card: Option<CardInfo>) -> u32 {
        self.is_attaching = false;
        self.generation = self.generation.wrapping_add(1);
        self.card = card;
        self.completion = None;
        self.needs_recovery = false;
        self.generation
    }

    pub(super) fn set_completion(&mut self, generation: u32, completion: &'static dyn BlockCompletion) {
        if generation == self.generation {
            self.completion = Some(completion);
        }
    }

    pub(super) fn next_told(&mut self) -> Option<Told> {
        if let Some((tag, result)) = self.ended.pop_front() {
            return Some(Told::Ended(tag, result));
        }
        core::mem::take(&mut self.is_removal_due).then_some(Told::Removed)
    }

    /// The attached card, if it is the one of this generation.
    fn card_of(&self, generation: u32) -> Option<CardInfo> {
        self.card.filter(|_| generation == self.generation)
    }

    fn held(&self) -> usize {
        self.waiting.len() + self.ended.len() + usize::from(self.current.is_some())
    }
}

impl Active {
    fn new(request: Option<BlockRequest>) -> Self {
        Self {
            request,
            step: Step::Status,
            awaited: 0,
            plan: Plan::Pio,
            blocks_moved: 0,
            sdma_next: 0,
            response: 0,
            attempt: 0,
            rounds: 0,
            silent: 0,
            cause: BlockError::Device,
            is_dma_broken: false,
            needs_recovery: false,
            deadline_ns: 0,
        }
    }

    fn direction(&self) -> Option<Direction> {
        match self.request.as_ref()?.op {
            BlockOp::Read => Some(Direction::Read),
            BlockOp::Write | BlockOp::WriteThrough => Some(Direction::Write),
            BlockOp::Flush | BlockOp::Discard | BlockOp::WriteZeroes => None,
        }
    }

    fn end(&mut self, result: Result<(), BlockError>, needs_recovery: bool) -> Outcome {
        self.needs_recovery = needs_recovery;
        Outcome::Ended(result)
    }
}

impl<R: Registers, K: Clock, B: DmaBuffer> Sdhci<R, K, B> {
    pub(super) fn submit(&self, generation: u32, request: BlockRequest) -> Result<(), (BlockRequest, BlockError)> {
        let mut state = self.enter();
        let result = self.accept(&mut state, generation, request);
        self.leave(state);
        result
    }

    fn accept(
        &self,
        state: &mut State,
        generation: u32,
        request: BlockRequest,
    ) -> Result<(), (BlockRequest, BlockError)> {
        let Some(card) = state.card_of(generation) else {
            return Err((request, BlockError::Gone));
        };
        if state.held() >= QUEUE_DEPTH {
            return Err((request, BlockError::Busy));
        }
        if state.current.is_some() {
            state.waiting.push_back(request);
            return Ok(());
        }
        self.start(state, &card, request)
    }

    /// Looks at the events: the interrupt handler's work.
    pub(super) fn poll(&self) {
        if !self.is_live.load(Ordering::SeqCst) {
            return;
        }
        let Some(mut state) = self.enter_from_interrupt() else {
            return;
        };
        for _ in 0..LOOKS_MAX {
            let Some(card) = state.card else { break };
            if !self.look(&mut state, &card) {
                break;
            }
        }
        self.leave(state);
        self.deliver();
    }

    /// Handles the events that there are; `false` when there are none.
    fn look(&self, state: &mut State, card: &CardInfo) -> bool {
        let events = self.host.take_events();
        let is_removed = self.config.has_card_detect && !self.host.is_inserted();
        let is_off = events & event::REMOVED != 0 && !self.host.is_powered();
        if events == u32::MAX || is_removed || is_off {
            self.remove(state);
            return false;
        }
        let Some(mut active) = state.current.take() else {
            return events != 0;
        };
        let outcome = if events & !(event::INSERTED | event::REMOVED) != 0 {
            self.handle(card, &mut active, events)
        } else if self.host.now_ns() > active.deadline_ns {
            self.fault(card, &mut active, CommandError::Controller)
        } else {
            state.current = Some(active);
            return false;
        };
        self.settle(state, card, active, outcome);
        true
    }

    pub(super) fn abort(&self, generation: u32, tag: u64) {
        let mut state = self.enter();
        if let Some(card) = state.card_of(generation) {
            self.give_up(&mut state, &card, tag);
        }
        self.leave(state);
        self.deliver();
    }

    fn give_up(&self, state: &mut State, card: &CardInfo, tag: u64) {
        if let Some(index) = state.waiting.iter().position(|request| request.tag == tag) {
            state.waiting.remove(index);
            state.ended.push_back((tag, Err(BlockError::Timeout)));
            return;
        }
        let is_current = |active: &&mut Active| active.request.as_ref().is_some_and(|r| r.tag == tag);
        let Some(active) = state.current.as_mut().filter(is_current) else {
            return;
        };
        // DMA ends with this; the memory can go.
        let is_reset = self.host.is_powered() && self.host.reset_lines().is_ok();
        active.request = None;
        state.ended.push_back((tag, Err(BlockError::Timeout)));
        if !is_reset {
            self.remove(state);
            return;
        }
        let Some(mut active) = state.current.take() else { return };
        (active.rounds, active.silent) = (0, 0);
        let outcome = self.go(card, &mut active, Step::Status);
        self.settle(state, card, active, outcome);
    }

    /// Puts a step's outcome into effect, and starts the next request when there is room.
    fn settle(&self, state: &mut State, card: &CardInfo, active: Active, outcome: Outcome) {
        match outcome {
            Outcome::Pending => {
                state.current = Some(active);
                return;
            }
            Outcome::Gone => {
                state.current = Some(active);
                self.remove(state);
                return;
            }
            Outcome::Ended(result) => {
                state.needs_recovery = active.needs_recovery;
                if let Some(request) = active.request {
                    state.ended.push_back((request.tag, result));
                }
            }
        }
        while state.current.is_none() {
            let Some(request) = state.waiting.pop_front() else {
                return;
            };
            if let Err((request, error)) = self.start(state, card, request) {
                state.ended.push_back((request.tag, Err(error)));
            }
        }
    }

    /// Everything ends with the card.
    fn remove(&self, state: &mut State) {
        self.is_live.store(false, Ordering::SeqCst);
        self.host.set_signals(false);
        // Where even this fails, everything is reset before a card is used again.
        if self.host.reset_lines().is_err() {
            let _ = self.host.reset();
        }
        state.card = None;
        state.is_removal_due = true;
        let current = state.current.take().and_then(|active| active.request);
        for request in current
            .into_iter()
            .chain(core::iter::from_fn(|| state.waiting.pop_front()))
        {
            state.ended.push_back((request.tag, Err(BlockError::Gone)));
        }
    }

    fn start(
        &self,
        state: &mut State,
        card: &CardInfo,
        request: BlockRequest,
    ) -> Result<(), (BlockRequest, BlockError)> {
        let mut active = Active::new(Some(request));
        let outcome = if state.needs_recovery {
            self.go(card, &mut active, Step::Status)
        } else {
            self.begin(card, &mut active)
        };
        let error = match outcome {
            Outcome::Pending => {
                state.current = Some(active);
                return Ok(());
            }
            Outcome::Ended(Err(error)) => error,
            Outcome::Ended(Ok(())) | Outcome::Gone => BlockError::Device,
        };
        state.needs_recovery = true;
        match active.request {
            Some(request) => Err((request, error)),
            None => Ok(()),
        }
    }
}
