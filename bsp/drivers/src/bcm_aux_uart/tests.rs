use sis_hal::{ConsoleDevice, Timeout};

use super::sim::{Port, SimAux};
use super::{MiniUart, MiniUartError, divisor};
use crate::sim::{Absent, Sim};

fn running() -> (SimAux, MiniUart<Sim<Port>>) {
    let sim = SimAux::default();
    let uart = MiniUart::new(sim.port());
    assert_eq!(uart.init(&sim.aux(), 500_000_000, 115_200), Ok(()));
    (sim, uart)
}

#[test]
fn init_switches_the_block_on_first_and_leaves_its_neighbours() {
    let sim = SimAux::default();
    sim.state().enables = 0b110;
    sim.state().receive.extend(b"noise");
    let uart = MiniUart::new(sim.port());
    assert_eq!(uart.init(&sim.aux(), 500_000_000, 115_200), Ok(()));
    let state = sim.state();
    assert_eq!(
        (state.enables, state.line, state.control, state.interrupts),
        (0b111, 3, 3, 0)
    );
    assert_eq!(state.baud, 542, "500 MHz / (8 x 543) = 115101 baud");
    assert!(state.receive.is_empty());
}

#[test]
fn divisors_at_the_edges() {
    // The manual's example clock: 250 MHz.
    assert_eq!(divisor(250_000_000, 115_200), Some(270));
    assert_eq!(divisor(8, 1), Some(0));
    assert_eq!(divisor(8 * 65_536, 1), Some(65_535));
    assert_eq!(divisor(8 * 65_537, 1), None);
    assert_eq!(divisor(0, 115_200), None);
    assert_eq!(divisor(500_000_000, 0), None);
}

#[test]
fn init_refuses_what_cannot_be() {
    let sim = SimAux::default();
    let uart = MiniUart::new(sim.port());
    let (clock_hz, baud) = (500_000_000, 100);
    assert_eq!(
        uart.init(&sim.aux(), clock_hz, baud),
        Err(MiniUartError::BadRate { clock_hz, baud })
    );
    assert_eq!(
        uart.init(&Sim::new(Absent), clock_hz, 115_200),
        Err(MiniUartError::NotPresent)
    );
    sim.state().refuses_enable = true;
    assert_eq!(uart.init(&sim.aux(), clock_hz, 115_200), Err(MiniUartError::NotPresent));
}

#[test]
fn bytes_go_both_ways() {
    let (sim, uart) = running();
    assert_eq!(uart.write_bytes(b"hello, board\n"), 13);
    assert_eq!(uart.flush(), Ok(()));
    assert_eq!(sim.state().sent, b"hello, board\n");

    uart.enable_rx_interrupt();
    assert!(!sim.is_interrupting());
    sim.state().receive.extend(b"hi");
    assert!(sim.is_interrupting());
    uart.acknowledge_interrupt();
    assert_eq!(
        (uart.try_read(), uart.try_read(), uart.try_read()),
        (Some(b'h'), Some(b'i'), None)
    );
    assert!(!sim.is_interrupting());
}

#[test]
fn overruns_are_counted_once() {
    let (sim, uart) = running();
    sim.state().has_overrun = true;
    sim.state().receive.extend(b"x");
    assert_eq!(uart.try_read(), Some(b'x'));
    assert_eq!(uart.try_read(), None);
    assert_eq!(uart.overruns(), 1);
}

#[test]
fn a_dead_port_does_not_hang() {
    let (sim, uart) = running();
    sim.state().is_dead = true;
    assert_eq!(uart.write_bytes(&[b'x'; 100]), 8);
    assert_eq!(uart.write_byte_blocking(b'y'), Err(Timeout));
    assert_eq!(uart.flush(), Err(Timeout));
    sim.state().is_dead = false;
    assert_eq!(uart.write_bytes(b"back"), 4);
}
