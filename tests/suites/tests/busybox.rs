//! Debian's unmodified BusyBox does on every board what issue trackers, scripts and people ask of it.

use sis_harness::{Boot, Result};
use sis_suites::{RPI4, busybox, to_shell, virt};

#[test]
fn busybox_works_on_virt_with_one_cpu() -> Result<()> {
    let mut board = to_shell(virt()?.smp(1))?;
    busybox::run(&mut board)?;
    busybox::run_network(&mut board)
}

#[test]
fn busybox_works_on_virt_with_four_cpus() -> Result<()> {
    let mut board = to_shell(virt()?.smp(4))?;
    busybox::run(&mut board)?;
    busybox::run_network(&mut board)
}

#[test]
fn busybox_works_on_the_pi() -> Result<()> {
    let mut board = to_shell(Boot::new(RPI4))?;
    busybox::run(&mut board)?;
    busybox::run_network(&mut board)
}

#[test]
fn a_minute_of_shell_script_leaks_nothing_on_virt_with_one_cpu() -> Result<()> {
    busybox::run_minute(&mut to_shell(virt()?.smp(1))?, 1)
}

#[test]
fn a_minute_of_shell_script_leaks_nothing_on_virt_with_four_cpus() -> Result<()> {
    busybox::run_minute(&mut to_shell(virt()?.smp(4))?, 4)
}

#[test]
fn a_minute_of_shell_script_leaks_nothing_on_the_pi() -> Result<()> {
    busybox::run_minute(&mut to_shell(Boot::new(RPI4))?, 4)
}
