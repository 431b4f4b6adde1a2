//! `docs/syscalls.md` says what the kernel says.

use sis_harness::{Failure, Result, SECOND, workspace};
use sis_suites::syscalls::{markdown, parse};
use sis_suites::{to_shell, virt};

#[test]
fn the_page_of_system_calls_is_the_kernels_table() -> Result<()> {
    let mut board = to_shell(virt()?.smp(1))?;
    let table = board.run_ok("cat /proc/sis/syscalls", 20 * SECOND)?;
    let page = markdown(&parse(&table).map_err(Failure::new)?);
    let path = workspace().join("docs/syscalls.md");
    if std::env::var_os("SIS_BLESS").is_some() {
        return std::fs::write(&path, page).map_err(Failure::new);
    }
    let committed = std::fs::read_to_string(&path).map_err(Failure::new)?;
    let first = committed.lines().zip(page.lines()).find(|(old, new)| old != new);
    assert!(
        committed == page,
        "docs/syscalls.md is not what this kernel answers (SIS_BLESS=1 writes it anew); first difference: {first:?}"
    );
    Ok(())
}
