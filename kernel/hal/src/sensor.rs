//! Random numbers and temperatures.

use core::fmt;

use crate::clock::Timeout;

/// A hardware source of random numbers, to seed the kernel's generator with.
pub trait Entropy: Send + Sync {
    /// Fills as much of `out` as the device has ready or delivers in a short, bounded time; returns how many bytes (at
    /// least one, unless `out` is empty).
    fn fill(&self, out: &mut [u8]) -> Result<usize, EntropyError>;
}

/// Why there are no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyError {
    /// The device did not deliver in time.
    Timeout,
    /// The device's own test of its noise source failed: what it delivers must not be used.
    SelfTestFailed,
}

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the random number generator did not deliver in time",
            Self::SelfTestFailed => "the random number generator's self-test failed",
        })
    }
}

impl core::error::Error for EntropyError {}

impl From<Timeout> for EntropyError {
    fn from(_: Timeout) -> Self {
        Self::Timeout
    }
}

/// A thermometer.
pub trait TemperatureSensor: Send + Sync {
    /// The temperature in thousandths of a degree Celsius.
    fn read_millicelsius(&self) -> Result<i32, TemperatureError>;
}

/// Why there is no temperature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemperatureError {
    /// The sensor has no valid reading (yet).
    NotReady,
    /// Whoever reads the sensor for us did not answer.
    Device,
}

impl fmt::Display for TemperatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "the temperature sensor has no valid reading",
            Self::Device => "the temperature sensor did not answer",
        })
    }
}

impl core::error::Error for TemperatureError {}
