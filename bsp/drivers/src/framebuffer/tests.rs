use std::vec;
use std::vec::Vec;

use sis_hal::Display;

use super::{DoesNotFit, Framebuffer};
use crate::sim::{Device, Sim};

/// Memory of 4 rows of 32 bytes.
struct Memory(Vec<u32>);

impl Device for Memory {
    const SIZE: usize = 128;
    fn read(&mut self, offset: usize) -> u32 {
        self.0[offset / 4]
    }
    fn write(&mut self, offset: usize, value: u32) {
        self.0[offset / 4] = value;
    }
}

#[test]
fn rows_are_a_pitch_apart_and_nothing_is_written_beside_them() {
    let sim = Sim::new(Memory(vec![0; 32]));
    let frame = Framebuffer::new(&sim, 6, 4, 32).unwrap();
    assert_eq!(frame.size(), (6, 4));
    frame.write_row(4, 1, &[1, 2, 3, 4]);
    frame.write_row(0, 3, &[5]);
    frame.write_row(0, 4, &[6]);
    frame.write_row(6, 0, &[7]);
    frame.write_row(usize::MAX, 0, &[7]);
    let mut want = vec![0; 32];
    want[12] = 1;
    want[13] = 2;
    want[24] = 5;
    assert_eq!(sim.device().0, want);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let sim = Sim::new(Memory(vec![0; 32]));
    for (width, height, pitch) in [
        (9, 4, 32),
        (8, 5, 32),
        (6, 4, 30),
        (usize::MAX, 1, 32),
        (1, usize::MAX, 32),
    ] {
        assert_eq!(Framebuffer::new(&sim, width, height, pitch).err(), Some(DoesNotFit));
    }
}
