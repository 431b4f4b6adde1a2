use sis_hal::{TemperatureError, TemperatureSensor};

use super::{BcmThermal, Calibration};
use crate::sim::{Absent, Device, Sim};

struct Status(u32);

impl Device for Status {
    const SIZE: usize = 0xf00;

    fn read(&mut self, offset: usize) -> u32 {
        assert_eq!(offset, 0x200);
        self.0
    }
    fn write(&mut self, offset: usize, value: u32) {
        panic!("wrote {value:#x} to {offset:#x} of a read-only device");
    }
}

fn read(status: u32) -> Result<i32, TemperatureError> {
    BcmThermal::new(Sim::new(Status(status)), Calibration::BCM2711).read_millicelsius()
}

#[test]
fn readings_become_temperatures() {
    assert_eq!(read(0x1_0400 | 742), Ok(48_686));
    assert_eq!(read(0x1_0400 | 1023), Ok(-88_161));
    assert_eq!(read(0x1_0400), Ok(410_040));
    assert_eq!(
        read(0xfffe_0000 | 0x1_0400 | 742),
        Ok(48_686),
        "other bits mean something else"
    );
}

#[test]
fn a_reading_needs_both_marks() {
    for status in [742, 0x400 | 742, 0x1_0000 | 742] {
        assert_eq!(read(status), Err(TemperatureError::NotReady));
    }
    let absent = BcmThermal::new(Sim::new(Absent), Calibration::BCM2711);
    assert_eq!(absent.read_millicelsius(), Err(TemperatureError::Device));
}
