//! How many tests passed, from what the test runners print. Pure.

/// Passed and failed tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// `step: test`.
    pub(super) failures: Vec<String>,
}

impl Counts {
    pub(super) fn of_check(name: &str, has_passed: bool) -> Self {
        if has_passed {
            Self {
                passed: 1,
                ..Self::default()
            }
        } else {
            Self {
                failed: 1,
                failures: vec![name.to_owned()],
                ..Self::default()
            }
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

/// The counts in the output of `cargo test` or `cargo nextest`; a run that failed without a failed test (it did not
/// compile) counts as one failure.
pub(super) fn of_tests(step: &str, text: &str, has_succeeded: bool) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines() {
        if let Some(summary) = line.strip_prefix("test result: ") {
            let (passed, failed) = libtest(summary);
            counts.passed += passed;
            counts.failed += failed;
        } else if line.trim_start().starts_with("Summary [") {
            let (passed, failed) = nextest(line);
            counts.passed += passed;
            counts.failed += failed;
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            counts.failures.push(format!("{step}: {name}"));
        } else if let Some(rest) = line.trim_start().strip_prefix("FAIL [") {
            let name = rest.split_once(']').map_or(rest, |(_, name)| name.trim());
            let name = name.split_once(") ").map_or(name, |(_, name)| name.trim());
            counts.failures.push(format!("{step}: {name}"));
        }
    }
    // nextest says it when a test fails and again at the end.
    counts.failures.sort();
    counts.failures.dedup();
    if !has_succeeded && counts.failed == 0 {
        counts.failed = 1;
        counts.failures.push(format!("{step}: did not run to its end"));
    }
    counts
}

/// `ok. 19 passed; 0 failed; 0 ignored; ...`
fn libtest(summary: &str) -> (u64, u64) {
    let number = |word: &str| {
        summary
            .split([';', '.'])
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
            .unwrap_or(0)
    };
    (number("passed"), number("failed"))
}

/// `Summary [   0.033s] 19 tests run: 17 passed (1 slow), 1 failed, 1 timed out, 0 skipped`
fn nextest(line: &str) -> (u64, u64) {
    let (_, parts) = line.split_once("run: ").unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    for part in parts.split(", ") {
        let (number, what) = part.split_once(' ').unwrap_or((part, ""));
        let number: u64 = number.parse().unwrap_or(0);
        match what.split(' ').next().unwrap_or_default() {
            "passed" => passed += number,
            "skipped" => {}
            _ => failed += number,
        }
    }
    (passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_results_are_summed_and_failures_named() {
        let text = "test a::b ... ok\ntest a::c ... FAILED\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s\n\
            test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let counts = of_tests("unit", text, false);
        assert_eq!(
            counts,
            Counts {
                passed: 13,
                failed: 1,
                failures: vec!["unit: a::c".into()]
            }
        );
    }

    #[test]
    fn nextests_summary_is_understood() {
        let text = "        FAIL [   0.010s] (3/4) sis-x tests::y\n\
            \x20    Summary [   0.033s] 4 tests run: 2 passed (1 slow), 1 failed, 1 timed out, 7 skipped\n\
            \x20       FAIL [   0.010s] (3/4) sis-x tests::y\n";
        let counts = of_tests("unit", text, false);
        assert_eq!(
            counts,
            Counts {
                passed: 2,
                failed: 2,
                failures: vec!["unit: sis-x tests::y".into()]
            }
        );
    }

    #[test]
    fn what_did_not_compile_is_a_failure() {
        let counts = of_tests("unit", "error: could not compile `x`\n", false);
        assert_eq!((counts.passed, counts.failed), (0, 1));
        assert_eq!(of_tests("unit", "", true), Counts::default());
    }
}
