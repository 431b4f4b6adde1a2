//! Lines come, go, are filtered and written down.

use proptest::prelude::*;

use super::*;

fn line(epoch: u64, seq: u64, level: Level, source: Facility, text: &str) -> Delivery {
    let record = LogRecord {
        ts_ns: seq * 1_000_000,
        level,
        facility: source,
        text: text.to_owned(),
    };
    Delivery::Event {
        epoch,
        event: Box::new(Event {
            seq,
            ts_ns: 0,
            wall_ms: None,
            kind: EventKind::LogLine(record),
            kernel_seq: None,
        }),
    }
}

fn info(seq: u64, text: &str) -> Delivery {
    line(1, seq, Level::Info, Facility::Kernel, text)
}

fn texts(view: &LogView, store: &LogStore) -> Vec<String> {
    view.lines(store, 0, 100).map(|line| line.text.clone()).collect()
}

#[test]
fn a_full_store_lets_its_oldest_lines_go() {
    let mut store = LogStore::new(3, 1000);
    (1..=5).for_each(|seq| store.apply(info(seq, &format!("line {seq}"))));
    let kept: Vec<u64> = store.lines().map(|line| line.cursor.seq).collect();
    assert_eq!(kept, [3, 4, 5]);
    assert_eq!(store.numbers(), (2, 5));
    assert_eq!((store.get(1), store.get(5)), (None, None));
}

#[test]
fn long_lines_count_by_their_bytes() {
    let mut store = LogStore::new(1000, 10_000);
    (1..=50).for_each(|seq| store.apply(info(seq, &"x".repeat(100_000))));
    assert_eq!(store.lines().len(), 2);
    assert!(store.lines().all(|line| line.text.len() <= LINE_BYTES));
}

#[test]
fn ten_thousand_lines_are_kept_by_default() {
    let mut store = LogStore::default();
    (1..=10_005).for_each(|seq| store.apply(info(seq, "x")));
    assert_eq!(store.lines().len(), 10_000);
}

#[test]
fn a_line_is_taken_once_and_a_new_life_goes_on() {
    let mut store = LogStore::default();
    store.apply(info(1, "a"));
    store.apply(info(1, "a"));
    store.apply(Delivery::Bootstrap {
        cursor: Cursor { epoch: 2, seq: 0 },
        missed: None,
    });
    store.apply(line(2, 1, Level::Info, Facility::Kernel, "b"));
    let kept: Vec<_> = store.lines().map(|line| line.text.as_str()).collect();
    assert_eq!(kept, ["a", "b"]);
}

#[test]
fn an_agent_that_starts_anew_tells_old_lines_again_and_they_are_shown_once() {
    let numbered = |epoch, seq, kernel_seq, text: &str| {
        let mut delivery = line(epoch, seq, Level::Info, Facility::Kernel, text);
        if let Delivery::Event { event, .. } = &mut delivery {
            event.kernel_seq = Some(kernel_seq);
            if let EventKind::LogLine(record) = &mut event.kind {
                record.ts_ns = kernel_seq * 1000;
            }
        }
        delivery
    };
    let mut store = LogStore::default();
    store.apply(numbered(1, 1, 70, "a"));
    store.apply(numbered(1, 2, 71, "b"));
    store.apply(Delivery::Bootstrap {
        cursor: Cursor { epoch: 2, seq: 0 },
        missed: None,
    });
    store.apply(numbered(2, 1, 70, "a"));
    store.apply(numbered(2, 2, 71, "b"));
    store.apply(numbered(2, 3, 72, "c"));
    let kept: Vec<_> = store.lines().map(|line| line.text.as_str()).collect();
    assert_eq!(kept, ["a", "b", "c"]);
    assert_eq!(store.feed().cursor(), Some(Cursor { epoch: 2, seq: 3 }));
}

#[test]
fn what_is_no_line_is_counted() {
    let mut store = LogStore::default();
    let mut delivery = info(1, "");
    if let Delivery::Event { event, .. } = &mut delivery {
        event.kind = EventKind::Unknown;
    }
    store.apply(delivery);
    assert_eq!((store.lines().len(), store.unknown()), (0, 1));
}

#[test]
fn level_source_and_text_are_asked_together() {
    let mut store = LogStore::default();
    let all = [
        (Level::Error, Facility::Kernel, "Disk: read FAILED"),
        (Level::Warning, Facility::Kernel, "disk: slow"),
        (Level::Info, Facility::Kernel, "disk: ready"),
        (Level::Error, Facility::Daemon, "disk watcher failed"),
        (Level::Unknown(99), Facility::Kernel, "disk: of tomorrow"),
    ];
    for (seq, (level, source, text)) in (1..).zip(all) {
        store.apply(line(1, seq, level, source, text));
    }
    let show = |filter| {
        let mut view = LogView::new(filter);
        view.update(&store);
        view.lines(&store, 0, 100)
            .map(|line| line.cursor.seq)
            .collect::<Vec<_>>()
    };
    let kernel = || LogFilter::default().with_sources(Sources::Only(vec![Facility::Kernel]));
    assert_eq!(show(LogFilter::default()), [1, 2, 3, 4, 5]);
    assert_eq!(show(kernel().with_level(Level::Warning)), [1, 2, 5]);
    assert_eq!(show(LogFilter::default().with_text("fAiLed")), [1, 4]);
    assert_eq!(show(kernel().with_level(Level::Error).with_text("failed")), [1]);
}

#[test]
fn no_line_is_looked_at_twice() {
    let mut store = LogStore::new(100, 1 << 20);
    let mut view = LogView::new(LogFilter::default().with_text("7"));
    (1..=50).for_each(|seq| store.apply(info(seq, &seq.to_string())));
    assert_eq!(view.update(&store), 50);
    store.apply(info(51, "7!"));
    assert_eq!(view.update(&store), 1);
    assert_eq!(view.update(&store), 0);
    assert_eq!(texts(&view, &store), ["7", "17", "27", "37", "47", "7!"]);
    view.set_filter(LogFilter::default().with_text("!"));
    assert_eq!(view.update(&store), 51);
    assert_eq!(view.len(), 1);
}

#[test]
fn exports_say_what_is_shown() {
    let mut store = LogStore::default();
    store.apply(line(7, 1234, Level::Error, Facility::Kernel, "a \"b\"\x1b"));
    store.apply(line(7, 1235, Level::Info, Facility::Unknown(8), "c"));
    assert_eq!(
        store.to_text(),
        "[    1.234000] kernel error: a \"b\"\\u{1b}\n[    1.235000] unknown info: c\n"
    );
    let mut view = LogView::new(LogFilter::default().with_level(Level::Error));
    view.update(&store);
    let expected = r#"{"epoch":7,"seq":1234,"tsNs":1234000000,"wallMs":null,"level":"error","source":"kernel","text":"a \"b\"\\u{1b}"}"#;
    assert_eq!(view.to_ndjson(&store), format!("{expected}\n"));
    assert_eq!(view.to_text(&store).lines().count(), 1);
}

proptest! {
    #[test]
    fn an_updated_view_is_the_same_as_a_fresh_one(
        steps in prop::collection::vec((0..8_u32, 0..4_u32, "[a-c]{0,3}", prop::bool::weighted(0.3)), 0..200),
        capacity in 1..40_usize,
        level in 0..8_u32,
    ) {
        let mut store = LogStore::new(capacity, 60);
        let filter = LogFilter::default()
            .with_level(Level::from_number(level))
            .with_sources(Sources::Only(vec![Facility::Kernel, Facility::User]))
            .with_text("b");
        let mut view = LogView::new(filter.clone());
        for (seq, (level, source, text, does_update)) in (1..).zip(steps) {
            store.apply(line(1, seq, Level::from_number(level), Facility::from_number(source), &text));
            if does_update {
                view.update(&store);
            }
        }
        view.update(&store);
        let mut fresh = LogView::new(filter);
        fresh.update(&store);
        let shown = |view: &LogView| view.lines(&store, 0, usize::MAX).map(|line| line.cursor).collect::<Vec<_>>();
        prop_assert_eq!(shown(&view), shown(&fresh));
        prop_assert_eq!(view.len(), shown(&view).len());
        prop_assert!(store.lines().len() <= capacity);
    }
}
