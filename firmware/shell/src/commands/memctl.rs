//! `memctl`: the memory manager and the approvals it asks for.

mod text;

use std::process::ExitCode;

use sis_protocol::control::{Counts, RequestBody, ResponseBody, Selection, Strategy};

use super::fail;
use crate::control::{AskError, ask};

const USAGE: &str = "\
usage: memctl status                    strategy, modes, watermarks, what is measured
       memctl strategy [NAME]           show or set: conservative, balanced, aggressive
       memctl approval [on|off|status]  whether proposals wait for a person
       memctl query-mode [on|off|status]  predict, never execute
       memctl approvals                 the proposals that wait
       memctl approve [ID... | -n N | all]   carry out; without an argument the oldest
       memctl reject [ID... | -n N | all]
       memctl history [N]               what became of the last N proposals
";
/// Who decides at this console, for the record.
const LOCAL_OPERATOR: &str = "console";
/// Outcomes shown by `history` when no number is given.
const HISTORY: u32 = 10;

/// What was asked, before the kernel is.
#[derive(Debug, PartialEq)]
enum Command {
    Ask(RequestBody),
    /// Print only the strategy of the status.
    Strategy,
    Usage,
}

fn parse(arguments: &[&str]) -> Option<Command> {
    let by = || Some(LOCAL_OPERATOR.to_owned());
    let body = match arguments {
        [] | ["help" | "--help" | "-h"] => return Some(Command::Usage),
        ["status"] => RequestBody::MemStatus,
        ["strategy"] => return Some(Command::Strategy),
        ["strategy", name] => RequestBody::MemSetStrategy {
            strategy: strategy(name)?,
        },
        ["approvals"] => RequestBody::MemApprovals,
        ["approval"] => RequestBody::MemApprovalMode { on: None },
        ["approval", word] => RequestBody::MemApprovalMode { on: switch(word)? },
        ["query-mode"] => RequestBody::MemQueryMode { on: None },
        ["query-mode", word] => RequestBody::MemQueryMode { on: switch(word)? },
        ["approve", which @ ..] => RequestBody::MemApprove {
            which: selection(which)?,
            by: by(),
        },
        ["reject", which @ ..] => RequestBody::MemReject {
            which: selection(which)?,
            by: by(),
        },
        ["history"] => RequestBody::MemHistory { max: HISTORY },
        ["history", n] => RequestBody::MemHistory { max: n.parse().ok()? },
        _ => return None,
    };
    Some(Command::Ask(body))
}

fn strategy(name: &str) -> Option<Strategy> {
    Strategy::ALL
        .iter()
        .copied()
        .find(|s| text::strategy(*s).eq_ignore_ascii_case(name))
}

/// `on`, `off`, or `status`, which only asks.
fn switch(word: &str) -> Option<Option<bool>> {
    match word {
        "on" => Some(Some(true)),
        "off" => Some(Some(false)),
        "status" => Some(None),
        _ => None,
    }
}

fn selection(words: &[&str]) -> Option<Selection> {
    match words {
        [] => Some(Selection::Oldest(1)),
        ["all"] => Some(Selection::All),
        ["-n", n] => n.parse().ok().map(Selection::Oldest),
        ids => {
            let ids: Option<Vec<u64>> = ids.iter().map(|id| id.trim_start_matches('#').parse().ok()).collect();
            ids.filter(|ids| ids.len() <= 100).map(Selection::Ids)
        }
    }
}

pub(super) fn command(arguments: &[&str]) -> ExitCode {
    let body = match parse(arguments) {
        None => {
            eprint!("memctl: not understood\n{USAGE}");
            return ExitCode::from(2);
        }
        Some(Command::Usage) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(Command::Strategy) => {
            return match ask(RequestBody::MemStatus) {
                Ok(ResponseBody::MemStatus(status)) => {
                    println!("{}", text::strategy(status.strategy));
                    ExitCode::SUCCESS
                }
                Ok(_) => fail("memctl", &AskError::Unexpected),
                Err(error) => fail("memctl", &error),
            };
        }
        Some(Command::Ask(body)) => body,
    };
    match ask(body) {
        Ok(answer) => print_answer(answer),
        Err(error) => fail("memctl", &error),
    }
}

fn print_answer(answer: ResponseBody) -> ExitCode {
    match answer {
        ResponseBody::MemStatus(status) => print!("{}", text::status(&status)),
        ResponseBody::Mode { on } => println!("{}", if on { "on" } else { "off" }),
        ResponseBody::Approvals(list) if list.is_empty() => println!("no proposal waits for a decision"),
        ResponseBody::Approvals(list) => list
            .iter()
            .for_each(|p| print!("{}", text::proposal(p, text::now_ns()))),
        ResponseBody::History(list) if list.is_empty() => println!("nothing was proposed yet"),
        ResponseBody::History(list) => list.iter().for_each(|o| print!("{}", text::outcome(o))),
        ResponseBody::Decided(counts) => return print_counts(counts),
        ResponseBody::Done => println!("done"),
        _ => return fail("memctl", &AskError::Unexpected),
    }
    ExitCode::SUCCESS
}

fn print_counts(counts: Counts) -> ExitCode {
    let Counts {
        executed,
        skipped,
        failed,
        rejected,
        not_found,
    } = counts;
    println!("executed {executed}, skipped {skipped}, failed {failed}, rejected {rejected}");
    if not_found > 0 {
        println!("not waiting (any more): {not_found}; memctl approvals lists those that are");
    }
    if failed > 0 || not_found > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, parse};
    use sis_protocol::control::{RequestBody, Selection, Strategy};

    #[test]
    fn decisions_name_their_proposals_and_who_decides() {
        let which = |words: &[&str]| match parse(words) {
            Some(Command::Ask(RequestBody::MemApprove { which, by } | RequestBody::MemReject { which, by })) => {
                assert_eq!(by.as_deref(), Some("console"));
                Some(which)
            }
            _ => None,
        };
        assert_eq!(which(&["approve"]), Some(Selection::Oldest(1)));
        assert_eq!(which(&["approve", "3", "#4"]), Some(Selection::Ids(vec![3, 4])));
        assert_eq!(which(&["reject", "-n", "2"]), Some(Selection::Oldest(2)));
        assert_eq!(which(&["reject", "all"]), Some(Selection::All));
        assert_eq!(which(&["approve", "-1"]), None);
        assert_eq!(which(&["approve", "99999999999999999999"]), None);
        assert_eq!(which(&["approve", "all", "1"]), None);
    }

    #[test]
    fn modes_and_strategies() {
        let asked = |words: &[&str]| match parse(words) {
            Some(Command::Ask(body)) => Some(body),
            _ => None,
        };
        assert_eq!(
            asked(&["approval", "on"]),
            Some(RequestBody::MemApprovalMode { on: Some(true) })
        );
        assert_eq!(
            asked(&["query-mode", "status"]),
            Some(RequestBody::MemQueryMode { on: None })
        );
        assert_eq!(
            asked(&["strategy", "aggressive"]),
            Some(RequestBody::MemSetStrategy {
                strategy: Strategy::Aggressive
            })
        );
        assert_eq!(asked(&["strategy", "bold"]), None);
        assert_eq!(asked(&["approval", "maybe"]), None);
        assert_eq!(asked(&["explode"]), None);
    }
}
