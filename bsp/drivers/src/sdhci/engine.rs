//! One request in the controller, driven by its events, and the queue behind it.
//!
//! A request is a sequence of steps; a step is one command and the events that end it. An error leads into the steps of
//! recovery (`Status`, `Stop`, `Wait`, `Tune`), which lead back to the request's beginning or to its end.

use alloc::collections::VecDeque;

use sis_hal::{BlockCompletion, BlockError, BlockOp, BlockRequest, Clock, DmaBuffer, Registers, Timeout};

use super::command::{Auto, CardFault, CardState, CardStatus, Command, Data, Direction};
use super::dma::{Plan, SDMA_BOUNDARY};
use super::host::{CommandError, classify};
use super::identify::{CardInfo, TUNING_ROUNDS};
use super::regs::event;
use super::{QUEUE_DEPTH, RETRIES_MAX, Sdhci};

use core::sync::atomic::Ordering;

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

    /// Starts a request from its beginning.
    fn begin(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        let Some(request) = active.request.as_ref() else {
            return active.end(Ok(()), false);
        };
        (active.rounds, active.blocks_moved) = (0, 0);
        match request.op {
            BlockOp::Flush => self.go(card, active, Step::Flush),
            BlockOp::Discard => self.go(card, active, Step::EraseFirst),
            BlockOp::Read | BlockOp::Write | BlockOp::WriteThrough => {
                let prepared = match (&self.dma, &request.memory) {
                    (Some(dma), Some(memory)) if !active.is_dma_broken => {
                        dma.prepare(&**memory, request.op != BlockOp::Read)
                    }
                    _ => Ok(Plan::Pio),
                };
                match prepared {
                    Ok(plan) => active.plan = plan,
                    Err(error) => return active.end(Err(error), false),
                }
                self.go(card, active, Step::Transfer)
            }
            BlockOp::WriteZeroes => active.end(Err(BlockError::Unsupported), false),
        }
    }

    /// Issues a step's command.
    fn go(&self, card: &CardInfo, active: &mut Active, step: Step) -> Outcome {
        let Some(command) = self.command_of(card, active, step) else {
            return active.end(Err(BlockError::Invalid), false);
        };
        active.step = step;
        active.awaited = match step {
            // The controller takes the pattern by itself, and tells only that it has.
            Step::Tune(_) => event::READ_READY,
            _ if command.waits_for_transfer() => event::COMMAND | event::TRANSFER,
            _ => event::COMMAND,
        };
        active.deadline_ns = self.host.now_ns().saturating_add(STEP_NS);
        if step == Step::Transfer {
            self.set_up_dma(active, command.data.as_ref());
        }
        let mut issued = self.host.issue(&command);
        if issued == Err(Timeout) && self.host.reset_lines().is_ok() {
            issued = self.host.issue(&command);
        }
        match issued {
            Ok(()) => Outcome::Pending,
            Err(Timeout) => {
                // Data lines that are never free are a card that is busy for ever.
                let is_busy = matches!(step, Step::Wait | Step::Stop | Step::FlushWait);
                let error = if is_busy {
                    BlockError::Timeout
                } else {
                    BlockError::Device
                };
                active.end(Err(error), true)
            }
        }
    }

    fn set_up_dma(&self, active: &mut Active, data: Option<&Data>) {
        let Some(kind) = self.dma.as_ref().map(super::dma::DmaArea::kind) else {
            return;
        };
        match active.plan {
            Plan::Pio => {}
            Plan::Adma(address) => {
                self.host.set_dma(kind);
                self.host.set_adma_address(address);
                if let Some(data) = data.filter(|d| d.auto == Auto::Count) {
                    self.host.set_sdma_address(u32::from(data.blocks));
                }
            }
            Plan::Sdma(address) => {
                self.host.set_dma(kind);
                self.host.set_sdma_address(address);
                active.sdma_next = (address & !(SDMA_BOUNDARY - 1)).wrapping_add(SDMA_BOUNDARY);
            }
        }
    }

    fn command_of(&self, card: &CardInfo, active: &Active, step: Step) -> Option<Command> {
        let address = |sector: u64| {
            let address = if card.has_block_addresses {
                sector
            } else {
                sector.checked_mul(512)?
            };
            u32::try_from(address).ok()
        };
        let request = active.request.as_ref();
        let last = |r: &BlockRequest| r.first_sector.checked_add(u64::from(r.sector_count))?.checked_sub(1);
        Some(match step {
            Step::Transfer => {
                let request = request?;
                let blocks = u16::try_from(request.sector_count).ok()?;
                // Argument 2 of CMD23 shares its register with SDMA's address.
                let counts = self.config.has_auto_cmd23
                    && self.host.caps.is_version_3
                    && card.scr.has_block_count
                    && matches!(active.plan, Plan::Adma(_));
                let auto = match (blocks, counts) {
                    (1, _) => Auto::None,
                    (_, true) => Auto::Count,
                    (_, false) => Auto::Stop,
                };
                let data = Data {
                    direction: active.direction()?,
                    block_bytes: BLOCK_BYTES as u16,
                    blocks,
                    is_dma: active.plan != Plan::Pio,
                    auto,
                };
                Command::transfer(address(request.first_sector)?, data)
            }
            Step::EraseFirst => Command::erase_bound(false, address(request?.first_sector)?),
            Step::EraseLast => Command::erase_bound(true, address(last(request?)?)?),
            Step::Erase => Command::ERASE,
            Step::Flush | Step::Status => Command::send_status(card.rca),
            Step::FlushWait | Step::Wait => Command::send_status_and_wait(card.rca),
            Step::Stop => Command::STOP,
            Step::Tune(_) => Command::SEND_TUNING,
        })
    }

    fn handle(&self, card: &CardInfo, active: &mut Active, events: u32) -> Outcome {
        if let Some(error) = classify(events) {
            active.is_dma_broken |= events & event::ADMA != 0;
            return self.fault(card, active, error);
        }
        if events & event::COMMAND & active.awaited != 0 {
            active.response = self.host.response();
            if let Some(fault) = self.complaint(active) {
                return self.refused(card, active, fault);
            }
        }
        if events & event::DMA != 0 && matches!(active.plan, Plan::Sdma(_)) && active.step == Step::Transfer {
            self.host.set_sdma_address(active.sdma_next);
            active.sdma_next = active.sdma_next.wrapping_add(SDMA_BOUNDARY);
        }
        if matches!(active.step, Step::Tune(_)) && events & event::READ_READY != 0 {
            self.host.read_buffer(&mut [0; 64]);
        }
        if active.step == Step::Transfer && active.plan == Plan::Pio && self.move_blocks(active).is_err() {
            return self.fault(card, active, CommandError::Controller);
        }
        active.awaited &= !events;
        if active.awaited == 0 {
            self.advance(card, active)
        } else {
            Outcome::Pending
        }
    }

    /// What the card says against the command in its response. In a recovery it may complain of what went before.
    fn complaint(&self, active: &Active) -> Option<CardFault> {
        match active.step {
            Step::Transfer | Step::EraseFirst | Step::EraseLast | Step::Erase | Step::Flush | Step::FlushWait => {
                CardStatus(active.response).fault()
            }
            Step::Status | Step::Wait | Step::Stop | Step::Tune(_) => None,
        }
    }

    /// The card does not do what it was asked for.
    fn refused(&self, card: &CardInfo, active: &mut Active, fault: CardFault) -> Outcome {
        let (cause, is_final) = match fault {
            CardFault::OutOfRange => (BlockError::OutOfRange, true),
            CardFault::Protected => (BlockError::ReadOnly, true),
            CardFault::Medium => (BlockError::Medium, false),
            CardFault::Protocol => (BlockError::Device, false),
        };
        active.cause = cause;
        if is_final {
            active.attempt = RETRIES_MAX;
        }
        self.recover(card, active)
    }

    /// Blocks through the buffer register, as many as there are or fit.
    fn move_blocks(&self, active: &mut Active) -> Result<(), BlockError> {
        let (Some(direction), Some(request)) = (active.direction(), active.request.as_ref()) else {
            return Ok(());
        };
        let memory = request.memory.as_ref().ok_or(BlockError::Invalid)?;
        let mut block = [0; BLOCK_BYTES];
        while active.blocks_moved < request.sector_count && self.host.is_buffer_ready(direction) {
            let offset = active.blocks_moved as usize * BLOCK_BYTES;
            let moved = match direction {
                Direction::Read => {
                    self.host.read_buffer(&mut block);
                    memory.write(offset, &block)
                }
                Direction::Write => memory.read(offset, &mut block).map(|()| self.host.write_buffer(&block)),
            };
            moved.map_err(|_| BlockError::Invalid)?;
            active.blocks_moved += 1;
        }
        Ok(())
    }

    /// A step has all its events.
    fn advance(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        let status = CardStatus(active.response);
        match active.step {
            Step::Transfer => self.transferred(card, active),
            Step::EraseFirst => self.go(card, active, Step::EraseLast),
            Step::EraseLast => self.go(card, active, Step::Erase),
            Step::Erase => active.end(Ok(()), false),
            Step::Flush => match status.state() {
                CardState::Transfer if status.is_ready() => active.end(Ok(()), false),
                CardState::Transfer | CardState::Program if active.rounds < ROUNDS_MAX => {
                    active.rounds += 1;
                    self.go(card, active, Step::FlushWait)
                }
                CardState::Transfer | CardState::Program => active.end(Err(BlockError::Timeout), true),
                CardState::Data | CardState::Receive | CardState::Lost => self.recover(card, active),
            },
            Step::FlushWait => self.go(card, active, Step::Flush),
            Step::Status => self.recovered_to(card, active, status),
            Step::Wait | Step::Stop => self.go(card, active, Step::Status),
            Step::Tune(round) => match self.host.tuning_result() {
                Some(true) => self.begin(card, active),
                None if round < TUNING_ROUNDS => self.go(card, active, Step::Tune(round + 1)),
                Some(false) | None => self.without_tuning(card, active),
            },
        }
    }

    fn transferred(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        let (Some(request), Some(direction)) = (active.request.as_ref(), active.direction()) else {
            return active.end(Err(BlockError::Invalid), true);
        };
        if active.plan == Plan::Pio {
            if active.blocks_moved != request.sector_count {
                return self.fault(card, active, CommandError::Controller);
            }
        } else if let (Some(dma), Some(memory)) = (&self.dma, &request.memory)
            && let Err(error) = dma.finish(&**memory, direction == Direction::Read)
        {
            return active.end(Err(error), false);
        }
        // A write that went wrong inside the card shows in the answer to the CMD12 that ended it. Reading up to the
        // card's end may say OUT_OF_RANGE there, which means nothing (physical layer, 4.3.3).
        if direction == Direction::Write && request.sector_count > 1 {
            let stopped = CardStatus(self.host.auto_response()).fault();
            if let (Some(fault @ (CardFault::Medium | CardFault::Protected)), false) =
                (stopped, self.config.has_auto_cmd23)
            {
                return self.refused(card, active, fault);
            }
        }
        active.end(Ok(()), false)
    }

    /// An error of the bus or the controller.
    fn fault(&self, card: &CardInfo, active: &mut Active, error: CommandError) -> Outcome {
        if !self.host.is_powered() || self.host.reset_lines().is_err() {
            return Outcome::Gone;
        }
        match active.step {
            Step::Status => {
                active.silent += u8::from(error == CommandError::NoResponse);
                active.rounds += 1;
                if active.silent >= SILENT_MAX {
                    Outcome::Gone
                } else if active.rounds > ROUNDS_MAX {
                    active.end(Err(active.cause), true)
                } else {
                    self.go(card, active, Step::Status)
                }
            }
            // It never ends to be busy.
            Step::Stop | Step::Wait if error == CommandError::DataTimeout => active.end(Err(BlockError::Timeout), true),
            Step::Stop | Step::Wait => self.go(card, active, Step::Status),
            Step::Tune(_) => self.without_tuning(card, active),
            _ => {
                active.cause = match error {
                    CommandError::DataTimeout => BlockError::Timeout,
                    _ => BlockError::Device,
                };
                self.recover(card, active)
            }
        }
    }

    /// Asks the card for its state, to bring it back.
    fn recover(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        if self.host.reset_lines().is_err() {
            return Outcome::Gone;
        }
        active.attempt = active.attempt.saturating_add(1);
        (active.rounds, active.silent) = (0, 0);
        self.go(card, active, Step::Status)
    }

    /// The card has told its state.
    fn recovered_to(&self, card: &CardInfo, active: &mut Active, status: CardStatus) -> Outcome {
        match status.fault() {
            Some(CardFault::Medium) => active.cause = BlockError::Medium,
            Some(CardFault::OutOfRange) => active.cause = BlockError::OutOfRange,
            Some(CardFault::Protected) => active.cause = BlockError::ReadOnly,
            Some(CardFault::Protocol) | None => {}
        }
        active.silent = 0;
        active.rounds += 1;
        if active.rounds > ROUNDS_MAX {
            return active.end(Err(active.cause), true);
        }
        match status.state() {
            CardState::Transfer => self.again(card, active),
            CardState::Data | CardState::Receive => self.go(card, active, Step::Stop),
            CardState::Program => self.go(card, active, Step::Wait),
            // Another card, or the same one without its state: nothing that was known of it holds.
            CardState::Lost => Outcome::Gone,
        }
    }

    /// The card is back: the request starts anew, more carefully, or ends.
    fn again(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        if active.request.is_none() || active.attempt > RETRIES_MAX {
            return active.end(Err(active.cause), false);
        }
        let was_bus = matches!(active.cause, BlockError::Device | BlockError::Timeout);
        if active.attempt >= 2 && was_bus && !self.slow_down() {
            return active.end(Err(BlockError::Device), true);
        }
        if card.is_tuned && active.attempt >= 1 && was_bus {
            self.host.set_tuning(true);
            return self.go(card, active, Step::Tune(1));
        }
        self.begin(card, active)
    }

    fn without_tuning(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        self.host.set_tuning(false);
        if self.slow_down() {
            self.begin(card, active)
        } else {
            active.end(Err(BlockError::Device), true)
        }
    }

    /// Half the clock; every mode takes a slower one. `false` when the clock does not become stable.
    fn slow_down(&self) -> bool {
        let hz = self.host.card_hz();
        hz <= SLOWEST_HZ || self.host.set_clock((hz / 2).max(SLOWEST_HZ)).is_ok()
    }
}
