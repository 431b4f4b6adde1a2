//! The walls of the architecture: who may depend on whom. A wall moves only with a decision record in `docs/adr/`.

use sis_suites::crates::{Member, Workspace};

/// Crates that carry the Linux interface: the machine layer knows none of them.
const LINUX: [&str; 5] = ["sis-abi", "linux-raw-sys", "libc", "rustix", "nix"];

/// The kernel's crates that a program of the host may use: pure ones.
const KERNEL_FOR_HOST: [&str; 4] = ["kernel/abi", "kernel/algo", "kernel/ext4", "kernel/autonomy"];

/// All that the companion's state is made from.
const FOR_MODEL: [&str; 6] = [
    "minicbor",
    "serde",
    "serde_json",
    "sis-protocol",
    "thiserror",
    "proptest",
];

/// What the companion's state must not reach for: files, sockets, threads, a clock of its own.
const NOT_IN_MODEL: [&str; 7] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime",
];

/// Crates that may hold unsafe code, by folder; `boards/` only in `src/map.rs`.
const MAY_HOLD_UNSAFE: [&str; 2] = ["kernel/machine", "tests/guest"];

fn workspace() -> Workspace {
    let workspace = Workspace::load().expect("the workspace can be read");
    assert!(
        workspace.members.len() > 15,
        "cargo metadata named only {} crates",
        workspace.members.len()
    );
    workspace
}

fn in_folder<'a>(workspace: &'a Workspace, prefix: &str) -> Vec<&'a Member> {
    let found: Vec<_> = workspace
        .members
        .values()
        .filter(|m| m.folder.starts_with(prefix))
        .collect();
    assert!(
        !found.is_empty(),
        "no crate below {prefix}: the test would pass without looking at anything"
    );
    found
}

fn folder<'a>(workspace: &'a Workspace, name: &str) -> &'a str {
    workspace.members.get(name).map_or("", |m| m.folder.as_str())
}

#[test]
fn machine_knows_no_linux() {
    let workspace = workspace();
    let machine = &workspace.members["sis-machine"];
    let mut all = workspace.reachable("sis-machine");
    all.extend(machine.dependencies.iter().cloned());
    for name in all {
        assert!(!LINUX.contains(&name.as_str()), "kernel/machine reaches {name}");
    }
}

#[test]
fn core_names_no_board_and_no_driver() {
    let workspace = workspace();
    for name in workspace.reachable("sis-core") {
        let at = folder(&workspace, &name);
        assert!(
            !at.starts_with("bsp/") && !at.starts_with("boards/"),
            "kernel/core reaches {name} in {at}"
        );
    }
}

#[test]
fn drivers_depend_on_hal_alone() {
    let workspace = workspace();
    for name in workspace.reachable("sis-drivers") {
        assert_eq!(name, "sis-hal", "bsp/drivers reaches {name}");
    }
}

#[test]
fn hal_depends_on_nothing_of_the_workspace() {
    assert!(workspace().reachable("sis-hal").is_empty());
}

#[test]
fn protocol_depends_on_nothing_of_the_workspace() {
    let reached = workspace().reachable("sis-protocol");
    assert!(reached.is_empty(), "companion/protocol reaches {reached:?}");
}

#[test]
fn the_companions_state_knows_no_ui_no_sockets_and_no_clock() {
    let workspace = workspace();
    let model = &workspace.members["sis-model"];
    for name in &model.dependencies {
        assert!(FOR_MODEL.contains(&name.as_str()), "companion/model depends on {name}");
    }
    let mut folders = vec![workspace.root.join(&model.folder).join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the crate's sources can be listed") {
            let path = entry.expect("the crate's sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("the crate's source can be read");
            let found = NOT_IN_MODEL.iter().find(|what| source.contains(**what));
            assert!(found.is_none(), "{} reaches for {found:?}", path.display());
            files += 1;
        }
    }
    assert!(files > 20, "only {files} files were looked at");
}

#[test]
fn pure_kernel_crates_reach_no_hardware() {
    let workspace = workspace();
    for name in ["sis-abi", "sis-algo", "sis-autonomy", "sis-ext4", "sis-fat"] {
        for reached in workspace.reachable(name) {
            let at = folder(&workspace, &reached);
            assert!(
                KERNEL_FOR_HOST.contains(&at) || at == "companion/protocol",
                "{name} reaches {reached} in {at}"
            );
        }
    }
}

#[test]
fn host_and_el0_programs_reach_only_the_pure_kernel_crates() {
    let workspace = workspace();
    for prefix in ["companion/", "flash-tools/", "firmware/", "tests/"] {
        for member in in_folder(&workspace, prefix) {
            for reached in workspace.reachable(&member.name) {
                let at = folder(&workspace, &reached);
                let hardware = at.starts_with("kernel/") || at.starts_with("bsp/") || at.starts_with("boards/");
                assert!(
                    !hardware || KERNEL_FOR_HOST.contains(&at),
                    "{} reaches {reached} in {at}",
                    member.folder
                );
            }
        }
    }
}

#[test]
fn boards_are_leaves() {
    let workspace = workspace();
    for member in workspace.members.values() {
        for name in &member.dependencies {
            let at = folder(&workspace, name);
            assert!(
                !at.starts_with("boards/"),
                "{} depends on the board {name}",
                member.folder
            );
        }
    }
    in_folder(&workspace, "boards/");
}

#[test]
fn unsafe_code_is_forbidden_outside_the_machine() {
    let workspace = workspace();
    for member in workspace.members.values() {
        if MAY_HOLD_UNSAFE.contains(&member.folder.as_str()) || member.folder.starts_with("boards/") {
            continue;
        }
        for (_, root) in member.roots.iter().filter(|(kind, _)| kind == "lib" || kind == "bin") {
            let source = std::fs::read_to_string(root).expect("a crate's root can be read");
            assert!(
                source.contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                root.display()
            );
        }
    }
}

#[test]
fn boards_hold_unsafe_code_only_in_their_map() {
    let workspace = workspace();
    for member in in_folder(&workspace, "boards/") {
        let src = workspace.root.join(&member.folder).join("src");
        for entry in std::fs::read_dir(&src).expect("a board has sources") {
            let path = entry.expect("a board's sources can be listed").path();
            if path.file_name().is_some_and(|n| n == "map.rs") || path.is_dir() {
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("a board's source can be read");
            let found = source
                .lines()
                .find(|l| !l.trim_start().starts_with("//") && l.contains("unsafe {"));
            assert!(found.is_none(), "{} holds unsafe code: {found:?}", path.display());
        }
    }
}
