//! From an error back to a request that starts anew, or to its end.

use sis_hal::{BlockError, Clock, DmaBuffer, Registers};

use super::{Active, Outcome, ROUNDS_MAX, SILENT_MAX, SLOWEST_HZ, Step};
use crate::sdhci::command::{CardFault, CardState, CardStatus};
use crate::sdhci::host::CommandError;
use crate::sdhci::identify::CardInfo;
use crate::sdhci::{RETRIES_MAX, Sdhci};

impl<R: Registers, K: Clock, B: DmaBuffer> Sdhci<R, K, B> {
    /// An error of the bus or the controller.
    pub(super) fn fault(&self, card: &CardInfo, active: &mut Active, error: CommandError) -> Outcome {
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
    pub(super) fn recover(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        if self.host.reset_lines().is_err() {
            return Outcome::Gone;
        }
        active.attempt = active.attempt.saturating_add(1);
        (active.rounds, active.silent) = (0, 0);
        self.go(card, active, Step::Status)
    }

    /// The card has told its state.
    pub(super) fn recovered_to(&self, card: &CardInfo, active: &mut Active, status: CardStatus) -> Outcome {
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
    pub(super) fn again(&self, card: &CardInfo, active: &mut Active) -> Outcome {
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

    pub(super) fn without_tuning(&self, card: &CardInfo, active: &mut Active) -> Outcome {
        self.host.set_tuning(false);
        if self.slow_down() {
            self.begin(card, active)
        } else {
            active.end(Err(BlockError::Device), true)
        }
    }

    /// Half the clock; every mode takes a slower one. `false` when the clock does not become stable.
    pub(super) fn slow_down(&self) -> bool {
        let hz = self.host.card_hz();
        hz <= SLOWEST_HZ || self.host.set_clock((hz / 2).max(SLOWEST_HZ)).is_ok()
    }
}
