use sis_hal::WallClock;

use super::Pl031;
use crate::sim::{Absent, Device, Sim};

#[derive(Default)]
struct SimPl031 {
    seconds: u32,
    control: u32,
    part: u32,
}

impl Device for SimPl031 {
    const SIZE: usize = 0x1000;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x000 => self.seconds,
            0x00c => self.control,
            0xfe0 => self.part & 0xff,
            // The designer's number shares the byte.
            0xfe4 => 0x10 | self.part >> 8,
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }
    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x008 => self.seconds = value,
            0x00c => self.control = value,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}

#[test]
fn reads_and_sets_the_date() {
    let sim = Sim::new(SimPl031 {
        seconds: 1_700_000_000,
        part: 0x031,
        ..SimPl031::default()
    });
    let rtc = Pl031::probe(&sim).unwrap();
    assert_eq!(sim.device().control, 1, "started");
    assert_eq!(rtc.unix_seconds(), Some(1_700_000_000));
    assert!(rtc.set_unix_seconds(4_294_967_295));
    assert_eq!(rtc.unix_seconds(), Some(4_294_967_295));
    assert!(!rtc.set_unix_seconds(4_294_967_296), "after 2106");
    assert_eq!(rtc.unix_seconds(), Some(4_294_967_295));
}

#[test]
fn a_clock_that_was_never_set_has_no_date() {
    let rtc = Pl031::probe(Sim::new(SimPl031 {
        part: 0x031,
        ..SimPl031::default()
    }))
    .unwrap();
    assert_eq!(rtc.unix_seconds(), None);
}

#[test]
fn other_devices_are_left_alone() {
    let uart = Sim::new(SimPl031 {
        part: 0x011,
        ..SimPl031::default()
    });
    assert!(Pl031::probe(&uart).is_none());
    assert_eq!(uart.device().control, 0);
    assert!(Pl031::probe(Sim::new(Absent)).is_none());
}
