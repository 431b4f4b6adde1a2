//! The BCM2711's thermometer, in its voltage and temperature monitor (AVS).
//!
//! Not in Broadcom's manual. Source: Linux, `drivers/thermal/broadcom/bcm2711_thermal.c`; the calibration is the device
//! tree's `thermal-zones/cpu-thermal/coefficients`.

use sis_hal::{Registers, TemperatureError, TemperatureSensor};
use tock_registers::register_bitfields;

use crate::reg::Reg;

#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// AVS_RO_TEMP_STATUS.
    TEMP_STATUS [
        VALID_1 OFFSET(16) NUMBITS(1) [],
        VALID_0 OFFSET(10) NUMBITS(1) [],
        DATA OFFSET(0) NUMBITS(10) []
    ]
];

const AVS_RO_TEMP_STATUS: Reg<TEMP_STATUS::Register> = Reg::at(0x200);

/// How a reading becomes a temperature: `slope` x reading + `offset`, in thousandths of a degree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Thousandths of a degree a step; the sensor's readings fall as the chip warms.
    pub slope: i32,
    /// The temperature at reading 0.
    pub offset: i32,
}

impl Calibration {
    /// Of the BCM2711 (`bcm2711.dtsi`: `coefficients = <(-487) 410040>`).
    pub const BCM2711: Self = Self {
        slope: -487,
        offset: 410_040,
    };
}

/// The thermometer.
pub struct BcmThermal<R> {
    registers: R,
    calibration: Calibration,
}

impl<R: Registers> BcmThermal<R> {
    /// A driver over the monitor's registers (at least 0x204 bytes).
    pub const fn new(registers: R, calibration: Calibration) -> Self {
        Self { registers, calibration }
    }
}

impl<R: Registers> TemperatureSensor for BcmThermal<R> {
    fn read_millicelsius(&self) -> Result<i32, TemperatureError> {
        let status = AVS_RO_TEMP_STATUS.read(&self.registers);
        if status.get() == u32::MAX {
            return Err(TemperatureError::Device);
        }
        if !status.is_set(TEMP_STATUS::VALID_0) || !status.is_set(TEMP_STATUS::VALID_1) {
            return Err(TemperatureError::NotReady);
        }
        let reading = status.read(TEMP_STATUS::DATA) as i32;
        Ok(self
            .calibration
            .slope
            .saturating_mul(reading)
            .saturating_add(self.calibration.offset))
    }
}
