//! From power on to the prompt, on every machine that the contract names, and back to power off.

use sis_harness::{BOOT_MARKERS, Boot, Result, SECOND};
use sis_suites::{RPI4, VIRT, power_off, to_shell, virt};

#[test]
fn boot_markers_come_in_order_and_the_boot_is_measured() -> Result<()> {
    let mut board = to_shell(Boot::new(VIRT))?;
    assert_eq!(board.markers(), BOOT_MARKERS);
    board.run_ok("metrics", 20 * SECOND)?;
    let metrics = board.metrics();
    for name in ["boot_time_ns", "mmu_enable_ns", "cntfrq_hz"] {
        let value = metrics.get(name).copied().unwrap_or(0);
        if value <= 0 {
            return Err(board.failure(format_args!("{name} is {value}; measured are {:?}", metrics.keys())));
        }
    }
    power_off(board)
}

#[test]
fn the_pi_boots_to_the_shell_with_its_markers() -> Result<()> {
    let mut board = to_shell(Boot::new(RPI4))?;
    assert_eq!(board.markers(), BOOT_MARKERS);
    assert_eq!(board.run_ok("nproc", 20 * SECOND)?.trim(), "4");
    Ok(())
}

/// Boots one machine, sees that it has what it was given, and powers it off.
fn machine(boot: Boot, cpus: u32, memory_mib: u64) -> Result<()> {
    let mut board = to_shell(boot)?;
    let seen = board.run_ok("nproc", 20 * SECOND)?;
    if seen.trim() != cpus.to_string() {
        return Err(board.failure(format_args!("{} CPUs are online, not {cpus}", seen.trim())));
    }
    let text = board.run_ok("grep MemTotal /proc/meminfo", 20 * SECOND)?;
    let kib = text
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0);
    // The kernel's own image and tables are not counted; more than a fifth of it would be a lost bank.
    if kib > memory_mib * 1024 || kib < memory_mib * 1024 * 4 / 5 - 24 * 1024 {
        return Err(board.failure(format_args!("{kib} KiB of memory where {memory_mib} MiB are")));
    }
    power_off(board)
}

#[test]
fn boots_on_one_cortex_a53_with_gic_2_and_128_mib() -> Result<()> {
    machine(virt()?.smp(1).gic(2).cpu("cortex-a53").memory("128M"), 1, 128)
}

#[test]
fn boots_on_eight_cpus_max_with_gic_3_and_4_gib() -> Result<()> {
    machine(virt()?.smp(8).gic(3).cpu("max").memory("4G"), 8, 4096)
}

#[test]
fn boots_on_eight_cpus_with_gic_2() -> Result<()> {
    machine(virt()?.smp(8).gic(2), 8, 512)
}

#[test]
fn boots_from_el2_with_gic_3() -> Result<()> {
    machine(virt()?.smp(2).gic(3).el2(), 2, 512)
}

#[test]
fn boots_from_el2_with_gic_2_on_cpu_max() -> Result<()> {
    machine(virt()?.smp(3).gic(2).cpu("max").el2().memory("1G"), 3, 1024)
}

#[test]
fn reboot_resets_the_board() -> Result<()> {
    let mut board = to_shell(virt()?.smp(2).reboots())?;
    board.type_text("reboot\n")?;
    board.expect("KERNEL\\(U\\)|Booting Linux", 60 * SECOND)?;
    board.wait_prompt(120 * SECOND)?;
    assert_eq!(board.run_ok("echo again", 20 * SECOND)?, "again\n");
    Ok(())
}

#[test]
fn reboot_ends_qemu_where_a_reset_does() -> Result<()> {
    let mut board = to_shell(virt()?.smp(1))?;
    board.type_text("reboot\n")?;
    assert!(board.wait_end(60 * SECOND)?.success());
    Ok(())
}

#[test]
fn poweroff_waits_for_programs_and_kills_what_does_not_end() -> Result<()> {
    let mut board = to_shell(virt()?.smp(2))?;
    board.run_ok(
        "(trap 'echo asked to end >/dev/console; exit' TERM; while :; do sleep 1; done) &",
        20 * SECOND,
    )?;
    board.run_ok("(trap '' TERM; while :; do sleep 1; done) &", 20 * SECOND)?;
    board.type_text("poweroff\n")?;
    board.expect("asked to end", 30 * SECOND)?;
    assert!(board.wait_end(60 * SECOND)?.success());
    Ok(())
}
