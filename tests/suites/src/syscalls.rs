//! `docs/syscalls.md`, made from what a running kernel says of its own table.
//!
//! `/proc/sis/syscalls` has a line a call: `NUMBER NAME built CALLS`, `NUMBER NAME partial CALLS (missing: TEXT)`,
//! `NUMBER NAME none CALLS` for numbers that were called and have no row, and `unknown CALLS` at the end.

use std::fmt::Write;

/// How much of a call there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// As on Linux.
    Built,
    /// All but this.
    Partial(String),
}

/// A call that the kernel answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What a program puts in x8.
    pub number: usize,
    /// Name as in the manual.
    pub name: String,
    /// How much of it there is.
    pub coverage: Coverage,
}

/// Reads `/proc/sis/syscalls`; calls that are not built are left out.
///
/// # Errors
/// The line that is none of those above, or a text that does not end as it should.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut is_complete = false;
    for line in text.lines().map(str::trim_end).filter(|l| !l.is_empty()) {
        if is_complete {
            return Err(format!("a line behind the last: {line}"));
        }
        if line.starts_with("unknown ") {
            is_complete = true;
            continue;
        }
        rows.extend(row(line).ok_or_else(|| format!("not a line of the table: {line}"))?);
    }
    if is_complete && !rows.is_empty() {
        Ok(rows)
    } else {
        Err("the table is empty or broken off".to_owned())
    }
}

/// One line; `Some(None)` for a call that is not built.
fn row(line: &str) -> Option<Option<Row>> {
    let mut words = line.splitn(5, ' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let coverage = words.next()?;
    let _calls: u64 = words.next()?.parse().ok()?;
    let rest = words.next();
    let coverage = match (coverage, rest) {
        ("none", None) => return Some(None),
        ("built", None) => Coverage::Built,
        ("partial", Some(rest)) => Coverage::Partial(rest.strip_prefix("(missing: ")?.strip_suffix(')')?.to_owned()),
        _ => return None,
    };
    Some(Some(Row { number, name, coverage }))
}

const HEAD: &str = "\
# System calls

Which Linux calls the kernel answers, by their number on AArch64. This page is made from the kernel's own table (`/proc/sis/syscalls`) by
`tests/suites/tests/syscalls.rs`, which fails when the two differ; `SIS_BLESS=1 cargo test -p sis-suites --test syscalls` writes it anew.

*Built* means as on Linux, unknown flags refused with `EINVAL`. *Partial* says what is missing; that part answers with an error, never with
false success. Any other number answers `ENOSYS` and is counted in `/proc/sis/syscalls`, so that a missing call is seen at once.
";

/// The page.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let is_partial = |r: &&Row| matches!(r.coverage, Coverage::Partial(_));
    let partial = rows.iter().filter(is_partial).count();
    let missing: Vec<(usize, &str)> = sis_abi::nr::NAMES
        .iter()
        .enumerate()
        .filter_map(|(number, name)| Some((number, (*name)?)))
        .filter(|(number, _)| rows.iter().all(|r| r.number != *number))
        .collect();
    let mut out = String::from(HEAD);
    let _ = writeln!(
        out,
        "\nOf Linux's {} calls {} are built, {partial} in part, {} not.\n",
        rows.len() + missing.len(),
        rows.len() - partial,
        missing.len()
    );
    out.push_str("## Partial\n\n| number | call | what is missing |\n|---:|---|---|\n");
    for row in rows {
        if let Coverage::Partial(what) = &row.coverage {
            let _ = writeln!(
                out,
                "| {} | `{}` | {} |",
                row.number,
                row.name,
                what.replace('|', "\\|")
            );
        }
    }
    out.push_str("\n## Built\n\n");
    let built = rows
        .iter()
        .filter(|r| !is_partial(r))
        .map(|r| (r.number, r.name.as_str()));
    paragraph(&mut out, built);
    out.push_str("\n## Not built\n\n");
    paragraph(&mut out, missing.into_iter());
    out
}

/// Names with their numbers, filled to lines.
fn paragraph<'a>(out: &mut String, calls: impl Iterator<Item = (usize, &'a str)>) {
    const WIDTH: usize = 140;
    let mut at = 0;
    for (index, (number, name)) in calls.enumerate() {
        let item = format!("`{name}` {number}");
        if index > 0 {
            let is_full = at + item.len() + 2 > WIDTH;
            out.push_str(if is_full { ",\n" } else { ", " });
            at = if is_full { 0 } else { at + 2 };
        }
        at += item.len();
        out.push_str(&item);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{Coverage, markdown, parse};

    const TABLE: &str =
        "63 read built 12\n95 waitid partial 0 (missing: P_PIDFD)\n425 io_uring_setup none 3\nunknown 3\n";

    #[test]
    fn rows_are_read_and_unbuilt_calls_passed_over() {
        let rows = parse(TABLE).expect("it is a table");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].coverage, Coverage::Built);
        assert_eq!(rows[1].coverage, Coverage::Partial("P_PIDFD".into()));
    }

    #[test]
    fn a_broken_table_is_refused() {
        assert!(parse("").is_err());
        assert!(parse("63 read built 12\n").is_err(), "it broke off");
        assert!(parse("63 read half 12\nunknown 0\n").is_err());
        assert!(parse("63 read built many\nunknown 0\n").is_err());
        assert!(parse("95 waitid partial 0\nunknown 0\n").is_err());
    }

    #[test]
    fn the_page_names_every_call_once() {
        let page = markdown(&parse(TABLE).expect("it is a table"));
        assert!(page.contains("| 95 | `waitid` | P_PIDFD |"));
        assert!(page.contains("`read` 63\n"));
        assert!(page.contains("`io_uring_setup` 425"));
        assert_eq!(page.matches("`write` 64").count(), 1);
    }
}
