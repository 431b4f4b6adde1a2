use sis_hal::{Entropy, EntropyError};

use super::Rng200;
use super::sim::SimRng200;
use crate::sim::{Absent, Sim, SimClock};

/// RNG_CTRL and the bits to throw away.
fn settings(sim: &Sim<SimRng200>) -> (u32, u32) {
    let device = sim.device();
    (device.control, device.threshold)
}

#[test]
fn switches_on_and_delivers_every_word_once() {
    let sim = Sim::new(SimRng200::new());
    let rng = Rng200::new(&sim, SimClock::default());
    assert_eq!(settings(&sim), (0x6001, 0x4_0000));
    let mut out = [0; 18];
    assert_eq!(rng.fill(&mut out), Ok(18));
    let expected: std::vec::Vec<u8> = (0..5).flat_map(|index| SimRng200::word(index).to_le_bytes()).collect();
    assert_eq!(out, expected[..18]);
    assert_eq!(rng.fill(&mut []), Ok(0));
}

#[test]
fn a_generator_that_firmware_switched_on_is_left_as_it_is() {
    let sim = Sim::new(SimRng200 {
        control: 0x1fff,
        ..SimRng200::new()
    });
    let rng = Rng200::new(&sim, SimClock::default());
    assert_eq!(settings(&sim), (0x1fff, 0));
    assert_eq!(rng.fill(&mut [0; 4]), Ok(4));
}

#[test]
fn a_slow_generator_times_out_with_what_there_is() {
    let sim = Sim::new(SimRng200 {
        count: 2,
        delay: None,
        ..SimRng200::new()
    });
    let rng = Rng200::new(&sim, SimClock::default());
    assert_eq!(rng.fill(&mut [0; 32]), Ok(8));
    assert_eq!(rng.fill(&mut [0; 32]), Err(EntropyError::Timeout));
    sim.device().delay = Some(0);
    assert_eq!(rng.fill(&mut [0; 4]), Ok(4), "a time-out does not leave it taken");
}

#[test]
fn a_failed_self_test_is_tried_once_more() {
    for bit in [1 << 5, 1 << 31] {
        let sim = Sim::new(SimRng200 {
            status: bit,
            count: 1,
            ..SimRng200::new()
        });
        let rng = Rng200::new(&sim, SimClock::default());
        assert_eq!(rng.fill(&mut [0; 4]), Ok(4));
        assert_eq!(sim.device().restarts, 1);
    }
}

#[test]
fn a_broken_noise_source_is_reported_not_used() {
    let sim = Sim::new(SimRng200 {
        status: 1 << 5,
        count: 9,
        is_broken: true,
        ..SimRng200::new()
    });
    let rng = Rng200::new(&sim, SimClock::default());
    assert_eq!(rng.fill(&mut [0; 4]), Err(EntropyError::SelfTestFailed));
    assert_eq!(sim.device().delivered, 0);
}

#[test]
fn a_generator_that_repeats_itself_is_not_believed() {
    let sim = Sim::new(SimRng200 {
        stuck_at: Some(0x5555_5555),
        ..SimRng200::new()
    });
    assert_eq!(
        Rng200::new(&sim, SimClock::default()).fill(&mut [0; 16]),
        Err(EntropyError::SelfTestFailed)
    );
    // Reads as all ones, status included.
    let absent = Rng200::new(Sim::new(Absent), SimClock::default());
    assert_eq!(absent.fill(&mut [0; 16]), Err(EntropyError::SelfTestFailed));
}
