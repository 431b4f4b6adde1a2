//! Against an array with one value an address.

use std::{ops::Range, vec, vec::Vec};

use proptest::prelude::*;

use super::{InsertError, IntervalMap, Value};

const END: usize = 96;

/// A mapping of a file: which, and from which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    file: u8,
    offset: usize,
}

impl Value for Part {
    fn split_at(&mut self, offset: usize) -> Self {
        Self {
            file: self.file,
            offset: self.offset + offset,
        }
    }

    fn can_merge(&self, len: usize, next: &Self) -> bool {
        self.file == next.file && self.offset + len == next.offset
    }
}

/// What each address has.
type Model = Vec<Option<Part>>;

fn part(file: u8, offset: usize) -> Part {
    Part { file, offset }
}

/// The entries are what the model says, as few as can be.
fn check(map: &IntervalMap<Part>, model: &Model) {
    let mut seen = vec![None; END];
    let mut last: Option<(Range<usize>, Part)> = None;
    for (range, value) in map.iter() {
        assert!(!range.is_empty());
        if let Some((before, before_value)) = last {
            assert!(before.end <= range.start);
            assert!(
                before.end < range.start || !before_value.can_merge(before.len(), value),
                "not joined"
            );
        }
        for at in range.clone() {
            seen[at] = Some(part(value.file, value.offset + at - range.start));
        }
        last = Some((range, *value));
    }
    assert_eq!(&seen, model);
    assert_eq!(map.covered(), model.iter().flatten().count());
    for (at, want) in model.iter().enumerate() {
        let got = map
            .get(at)
            .map(|(range, value)| part(value.file, value.offset + at - range.start));
        assert_eq!(got, *want);
        let next = map.at_or_after(at).map(|(range, _)| range.start.max(at));
        assert_eq!(next, (at..END).find(|at| model[*at].is_some()));
        let before = map.before(at).map(|(range, _)| range.end.min(at));
        assert_eq!(before, (0..at).rev().find(|at| model[*at].is_some()).map(|at| at + 1));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Range<usize>, Part),
    Remove(Range<usize>),
    Update(Range<usize>, u8),
    Look(Range<usize>),
    Gap(usize, u32, Range<usize>),
}

fn range() -> impl Strategy<Value = Range<usize>> {
    (0..=END, 0..=END).prop_map(|(a, b)| a.min(b)..a.max(b))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (range(), 0..3u8).prop_map(|(range, file)| { let value = part(file, range.start); Step::Insert(range, value) }),
        1 => (range(), 0..3u8, 0..9usize).prop_map(|(range, file, offset)| Step::Insert(range, part(file, offset))),
        3 => range().prop_map(Step::Remove),
        2 => (range(), 0..3u8).prop_map(|(range, file)| Step::Update(range, file)),
        1 => range().prop_map(Step::Look),
        2 => (0..20usize, 0..5u32, range()).prop_map(|(len, align, range)| Step::Gap(len, align, range)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_map_says_what_an_array_would(steps in proptest::collection::vec(step(), 1..40)) {
        let mut map = IntervalMap::new();
        let mut model: Model = vec![None; END];
        for step in steps {
            match step {
                Step::Insert(range, value) => {
                    let taken = range.clone().find(|at| model[*at].is_some());
                    let want = match taken {
                        _ if range.is_empty() => Err(InsertError::Empty),
                        Some(at) => Err(InsertError::Overlap { at }),
                        None => Ok(()),
                    };
                    prop_assert_eq!(map.insert(range.clone(), value), want);
                    if want.is_ok() {
                        for at in range.clone() {
                            model[at] = Some(part(value.file, value.offset + at - range.start));
                        }
                    }
                }
                Step::Remove(range) => {
                    let mut removed: Model = vec![None; END];
                    let mut last = range.start;
                    for (found, value) in map.remove(range.clone()) {
                        prop_assert!(last <= found.start && found.end <= range.end && !found.is_empty());
                        last = found.end;
                        for at in found.clone() {
                            removed[at] = Some(part(value.file, value.offset + at - found.start));
                        }
                    }
                    for at in range {
                        prop_assert_eq!(removed[at].take(), model[at].take());
                    }
                    prop_assert!(removed.iter().all(Option::is_none));
                }
                Step::Update(range, file) => {
                    map.update(range.clone(), |found, value| {
                        assert!(range.start <= found.start && found.end <= range.end);
                        value.file = file;
                    });
                    for value in model[range].iter_mut().flatten() {
                        value.file = file;
                    }
                }
                Step::Look(range) => {
                    let is_free = model[range.clone()].iter().all(Option::is_none);
                    let is_covered = model[range.clone()].iter().all(Option::is_some);
                    prop_assert_eq!(map.is_free(range.clone()), is_free);
                    prop_assert_eq!(map.is_covered(range.clone()), is_covered);
                    let found: Vec<_> = map.overlapping(range.clone()).map(|(found, _)| found).collect();
                    let want: Vec<_> = map.iter().map(|(found, _)| found)
                        .filter(|found| found.start < range.end && range.start < found.end && !range.is_empty()).collect();
                    prop_assert_eq!(found, want);
                }
                Step::Gap(len, align, window) => {
                    let align = 1 << align >> 1;
                    let fits = |start: &usize| len > 0 && start.is_multiple_of(align.max(1)) && start + len <= window.end
                        && model[*start..start + len].iter().all(Option::is_none);
                    prop_assert_eq!(map.find_gap_up(len, align, window.clone()), window.clone().find(fits));
                    prop_assert_eq!(map.find_gap_down(len, align, window.clone()), window.clone().rev().find(fits));
                }
            }
            check(&map, &model);
        }
    }
}

#[test]
fn the_ends_of_the_address_space_are_no_trap() {
    let mut map = IntervalMap::new();
    map.insert(usize::MAX - 10..usize::MAX, part(0, 0)).unwrap();
    map.insert(0..10, part(0, 0)).unwrap();
    assert_eq!(map.find_gap_up(100, 4096, 0..usize::MAX), Some(4096));
    assert_eq!(map.find_gap_up(5, 1, usize::MAX - 12..usize::MAX), None);
    assert_eq!(map.find_gap_up(2, 4096, usize::MAX - 12..usize::MAX), None);
    assert_eq!(map.find_gap_down(usize::MAX, 1, 0..usize::MAX), None);
    assert_eq!(map.find_gap_down(4096, 4096, 0..usize::MAX), Some(usize::MAX - 8191));
    assert_eq!(map.find_gap_down(1, 3, 0..usize::MAX), None, "no power of two");
}
