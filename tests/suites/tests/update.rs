//! Updates of a running board: one that is kept, ones that are left again, ones that are cut off, and ones that are refused.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sis_client::{RequestError, UpdateError, UpdateReport};
use sis_harness::{Boot, Failure, Result, SECOND, workspace};
use sis_protocol::wire::{UpdateStatus, UpdateStep};
use sis_suites::cards::Card;
use sis_suites::paired::{PATIENCE, Paired, paired};
use sis_suites::{RPI4, VIRT, power_off, to_shell, virt};

/// From a restart until the board has tried an update or fallen back.
const TRIAL: Duration = Duration::from_secs(150);

fn card() -> Result<Card> {
    Card::new(VIRT, &["--release", "1.0.0"])
}

/// A bundle of `release` whose root has the files of `overlay`, programs all of them.
fn bundle(release: &str, overlay: &[(&str, &str)]) -> Result<Vec<u8>> {
    bundle_of(VIRT, release, overlay, &[])
}

fn bundle_of(board: &str, release: &str, overlay: &[(&str, &str)], more: &[&str]) -> Result<Vec<u8>> {
    let folder = workspace().join(format!("target/sis/disks/update-{}-{release}", std::process::id()));
    let made = (|| {
        for (path, text) in overlay {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&folder)).map_err(Failure::new)?;
            std::fs::write(&path, text).map_err(Failure::new)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).map_err(Failure::new)?;
        }
        let name = folder.to_string_lossy().into_owned();
        let mut arguments = vec!["--release", release];
        arguments.extend(more);
        if !overlay.is_empty() {
            arguments.extend(["--overlay", &name]);
        }
        Card::new(board, &arguments)?.bundle()
    })();
    let _ = std::fs::remove_dir_all(&folder);
    made
}

/// The good update, made once.
fn good() -> Result<&'static [u8]> {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    if GOOD.get().is_none() {
        let _ = GOOD.set(bundle("1.1.0", &[])?);
    }
    Ok(GOOD.get().map_or(&[], Vec::as_slice))
}

fn boot(card: &Card) -> Result<Boot> {
    Ok(virt()?.smp(2).reboots().card(card.drive()))
}

/// Sends `bundle`; `seen` is told each report, and ends it by answering false.
fn send(
    paired: &Paired,
    bundle: &[u8],
    may_downgrade: bool,
    mut seen: impl FnMut(&UpdateReport) -> bool,
) -> std::result::Result<(), UpdateError> {
    paired.runtime.block_on(async {
        let (mut sender, mut reports) = paired.client.update(may_downgrade).await?;
        let sending = async move {
            // The board may take no more: its report says why.
            if sender.send(bundle).await.is_ok() {
                sender.finish();
            }
            std::future::pending::<()>().await;
        };
        let following = async {
            loop {
                let report = reports.next().await?;
                if !seen(&report) || report == UpdateReport::Restarting {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            () = sending => Ok(()),
            ended = following => ended,
        }
    })
}

/// What the board says once nothing is under way.
fn settled(paired: &mut Paired) -> Result<UpdateStatus> {
    let deadline = Instant::now() + TRIAL;
    loop {
        let last = match paired.runtime.block_on(paired.client.update_status()) {
            Ok(status) if status.pending.is_none() => return Ok(status),
            Ok(status) => format!("{status:?}"),
            Err(error @ (RequestError::Offline(_) | RequestError::Interrupted(_))) => error.to_string(),
            Err(error) => return Err(paired.board.failure(error)),
        };
        if Instant::now() >= deadline {
            // What can still be learnt, from the other side.
            let link = paired.client.state();
            let own = paired
                .board
                .run("sis-agent status; ps; ip addr; dmesg | tail -n 20", 30 * SECOND);
            return Err(paired.board.failure(format_args!(
                "the board did not say what became of the update: {last}; {link:?}; {own:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The whole of an update: what the board says in the end.
fn update(paired: &mut Paired, bundle: &[u8]) -> Result<UpdateStatus> {
    let mut steps = Vec::new();
    send(paired, bundle, false, |report| {
        if let UpdateReport::Progress { step, .. } = report
            && steps.last() != Some(step)
        {
            steps.push(*step);
        }
        true
    })
    .map_err(|error| paired.board.failure(error))?;
    let last_four = steps.get(steps.len().saturating_sub(4)..).unwrap_or_default();
    let wanted = [
        UpdateStep::Check,
        UpdateStep::Write,
        UpdateStep::Verify,
        UpdateStep::Restart,
    ];
    assert_eq!(last_four, wanted, "{steps:?}");
    settled(paired)
}

/// Why the last update was kept or left.
fn reason_of(status: UpdateStatus) -> String {
    status.last.map_or_else(String::new, |last| last.reason)
}

#[track_caller]
fn assert_runs(status: &UpdateStatus, version: &str, slot: &str) {
    let runs = (
        status.version.as_str(),
        status.running.as_str(),
        status.committed.as_str(),
    );
    assert_eq!(runs, (version, slot, slot), "{status:?}");
}

#[test]
fn an_update_is_written_tried_and_kept_and_so_is_the_next() -> Result<()> {
    let card = card()?;
    let mut paired = paired(boot(&card)?)?;
    assert_runs(&settled(&mut paired)?, "1.0.0", "a");
    paired
        .board
        .run_ok("echo mine >/data/mine; echo old >/etc/old", 20 * SECOND)?;

    let status = update(&mut paired, good()?)?;
    assert_runs(&status, "1.1.0", "b");
    let last = status
        .last
        .ok_or_else(|| paired.board.failure("nothing is known of the update"))?;
    assert_eq!(
        (last.succeeded, last.from_version.as_str(), last.slot.as_str()),
        (true, "1.0.0", "b")
    );
    let said = paired.board.run_ok("sis-agent status", 20 * SECOND)?;
    let said: serde_json::Value = serde_json::from_str(said.trim()).map_err(Failure::new)?;
    assert_eq!(
        (&said["system"]["running"], &said["system"]["last"]["succeeded"]),
        (&"b".into(), &true.into()),
        "{said}"
    );
    // The same client, the same data, another root.
    assert_eq!(
        paired.exec("cat /data/mine; ls /etc/old 2>/dev/null; cut -d' ' -f1 /proc/mounts | head -n 1")?,
        "mine\n/dev/vda5\n"
    );

    // The same version again is no step back; it goes into the first slot.
    let status = update(&mut paired, good()?)?;
    assert_runs(&status, "1.1.0", "a");
    assert_eq!(
        paired.exec("cat /data/mine; ls /etc/old 2>/dev/null; ls /data/sis/update")?,
        "mine\nlast.json\n"
    );
    power_off(paired.board)?;
    card.assert_clean()
}

#[test]
fn a_system_that_crashes_or_fails_its_checks_is_left_and_says_why() -> Result<()> {
    let card = card()?;
    let crashes = bundle("1.2.0", &[("sbin/init", "#!/bin/sh\nexit 3\n")])?;
    let fails = "#!/bin/sh\n[ \"$1\" != selfcheck ] || { echo '[FAIL] made-up: on purpose'; exit 1; }\nexec /bin/sh\n";
    let fails = bundle("1.3.0", &[("sbin/sis-shell", fails)])?;
    let mut paired = paired(boot(&card)?.expects_panic())?;

    let status = update(&mut paired, &crashes)?;
    assert_runs(&status, "1.0.0", "a");
    let reason = reason_of(status);
    assert!(reason.contains("did not come up"), "{reason}");
    assert!(paired.board.has_panicked(), "the new system has a good init");

    let status = update(&mut paired, &fails)?;
    assert_runs(&status, "1.0.0", "a");
    let reason = reason_of(status);
    assert!(reason.contains("made-up (on purpose)"), "{reason}");

    // It is none the worse for it.
    assert_runs(&update(&mut paired, good()?)?, "1.1.0", "b");
    Ok(())
}

#[test]
fn a_system_without_an_agent_is_left_when_its_time_is_over() -> Result<()> {
    let card = card()?;
    let mute = bundle("1.4.0", &[("sbin/sis-agent", "#!/bin/sh\nexit 1\n")])?;
    let mut paired = paired(boot(&card)?)?;
    let status = update(&mut paired, &mute)?;
    assert_runs(&status, "1.0.0", "a");
    let reason = reason_of(status);
    assert!(reason.contains("did not prove itself within"), "{reason}");
    Ok(())
}

/// Cuts the power, and starts the board again from the same card.
fn cut(paired: &mut Paired, card: &Card) -> Result<()> {
    let pid = paired.board.pid().to_string();
    // The shell's own: a small host has no other.
    let killed = Command::new("sh")
        .args(["-c", "kill -KILL \"$1\"", "sh", &pid])
        .status()
        .map_err(Failure::new)?;
    assert!(killed.success());
    paired.board.wait_end(10 * SECOND)?;
    paired.board = to_shell(boot(card)?.agent_port(paired.port))?;
    paired
        .runtime
        .block_on(paired.client.wait_online(PATIENCE))
        .map_err(Failure::new)?;
    Ok(())
}

#[test]
fn a_cut_at_any_step_leaves_a_system_that_runs_and_says_what_happened() -> Result<()> {
    let card = card()?;
    let mut paired = paired(boot(&card)?)?;
    for (step, reason) in [
        (UpdateStep::Receive, "while the bundle came in"),
        (UpdateStep::Write, "while slot b was written"),
        (UpdateStep::Verify, "while slot b was written"),
    ] {
        let is_there =
            |report: &UpdateReport| matches!(report, UpdateReport::Progress { step: now, .. } if *now == step);
        let mut was_there = false;
        send(&paired, good()?, false, |report| {
            was_there = is_there(report);
            !was_there
        })
        .map_err(|error| paired.board.failure(error))?;
        assert!(was_there, "{step:?} was not told");
        cut(&mut paired, &card)?;
        let status = settled(&mut paired)?;
        assert_runs(&status, "1.0.0", "a");
        let last = status
            .last
            .ok_or_else(|| paired.board.failure("nothing is known of the update"))?;
        assert!(
            !last.succeeded && last.reason.contains(reason),
            "{step:?}: {}",
            last.reason
        );
    }

    // In the trial: the loader has counted it, and starts the last good system.
    send(&paired, good()?, false, |_| true).map_err(|error| paired.board.failure(error))?;
    paired.board.expect("LAUNCHING SHELL", TRIAL)?;
    cut(&mut paired, &card)?;
    let status = settled(&mut paired)?;
    assert_runs(&status, "1.0.0", "a");
    let last = status
        .last
        .ok_or_else(|| paired.board.failure("nothing is known of the update"))?;
    assert!(
        !last.succeeded && last.reason.contains("did not come up"),
        "{}",
        last.reason
    );

    // After all that, it is as good as new.
    assert_runs(&update(&mut paired, good()?)?, "1.1.0", "b");
    power_off(paired.board)?;
    card.assert_clean()
}

/// A key that no board knows.
fn other_key() -> Result<PathBuf> {
    let path = workspace().join(format!("target/sis/disks/key-{}.pem", std::process::id()));
    let text = sis_bundle::sign::Signer::generate().map_err(Failure::new)?;
    std::fs::write(&path, text).map_err(Failure::new)?;
    Ok(path)
}

#[test]
fn what_is_not_whole_not_signed_older_or_another_board_s_is_refused_before_a_byte_is_written() -> Result<()> {
    let card = card()?;
    let key = other_key()?;
    let foreign =
        Card::new(VIRT, &["--release", "1.1.0", "--sign", &key.to_string_lossy()]).and_then(|card| card.bundle());
    std::fs::remove_file(&key).map_err(Failure::new)?;
    let foreign = foreign?;
    let older = Card::new(VIRT, &["--release", "1.0.0-rc.1"])?.bundle()?;
    let firmware = card.folder().join("firmware");
    std::fs::create_dir_all(&firmware).map_err(Failure::new)?;
    for name in ["start4.elf", "fixup4.dat"] {
        std::fs::write(firmware.join(name), name).map_err(Failure::new)?;
    }
    let pi = Card::new(RPI4, &["--release", "1.1.0", "--firmware", &firmware.to_string_lossy()])?.bundle()?;
    let mut changed = good()?.to_vec();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let truncated = &good()?[..good()?.len() - 1];
    let longer = [good()?, &[0]].concat();

    let mut paired = paired(boot(&card)?)?;
    let before = (card.digest("boot-b")?, card.digest("slot-b")?, card.digest("select")?);
    for (bundle, words) in [
        (&foreign[..], "signature is not valid"),
        (&older, "older than the 1.0.0 that runs"),
        (&pi, "for the board rpi4"),
        (&changed, "damaged"),
        (truncated, "truncated"),
        (&longer, "where its manifest has"),
        (b"\x7fELF and so on", "no update bundle"),
        (b"", "truncated"),
    ] {
        match send(&paired, bundle, false, |_| true) {
            Err(UpdateError::Failed(failure)) => assert!(failure.message.contains(words), "{words}: {failure}"),
            other => return Err(paired.board.failure(format_args!("{words}: {other:?}"))),
        }
    }
    assert_runs(&settled(&mut paired)?, "1.0.0", "a");
    paired.board.run_ok("sync", 20 * SECOND)?;
    assert_eq!(
        before,
        (card.digest("boot-b")?, card.digest("slot-b")?, card.digest("select")?)
    );

    // A step back is taken when it is wanted.
    send(&paired, &older, true, |_| true).map_err(|error| paired.board.failure(error))?;
    assert_runs(&settled(&mut paired)?, "1.0.0-rc.1", "b");
    Ok(())
}

#[test]
fn a_board_without_slots_takes_no_update() -> Result<()> {
    let paired = paired(virt()?.smp(2))?;
    match send(&paired, good()?, false, |_| true) {
        Err(UpdateError::Request(RequestError::Failed(failure))) => {
            assert!(failure.message.contains("not started from a card"), "{failure}");
        }
        other => return Err(paired.board.failure(format_args!("{other:?}"))),
    }
    power_off(paired.board)
}

/// A folder that stands for the Pi's firmware, which QEMU does not run.
fn firmware(card: &Card) -> Result<String> {
    let folder = card.folder().join("firmware");
    std::fs::create_dir_all(&folder).map_err(Failure::new)?;
    for name in ["start4.elf", "fixup4.dat"] {
        std::fs::write(folder.join(name), name).map_err(Failure::new)?;
    }
    Ok(folder.to_string_lossy().into_owned())
}

/// The Pi starts again: as its firmware has it, which takes the flag from what it was asked.
fn restarted(paired: &mut Paired, card: &Card) -> Result<bool> {
    paired.board.wait_end(60 * SECOND)?;
    let is_tryboot = paired.board.has_asked_for_tryboot();
    paired.board = to_shell(pi_boot(card).tryboot(is_tryboot).agent_port(paired.port))?;
    Ok(is_tryboot)
}

fn pi_boot(card: &Card) -> Boot {
    Boot::new(RPI4).card(card.drive())
}

#[test]
fn the_pi_tries_an_update_by_its_firmware_s_flag_and_keeps_it_or_falls_back() -> Result<()> {
    // A folder for the firmware; the image in it is another board's, and is not used.
    let home = card()?;
    let firmware = firmware(&home)?;
    let of = ["--firmware", firmware.as_str()];
    let card = Card::new(RPI4, &[&["--release", "1.0.0"], &of[..]].concat())?;
    let good = bundle_of(RPI4, "1.1.0", &[], &of)?;
    let crashes = bundle_of(RPI4, "1.2.0", &[("sbin/init", "#!/bin/sh\nexit 3\n")], &of)?;
    let mut paired = paired(pi_boot(&card).expects_panic())?;
    assert_runs(&settled(&mut paired)?, "1.0.0", "a");

    send(&paired, &good, false, |_| true).map_err(|error| paired.board.failure(error))?;
    assert!(restarted(&mut paired, &card)?, "the firmware was not told");
    assert_runs(&settled(&mut paired)?, "1.1.0", "b");
    // Without the flag it is the same one now.
    paired.board.type_text("reboot\n")?;
    assert!(!restarted(&mut paired, &card)?);
    assert_runs(&settled(&mut paired)?, "1.1.0", "b");

    send(&paired, &crashes, false, |_| true).map_err(|error| paired.board.failure(error))?;
    paired.board.wait_end(60 * SECOND)?;
    let crashing = pi_boot(&card)
        .tryboot(true)
        .expects_panic()
        .agent_port(paired.port)
        .start()?;
    paired.board = crashing;
    assert!(!restarted(&mut paired, &card)?, "the flag is for one start");
    let status = settled(&mut paired)?;
    assert_runs(&status, "1.1.0", "b");
    let reason = reason_of(status);
    assert!(reason.contains("did not come up"), "{reason}");
    power_off(paired.board)?;
    card.assert_clean()
}
