//! The shell's own commands. Each is a program: the same executable under the command's name.

mod autoctl;
mod memctl;
mod metrics;
mod pair;

pub(crate) use pair::AGENT as AGENT_SOCKET;

use std::process::ExitCode;

use crate::checks;

/// One of the shell's own commands.
pub(crate) struct Command {
    name: &'static str,
    summary: &'static str,
    run: fn(&[&str]) -> ExitCode,
}

/// Their names, for completion.
pub(crate) const NAMES: [&str; 6] = ["help", "selfcheck", "metrics", "memctl", "autoctl", "pair"];

static COMMANDS: [Command; 6] = [
    Command {
        name: "help",
        summary: "this list",
        run: help,
    },
    Command {
        name: "selfcheck",
        summary: "every subsystem checks itself on the live system",
        run: checks::command,
    },
    Command {
        name: "metrics",
        summary: "what the kernel measures, as METRIC name=value",
        run: metrics::command,
    },
    Command {
        name: "memctl",
        summary: "the memory manager: status, strategy, approvals, approve, reject, history",
        run: memctl::command,
    },
    Command {
        name: "autoctl",
        summary: "the self-tuning controller: status",
        run: autoctl::command,
    },
    Command {
        name: "pair",
        summary: "a link that lets a client in: pair [--role ROLE] [--json]",
        run: pair::command,
    },
];

impl Command {
    /// Runs it to its exit status.
    pub(crate) fn run(&self, arguments: &[&str]) -> ExitCode {
        if matches!(arguments, ["--help" | "-h"]) && self.name != "memctl" {
            println!("{}: {}", self.name, self.summary);
            return ExitCode::SUCCESS;
        }
        (self.run)(arguments)
    }
}

/// The command of that name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Definitions that make the commands known to `ash`, wherever this program lies and whatever `ash` has built in.
pub(crate) fn as_functions() -> String {
    let own = std::env::current_exe().ok().and_then(|p| p.to_str().map(str::to_owned));
    let own = own
        .unwrap_or_else(|| "/sbin/sis-shell".to_owned())
        .replace('\'', r"'\''");
    let define = |name: &&str| format!("{name}() {{ '{own}' {name} \"$@\"; }}");
    NAMES.iter().map(define).collect::<Vec<_>>().join("; ")
}

/// Prints every command with what it does.
pub(crate) fn print_table() {
    for command in &COMMANDS {
        println!("  {:<10} {}", command.name, command.summary);
    }
}

fn help(arguments: &[&str]) -> ExitCode {
    if let [name] = arguments {
        return find(name).map_or_else(
            || {
                eprintln!("help: {name} is not one of the shell's own commands; try: {name} --help");
                ExitCode::FAILURE
            },
            |command| command.run(&["--help"]),
        );
    }
    print_table();
    println!("  {:<10} the kernel's log", "dmesg");
    println!("  {:<10} a BusyBox shell; exit comes back", "sh");
    println!("  {:<10} end all programs and switch off, or start again", "poweroff");
    println!("  {:<10}", "reboot");
    println!(
        "Anything else is run by BusyBox: programs, pipes, variables, jobs (&, ^Z, fg), $?. `busybox` lists them."
    );
    println!("Keys: arrows, ^A ^E ^K ^U ^W ^Y ^L, Tab completes; ^C interrupts.");
    ExitCode::SUCCESS
}

/// Says why a command failed.
fn fail(command: &str, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{command}: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, NAMES, as_functions};

    #[test]
    fn the_names_are_those_of_the_commands() {
        assert_eq!(COMMANDS.iter().map(|c| c.name).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn functions_are_one_line() {
        let text = as_functions();
        assert!(!text.contains('\n') && text.contains("memctl() { '"), "{text}");
    }
}
