//! What is in a process's memory: arguments, environment, auxiliary vector, mappings.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::process::Subject;
use super::system::text;
use crate::Result;
use crate::fs::inode::split_dev;

/// Most bytes that are shown of arguments and environment.
const STRINGS_MAX: usize = 1 << 20;

/// Bytes of a process's memory; empty for a process without memory.
fn range(subject: &Subject, pick: impl Fn(&crate::process::Arguments) -> (usize, usize)) -> Result<Vec<u8>> {
    let process = subject.process()?;
    let Some(vm) = process.vm() else { return Ok(Vec::new()) };
    let (start, end) = pick(&process.arguments());
    let mut out = alloc::vec![0u8; end.saturating_sub(start).min(STRINGS_MAX)];
    let n = vm.peek(start, &mut out);
    out.truncate(n);
    Ok(out)
}

/// argv, NUL-terminated strings.
pub(super) fn cmdline(subject: &Subject) -> Result<Vec<u8>> {
    range(subject, |a| a.args)
}

/// The first environment, NUL-terminated strings.
pub(super) fn environ(subject: &Subject) -> Result<Vec<u8>> {
    subject.open_thread()?;
    range(subject, |a| a.env)
}

/// The auxiliary vector.
pub(super) fn auxv(subject: &Subject) -> Result<Vec<u8>> {
    subject.open_thread()?;
    range(subject, |a| a.auxv)
}

/// Column of names in /proc/PID/maps.
const NAME_COLUMN: usize = 73;

/// Mappings, a line each.
pub(super) fn maps(subject: &Subject) -> Result<Vec<u8>> {
    let process = subject.open_thread()?.process.clone();
    let Some(vm) = process.vm() else { return Ok(Vec::new()) };
    let stack = process.arguments().stack;
    let lines = vm.maps();
    let out = text(|out| {
        for m in lines {
            let bit = |on: bool, c: char| if on { c } else { '-' };
            let (major, minor) = split_dev(m.identity.0);
            let mut line = String::new();
            write!(
                line,
                "{:08x}-{:08x} {}{}{}{} {:08x} {major:02x}:{minor:02x} {} ",
                m.start,
                m.end,
                bit(m.protection.read, 'r'),
                bit(m.protection.write, 'w'),
                bit(m.protection.exec, 'x'),
                if m.is_shared { 's' } else { 'p' },
                m.offset,
                m.identity.1,
            )?;
            let name = if m.name.is_empty() && (m.start..m.end).contains(&stack) {
                "[stack]"
            } else {
                &m.name
            };
            if name.is_empty() {
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{line:<width$}{name}", width = NAME_COLUMN)?;
            }
        }
        Ok(())
    });
    Ok(out.into_bytes())
}
