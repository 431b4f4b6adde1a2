use sis_hal::{Power, PowerError, Watchdog, WatchdogError};

use super::BcmPower;
use super::sim::{Outcome, SimBcmPower};
use crate::sim::{Absent, Sim, SimClock};

/// As the firmware leaves it: a partition and a reason for the last reset in PM_RSTS.
fn sim() -> Sim<SimBcmPower> {
    Sim::new(SimBcmPower {
        rstc: 0x102,
        rsts: 0x1000 | 0x404,
        ..SimBcmPower::default()
    })
}

#[test]
fn reboot_boots_the_default_partition_at_once() {
    let sim = sim();
    let power = BcmPower::new(&sim, SimClock::default());
    assert_eq!(
        power.reboot(),
        PowerError::NoEffect,
        "the simulated chip does not stop the CPU"
    );
    sim.device().pass(10);
    assert_eq!(sim.device().outcome, Some(Outcome::Booted(0)));
    assert_eq!(sim.device().rsts & !0x555, 0x1000, "the reset reason stays");
}

#[test]
fn power_off_halts() {
    let sim = sim();
    assert_eq!(
        BcmPower::new(&sim, SimClock::default()).power_off(),
        PowerError::NoEffect
    );
    sim.device().pass(10);
    assert_eq!(sim.device().outcome, Some(Outcome::Halted));
}

#[test]
fn a_partition_can_be_chosen_but_not_the_one_that_means_halt() {
    for partition in [1, 2, 3, 31, 62] {
        let sim = sim();
        BcmPower::new(&sim, SimClock::default()).reboot_to_partition(partition);
        sim.device().pass(10);
        assert_eq!(sim.device().outcome, Some(Outcome::Booted(partition)));
    }
    for partition in [63, 64, 255] {
        let sim = sim();
        let power = BcmPower::new(&sim, SimClock::default());
        assert_eq!(power.reboot_to_partition(partition), PowerError::NotSupported);
        assert_eq!(sim.device().rstc, 0x102, "nothing was started");
    }
}

#[test]
fn watchdog_resets_unless_fed() {
    let sim = sim();
    let watchdog = BcmPower::new(&sim, SimClock::default());
    assert_eq!(watchdog.remaining_ms(), None);
    watchdog.feed();
    assert_eq!(sim.device().wdog, 0, "feeding does not start it");

    assert_eq!(watchdog.start(2000), Ok(()));
    assert_eq!(watchdog.remaining_ms(), Some(2000));
    sim.device().pass(65_536);
    assert_eq!(watchdog.remaining_ms(), Some(1000));
    watchdog.feed();
    assert_eq!(watchdog.remaining_ms(), Some(2000));
    sim.device().pass(131_071);
    assert_eq!(sim.device().outcome, None);
    sim.device().pass(1);
    assert_eq!(
        sim.device().outcome,
        Some(Outcome::Booted(34)),
        "the partition it was started from"
    );
}

#[test]
fn watchdog_stops() {
    let sim = sim();
    let watchdog = BcmPower::new(&sim, SimClock::default());
    watchdog.start(1).unwrap();
    watchdog.stop();
    assert_eq!(watchdog.remaining_ms(), None);
    watchdog.feed();
    sim.device().pass(u32::MAX);
    assert_eq!(sim.device().outcome, None);
}

#[test]
fn watchdog_refuses_times_it_cannot_count() {
    let sim = sim();
    let watchdog = BcmPower::new(&sim, SimClock::default());
    let refused = Err(WatchdogError::BadTimeout { max_ms: 15_999 });
    assert_eq!(watchdog.start(0), refused);
    assert_eq!(watchdog.start(16_000), refused);
    assert_eq!(watchdog.start(u32::MAX), refused);
    assert_eq!(sim.device().rstc, 0x102);
    assert_eq!(watchdog.start(15_999), Ok(()));
}

#[test]
fn an_absent_block_ends_in_an_error_not_a_hang() {
    let power = BcmPower::new(Sim::new(Absent), SimClock::default());
    assert_eq!(power.reboot(), PowerError::NoEffect);
    assert_eq!(power.power_off(), PowerError::NoEffect);
}
