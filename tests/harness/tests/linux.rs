//! The harness itself, against a kernel that is known to be right: Debian's Linux, with our own root.

use sis_harness::{Archive, Board, Boot, Node, Result, SECOND, linux_kernel};

fn linux() -> Result<Boot> {
    Ok(Boot::new("qemu-virt")
        .kernel(linux_kernel()?)
        .smp(2)
        .memory("256M")
        .append("rdinit=/bin/sh"))
}

/// Boots with `script` as init: Linux splits its command line at blanks, so it cannot be given there.
fn init(script: &str) -> Result<Boot> {
    let mut overlay = Archive::default();
    overlay
        .add(
            "/start",
            Node::File(format!("#!/bin/sh\n{script}\n").into_bytes()),
            0o755,
        )
        .expect("is new");
    Ok(Boot::new("qemu-virt")
        .kernel(linux_kernel()?)
        .smp(2)
        .memory("256M")
        .append("rdinit=/start")
        .overlay(overlay))
}

fn shell() -> Result<Board> {
    let mut board = linux()?.start()?;
    board.wait_shell()?;
    Ok(board)
}

#[test]
fn commands_give_their_output_and_status() -> Result<()> {
    // With /dev: the shell opens /dev/null for what runs in the background, and complains at any time when it cannot.
    let mut board = init("mount -t devtmpfs dev /dev; exec sh")?.start()?;
    board.wait_shell()?;
    assert_eq!(board.run_ok("echo one; echo two", 20 * SECOND)?, "one\ntwo\n");
    assert_eq!(board.run("sh -c 'exit 42'", 20 * SECOND)?.status, 42);
    assert_eq!(board.run("printf 'no line end'", 20 * SECOND)?.text, "no line end");
    assert_eq!(board.run_ok("echo 'it'\\''s'; sleep 1 &", 20 * SECOND)?, "it's\n");
    let lines = board.run_ok("yes | head -n 3000 | wc -l", 30 * SECOND)?;
    assert_eq!(lines.trim(), "3000");
    let failed = board.run_ok("false", 20 * SECOND).expect_err("false fails").to_string();
    assert!(
        failed.contains("status 1") && failed.contains("end of the console"),
        "{failed}"
    );
    Ok(())
}

#[test]
fn what_hangs_is_reported_and_what_follows_runs() -> Result<()> {
    let mut board = init("mount -t devtmpfs dev /dev; mount -t sysfs sys /sys; exec setsid cttyhack sh")?.start()?;
    board.wait_shell()?;
    let hung = board.run("sleep 1000", 2 * SECOND).expect_err("does not end");
    assert!(hung.message().contains("not seen within 2.0 s"), "{hung}");
    assert_eq!(board.run_ok("echo still here", 20 * SECOND)?, "still here\n");
    Ok(())
}

#[test]
fn lines_are_understood() -> Result<()> {
    let mut board = shell()?;
    board.run_ok(
        "echo METRIC Boot.Time_ns=17; echo '[PASS] it works'; echo 'KERNEL(U)'",
        20 * SECOND,
    )?;
    assert_eq!(board.metrics().get("boot.time_ns"), Some(&17));
    assert_eq!(board.checks(), [("it works".to_owned(), true)]);
    assert_eq!(board.markers(), ["KERNEL(U)"]);
    board.type_text("echo x=$((6*7))\n")?;
    assert_eq!(board.expect("x=([0-9]+)\r\n", 20 * SECOND)?[1], "42");
    Ok(())
}

#[test]
fn an_overlay_adds_files_to_the_root() -> Result<()> {
    let mut overlay = Archive::default();
    overlay
        .add("/extra", Node::File(b"from the overlay\n".to_vec()), 0o644)
        .expect("is new");
    let mut board = linux()?.overlay(overlay).start()?;
    board.wait_shell()?;
    assert_eq!(
        board.run_ok("cat /extra; test -x /bin/busybox", 20 * SECOND)?,
        "from the overlay\n"
    );
    Ok(())
}

#[test]
fn a_crash_fails_a_wait_at_once_with_the_end_of_the_console() -> Result<()> {
    // Init ends, so the kernel panics.
    let mut board = linux()?
        .append("panic=-1 -- -c 'echo last words'")
        .expects_panic()
        .start()?;
    // The whole line: what it says is known when it is there.
    board.expect("Kernel panic - not syncing[^\n]*\n", 60 * SECOND)?;
    assert!(board.has_panicked());
    assert!(board.wait_end(60 * SECOND)?.success(), "a reset ends QEMU");

    let mut board = init("echo last words")?.append("panic=0").start()?;
    let crashed = board
        .expect("never said", 600 * SECOND)
        .expect_err("the kernel crashes")
        .to_string();
    assert!(
        crashed.contains("the kernel crashed") && crashed.contains("last words"),
        "{crashed}"
    );
    assert!(crashed.contains("Call trace"), "the whole report is shown: {crashed}");
    drop(board);

    let board = init("sleep 3")?.append("panic=0").start()?;
    while !board.has_panicked() {
        std::thread::sleep(SECOND / 10);
    }
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(board)));
    assert!(dropped.is_err(), "a crash that nothing waited for fails the test too");
    Ok(())
}

#[test]
fn the_machine_can_be_paused_unplugged_and_ended() -> Result<()> {
    let mut board = shell()?;
    let mut qmp = board.qmp()?;
    qmp.set_link(false).expect("unplugs");
    qmp.set_link(true).expect("plugs in");
    qmp.pause().expect("pauses");
    drop(qmp);
    assert!(
        board.run("echo x", 2 * SECOND).is_err(),
        "a paused machine answers nothing"
    );
    board.qmp()?.quit().expect("ends");
    assert!(board.wait_end(20 * SECOND)?.success());
    assert!(board.run("echo x", 20 * SECOND).is_err());
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let board = shell()?;
    let (pid, folder) = (board.pid(), board.folder().to_owned());
    drop(board);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "QEMU is gone");
    assert!(folder.join("console.log").is_file() && !folder.join("console.sock").exists());
    Ok(())
}
