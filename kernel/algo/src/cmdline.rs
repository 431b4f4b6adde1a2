//! The kernel command line, split as Linux splits it (lib/cmdline.c `next_arg`, init/main.c `unknown_bootoption`).
//!
//! Words are separated by white space; within double quotes white space is part of the word, and quotes around a word or around a value
//! are dropped. A word is `key` or `key=value`. Words that the kernel knows are its own. Others go to init: `key=value` into its
//! environment (the last of a key counts), `key` into its arguments; a key with a dot in it is some module's and goes nowhere. What
//! follows `--` goes to init's arguments whatever it is. `init=` and `rdinit=` forget the arguments collected before them.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

/// The most arguments, and the most variables, that init gets from the command line (Linux's `CONFIG_INIT_ENV_ARG_LIMIT`).
pub const INIT_WORDS_MAX: usize = 32;

/// Words that a Linux kernel for AArch64 takes for itself and that mean something, or harmlessly nothing, here.
pub const KNOWN: [&str; 45] = [
    "console",
    "init",
    "rdinit",
    "loglevel",
    "quiet",
    "debug",
    "ignore_loglevel",
    "panic",
    "root",
    "rootfstype",
    "rootflags",
    "rootwait",
    "rootdelay",
    "ro",
    "rw",
    "initrd",
    "noinitrd",
    "mem",
    "maxcpus",
    "nr_cpus",
    "nosmp",
    "nokaslr",
    "earlycon",
    "keep_bootcon",
    "reboot",
    "printk.time",
    "printk.devkmsg",
    "log_buf_len",
    "nohz",
    "nohlt",
    "cma",
    "coherent_pool",
    "oops",
    "hung_task_panic",
    "random.trust_cpu",
    "random.trust_bootloader",
    "swiotlb",
    "iomem",
    "audit",
    "selinux",
    "apparmor",
    "net.ifnames",
    "ip",
    "kunit.enable",
    // Ours.
    "sis.approval_expiry_ms",
];

/// A word for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What is before the `=`.
    pub key: String,
    /// What is behind it, if there is one.
    pub value: Option<String>,
}

/// A command line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The words that the kernel knows, in order.
    pub words: Vec<Word>,
    /// Arguments for init, after its own name.
    pub init_args: Vec<String>,
    /// Variables for init's environment, as `key=value`, one a key.
    pub init_env: Vec<String>,
    /// How many words were dropped because init would have got more than [`INIT_WORDS_MAX`].
    pub dropped: usize,
}

impl CommandLine {
    /// Takes a line apart; `known` are the keys that the kernel takes for itself (see [`KNOWN`]).
    pub fn parse(line: &str, known: &[&str]) -> Self {
        let mut out = Self::default();
        let mut rest = line;
        let mut is_after_dashes = false;
        while let Some((key, value, after)) = next(rest) {
            rest = after;
            if is_after_dashes {
                out.argument(joined(key, value));
            } else if value.is_none() && key == "--" {
                is_after_dashes = true;
            } else if known.iter().any(|known| same_key(known, key)) {
                if matches!(key, "init" | "rdinit") && value.is_some() {
                    out.init_args.clear();
                }
                out.words.push(Word {
                    key: key.to_owned(),
                    value: value.map(str::to_owned),
                });
            } else if key.contains('.') {
                // A parameter of a module that is not there.
            } else if let Some(value) = value {
                out.variable(key, value);
            } else {
                out.argument(key.to_owned());
            }
        }
        out
    }

    /// Whether the word is there, with or without a value.
    pub fn has(&self, key: &str) -> bool {
        self.words.iter().any(|word| same_key(&word.key, key))
    }

    /// The last value of a word.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values(key).next_back()
    }

    /// All values of a word that may come more than once, as `console=`.
    pub fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.words
            .iter()
            .filter(move |word| same_key(&word.key, key))
            .filter_map(|word| word.value.as_deref())
    }

    /// The last value of a word as a number: decimal, `0x` hexadecimal, `0` octal, with a sign. `None` when it is none.
    pub fn number(&self, key: &str) -> Option<i64> {
        number(self.get(key)?)
    }

    /// The last value of a word as a size: a number with K, M, G, T behind it. `None` when it is none.
    pub fn size(&self, key: &str) -> Option<u64> {
        let text = self.get(key)?;
        let shift = match text.as_bytes().last()? {
            b'K' | b'k' => 10,
            b'M' | b'm' => 20,
            b'G' | b'g' => 30,
            b'T' | b't' => 40,
            _ => 0,
        };
        let digits = if shift == 0 { text } else { text.get(..text.len() - 1)? };
        u64::try_from(number(digits)?).ok()?.checked_mul(1 << shift)
    }

    fn argument(&mut self, argument: String) {
        if self.init_args.len() < INIT_WORDS_MAX {
            self.init_args.push(argument);
        } else {
            self.dropped += 1;
        }
    }

    fn variable(&mut self, key: &str, value: &str) {
        let is_same = |old: &&mut String| old.strip_prefix(key).is_some_and(|rest| rest.starts_with('='));
        let variable = joined(key, Some(value));
        if let Some(old) = self.init_env.iter_mut().find(is_same) {
            *old = variable;
        } else if self.init_env.len() < INIT_WORDS_MAX {
            self.init_env.push(variable);
        } else {
            self.dropped += 1;
        }
    }
}

fn joined(key: &str, value: Option<&str>) -> String {
    let mut out = key.to_owned();
    if let Some(value) = value {
        out.push('=');
        out.push_str(value);
    }
    out
}

/// Keys are the same when they differ in `-` and `_` alone.
fn same_key(a: &str, b: &str) -> bool {
    let dash = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| dash(a) == dash(b))
}

/// A number as C writes it, with a sign.
fn number(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if is_negative { -value } else { value }).ok()
}

/// The next word: key, value, and the rest of the line.
fn next(line: &str) -> Option<(&str, Option<&str>, &str)> {
    let line = line.trim_start_matches(is_space);
    if line.is_empty() {
        return None;
    }
    let (line, is_quoted) = match line.strip_prefix('"') {
        Some(line) => (line, true),
        None => (line, false),
    };
    let mut is_within = is_quoted;
    let mut equals = None;
    let mut end = line.len();
    for (at, character) in line.char_indices() {
        match character {
            '=' if equals.is_none() => equals = Some(at),
            '"' => is_within = !is_within,
            character if is_space(character) && !is_within => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let (word, rest) = line.split_at(end);
    let word = if is_quoted {
        word.strip_suffix('"').unwrap_or(word)
    } else {
        word
    };
    let Some((key, value)) = equals.and_then(|_| word.split_once('=')) else {
        return Some((word, None, rest));
    };
    let value = match value.strip_prefix('"') {
        Some(value) => value.strip_suffix('"').unwrap_or(value),
        None => value,
    };
    Some((key, Some(value), rest))
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\0')
}

#[cfg(test)]
mod tests;
