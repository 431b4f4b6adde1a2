//! How what is missing is had: commands for Debian, in order.

use super::{Need, Remedy, environment, os_release, python_packages};
use crate::apt;
use crate::workspace::Workspace;

/// The source list that `setup` may add.
const SOURCE_FILE: &str = "/etc/apt/sources.list.d/sis-backports.sources";

/// How the needs that are not met are met on Debian: shell commands, in order, with the words for the person.
pub(crate) fn plan(workspace: &Workspace, missing: &[Need]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut packages: Vec<&str> = Vec::new();
    let (mut wants_lists, mut qemu) = (false, None);
    for need in missing {
        match &need.remedy {
            Remedy::Package(name) => packages.push(name),
            Remedy::ForeignArchitecture => {
                actions.push(Action::root(
                    "make arm64 packages known",
                    &["dpkg", "--add-architecture", "arm64"],
                ));
                wants_lists = true;
            }
            Remedy::Qemu => {
                qemu = Some(qemu_suite());
                wants_lists = true;
            }
            Remedy::Target(_) | Remedy::Component(_) | Remedy::PythonEnvironment => {}
        }
    }
    let mut suite = None;
    if let Some((name, stanza)) = qemu {
        if let Some(stanza) = stanza {
            actions.push(Action::write_source("add the suite that has QEMU 9 or newer", stanza));
        }
        suite = name;
        if suite.is_none() {
            packages.push("qemu-system-arm");
        }
    }
    if wants_lists || !packages.is_empty() {
        actions.push(Action::root(
            "fetch the lists of packages",
            &["apt-get", "-q", "update"],
        ));
    }
    let install = ["apt-get", "-q", "-y", "--no-install-recommends", "install"];
    if !packages.is_empty() {
        actions.push(Action::root(
            "install packages",
            &[install.as_slice(), &packages].concat(),
        ));
    }
    if let Some(suite) = suite {
        let arguments = [install.as_slice(), &["-t", &suite, "qemu-system-arm"]].concat();
        actions.push(Action::root("install QEMU", &arguments));
    }
    for need in missing {
        match &need.remedy {
            Remedy::Target(name) => actions.push(Action::user("add a target", &["rustup", "target", "add", name])),
            Remedy::Component(name) => {
                actions.push(Action::user("add a component", &["rustup", "component", "add", name]));
            }
            Remedy::PythonEnvironment => {
                let folder = environment(workspace).to_string_lossy().into_owned();
                let pip = format!("{folder}/bin/pip");
                actions.push(Action::user(
                    "make the tests' Python environment",
                    &["python3", "-m", "venv", &folder],
                ));
                actions.push(Action::user(
                    "install into it",
                    &[&pip, "install", "-q", python_packages()],
                ));
            }
            Remedy::Package(_) | Remedy::Qemu | Remedy::ForeignArchitecture => {}
        }
    }
    actions
}

/// The suite to install QEMU from, and the source to add for it: none when the release itself has it new enough.
fn qemu_suite() -> (Option<String>, Option<String>) {
    let codename = os_release("VERSION_CODENAME").unwrap_or_default();
    let release: u32 = os_release("VERSION_ID").and_then(|text| text.parse().ok()).unwrap_or(0);
    // Debian 13 has QEMU 10.
    if release >= 13 || codename.is_empty() {
        return (None, None);
    }
    let suite = format!("{codename}-backports");
    let sources = apt::sources();
    if apt::has_suite(&sources, &suite) {
        return (Some(suite), None);
    }
    let stanza = apt::of_release(&sources, &codename).map(|source| source.for_suite(&suite));
    (Some(suite), stanza)
}

/// One thing that `setup` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) what: &'static str,
    pub(crate) words: Vec<String>,
    /// Standard input.
    pub(crate) input: Option<String>,
    pub(crate) needs_root: bool,
}

impl Action {
    fn root(what: &'static str, words: &[&str]) -> Self {
        Self {
            needs_root: true,
            ..Self::user(what, words)
        }
    }

    fn user(what: &'static str, words: &[&str]) -> Self {
        Self {
            what,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            input: None,
            needs_root: false,
        }
    }

    fn write_source(what: &'static str, stanza: String) -> Self {
        Self {
            input: Some(stanza),
            ..Self::root(what, &["tee", SOURCE_FILE])
        }
    }

    /// As a person types it who is root, or not.
    pub(crate) fn shell(&self, is_root: bool) -> String {
        let words = self.words.join(" ");
        let sudo = if self.needs_root && !is_root { "sudo " } else { "" };
        match &self.input {
            Some(input) => format!("{sudo}{words} <<'END'\n{input}END"),
            None => format!("{sudo}{words}"),
        }
    }
}
