//! Power, reset, watchdog, and starting the other CPUs.

use core::fmt;

use crate::addr::{Mpidr, PhysAddr};

/// Ends or restarts the machine.
///
/// Both methods return only when they failed: what follows is the caller's to decide (halt, or try another way).
pub trait Power: Send + Sync {
    /// Switches the board off.
    fn power_off(&self) -> PowerError;

    /// Restarts the board.
    fn reboot(&self) -> PowerError;
}

/// Tells the firmware how to start the machine the next time.
pub trait RestartArgument: Send + Sync {
    /// Hands over a restart's argument (reboot(2), `LINUX_REBOOT_CMD_RESTART2`); it counts for the next start alone.
    ///
    /// # Errors
    /// [`PowerError::NotSupported`] for words that the firmware does not know.
    fn set_restart_argument(&self, argument: &str) -> Result<(), PowerError>;
}

/// Why the machine is still running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerError {
    /// The firmware does not offer this.
    NotSupported,
    /// The request was accepted but the machine was still running a second later.
    NoEffect,
    /// The firmware answered with an error code (PSCI, DEN0022, 5.2.2).
    Firmware(i32),
}

impl fmt::Display for PowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => f.write_str("the firmware offers no way to do this"),
            Self::NoEffect => f.write_str("the request had no effect"),
            Self::Firmware(code) => write!(f, "the firmware refused with code {code}"),
        }
    }
}

impl core::error::Error for PowerError {}

/// Resets the board unless it is fed in time.
pub trait Watchdog: Send + Sync {
    /// The longest time between two [`feed`](Self::feed)s, in milliseconds.
    fn max_timeout_ms(&self) -> u32;

    /// Starts (or restarts with another time-out); the board resets when `timeout_ms` pass without
    /// [`feed`](Self::feed).
    fn start(&self, timeout_ms: u32) -> Result<(), WatchdogError>;

    /// Starts the time anew; does nothing when the watchdog is not running.
    fn feed(&self);

    /// Stops watching.
    fn stop(&self);

    /// Milliseconds until the reset, or `None` when the watchdog is not running.
    fn remaining_ms(&self) -> Option<u32>;
}

/// Why a watchdog was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogError {
    /// The time-out is 0 or beyond what the device can count.
    BadTimeout {
        /// The longest time-out the device has.
        max_ms: u32,
    },
}

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadTimeout { max_ms } => write!(f, "the time-out must be between 1 and {max_ms} ms"),
        }
    }
}

impl core::error::Error for WatchdogError {}

/// Starts CPUs that wait since power-on.
pub trait CpuPower: Send + Sync {
    /// Lets the CPU `mpidr` run from the physical address `entry`, MMU off, at the exception level that the boot CPU
    /// started at (or lower).
    ///
    /// PSCI delivers `context` in `x0`; a spin table has no way to, so an `entry` that is to work with both finds out
    /// by its own `MPIDR_EL1` who it is. `Ok` means that the request was delivered, not that the CPU has arrived: the
    /// caller waits for a sign of life, for a bounded time.
    fn start_cpu(&self, mpidr: Mpidr, entry: PhysAddr, context: u64) -> Result<(), StartCpuError>;
}

/// Why a CPU was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartCpuError {
    /// There is no such CPU (or no release address is known for it).
    NoSuchCpu(Mpidr),
    /// It is running already.
    AlreadyOn(Mpidr),
    /// A start is under way.
    Pending(Mpidr),
    /// The firmware does not accept the entry address.
    BadEntry(PhysAddr),
    /// The CPU's release address is not memory that the kernel may write: the device tree is wrong.
    BadRelease(PhysAddr),
    /// The firmware cannot start CPUs.
    NotSupported,
    /// The firmware answered with another error code (PSCI, DEN0022, 5.2.2).
    Firmware(i32),
}

impl fmt::Display for StartCpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCpu(mpidr) => write!(f, "there is no CPU {mpidr} to start"),
            Self::AlreadyOn(mpidr) => write!(f, "the CPU {mpidr} is running already"),
            Self::Pending(mpidr) => write!(f, "the CPU {mpidr} is being started already"),
            Self::BadEntry(entry) => write!(f, "the firmware refuses the entry address {entry}"),
            Self::BadRelease(address) => write!(f, "the CPU's release address {address} cannot be written"),
            Self::NotSupported => f.write_str("the firmware cannot start CPUs"),
            Self::Firmware(code) => write!(f, "the firmware refused with code {code}"),
        }
    }
}

impl core::error::Error for StartCpuError {}

/// A call into firmware at a higher exception level: `HVC #0` or `SMC #0` (SMC Calling Convention, DEN0028).
///
/// Which of the two is the implementor's matter (the device tree's `/psci/method` says).
pub trait FirmwareCall: Send + Sync {
    /// Calls `function` (in `w0`) with `x1`-`x3` = `args`, and returns `x0`.
    fn call(&self, function: u32, args: [u64; 3]) -> u64;
}

impl<F: FirmwareCall + ?Sized> FirmwareCall for &F {
    fn call(&self, function: u32, args: [u64; 3]) -> u64 {
        (**self).call(function, args)
    }
}

/// Writes the release addresses that waiting CPUs watch (spin table).
pub trait ReleaseMemory: Send + Sync {
    /// Writes `value` at the physical address `address`, cleans its cache line to the point of coherency (the waiting
    /// CPU reads with its caches off), `DSB SY`, and wakes the waiters with `SEV`.
    ///
    /// Answers `false`, having written nothing, when the address is not memory that the implementor may write or not a
    /// multiple of 8.
    fn write_release(&self, address: PhysAddr, value: u64) -> bool;
}

impl<M: ReleaseMemory + ?Sized> ReleaseMemory for &M {
    fn write_release(&self, address: PhysAddr, value: u64) -> bool {
        (**self).write_release(address, value)
    }
}
