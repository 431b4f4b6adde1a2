use super::*;

const NOW: Duration = Duration::from_secs(100);

/// What the lines mean, without the lines themselves.
fn meanings(text: &[u8]) -> Vec<Event> {
    let mut parser = LineParser::new();
    parser
        .push(text, NOW)
        .into_iter()
        .filter(|event| !matches!(event, Event::Line(_)))
        .collect()
}

fn lines(text: &[u8]) -> Vec<String> {
    let mut parser = LineParser::new();
    let mut events = parser.push(text, NOW);
    events.extend(parser.finish(NOW));
    events
        .into_iter()
        .filter_map(|event| {
            if let Event::Line(line) = event {
                Some(line)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_boot_is_its_markers_then_ready() {
    let text =
        b"KERNEL(U)\r\nSTACK OK\r\nMMU: SCTLR=0x30d0198d\r\nMMU ON\r\nUART: READY\r\n[    0.001234] GIC: INIT v3\r\n\
        VECTORS OK\r\nsis> \r\nLAUNCHING SHELL\r\n\r\nsis> ";
    let mut expected: Vec<Event> = (0..7).map(Event::Marker).collect();
    // A prompt before the shell is launched is a prompt, but not readiness.
    expected.extend([Event::Prompt, Event::Marker(7), Event::Prompt, Event::Ready]);
    assert_eq!(meanings(text), expected);
}

#[test]
fn chunking_does_not_matter() {
    let text = b"\x1b[32mKERNEL(U)\x1b[0m\r\nMETRIC Boot_Time_NS=12\r\n\x1b]0;title\x07[PASS] x\r\nLAUNCHING SHELL\n\
        \x1b[1msis>\x1b[0m ls\r\nbin\r\nsis> ";
    let whole = meanings(text);
    assert_eq!(whole.len(), 7, "{whole:?}");
    for size in 1..text.len() {
        let mut parser = LineParser::new();
        let mut events = Vec::new();
        for chunk in text.chunks(size) {
            events.extend(
                parser
                    .push(chunk, NOW)
                    .into_iter()
                    .filter(|event| !matches!(event, Event::Line(_))),
            );
        }
        assert_eq!(events, whole, "in chunks of {size}");
    }
}

#[test]
fn metrics_are_exactly_the_documented_shape() {
    let metric = |name: &str, value| {
        vec![Event::Metric {
            name: name.into(),
            value,
        }]
    };
    assert_eq!(meanings(b"METRIC Boot.Time_ns=42\n"), metric("boot.time_ns", 42));
    assert_eq!(meanings(b"METRIC \t a:b-c=-7  \r\n"), metric("a:b-c", -7));
    for malformed in [
        "METRIC a=",
        "METRIC a=1.5",
        "METRIC =1",
        "METRICa=1",
        " METRIC a=1",
        "METRIC a b=1",
        "METRIC a=--1",
        "metric a=1",
        "METRIC a=+1",
        "METRIC a=99999999999999999999",
        "METRIC a=1 2",
    ] {
        assert_eq!(meanings(format!("{malformed}\n").as_bytes()), [], "{malformed}");
    }
}

#[test]
fn checks_have_a_verdict_and_a_name() {
    assert_eq!(
        meanings(b"[PASS] memory is zeroed\n  [FAIL] timer\n[PASS]\n"),
        [
            Event::Check {
                name: "memory is zeroed".into(),
                has_passed: true
            },
            Event::Check {
                name: "timer".into(),
                has_passed: false
            },
        ]
    );
}

#[test]
fn a_crash_is_one_panic_for_five_seconds() {
    let mut parser = LineParser::new();
    let mut panics = |text: &str, at| {
        let events = parser.push(text.as_bytes(), Duration::from_secs(at));
        events.iter().filter(|event| matches!(event, Event::Panic(_))).count()
    };
    assert_eq!(panics("Kernel panic - not syncing: x\npc is at f\nBacktrace:\n", 10), 1);
    assert_eq!(panics("lr is at g\n", 14), 0);
    assert_eq!(panics("PANIC: again\n", 16), 1);
    assert_eq!(panics("Unable to handle kernel paging request\n", 30), 1);
    assert_eq!(panics("Oops: 0\n", 40), 1);
    assert_eq!(panics("no panic here\n", 60), 0);
}

#[test]
fn a_typed_command_is_no_prompt_and_no_second_prompt() {
    let mut parser = LineParser::new();
    assert_eq!(parser.push(b"sis> ", NOW), [Event::Prompt]);
    assert_eq!(parser.push(b"l", NOW), []);
    assert_eq!(parser.push(b"s\r\n", NOW), [Event::Line("sis> ls".into())]);
    assert_eq!(parser.push(b"sis> ", NOW), [Event::Prompt]);
    assert_eq!(
        parser.push(b"\r\x1b[Ksis> ", NOW),
        [Event::Prompt],
        "a redrawn prompt is one again"
    );
}

#[test]
fn bytes_that_are_no_text_stay_visible() {
    assert_eq!(lines(b"a\xffb\x01\tc\xe2\x82\xac\n"), ["a\\xffb\\u{1}\tc\u{20ac}"]);
    assert_eq!(lines(b"over\rnew\r\n\n"), ["new", ""]);
    assert_eq!(lines(b"ab\x08c\nlast"), ["ac", "last"]);
    assert_eq!(
        lines(b"\x1b]never ends\nnext\n"),
        ["", "next"],
        "a broken escape hides no line end"
    );
}

#[test]
fn a_stream_without_line_ends_is_cut() {
    let long = vec![b'x'; MAX_LINE_BYTES * 2 + 5];
    assert_eq!(
        lines(&long).iter().map(String::len).collect::<Vec<_>>(),
        [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
    );
}
