//! Calls into firmware, release addresses of spin tables, and the board's way to switch off.

use core::arch::asm;

use sis_hal::{FirmwareCall, PhysAddr, Power, PowerError, ReleaseMemory, RestartArgument};
use spin::Once;

use crate::mm;

/// `HVC #0`.
pub struct Hvc;
/// `SMC #0`.
pub struct Smc;

macro_rules! conduit {
    ($name:ident, $insn:literal) => {
        impl FirmwareCall for $name {
            fn call(&self, function: u32, args: [u64; 3]) -> u64 {
                let out: u64;
                // SAFETY: (1) the SMC Calling Convention keeps x4.. and memory; x0..x3 are results.
                unsafe {
                    asm!($insn, inlateout("x0") u64::from(function) => out, inlateout("x1") args[0] => _,
                        inlateout("x2") args[1] => _, inlateout("x3") args[2] => _, clobber_abi("C"));
                }
                out
            }
        }
    };
}
conduit!(Hvc, "hvc #0");
conduit!(Smc, "smc #0");

/// Spin-table release addresses, through the linear map.
pub struct SpinTableMemory;

impl ReleaseMemory for SpinTableMemory {
    fn write_release(&self, address: PhysAddr, value: u64) -> bool {
        let va = mm::linear(address.0 as usize) as usize;
        if !address.is_aligned(8) || !mm::kspace::is_mapped(va) {
            return false;
        }
        // SAFETY: (1) an aligned word of RAM that the device tree names as release address, which nothing else uses.
        unsafe { asm!("str {1}, [{0}]", "dc cvac, {0}", "dsb sy", "sev", in(reg) va, in(reg) value, options(nostack)) };
        true
    }
}

static POWER: Once<&'static dyn Power> = Once::new();

/// Names the way to switch the board off; once, at boot.
pub fn set_power(p: &'static dyn Power) {
    POWER.call_once(|| p);
}

static RESTART_ARGUMENT: Once<&'static dyn RestartArgument> = Once::new();

/// Names who takes the arguments of restarts; once, at boot.
pub fn set_restart_argument_taker(taker: &'static dyn RestartArgument) {
    RESTART_ARGUMENT.call_once(|| taker);
}

/// Hands the argument of the next restart to the firmware.
///
/// # Errors
/// [`PowerError::NotSupported`] where the board's firmware takes none, or does not know this one.
pub fn set_restart_argument(argument: &str) -> Result<(), PowerError> {
    let taker = RESTART_ARGUMENT.get().ok_or(PowerError::NotSupported)?;
    taker.set_restart_argument(argument)
}

/// Switches the board off; comes back only when that failed.
pub fn power_off() {
    if let Some(p) = POWER.get() {
        let e = p.power_off();
        crate::error!("power off failed: {e}");
    }
}

/// Restarts the board; comes back only when that failed.
pub fn reboot() {
    if let Some(p) = POWER.get() {
        let e = p.reboot();
        crate::error!("reboot failed: {e}");
    }
}

/// As [`reboot`], saying nothing: for panics, which take no lock.
pub(crate) fn reboot_quiet() {
    if let Some(p) = POWER.get() {
        let _ = p.reboot();
    }
}
