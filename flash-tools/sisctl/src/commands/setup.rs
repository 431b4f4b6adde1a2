//! `setup`: gets what is missing, saying what and why.

use super::Context;
use crate::arguments::Setup;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::needs::{self, Action, Need};
use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, ExitCode, Stdio};

pub(crate) fn run(context: &Context, wishes: &Setup) -> Outcome {
    ensure(context, wishes.yes, wishes.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that everything is there; `is_agreed` asks nobody.
pub(crate) fn ensure(context: &Context, is_agreed: bool, is_dry: bool) -> Outcome<()> {
    let missing: Vec<Need> = needs::all(&context.workspace)
        .into_iter()
        .filter(|need| need.state.is_err())
        .collect();
    if missing.is_empty() {
        context.report.say("    ok  everything that is needed is installed");
        return Ok(());
    }
    for need in &missing {
        if let Err(wrong) = &need.state {
            context
                .report
                .say(format_args!("missing {:<26}{wrong}; {}", need.name, need.why));
        }
    }
    let actions = needs::plan(&context.workspace, &missing);
    if is_dry {
        print_commands(&actions);
        return Ok(());
    }
    let needs_root = actions.iter().any(|action| action.needs_root);
    let is_known = needs::os_release("ID").is_some_and(|name| name == "debian") && needs::has_program("apt-get");
    if needs_root && (!is_known || (!is_root() && !needs::has_program("sudo"))) {
        print_commands(&actions);
        let why = if is_known {
            "neither root nor sudo is to be had"
        } else {
            "this is not a system that setup knows"
        };
        return Err(
            Failure::new("setup.by-hand", format_args!("{why}; the commands above are Debian's"))
                .exit(Exit::Missing)
                .fix("run them, or what does the same on this system"),
        );
    }
    if !is_agreed && !agrees(&actions)? {
        return Err(Failure::new("setup.declined", "nothing was installed").exit(Exit::Missing));
    }
    for action in &actions {
        carry_out(context, action)?;
    }
    match needs::all(&context.workspace)
        .into_iter()
        .find(|need| need.state.is_err())
    {
        None => Ok(()),
        Some(need) => {
            let wrong = need.state.err().unwrap_or_default();
            Err(Failure::new(
                "setup.still-missing",
                format_args!("{} is still missing: {wrong}", need.name),
            )
            .exit(Exit::Missing)
            .fix("cargo sis doctor"))
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn print_commands(actions: &[Action]) {
    for action in actions {
        println!("# {}\n{}", action.what, action.shell(is_root()));
    }
}

fn agrees(actions: &[Action]) -> Outcome<bool> {
    print_commands(actions);
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            "setup.ask",
            "this would install the above, and there is no terminal to ask on",
        )
        .exit(Exit::Missing)
        .fix("cargo sis setup --yes"));
    }
    eprint!("Run these? [Y/n] ");
    std::io::stderr().flush().or_fail("setup.ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).or_fail("setup.ask")?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

fn carry_out(context: &Context, action: &Action) -> Outcome<()> {
    let step = context.report.step(action.what);
    let failed = |why: String| {
        Failure::new(
            "setup.failed",
            format_args!("{}: {}\n{why}", action.what, action.shell(is_root())),
        )
        .exit(Exit::Missing)
    };
    let sudo: &[&str] = if action.needs_root && !is_root() {
        &["sudo"]
    } else {
        &[]
    };
    let mut words = sudo.iter().copied().chain(action.words.iter().map(String::as_str));
    let mut command = Command::new(words.next().unwrap_or_default());
    let mut child = command
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(if action.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let (Some(input), Some(mut pipe)) = (&action.input, child.stdin.take()) {
        pipe.write_all(input.as_bytes()).or_fail("setup.failed")?;
    }
    let output = child.wait_with_output().or_fail("setup.failed")?;
    if output.status.success() {
        step.done(action.shell(is_root()).lines().next().unwrap_or_default());
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    Err(failed(lines[lines.len().saturating_sub(30)..].join("\n")))
}
