//! The steps of `test`.

use crate::arguments::{Lint, Test};
use crate::failure::{Failure, OrFail, Outcome};
use crate::needs::has_program;
use crate::workspace::Workspace;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";
/// Crates whose tests run whole boards: after the others, and by themselves.
const BOARD_TESTS: [&str; 3] = ["sis-harness", "sis-crash", "sis-suites"];

/// The documentation is for those who work here: private items are in it, and may be linked to.
const DOC_FLAGS: &str = "-D warnings -A rustdoc::private_intra_doc_links";

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Right or wrong as a whole.
    Check,
    /// Makes what later steps need.
    Build,
    /// Tests that are counted.
    Tests,
}

/// One step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) words: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// The workspace's packages, sorted by what they build for.
#[derive(Debug, Default)]
struct Packages {
    host: Vec<String>,
    /// Those of the host's with a library.
    host_libraries: Vec<String>,
    kernel: Vec<String>,
    /// Programs that only a board runs.
    guest: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_default_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn packages(workspace: &Workspace) -> Outcome<Packages> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(workspace.root())
        .stdin(Stdio::null())
        .output()
        .or_fail("test.metadata")?;
    if !output.status.success() {
        return Err(Failure::new("test.metadata", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).or_fail("test.metadata")?;
    let mut packages = Packages::default();
    for package in metadata.packages {
        let folder = package
            .manifest_path
            .strip_prefix(workspace.root())
            .unwrap_or(&package.manifest_path);
        if metadata.workspace_default_members.contains(&package.id) {
            if package
                .targets
                .iter()
                .any(|target| target.kind.iter().any(|kind| kind == "lib"))
            {
                packages.host_libraries.push(package.name.clone());
            }
            packages.host.push(package.name);
        } else if ["kernel", "bsp", "boards"].iter().any(|top| folder.starts_with(top)) {
            packages.kernel.push(package.name);
        } else {
            packages.guest.push(package.name);
        }
    }
    Ok(packages)
}

fn chosen(packages: &[String]) -> Vec<String> {
    packages
        .iter()
        .flat_map(|name| ["-p".to_owned(), name.clone()])
        .collect()
}

fn words(parts: &[&[&str]], packages: &[String], end: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = parts.concat().iter().map(|word| (*word).to_owned()).collect();
    words.extend(chosen(packages));
    words.extend(end.iter().map(|word| (*word).to_owned()));
    words
}

/// All of them, in order.
pub(super) fn all(workspace: &Workspace, wishes: &Test) -> Outcome<Vec<Step>> {
    let packages = packages(workspace)?;
    let mut steps = Vec::new();
    let mut add = |name: &str, title: &str, kind: Kind, words: Vec<String>| {
        steps.push(Step {
            name: name.into(),
            title: title.into(),
            kind,
            words,
            environment: Vec::new(),
        });
    };
    let deny = ["--", "-D", "warnings"];
    let target = ["--target", KERNEL_TARGET];
    let program_target = ["--target", "aarch64-unknown-linux-musl"];

    add(
        "fmt",
        "formatting",
        Kind::Check,
        words(&[&["cargo", "fmt", "--all", "--check"]], &[], &[]),
    );
    let clippy = ["cargo", "clippy", "--quiet"];
    let host_clippy = words(&[&clippy, &["--all-targets"]], &packages.host, &deny);
    add("clippy", "clippy, host", Kind::Check, host_clippy);
    let kernel_clippy = words(&[&clippy, &target], &packages.kernel, &deny);
    add("clippy-kernel", "clippy, kernel", Kind::Check, kernel_clippy);
    if !packages.guest.is_empty() {
        let guest_clippy = words(&[&clippy, &program_target], &packages.guest, &deny);
        add("clippy-guest", "clippy, guest programs", Kind::Check, guest_clippy);
    }
    let doc = ["cargo", "doc", "--quiet", "--no-deps", "--document-private-items"];
    add("doc", "rustdoc, host", Kind::Check, words(&[&doc], &packages.host, &[]));
    add(
        "doc-kernel",
        "rustdoc, kernel",
        Kind::Check,
        words(&[&doc, &target], &packages.kernel, &[]),
    );
    if wishes.lint == Lint::Full {
        if !has_program("cargo-deny") {
            let install = ["cargo", "install", "--quiet", "--locked", "cargo-deny"];
            add(
                "deny-install",
                "install cargo-deny",
                Kind::Check,
                words(&[&install], &[], &[]),
            );
        }
        add(
            "deny",
            "licences and advisories",
            Kind::Check,
            words(&[&["cargo", "deny", "check"]], &[], &[]),
        );
    } else if has_program("cargo-deny") {
        let check = ["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"];
        add("deny", "licences and sources", Kind::Check, words(&[&check], &[], &[]));
    }

    let unit: Vec<String> = packages
        .host
        .iter()
        .filter(|name| !BOARD_TESTS.contains(&name.as_str()))
        .cloned()
        .collect();
    let filter: Vec<&str> = wishes.filter.iter().map(String::as_str).collect();
    let unit_tests = if has_program("cargo-nextest") {
        let nextest = [
            "cargo",
            "nextest",
            "run",
            "--no-fail-fast",
            "--no-tests",
            "pass",
            "--show-progress",
            "none",
        ];
        words(&[&nextest], &unit, &filter)
    } else {
        words(
            &[&["cargo", "test", "--no-fail-fast", "--lib", "--bins", "--tests"]],
            &unit,
            &filter,
        )
    };
    add("host", "host tests", Kind::Tests, unit_tests);
    if wishes.filter.is_none() {
        let doc_tests = words(&[&["cargo", "test", "--quiet", "--doc"]], &packages.host_libraries, &[]);
        add("doc-tests", "documentation's examples", Kind::Tests, doc_tests);
    }

    let own = std::env::current_exe()
        .or_fail("test.self")?
        .to_string_lossy()
        .into_owned();
    for board in workspace.boards()? {
        let title = format!("build {board}");
        add(
            &format!("build-{board}"),
            &title,
            Kind::Build,
            words(&[&[&own, "build", &board, "--checked"]], &[], &[]),
        );
    }
    for (package, name, title) in [
        ("sis-harness", "harness", "the harness, on Linux"),
        ("sis-crash", "crash", "power cuts"),
        ("sis-suites", "suites", "boards under QEMU"),
    ] {
        let test = ["cargo", "test", "--no-fail-fast", "-p", package, "--"];
        add(name, title, Kind::Tests, words(&[&test], &[], &filter));
    }
    for step in &mut steps {
        if step.name == "host" && !wishes.no_setup {
            // Setup has brought it: a test that finds none must not pass by doing nothing.
            step.environment.push(("SIS_REQUIRE_AIOQUIC".into(), "1".into()));
        }
        if step.name.starts_with("doc") && step.kind == Kind::Check {
            step.environment.push(("RUSTDOCFLAGS".into(), DOC_FLAGS.into()));
        }
    }
    Ok(steps)
}
