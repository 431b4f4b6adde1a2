use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use sis_hal::{BusAddr, MacAddr, NetDevice, TxError};

use super::sim::SimGenet;
use super::{BUFFER_BYTES, DESCRIPTORS, Genet, GenetError};
use crate::sim::{Absent, Sim, SimClock, SimDma};

const BUS: BusAddr = BusAddr(0x1_2340_0000);
const MAC: MacAddr = MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]);

struct Bench {
    sim: Sim<SimGenet>,
    buffer: Arc<SimDma>,
}

type Driver<'a> = Genet<&'a Sim<SimGenet>, &'a SimDma, SimClock>;

impl Bench {
    fn new(index: u16) -> Self {
        let buffer = Arc::new(SimDma::new(BUS, BUFFER_BYTES));
        Self {
            sim: Sim::new(SimGenet::new(Arc::clone(&buffer), index)),
            buffer,
        }
    }

    fn driver(&self) -> Result<Driver<'_>, GenetError> {
        Genet::new(&self.sim, &*self.buffer, SimClock::default(), MAC, 1)
    }
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

#[test]
fn frames_go_out_in_order_whatever_the_index_was() {
    for index in [0, 1, 63, 200, u16::MAX - 3] {
        let bench = Bench::new(index);
        let driver = bench.driver().expect("is there");
        assert!(driver.is_link_up());
        let frames: Vec<_> = (0..3 * DESCRIPTORS).map(|n| frame(60 + n * 7, n as u8)).collect();
        for frame in &frames {
            driver.transmit(frame).expect("is sent");
        }
        assert!(bench.sim.device().sent == frames, "index {index}");
        let stats = driver.stats();
        assert_eq!(stats.tx_packets, frames.len() as u64);
        assert_eq!(
            stats.tx_bytes,
            frames.iter().map(|frame| frame.len() as u64).sum::<u64>()
        );
    }
}

#[test]
fn short_frames_are_filled_with_zeros_and_others_refused() {
    let bench = Bench::new(0);
    let driver = bench.driver().expect("is there");
    // What was in the buffer before must not go out.
    for _ in 0..DESCRIPTORS {
        driver.transmit(&[0xee; 1514]).expect("is sent");
    }
    driver.transmit(&frame(42, 9)).expect("is sent");
    let mut want = frame(42, 9);
    want.resize(60, 0);
    assert_eq!(bench.sim.device().sent.last(), Some(&want));
    for len in [0, 13, 1515] {
        assert_eq!(driver.transmit(&vec![0; len]), Err(TxError::BadLength), "{len}");
    }
}

#[test]
fn a_ring_that_is_full_says_so_and_goes_on_later() {
    let bench = Bench::new(u16::MAX - 10);
    let driver = bench.driver().expect("is there");
    bench.sim.device().is_held = true;
    for n in 0..DESCRIPTORS {
        driver.transmit(&frame(100, n as u8)).expect("has room");
    }
    assert_eq!(driver.transmit(&frame(100, 0)), Err(TxError::Full));
    assert_eq!(driver.stats().tx_dropped, 1);
    bench.sim.device().send_all();
    driver.transmit(&frame(100, 99)).expect("has room");
    bench.sim.device().send_all();
    let sent = bench.sim.device().sent.clone();
    assert_eq!(sent.len(), DESCRIPTORS + 1);
    assert_eq!((&sent[0], &sent[DESCRIPTORS]), (&frame(100, 0), &frame(100, 99)));
}

#[test]
fn frames_come_in_whole_whatever_the_index_was() {
    for index in [0, 5, u16::MAX - 3] {
        let bench = Bench::new(index);
        let driver = bench.driver().expect("is there");
        let mut out = [0; 1514];
        assert_eq!(driver.receive(&mut out), None);
        for n in 0..3 * DESCRIPTORS {
            let frame = frame(60 + n * 7, n as u8);
            assert!(bench.sim.device().deliver(&frame, 0), "frame {n}");
            assert_eq!(driver.receive(&mut out), Some(frame.len()), "frame {n}");
            assert!(out[..frame.len()] == frame, "frame {n}");
        }
        assert_eq!(driver.receive(&mut out), None);
        assert_eq!(driver.stats().rx_packets, 3 * DESCRIPTORS as u64);
    }
}

#[test]
fn all_buffers_are_used_and_none_is_overrun() {
    let bench = Bench::new(7);
    let driver = bench.driver().expect("is there");
    for n in 0..DESCRIPTORS {
        assert!(bench.sim.device().deliver(&frame(1514, n as u8), 0));
    }
    assert!(!bench.sim.device().deliver(&frame(100, 0), 0), "there is no room");
    let mut out = [0; 1514];
    for n in 0..DESCRIPTORS {
        assert_eq!(driver.receive(&mut out), Some(1514));
        assert!(out[..] == frame(1514, n as u8), "frame {n}");
    }
    assert!(bench.sim.device().deliver(&frame(100, 0), 0));
}

#[test]
fn damaged_frames_are_passed_over_and_counted() {
    let bench = Bench::new(0);
    let driver = bench.driver().expect("is there");
    for flag in [0x10, 0x08, 0x04, 0x02, 0x01] {
        assert!(bench.sim.device().deliver(&frame(100, 1), flag));
    }
    // Shorter than a header, and longer than what the caller has.
    assert!(bench.sim.device().deliver(&frame(10, 1), 0));
    assert!(bench.sim.device().deliver(&frame(1600, 1), 0));
    assert!(bench.sim.device().deliver(&frame(64, 2), 0));
    let mut out = [0; 1514];
    assert_eq!(driver.receive(&mut out), Some(64));
    assert!(out[..64] == frame(64, 2));
    let stats = driver.stats();
    assert_eq!((stats.rx_errors, stats.rx_dropped, stats.rx_packets), (6, 1, 1));
}

#[test]
fn an_interrupt_is_silenced_and_comes_again() {
    let bench = Bench::new(0);
    let driver = bench.driver().expect("is there");
    assert!(!bench.sim.device().is_interrupting());
    for _ in 0..2 {
        bench.sim.device().deliver(&frame(64, 0), 0);
        assert!(bench.sim.device().is_interrupting());
        driver.acknowledge_interrupt();
        assert!(!bench.sim.device().is_interrupting());
    }
}

/// Half a second in readings of the clock that moves by 10 µs.
fn pass_time(driver: &Driver<'_>) {
    use sis_hal::Clock;
    for _ in 0..50_000 {
        driver.clock.now_ns();
    }
}

#[test]
fn the_mac_follows_the_phy() {
    let bench = Bench::new(0);
    let driver = bench.driver().expect("is there");
    let command = || bench.sim.device().get(0x808);
    let speed = || (command() >> 2 & 3, command() >> 10 & 1);
    assert_eq!(speed(), (2, 0));
    // rgmii-rxid, and the link.
    assert_eq!(bench.sim.device().get(0x8c), 1 << 16 | 1 << 6 | 1 << 4);
    for (ours, partner, want) in [
        (0x01e1, 0x0181, (1, 0)),
        (0x01e1, 0x0081, (1, 1)),
        (0x01e1, 0x0061, (0, 0)),
        (0x0021, 0x01e1, (0, 1)),
    ] {
        {
            let mut device = bench.sim.device();
            device.phy.insert(10, 0);
            device.phy.insert(4, ours);
            device.phy.insert(5, partner);
        }
        pass_time(&driver);
        assert!(driver.is_link_up());
        assert_eq!(speed(), want, "{partner:#x}");
        assert_eq!(command() & 3, 3, "it goes on sending and receiving");
    }
    // The cable is pulled, and put back: the loss is shown once by a register that keeps it.
    bench.sim.device().phy.insert(1, 0x7949);
    pass_time(&driver);
    assert!(!driver.is_link_up());
    assert_eq!(driver.transmit(&frame(64, 0)), Err(TxError::LinkDown));
    assert_eq!(bench.sim.device().get(0x8c) & 1 << 4, 0);
    {
        let mut device = bench.sim.device();
        device.phy.insert(1, 0x7969);
        device.phy.insert(99, 1);
    }
    pass_time(&driver);
    assert!(driver.is_link_up());
    assert_eq!(driver.transmit(&frame(64, 0)), Ok(()));
}

#[test]
fn negotiation_is_begun_only_where_it_was_not_done() {
    let bench = Bench::new(0);
    bench.driver().expect("is there");
    assert_eq!(bench.sim.device().negotiations, 0);
    let fresh = Bench::new(0);
    fresh.sim.device().phy.insert(1, 0x7949);
    let driver = fresh.driver().expect("is there");
    assert_eq!(fresh.sim.device().negotiations, 1);
    assert!(!driver.is_link_up());
}

#[test]
fn what_is_not_there_or_does_not_answer_is_told() {
    let buffer = SimDma::new(BUS, BUFFER_BYTES);
    let nothing = Sim::new(Absent);
    let absent = Genet::new(&nothing, &buffer, SimClock::default(), MAC, 1);
    assert_eq!(absent.err(), Some(GenetError::NotThere(u32::MAX)));

    let older = Bench::new(0);
    older.sim.device().set_revision(0x0500_0000);
    assert_eq!(older.driver().err(), Some(GenetError::NotThere(0x0500_0000)));

    let bench = Bench::new(0);
    let small = SimDma::new(BUS, BUFFER_BYTES - 1);
    let error = Genet::new(&bench.sim, &small, SimClock::default(), MAC, 1).err();
    assert_eq!(error, Some(GenetError::BadBuffer));
    let odd = SimDma::new(BusAddr(BUS.0 + 4), BUFFER_BYTES);
    let error = Genet::new(&bench.sim, &odd, SimClock::default(), MAC, 1).err();
    assert_eq!(error, Some(GenetError::BadBuffer));

    bench.sim.device().phy_address = 7;
    assert_eq!(bench.driver().err(), Some(GenetError::NoPhy));
    bench.sim.device().phy_address = 1;
    bench.sim.device().phy.insert(1, 0xffff);
    assert_eq!(bench.driver().err(), Some(GenetError::NoPhy));
    bench.sim.device().mdio_hangs = true;
    assert_eq!(bench.driver().err(), Some(GenetError::NoPhy));
}

#[test]
fn an_index_that_cannot_be_is_the_device_s_failure() {
    let bench = Bench::new(0);
    let driver = bench.driver().expect("is there");
    // It says that it has sent what it was not given.
    driver.tx_index.store(40_000, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(driver.transmit(&frame(64, 0)), Err(TxError::Device));
    assert_eq!(driver.stats().tx_errors, 1);
}
