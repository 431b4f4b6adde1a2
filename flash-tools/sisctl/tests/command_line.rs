//! What scripts rely on: exit codes, errors as JSON, results apart from progress.

use std::process::{Command, Output};

/// A host with no key and no boards.
fn sisctl(arguments: &[&str]) -> Output {
    let home = std::env::temp_dir().join(format!("sisctl-test-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_sisctl"))
        .args(arguments)
        .env("SIS_HOME", home)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("sisctl runs")
}

fn error_code(output: &Output) -> String {
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    value["error"]["code"].as_str().expect("a code").to_owned()
}

#[test]
fn every_command_has_help() {
    let help = String::from_utf8(sisctl(&["--help"]).stdout).expect("text");
    let mut seen = 0;
    for line in help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
    {
        let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|name| !line.starts_with("   ") && *name != "help")
        else {
            continue;
        };
        let output = sisctl(&[name, "--help"]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{name}");
        seen += 1;
    }
    assert!(seen >= 19, "only {seen} commands in\n{help}");
    assert!(help.contains("Exit codes"));
}

#[test]
fn wrong_command_lines_exit_with_2() {
    for arguments in [
        vec!["frobnicate"],
        vec!["approve"],
        vec!["approve", "x"],
        vec!["approve", "1", "--all"],
        vec!["exec"],
        vec!["run"],
        vec!["memory", "mode", "--approval", "perhaps"],
        vec!["build", "no-such-board"],
        vec!["image", "no-such-board"],
        vec!["image", "qemu-virt", "--size", "1.5G"],
        vec!["image", "qemu-virt", "--size", "100M"],
        vec!["image", "qemu-virt", "--no-build", "--checked"],
        vec!["image", "qemu-virt", "--no-build", "--sign", "Cargo.toml"],
        vec!["run", "../kernel"],
        vec!["pair", "nonsense"],
        vec!["test", "--step", "no-such-step"],
        vec!["watch"],
    ] {
        assert_eq!(sisctl(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_host_that_is_not_paired_is_told_so() {
    for arguments in [
        vec!["metrics"],
        vec!["approvals"],
        vec!["logs"],
        vec!["approve", "--all"],
        vec!["memory", "status"],
    ] {
        let output = sisctl(&[arguments.as_slice(), &["--json", "--board", "nowhere"]].concat());
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert_eq!(error_code(&output), "link.not-paired");
    }
}

#[test]
fn impossible_machines_are_refused_before_anything_starts() {
    for arguments in [
        vec!["run", "qemu-virt", "--smp", "9"],
        vec!["run", "qemu-virt", "--gic", "1"],
        vec!["run", "rpi4", "--smp", "2"],
    ] {
        let all = [arguments.as_slice(), &["--json", "--kernel", "/dev/null", "--no-build"]].concat();
        let output = sisctl(&all);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        let code = error_code(&output);
        assert!(
            code == "run.options" || code == "run.missing" || code == "run.already",
            "{arguments:?}: {code}"
        );
    }
}

#[test]
fn the_steps_of_test_are_named() {
    let list = String::from_utf8(sisctl(&["test", "--list"]).stdout).expect("text");
    for step in [
        "fmt",
        "clippy",
        "clippy-kernel",
        "doc",
        "host",
        "build-qemu-virt",
        "build-rpi4",
        "harness",
        "suites",
    ] {
        assert!(
            list.lines().any(|line| line.split_whitespace().next() == Some(step)),
            "{step} is not in\n{list}"
        );
    }
}

#[test]
fn flash_writes_a_file_and_says_so_in_lines_of_json() {
    let folder = std::env::temp_dir().join(format!("sisctl-flash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (image, out) = (folder.join("card.img"), folder.join("out.img"));
    let content: Vec<u8> = (0..9_000_000u32).map(|index| (index >> 3) as u8).collect();
    std::fs::write(&image, &content).expect("an image");
    let (image, out) = (image.display().to_string(), out.display().to_string());

    let output = sisctl(&["--json", "flash", &image, &out, "--yes"]);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    for phase in ["write", "verify"] {
        let last = lines.iter().rfind(|line| line["phase"] == phase).expect("told");
        assert_eq!(
            (&last["bytes"], &last["total"]),
            (&9_000_000.into(), &9_000_000.into()),
            "{phase}"
        );
    }
    let result = lines.last().expect("a result");
    assert_eq!(
        (&result["result"], &result["verified"]),
        (&"written".into(), &true.into())
    );
    assert!(std::fs::read(&out).expect("the file") == content);

    // The file is there now, and nobody can be asked.
    let output = sisctl(&["--json", "flash", &image, &out]);
    assert_eq!(
        (output.status.code(), error_code(&output).as_str()),
        (Some(2), "flash.ask")
    );
    let output = sisctl(&["--json", "flash", &image, &image, "--yes"]);
    assert_eq!(
        (output.status.code(), error_code(&output).as_str()),
        (Some(2), "flash.same")
    );
    let output = sisctl(&["--json", "flash", &image, "/dev/null", "--yes"]);
    assert_eq!(
        (output.status.code(), error_code(&output).as_str()),
        (Some(2), "flash.device")
    );
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}
