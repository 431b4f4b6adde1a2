use sis_hal::{ConsoleDevice, Timeout};

use super::sim::SimPl011;
use super::{Divisor, LineErrors, LineRate, Pl011, Pl011Error};
use crate::sim::{Absent, Sim};

const RATE: LineRate = LineRate::Set {
    clock_hz: 48_000_000,
    baud: 115_200,
};

#[test]
fn init_programs_rate_and_enables_both_directions() {
    let sim = Sim::new(SimPl011::with_firmware_divisor(1, 0));
    let uart = Pl011::new(&sim);
    assert_eq!(uart.init(RATE), Ok(()));
    let device = sim.device();
    assert_eq!(device.divisor, (26, 3), "48 MHz / (16 x 115200) = 26.0417");
    assert_eq!(device.control, 0x301, "enabled, no flow control");
    assert_eq!(device.line, 0x70, "8n1, FIFOs on");
    assert_eq!((device.mask, device.raw, device.dma), (0, 0, 0));
}

#[test]
fn init_keeps_the_firmware_rate_when_asked() {
    let sim = Sim::new(SimPl011::with_firmware_divisor(26, 3));
    let uart = Pl011::new(&sim);
    assert_eq!(uart.init(LineRate::KeepFirmware), Ok(()));
    assert_eq!(sim.device().divisor, (26, 3));
    assert_eq!(sim.device().control, 0x301, "the firmware's flow control is off");

    let sim = Sim::new(SimPl011::default());
    assert_eq!(
        Pl011::new(&sim).init(LineRate::KeepFirmware),
        Err(Pl011Error::NoFirmwareRate)
    );
}

#[test]
fn init_sets_a_rate_where_the_firmware_has_not() {
    let rate = LineRate::FirmwareOr {
        clock_hz: 24_000_000,
        baud: 115_200,
    };
    for (sim, divisor) in [
        (SimPl011::with_firmware_divisor(26, 3), (26, 3)),
        (SimPl011::default(), (13, 1)),
    ] {
        let sim = Sim::new(sim);
        assert_eq!(Pl011::new(&sim).init(rate), Ok(()));
        assert_eq!(sim.device().divisor, divisor);
    }
}

#[test]
fn init_lets_the_firmware_finish_its_line() {
    let sim = Sim::new(SimPl011 {
        transmit: b"bye\n".iter().copied().collect(),
        ..SimPl011::default()
    });
    assert_eq!(Pl011::new(&sim).init(RATE), Ok(()));
    assert_eq!(sim.device().sent, b"bye\n");
}

#[test]
fn init_refuses_what_cannot_be() {
    let absent = Sim::new(Absent);
    assert_eq!(Pl011::new(&absent).init(RATE), Err(Pl011Error::NotPresent));

    let sim = Sim::new(SimPl011::default());
    let uart = Pl011::new(&sim);
    for (clock_hz, baud) in [(48_000_000, 0), (0, 115_200), (1_000_000, 115_200), (u32::MAX, 300)] {
        let rate = LineRate::Set { clock_hz, baud };
        assert_eq!(uart.init(rate), Err(Pl011Error::BadRate { clock_hz, baud }));
    }

    let stuck = SimPl011 {
        transmit: [0].into(),
        reads_per_byte: None,
        ..SimPl011::default()
    };
    assert_eq!(Pl011::new(&Sim::new(stuck)).init(RATE), Err(Pl011Error::Timeout));
}

#[test]
fn divisors_at_the_edges() {
    assert_eq!(
        Divisor::new(24_000_000, 115_200),
        Some(Divisor {
            integer: 13,
            fraction: 1
        })
    );
    // The manual's own example (3.3.6): 4 MHz, 230400 baud.
    assert_eq!(
        Divisor::new(4_000_000, 230_400),
        Some(Divisor {
            integer: 1,
            fraction: 5
        })
    );
    assert_eq!(
        Divisor::new(16 * 65_535, 1),
        Some(Divisor {
            integer: 65_535,
            fraction: 0
        })
    );
    assert_eq!(Divisor::new(16 * 65_535 + 1, 1), None);
}

#[test]
fn writes_wait_for_room() {
    let sim = Sim::new(SimPl011 {
        reads_per_byte: Some(50),
        ..SimPl011::default()
    });
    let uart = Pl011::new(&sim);
    uart.init(RATE).unwrap();
    let text: std::vec::Vec<u8> = (0..=255).collect();
    assert_eq!(uart.write_bytes(&text), 256);
    assert_eq!(uart.flush(), Ok(()));
    assert_eq!(sim.device().sent, text);
}

#[test]
fn a_dead_port_costs_one_wait_and_comes_back() {
    let sim = Sim::new(SimPl011 {
        reads_per_byte: None,
        ..SimPl011::default()
    });
    let uart = Pl011::new(&sim);
    uart.init(RATE).unwrap();
    assert_eq!(uart.write_bytes(&[b'x'; 100]), 16, "the FIFO takes 16");
    let started = std::time::Instant::now();
    for _ in 0..10_000 {
        assert_eq!(uart.write_byte_blocking(b'y'), Err(Timeout));
    }
    assert!(started.elapsed().as_secs() < 5, "every byte waited");
    assert_eq!(
        uart.line_errors(),
        LineErrors {
            unsent: 10_001,
            ..LineErrors::default()
        }
    );
    assert_eq!(uart.flush(), Err(Timeout));

    sim.device().reads_per_byte = Some(1);
    assert_eq!(uart.write_byte_blocking(b'z'), Ok(()));
    assert_eq!(uart.flush(), Ok(()));
    assert_eq!(sim.device().sent.last(), Some(&b'z'));
}

#[test]
fn receives_what_arrives_and_nothing_else() {
    let sim = Sim::new(SimPl011::default());
    let uart = Pl011::new(&sim);
    uart.init(RATE).unwrap();
    assert_eq!(uart.try_read(), None);
    uart.enable_rx_interrupt();
    assert!(!sim.device().is_interrupting());
    for byte in b"ls\n" {
        sim.device().arrive(u32::from(*byte));
    }
    assert!(sim.device().is_interrupting());
    uart.acknowledge_interrupt();
    assert!(!sim.device().is_interrupting());
    let line: std::vec::Vec<u8> = core::iter::from_fn(|| uart.try_read()).collect();
    assert_eq!(line, b"ls\n");
    sim.device().arrive(u32::from(b'!'));
    assert!(
        sim.device().is_interrupting(),
        "a byte after the acknowledge raises a new interrupt"
    );
}

#[test]
fn damaged_bytes_are_skipped_and_counted() {
    let sim = Sim::new(SimPl011::default());
    let uart = Pl011::new(&sim);
    uart.init(RATE).unwrap();
    let (overrun, brk, parity, framing) = (1 << 11, 1 << 10, 1 << 9, 1 << 8);
    for data in [u32::from(b'a') | overrun, brk, parity | 7, framing | 9, u32::from(b'b')] {
        sim.device().arrive(data);
    }
    assert_eq!(uart.try_read(), Some(b'a'));
    assert_eq!(uart.try_read(), Some(b'b'));
    assert_eq!(uart.try_read(), None);
    assert_eq!(
        uart.line_errors(),
        LineErrors {
            overruns: 1,
            damaged: 3,
            unsent: 0
        }
    );
}

#[test]
fn a_line_that_is_all_breaks_does_not_hold_the_reader() {
    let sim = Sim::new(SimPl011::default());
    let uart = Pl011::new(&sim);
    uart.init(RATE).unwrap();
    for _ in 0..1000 {
        sim.device().arrive(1 << 10);
    }
    assert_eq!(uart.try_read(), None);
    assert!(sim.device().receive.len() > 900);
}
