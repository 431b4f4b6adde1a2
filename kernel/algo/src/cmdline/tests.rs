//! Lines as people and boot loaders write them.

use std::{string::String, vec::Vec};

use proptest::prelude::*;

use super::{CommandLine, INIT_WORDS_MAX, KNOWN};

fn parse(line: &str) -> CommandLine {
    CommandLine::parse(line, &KNOWN)
}

#[test]
fn known_words_are_the_kernels() {
    let line = parse("console=tty0 console=ttyAMA0,115200 quiet  loglevel=7\tpanic=-1 init=/bin/thing\n");
    assert_eq!(line.values("console").collect::<Vec<_>>(), ["tty0", "ttyAMA0,115200"]);
    assert_eq!(line.get("console"), Some("ttyAMA0,115200"));
    assert!(line.has("quiet") && !line.has("debug"));
    assert_eq!((line.get("quiet"), line.get("init")), (None, Some("/bin/thing")));
    assert_eq!(
        (line.number("loglevel"), line.number("panic"), line.number("init")),
        (Some(7), Some(-1), None)
    );
    assert!(line.init_args.is_empty() && line.init_env.is_empty());
}

#[test]
fn other_words_are_inits() {
    let line = parse("single FOO=bar usbcore.autosuspend=5 5 FOO=again FOOD=x EMPTY= -- -x a=b quiet");
    assert_eq!(line.init_args, ["single", "5", "-x", "a=b", "quiet"]);
    assert_eq!(line.init_env, ["FOO=again", "FOOD=x", "EMPTY="]);
    assert!(line.words.is_empty());
}

#[test]
fn arguments_before_init_are_forgotten() {
    let line = parse("auto A=1 init=/bin/sh -- -c two");
    assert_eq!(
        (line.init_args, line.init_env),
        (["-c", "two"].map(String::from).into(), ["A=1"].map(String::from).into())
    );
    assert_eq!(parse("auto rdinit=/x b").init_args, ["b"]);
}

#[test]
fn quotes_keep_words_together() {
    let line = parse(r#"A="b c" "D=e f" init="/bin/a b" "two words" x" y"z -- "-c" "echo a b""#);
    assert_eq!(line.init_env, ["A=b c", "D=e f"]);
    assert_eq!(line.get("init"), Some("/bin/a b"));
    // What was before `init=` is gone; quotes in the middle stay, as on Linux.
    assert_eq!(line.init_args, ["two words", "x\" y\"z", "-c", "echo a b"]);
    assert_eq!(parse(r#"A="open end"#).init_env, ["A=open end"]);
    assert_eq!(parse(r#"""#).init_args, [""]);
    assert_eq!(parse("").init_args, [""; 0]);
}

#[test]
fn dashes_and_underscores_are_the_same() {
    let line = parse("log-buf-len=1M printk.time=1");
    assert_eq!(line.size("log_buf_len"), Some(1 << 20));
    assert_eq!(line.get("printk.time"), Some("1"));
}

#[test]
fn numbers_are_checked() {
    let number = |text: &str| CommandLine::parse(&std::format!("n={text}"), &["n"]).number("n");
    assert_eq!(
        [
            number("0"),
            number("010"),
            number("0x1F"),
            number("-0x10"),
            number("+3")
        ],
        [0, 8, 31, -16, 3].map(Some)
    );
    assert_eq!(
        ["", "-", "0x", "x", "1x", "--1", "+-1", "99999999999999999999"].map(number),
        [None; 8]
    );
    let size = |text: &str| CommandLine::parse(&std::format!("n={text}"), &["n"]).size("n");
    assert_eq!(
        [size("512M"), size("0x10k"), size("7"), size("1t")],
        [512 << 20, 16 << 10, 7, 1 << 40].map(Some)
    );
    assert_eq!(["M", "-1M", "99999999999T", ""].map(size), [None; 4]);
}

#[test]
fn init_gets_no_more_than_it_can_hold() {
    let words: Vec<String> = (0..40).map(|n| std::format!("w{n} v{n}=1")).collect();
    let line = parse(&words.join(" "));
    assert_eq!(
        (line.init_args.len(), line.init_env.len(), line.dropped),
        (INIT_WORDS_MAX, INIT_WORDS_MAX, 16)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics, and words without quotes come back as they are.
    #[test]
    fn any_line_is_read(line in "[a-c\"= .é\\t-]{0,40}", words in proptest::collection::vec("[a-z]{1,5}", 0..8)) {
        parse(&line);
        prop_assert_eq!(parse(&words.join("  ")).init_args.len() + parse(&words.join(" ")).words.len(), words.len());
    }
}
