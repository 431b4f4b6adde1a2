//! Whether a system is well: the board's self-check, before an update and after it.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sis_update::record::Pending;

/// The board's self-check: one line a check, `[PASS] name` or `[FAIL] name: why`.
const SELF_CHECK: [&str; 2] = ["/sbin/sis-shell", "selfcheck"];
/// How long a system on trial may take until it passes; init ends the trial a little later.
const TRIAL: Duration = Duration::from_secs(30);
const BETWEEN_CHECKS: Duration = Duration::from_secs(2);

/// The checks that fail now, each with why.
pub(super) fn self_check() -> Vec<(String, String)> {
    let [program, argument] = SELF_CHECK;
    let ran = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match ran {
        Ok(output) => failed_checks(&String::from_utf8_lossy(&output.stdout), output.status.success()),
        Err(error) => vec![("selfcheck".into(), format!("{program} cannot be started: {error}"))],
    }
}

/// What a self-check's output says has failed.
fn failed_checks(text: &str, is_success: bool) -> Vec<(String, String)> {
    let mut failed: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("[FAIL] "))
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
        .collect();
    if !is_success && failed.is_empty() {
        failed.push(("selfcheck".into(), "it did not come to its end".into()));
    }
    failed
}

/// Waits until everything passes that passed before the update. Else: why not, a sentence.
pub(super) fn prove(pending: &Pending) -> Result<(), String> {
    let known: BTreeSet<&str> = pending.known_failures.iter().map(String::as_str).collect();
    let deadline = Instant::now() + TRIAL;
    loop {
        let new: Vec<String> = self_check()
            .into_iter()
            .filter(|(name, _)| !known.contains(name.as_str()))
            .map(|(name, why)| format!("{name} ({why})"))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        if Instant::now() + BETWEEN_CHECKS >= deadline {
            return Err(format!(
                "the self-check of {} fails: {}",
                pending.version,
                new.join("; ")
            ));
        }
        std::thread::sleep(BETWEEN_CHECKS);
    }
}

#[cfg(test)]
mod tests {
    use super::failed_checks;

    #[test]
    fn what_failed_is_told_by_name() {
        let text = "[PASS] memory\n[FAIL] udp: no answer: none\n[FAIL] odd\n[CHECK] MISSING: udp, odd\n";
        let failed = failed_checks(text, false);
        let pair = |name: &str, why: &str| (name.to_owned(), why.to_owned());
        assert_eq!(failed, [pair("udp", "no answer: none"), pair("odd", "")]);
        assert_eq!(failed_checks("[PASS] memory\n[CHECK] ALL MARKERS SEEN\n", true), []);
        assert_eq!(failed_checks("[PASS] memory\n", false).len(), 1);
    }
}
