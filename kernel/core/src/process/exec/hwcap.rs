//! What programs are told of the CPU (AT_HWCAP).

use sis_machine::cpu;
use sis_machine::sync::Once;

/// AT_HWCAP for the CPU that runs; all CPUs of a board are taken to be alike.
pub fn hwcap() -> u64 {
    static VALUE: Once<u64> = Once::new();
    *VALUE.call_once(|| sis_algo::exec::hwcap(cpu::id_aa64isar0(), cpu::id_aa64isar1(), cpu::id_aa64pfr0()))
}
