//! An SD host controller as the SD Host Controller Simplified Specification (3.00, 4.20) has it, and the card in its slot
//! (SD Physical Layer Simplified Specification). "Host controller" and "physical layer" cite the two.
//!
//! | module | story |
//! |---|---|
//! | `regs`, `host` | the registers, one action each |
//! | `command` | commands and card status |
//! | `card` | what a card says of itself |
//! | `identify` | from power to the transfer state, as fast as all three allow; waits |
//! | `dma` | what a request's memory becomes: ADMA2 descriptors, one SDMA piece, or words through the buffer |
//! | `engine` | one request in the controller, driven by interrupts; recovery |
//! | `disk` | the card as a [`BlockDevice`](sis_hal::BlockDevice), with a bounded queue in software |
//!
//! # Flush
//!
//! SD cards before version 6.0 have no command for their cache, and say that a write has ended by not being busy any more.
//! A write completes here only then, so there is nothing to flush; [`BlockOp::Flush`](sis_hal::BlockOp::Flush) asks the
//! card (CMD13) and completes when its state is *transfer* and its buffer is empty, behind all writes before it.
//!
//! # Errors
//!
//! After an error the command and data lines are reset, the card is asked for its state and brought back to *transfer*
//! (CMD12), and the request starts anew, at most [`RETRIES_MAX`] times: tuned again, and with half the clock from the
//! second time on. A card that does not answer twice is gone: everything under way completes with
//! [`BlockError::Gone`](sis_hal::BlockError::Gone), until [`Sdhci::attach`] finds a card again. A card that never ends to
//! be busy costs a request two of the controller's time-outs (2.6 s each at 50 MHz), and the next request tries again.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use sis_hal::{Clock, DmaBuffer, DmaWindow, Registers};
use spin::{Mutex, MutexGuard};

mod card;
mod command;
mod disk;
mod dma;
mod engine;
mod host;
mod identify;
mod regs;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

pub use card::{BusMode, Cid, Csd, EraseTiming, Scr};
pub use disk::SdDisk;
pub use identify::{CardError, CardInfo};

use dma::DmaArea;
use engine::State;
use host::Host;
use identify::Identification;

/// Times that a request starts anew.
pub const RETRIES_MAX: u8 = 3;
/// Requests that wait in software, the one in the controller included.
pub const QUEUE_DEPTH: usize = 32;

/// What the board knows of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// The controller's clock in Hz; `None`: as its capabilities say.
    pub base_clock_hz: Option<u32>,
    /// The fastest clock that the board's wires take.
    pub max_clock_hz: u32,
    /// Four data lines are connected.
    pub has_four_bits: bool,
    /// The contact that tells of a card is connected.
    pub has_card_detect: bool,
    /// The contact of the write-protect switch is connected.
    pub has_write_protect: bool,
    /// The controller sends CMD23 by itself where card and version allow. QEMU's (up to 10.0) does not, nor does its
    /// absence show.
    pub has_auto_cmd23: bool,
    /// The capability registers' two words, for controllers that do not have them.
    pub capabilities: Option<(u32, u32)>,
}

impl HostConfig {
    /// A slot about which nothing is known but that it has four lines: everything as the controller says.
    pub const PLAIN: Self = Self {
        base_clock_hz: None,
        max_clock_hz: u32::MAX,
        has_four_bits: true,
        has_card_detect: true,
        has_write_protect: true,
        has_auto_cmd23: false,
        capabilities: None,
    };
}

/// The board's regulators for a slot. Called in task context; may wait.
pub trait CardPower: Send + Sync {
    /// Supplies the card, or not.
    ///
    /// # Errors
    /// The board cannot do that.
    fn set_power(&self, is_on: bool) -> Result<(), PowerRefused>;

    /// Puts 1.8 V (or 3.3 V) on the signal lines, and returns when they are stable.
    ///
    /// # Errors
    /// The board cannot do that.
    fn set_signal_1_8(&self, is_1_8: bool) -> Result<(), PowerRefused>;
}

/// The board's regulators cannot do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerRefused;

/// Memory for DMA, and what the controller reaches.
pub struct DmaSetup<B> {
    /// Which memory the controller reaches, and where it sees it.
    pub window: DmaWindow,
    /// For descriptors: at least 4096 bytes that the controller reaches.
    pub table: B,
    /// For data that lies out of reach; any multiple of 512 bytes, contiguous, within reach.
    pub bounce: B,
}

/// A controller and its slot.
pub struct Sdhci<R, K, B> {
    host: Host<R, K>,
    config: HostConfig,
    power: Option<&'static dyn CardPower>,
    dma: Option<DmaArea<B>>,
    state: Mutex<State>,
    /// Somebody had to leave while the lock was taken: signals are off until whoever has it leaves.
    is_deferred: AtomicBool,
    /// Interrupts are used: a card is attached.
    is_live: AtomicBool,
}

impl<R: Registers, K: Clock, B: DmaBuffer> Sdhci<R, K, B> {
    /// Recognises the controller; changes nothing. Without `dma`, and where `dma`'s buffers do not do, data goes through
    /// the buffer register.
    ///
    /// # Errors
    /// [`CardError::Controller`] when there is none, or it has no clock.
    pub fn new(
        registers: R,
        clock: K,
        config: HostConfig,
        power: Option<&'static dyn CardPower>,
        dma: Option<DmaSetup<B>>,
    ) -> Result<Arc<Self>, CardError> {
        let host = Host::probe(registers, clock, &config).ok_or(CardError::Controller)?;
        if host.caps.base_clock_hz == 0 {
            return Err(CardError::Controller);
        }
        let dma = match (host.caps.dma, dma) {
            (Some(kind), Some(setup)) => DmaArea::new(kind, setup),
            _ => None,
        };
        Ok(Arc::new(Self {
            host,
            config,
            power,
            dma,
            state: Mutex::new(State::new()),
            is_deferred: AtomicBool::new(false),
            is_live: AtomicBool::new(false),
        }))
    }

    /// How data is moved, for the log.
    pub fn dma_name(&self) -> &'static str {
        match self.dma.as_ref().map(DmaArea::kind) {
            None => "PIO",
            Some(host::DmaKind::Sdma) => "SDMA",
            Some(host::DmaKind::Adma32) => "ADMA2",
            Some(host::DmaKind::Adma64) => "64-bit ADMA2",
        }
    }

    /// The contact says that a card is there; `true` where no contact is connected.
    pub fn is_card_present(&self) -> bool {
        !self.config.has_card_detect || self.host.is_inserted()
    }

    /// Brings up the card in the slot. Waits, a second or two at most; for task context.
    ///
    /// # Errors
    /// See [`CardError`]; [`CardError::Busy`] when a card is attached that has not been removed.
    pub fn attach(self: &Arc<Self>) -> Result<SdDisk<R, K, B>, CardError> {
        {
            let mut state = self.state.lock();
            if !state.begin_attach() {
                return Err(CardError::Busy);
            }
        }
        self.is_live.store(false, Ordering::SeqCst);
        let result = Identification {
            host: &self.host,
            config: &self.config,
            power: self.power,
        }
        .run();
        let generation = self.state.lock().end_attach(result.ok());
        let info = result?;
        self.host.take_events();
        self.is_live.store(true, Ordering::SeqCst);
        self.host.set_signals(true);
        Ok(SdDisk::new(Arc::clone(self), info, generation))
    }

    /// Takes the lock in task context, where whoever has it is on another CPU and leaves soon.
    fn enter(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Takes the lock in interrupt context, where whoever has it may be what was interrupted: then signals are turned off
    /// so that the line goes quiet, and on again by whoever leaves.
    fn enter_from_interrupt(&self) -> Option<MutexGuard<'_, State>> {
        if let Some(state) = self.state.try_lock() {
            return Some(state);
        }
        self.host.set_signals(false);
        self.is_deferred.store(true, Ordering::SeqCst);
        self.state.try_lock()
    }

    fn leave(&self, state: MutexGuard<'_, State>) {
        drop(state);
        if self.is_deferred.swap(false, Ordering::SeqCst) && self.is_live.load(Ordering::SeqCst) {
            self.host.set_signals(true);
        }
    }

    /// Tells the block layer what has ended; not with the lock held.
    fn deliver(&self) {
        loop {
            let mut state = self.enter();
            let told = state.next_told();
            let completion = state.completion;
            self.leave(state);
            match (told, completion) {
                (None, _) => return,
                (Some(engine::Told::Ended(tag, result)), Some(completion)) => completion.complete(tag, result),
                (Some(engine::Told::Removed), Some(completion)) => completion.removed(),
                (Some(_), None) => {}
            }
        }
    }
}
