//! A simulated auxiliary block with its mini-UART.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::sim::{Device, Sim};

/// The state that both register windows share.
#[derive(Debug, Default)]
pub struct State {
    /// AUX_ENABLES.
    pub enables: u32,
    /// AUX_MU_IER.
    pub interrupts: u32,
    /// AUX_MU_LCR.
    pub line: u32,
    /// AUX_MU_CNTL.
    pub control: u32,
    /// AUX_MU_BAUD.
    pub baud: u32,
    /// Bytes that have left.
    pub sent: Vec<u8>,
    /// Bytes waiting to be sent.
    pub transmit: VecDeque<u8>,
    /// Bytes received and not read yet.
    pub receive: VecDeque<u8>,
    /// The overrun mark, which reading the status clears.
    pub has_overrun: bool,
    /// The transmitter is dead.
    pub is_dead: bool,
    /// The enable bit of the block does not stick.
    pub refuses_enable: bool,
}

/// The simulated block; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimAux(Arc<Mutex<State>>);

/// The block's own registers.
#[derive(Debug)]
pub struct Aux(SimAux);

/// The port's registers.
#[derive(Debug)]
pub struct Port(SimAux);

impl SimAux {
    /// The shared state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block's own registers.
    pub fn aux(&self) -> Sim<Aux> {
        Sim::new(Aux(self.clone()))
    }

    /// The port's registers.
    pub fn port(&self) -> Sim<Port> {
        Sim::new(Port(self.clone()))
    }

    /// The state of the interrupt line.
    pub fn is_interrupting(&self) -> bool {
        let state = self.state();
        state.interrupts & 0xd == 0xd && !state.receive.is_empty()
    }
}

impl Device for Aux {
    const SIZE: usize = 0x8;

    fn read(&mut self, offset: usize) -> u32 {
        assert_eq!(offset, 4, "the driver has no business reading {offset:#x}");
        self.0.state().enables
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(
            offset, 4,
            "the driver has no business writing {value:#x} to {offset:#x}"
        );
        let mut state = self.0.state();
        state.enables = if state.refuses_enable { 0 } else { value };
    }
}

impl Device for Port {
    const SIZE: usize = 0x40;

    fn read(&mut self, offset: usize) -> u32 {
        let mut state = self.0.state();
        assert!(state.enables & 1 != 0, "the port is off");
        match offset {
            0x00 => u32::from(state.receive.pop_front().expect("read an empty FIFO")),
            0x14 => {
                if !state.is_dead {
                    let byte = state.transmit.pop_front();
                    state.sent.extend(byte);
                }
                let is_overrun = core::mem::take(&mut state.has_overrun);
                u32::from(!state.receive.is_empty())
                    | (u32::from(is_overrun) << 1)
                    | (u32::from(state.transmit.len() < 8) << 5)
                    | (u32::from(state.transmit.is_empty()) << 6)
            }
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.state();
        assert!(state.enables & 1 != 0, "the port is off");
        match offset {
            0x00 => {
                assert!(state.transmit.len() < 8, "wrote to a full FIFO");
                state.transmit.push_back(value as u8);
            }
            0x04 => state.interrupts = value,
            0x08 => {
                if value & 2 != 0 {
                    state.receive.clear();
                }
                if value & 4 != 0 {
                    state.transmit.clear();
                }
            }
            0x0c => state.line = value,
            0x10 => assert_eq!(value, 0, "no flow control"),
            0x20 => state.control = value,
            0x28 => state.baud = value,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}
