//! The kernel's command line means what it means on Linux, and the root is anybody's.

use sis_harness::{Board, Boot, Result, SECOND};
use sis_suites::{VIRT, guest_bytes, is_reference, root_with, virt};

/// A boot with a root of one program.
fn foreign(path: &str) -> Result<Boot> {
    Ok(virt()?
        .smp(1)
        .memory("256M")
        .initrd_bytes(root_with(path, guest_bytes()?)?))
}

/// Waits for the crash that the end of init is.
fn killed_init(board: &mut Board) -> Result<Vec<String>> {
    board.expect(
        "[Kk]ernel panic[^\n]*Attempted to kill init! exitcode=0x([0-9a-f]{8})",
        60 * SECOND,
    )
}

#[test]
fn a_foreign_root_with_any_static_program_as_init_runs() -> Result<()> {
    // /init is what a root archive's first program is called, with or without rdinit=.
    let mut board = foreign("/init")?.expects_panic().start()?;
    board.expect("usage: sis-guest", 60 * SECOND)?;
    // It ends with status 0, and the end of process 1 is the end of the system.
    let status = killed_init(&mut board)?;
    assert_eq!(status.get(1).map(String::as_str), Some("00000000"));
    Ok(())
}

#[test]
fn rdinit_names_the_first_program_and_words_reach_it() -> Result<()> {
    let append = "rdinit=/deep/in/it panic=-1 NAME=value single -- helper args one two";
    let mut board = foreign("/deep/in/it")?.append(append).expects_panic().start()?;
    // `single` is a word for init; NAME=value is its environment; behind -- everything is for init.
    board.expect("usage: sis-guest|no such case", 60 * SECOND)?;
    killed_init(&mut board)?;
    // panic=-1: at once.
    board.wait_end(30 * SECOND)?;
    Ok(())
}

#[test]
fn words_for_init_are_arguments_and_environment() -> Result<()> {
    let append = "rdinit=/init panic=-1 NAME=value module.parameter=1 -- helper args one two=2";
    let mut board = foreign("/init")?.append(append).expects_panic().start()?;
    board.expect("one\\|two=2", 60 * SECOND)?;
    // The environment is printed in any order: HOME and TERM are the kernel's own.
    board.wait_end(60 * SECOND)?;
    let text = board.console_text();
    for line in ["NAME=value", "HOME=/", "TERM=linux"] {
        assert!(
            text.lines().any(|l| l.trim() == line),
            "init's environment lacks {line}:\n{text}"
        );
    }
    assert!(
        !text.lines().any(|l| l.trim() == "module.parameter=1"),
        "a module's parameter is not for init"
    );
    Ok(())
}

#[test]
fn the_end_of_init_is_a_panic_with_its_status() -> Result<()> {
    // `sis-guest nonsense` ends with status 2: exitcode=0x00000200, as Linux prints it.
    let mut board = foreign("/init")?.append("panic=-1 nonsense").expects_panic().start()?;
    let status = killed_init(&mut board)?;
    assert_eq!(status.get(1).map(String::as_str), Some("00000200"));
    board.wait_end(30 * SECOND)?;
    Ok(())
}

#[test]
fn an_init_that_is_killed_is_a_panic_with_its_signal() -> Result<()> {
    let mut board = foreign("/init")?.append("panic=-1 crash").expects_panic().start()?;
    let status = killed_init(&mut board)?;
    assert_eq!(status.get(1).map(String::as_str), Some("0000000b"));
    board.wait_end(30 * SECOND)?;
    Ok(())
}

#[test]
fn without_an_init_the_kernel_says_what_it_tried() -> Result<()> {
    if is_reference() {
        // Linux mounts a root device instead of naming what it tried in the archive.
        return Ok(());
    }
    let mut board = foreign("/nothing/here")?
        .append("init=/no/such/init panic=-1")
        .expects_panic()
        .start()?;
    board.expect("[Kk]ernel panic", 60 * SECOND)?;
    board.wait_end(30 * SECOND)?;
    let text = board.console_text();
    for path in ["/init", "/no/such/init"] {
        assert!(text.contains(path), "the console does not name {path}:\n{text}");
    }
    Ok(())
}

#[test]
fn without_a_root_the_kernel_says_what_it_tried() -> Result<()> {
    if is_reference() {
        return Ok(());
    }
    let mut board = Boot::new(VIRT)
        .smp(1)
        .no_initrd()
        .append("panic=-1")
        .expects_panic()
        .start()?;
    board.expect("[Kk]ernel panic", 60 * SECOND)?;
    board.wait_end(30 * SECOND)?;
    let text = board.console_text();
    for path in ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"] {
        assert!(text.contains(path), "the console does not name {path}:\n{text}");
    }
    Ok(())
}

#[test]
fn panic_n_restarts_after_n_seconds() -> Result<()> {
    let mut board = foreign("/init")?.append("panic=2 nonsense").expects_panic().start()?;
    killed_init(&mut board)?;
    let start = std::time::Instant::now();
    board.wait_end(60 * SECOND)?;
    let took = start.elapsed();
    assert!(took > SECOND, "it restarted after {took:?}");
    Ok(())
}

#[test]
fn quiet_keeps_the_kernel_quiet_and_the_log_complete() -> Result<()> {
    let mut board = virt()?.smp(1).append("quiet").start()?;
    board.wait_shell()?;
    let shown = board
        .console_text()
        .lines()
        .filter(|l| l.trim_start().starts_with("[ "))
        .count();
    let kept = board.run_ok("dmesg | wc -l", 20 * SECOND)?;
    let kept: usize = kept.trim().parse().unwrap_or(0);
    assert!(
        kept > 10 && shown < kept / 2,
        "{shown} lines were shown, {kept} are kept"
    );
    Ok(())
}

#[test]
fn an_archive_that_is_compressed_boots_too() -> Result<()> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let plain = root_with("/init", guest_bytes()?)?;
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(sis_harness::Failure::new)?;
    let mut input = gzip.stdin.take();
    let writer = std::thread::spawn(move || input.as_mut().map(|i| i.write_all(&plain)));
    let output = gzip.wait_with_output().map_err(sis_harness::Failure::new)?;
    let _ = writer.join();
    let mut board = virt()?
        .smp(1)
        .initrd_bytes(output.stdout)
        .expects_panic()
        .append("panic=-1")
        .start()?;
    board.expect("usage: sis-guest", 60 * SECOND)?;
    board.wait_end(60 * SECOND)?;
    Ok(())
}
