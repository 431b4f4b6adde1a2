//! The steps of a request: each a command, and the events that end it.

use sis_hal::{BlockError, BlockOp, BlockRequest, Clock, DmaBuffer, Registers, Timeout};

use super::{Active, BLOCK_BYTES, Outcome, ROUNDS_MAX, STEP_NS, Step};
use crate::sdhci::command::{Auto, CardFault, CardState, CardStatus, Command, Data, Direction};
use crate::sdhci::dma::{DmaArea, Plan, SDMA_BOUNDARY};
use crate::sdhci::host::{CommandError, classify};
use crate::sdhci::identify::{CardInfo, TUNING_ROUNDS};
use crate::sdhci::regs::event;
use crate::sdhci::{RETRIES_MAX, Sdhci};

impl<R: Registers, K: Clock, B: DmaBuffer> Sdhci<R, K, B> {
    /// Starts a request from its beginning.
    pub(super) fn begin(&self, card: &CardInfo, active: &mut Active) -> Outcome {
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
    pub(super) fn go(&self, card: &CardInfo, active: &mut Active, step: Step) -> Outcome {
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

    pub(super) fn set_up_dma(&self, active: &mut Active, data: Option<&Data>) {
        let Some(kind) = self.dma.as_ref().map(DmaArea::kind) else {
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

    pub(super) fn command_of(&self, card: &CardInfo, active: &Active, step: Step) -> Option<Command> {
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

    pub(super) fn handle(&self, card: &CardInfo, active: &mut Active, events: u32) -> Outcome {
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
    pub(super) fn complaint(&self, active: &Active) -> Option<CardFault> {
        match active.step {
            Step::Transfer | Step::EraseFirst | Step::EraseLast | Step::Erase | Step::Flush | Step::FlushWait => {
                CardStatus(active.response).fault()
            }
            Step::Status | Step::Wait | Step::Stop | Step::Tune(_) => None,
        }
    }

    /// The card does not do what it was asked for.
    pub(super) fn refused(&self, card: &CardInfo, active: &mut Active, fault: CardFault) -> Outcome {
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
    pub(super) fn move_blocks(&self, active: &mut Active) -> Result<(), BlockError> {
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
    pub(super) fn advance(&self, card: &CardInfo, active: &mut Active) -> Outcome {
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

    pub(super) fn transferred(&self, card: &CardInfo, active: &mut Active) -> Outcome {
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
}
