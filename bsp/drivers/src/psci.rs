//! PSCI: starting CPUs, power-off and reset through the firmware.
//!
//! Source: Arm, *Power State Coordination Interface*, DEN0022F; section numbers below are its own. This is pure encoding:
//! the `HVC` or `SMC` is the machine's ([`FirmwareCall`]).

use core::fmt;

use sis_hal::{CpuPower, FirmwareCall, Mpidr, PhysAddr, Power, PowerError, StartCpuError};

#[cfg(test)]
mod tests;

/// Function identifiers (5.1.1 to 5.1.15). `CPU_ON` and `AFFINITY_INFO` in their 64-bit form.
mod function {
    pub(super) const PSCI_VERSION: u32 = 0x8400_0000;
    pub(super) const CPU_OFF: u32 = 0x8400_0002;
    pub(super) const CPU_ON: u32 = 0xc400_0003;
    pub(super) const AFFINITY_INFO: u32 = 0xc400_0004;
    pub(super) const SYSTEM_OFF: u32 = 0x8400_0008;
    pub(super) const SYSTEM_RESET: u32 = 0x8400_0009;
}

/// Return codes (5.2.2).
mod code {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const NOT_SUPPORTED: i32 = -1;
    pub(super) const INVALID_PARAMETERS: i32 = -2;
    pub(super) const ALREADY_ON: i32 = -4;
    pub(super) const ON_PENDING: i32 = -5;
    pub(super) const NOT_PRESENT: i32 = -7;
    pub(super) const INVALID_ADDRESS: i32 = -9;
}

/// The firmware's version of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number.
    pub major: u16,
    /// Minor number.
    pub minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PSCI {}.{}", self.major, self.minor)
    }
}

/// Whether a CPU is running (`AFFINITY_INFO`, 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuState {
    /// Running.
    On,
    /// Off, and can be started.
    Off,
    /// On its way up.
    OnPending,
}

/// Why there is no PSCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciError {
    /// The firmware does not know `PSCI_VERSION`: it has none, or one before 0.2.
    NotPresent,
}

impl fmt::Display for PsciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresent => f.write_str("the firmware does not answer to PSCI 0.2 or later"),
        }
    }
}

impl core::error::Error for PsciError {}

/// Firmware that speaks PSCI 0.2 or later.
pub struct Psci<F> {
    firmware: F,
    version: Version,
}

impl<F: FirmwareCall> Psci<F> {
    /// Asks the firmware for its version.
    pub fn new(firmware: F) -> Result<Self, PsciError> {
        let answer = firmware.call(function::PSCI_VERSION, [0; 3]) as u32;
        let version = Version {
            major: (answer >> 16) as u16,
            minor: answer as u16,
        };
        // Errors have the top bit set; version 0.1 had neither this function nor fixed identifiers.
        if answer >> 31 != 0 || version < (Version { major: 0, minor: 2 }) {
            return Err(PsciError::NotPresent);
        }
        Ok(Self { firmware, version })
    }

    /// The firmware's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the CPU `mpidr` is running, or `None` when the firmware knows of no such CPU.
    pub fn cpu_state(&self, mpidr: Mpidr) -> Option<CpuState> {
        match self.call(function::AFFINITY_INFO, [mpidr.as_u64(), 0, 0]) {
            0 => Some(CpuState::On),
            1 => Some(CpuState::Off),
            2 => Some(CpuState::OnPending),
            _ => None,
        }
    }

    /// Switches the calling CPU off. Returns only when that failed.
    ///
    /// Interrupts must be off and the CPU's caches no longer needed.
    pub fn cpu_off(&self) -> PowerError {
        power_error(self.call(function::CPU_OFF, [0; 3]))
    }

    /// Calls, and takes the answer for what every function here gives: an int32 in `w0`.
    fn call(&self, function: u32, args: [u64; 3]) -> i32 {
        self.firmware.call(function, args) as i32
    }
}

fn power_error(answer: i32) -> PowerError {
    match answer {
        code::SUCCESS => PowerError::NoEffect,
        code::NOT_SUPPORTED => PowerError::NotSupported,
        other => PowerError::Firmware(other),
    }
}

impl<F: FirmwareCall> CpuPower for Psci<F> {
    fn start_cpu(&self, mpidr: Mpidr, entry: PhysAddr, context: u64) -> Result<(), StartCpuError> {
        match self.call(function::CPU_ON, [mpidr.as_u64(), entry.as_u64(), context]) {
            code::SUCCESS => Ok(()),
            code::ALREADY_ON => Err(StartCpuError::AlreadyOn(mpidr)),
            code::ON_PENDING => Err(StartCpuError::Pending(mpidr)),
            code::INVALID_PARAMETERS | code::NOT_PRESENT => Err(StartCpuError::NoSuchCpu(mpidr)),
            code::INVALID_ADDRESS => Err(StartCpuError::BadEntry(entry)),
            code::NOT_SUPPORTED => Err(StartCpuError::NotSupported),
            other => Err(StartCpuError::Firmware(other)),
        }
    }
}

impl<F: FirmwareCall> Power for Psci<F> {
    fn power_off(&self) -> PowerError {
        power_error(self.call(function::SYSTEM_OFF, [0; 3]))
    }

    fn reboot(&self) -> PowerError {
        power_error(self.call(function::SYSTEM_RESET, [0; 3]))
    }
}
