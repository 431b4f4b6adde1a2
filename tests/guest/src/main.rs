//! Programs for EL0 that the suites run: `sis-guest NAME`.
//!
//! Mostly tests of the system-call interface, each in a child of its own under a time limit. Linux is the reference:
//! every case passes on Debian's Linux 6.1 for arm64. They call the kernel directly ([`sys!`]), without a C library in
//! between that would repair or hide what the kernel does.
//!
//! Unsafe code is at home here: a system call is one.

#[macro_use]
mod sys;
mod cases;
mod control;
mod crash;
mod fuzz;
mod run;
mod stress;

use std::process::ExitCode;

const HELP: &str = "\
usage: sis-guest all | GROUP... | GROUP/NAME...   run cases; prints [PASS] or [FAIL] a case (all: those without disk)
       sis-guest list                             their names
       sis-guest fuzz [--seed S] [--count N]      random system calls as an unprivileged user
       sis-guest stress-fork [SECONDS]            processes as fast as they come, on all CPUs
       sis-guest stress-mem [MIB]                 touch, copy on write, free
       sis-guest leak-check [ROUNDS]              free memory before and after the two
       sis-guest control device | approve | reject | expire | auto | query | idle | oom     our control device
       sis-guest crash-load DIRECTORY OPTIONS SEED WORKERS synced|unsynced [STEPS]   writes until the power is cut
       sis-guest crash-recover DIRECTORY OPTIONS SEED COUNT     mounts and unmounts crash states
       sis-guest spin SECONDS | sleep SECONDS | touch MIB | crash     one simple thing
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["list"] => {
            run::list();
            ExitCode::SUCCESS
        }
        ["control", rest @ ..] => control::command(rest),
        ["crash-load", rest @ ..] => crash::load(rest),
        ["crash-recover", rest @ ..] => crash::recover(rest),
        ["fuzz", rest @ ..] => fuzz::command(rest),
        [
            name @ ("stress-fork" | "stress-mem" | "leak-check" | "spin" | "sleep" | "touch" | "crash"),
            rest @ ..,
        ] => stress::command(name, rest),
        // The other half of cases that execute a program.
        ["helper", rest @ ..] => cases::helper(rest),
        names => run::run(names),
    }
}
