//! The first line of a script (execve(2), "Interpreter scripts").

/// Bytes of a file that count (BINPRM_BUF_SIZE).
pub const LINE_BYTES: usize = 256;

/// What a `#!` line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// The interpreter's path.
    pub interpreter: &'a [u8],
    /// Everything after it, as one argument.
    pub argument: Option<&'a [u8]>,
}

/// Whether a file begins as a script does.
pub fn is_script(head: &[u8]) -> bool {
    head.starts_with(b"#!")
}

/// Reads the line from the first bytes of a file; `None` (ENOEXEC) when there is no interpreter, or when its path may
/// have been cut off.
pub fn parse(head: &[u8]) -> Option<Script<'_>> {
    let head = head.get(..LINE_BYTES.min(head.len()))?;
    let rest = head.strip_prefix(b"#!")?;
    let end = rest.iter().position(|b| matches!(b, b'\n' | 0));
    let is_cut = end.is_none() && head.len() == LINE_BYTES;
    let line = trim(rest.get(..end.unwrap_or(rest.len()))?);
    let split = line.iter().position(|b| is_blank(*b));
    if is_cut && split.is_none() {
        return None;
    }
    let (interpreter, argument) = line.split_at(split.unwrap_or(line.len()));
    let argument = trim(argument);
    if interpreter.is_empty() {
        return None;
    }
    Some(Script {
        interpreter,
        argument: (!argument.is_empty()).then_some(argument),
    })
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn of(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
        parse(text).map(|s| (s.interpreter, s.argument))
    }

    #[test]
    fn interpreters_and_arguments() {
        assert_eq!(of(b"#!/bin/sh\necho"), Some((b"/bin/sh".as_slice(), None)));
        assert_eq!(
            of(b"#! /bin/sh -e x \nfoo"),
            Some((b"/bin/sh".as_slice(), Some(b"-e x".as_slice())))
        );
        assert_eq!(
            of(b"#!\t/usr/bin/env\tpython3"),
            Some((b"/usr/bin/env".as_slice(), Some(b"python3".as_slice())))
        );
        assert_eq!(of(b"#!/bin/sh"), Some((b"/bin/sh".as_slice(), None)));
    }

    #[test]
    fn what_is_no_script_is_refused() {
        for bad in [
            &b""[..],
            b"#",
            b"#!",
            b"#!\n/bin/sh",
            b"#!   \n",
            b"\x7fELF",
            b"# !/bin/sh",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_path_that_may_be_cut_off_is_refused() {
        let mut long = vec![b'a'; 400];
        long[..2].copy_from_slice(b"#!");
        assert_eq!(of(&long), None);
        long[100] = b' ';
        assert_eq!(of(&long).map(|s| s.0.len()), Some(98));
        assert_eq!(of(&long[..200]).map(|s| s.0.len()), Some(98));
    }
}
