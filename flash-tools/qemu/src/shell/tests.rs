use super::*;

#[test]
fn the_typed_line_never_looks_like_its_result() {
    let typed = line("echo 'it''s'; sleep 1 &", 7).expect("can be typed");
    assert_eq!(
        typed,
        "echo \"@@\"\"b7@@\"; eval 'echo '\\''it'\\'''\\''s'\\''; sleep 1 &'; echo \"@@\"\"e7:$?@@\"\n"
    );
    assert_eq!(result(typed.as_bytes(), 7), None);
}

#[test]
fn what_cannot_be_typed_is_refused() {
    assert_eq!(line("a\nb", 1), None);
    assert_eq!(line("a\x03", 1), None);
    assert_eq!(line(&"x".repeat(1000), 1), None);
    assert!(line("printf 'a\tb'", 1).is_some());
}

#[test]
fn output_is_what_lies_between() {
    let text = b"echo ...\r\n@@b7@@\r\none\r\ntwo@@e7:143@@\r\nsis> ";
    assert_eq!(result(text, 7), Some((text.len() - 7, ("one\ntwo".into(), 143))));
    assert_eq!(result(b"@@b7@@\r\n@@e7:0@@\r\n", 7), Some((16, (String::new(), 0))));
    assert_eq!(
        result(b"@@b7@@\r\none\r\n@@e7:14", 7),
        None,
        "the status is still coming"
    );
    assert_eq!(result(b"@@b6@@\r\none\r\n@@e6:0@@", 7), None, "another command's");
}

#[test]
fn prompts_of_both_shells_are_known() {
    for text in [
        "\r\nsis> ",
        "~ # ",
        "/ # \x1b[6n",
        "/tmp $ ",
        "\x1b[36msis>\x1b[0m ",
        "\x1b[36msis> \x1b[0m",
    ] {
        assert!(prompt(text.as_bytes()).is_some(), "{text:?}");
    }
    for text in ["", "sis> ls", "# comment\r\n", "$"] {
        assert!(prompt(text.as_bytes()).is_none(), "{text:?}");
    }
}

#[test]
fn a_prompt_behind_a_result_counts_whatever_was_written_behind_it() {
    let late = b"\r\n/ # \x1b[6n/bin/sh: eval: can't open '/dev/null'\r\n";
    assert!(prompt(late).is_none());
    assert_eq!(prompt_after_result(late), Some((late.len(), ())));
    assert!(prompt_after_result(b"\r\n[1]+  Done   sleep 1\r\n").is_none());
    assert!(prompt_after_result(b"\r\nsis> [   12.3] eth0: link up\r\n").is_some());
}
