//! Properties that hold of any history of allocations, against a bitmap as the model.

use std::{collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;

use super::{AddError, Buddy, FreeError, Link, MAX_ORDER, ORDERS};

/// Every list is doubly linked, sorted by what it says it is, and the counters agree with it.
fn check(buddy: &Buddy<'_>, allocated: &BTreeMap<usize, usize>) {
    let mut used = vec![false; buddy.span()];
    let mut free = 0;
    for order in 0..ORDERS {
        let mut at = buddy.heads[order];
        let mut before = super::NIL;
        let mut blocks = 0;
        while at != super::NIL {
            let link = buddy.links[at as usize];
            assert_eq!(link.prev, before);
            assert_eq!(link.state, super::State::Free(order as u8));
            let pfn = buddy.base_pfn() + at as usize;
            assert!(pfn.is_multiple_of(1 << order));
            for frame in &mut used[at as usize..at as usize + (1 << order)] {
                assert!(!*frame, "two free blocks overlap");
                *frame = true;
            }
            blocks += 1;
            free += 1 << order;
            before = at;
            at = link.next;
        }
        assert_eq!(blocks, buddy.free_blocks(order));
        assert_eq!(blocks > 0, buddy.available & (1 << order) != 0);
    }
    assert_eq!(free, buddy.free_frames());
    for (&pfn, &order) in allocated {
        let at = pfn - buddy.base_pfn();
        for frame in &mut used[at..at + (1 << order)] {
            assert!(!*frame, "an allocated block overlaps another");
            *frame = true;
        }
        assert_eq!(buddy.allocated_order(pfn), Some(order));
    }
    assert_eq!(used.iter().filter(|frame| **frame).count(), buddy.total());
}

#[test]
fn nothing_is_free_at_first() {
    let mut links = vec![Link::EMPTY; 64];
    let mut buddy = Buddy::new(16, &mut links);
    assert_eq!((buddy.free_frames(), buddy.total(), buddy.span()), (0, 0, 64));
    assert_eq!(buddy.alloc(0), None);
    assert_eq!(buddy.free(16, 0), Err(FreeError::NotAllocated));
}

#[test]
fn an_empty_zone_is_harmless() {
    let mut buddy = Buddy::new(usize::MAX, &mut []);
    assert_eq!(buddy.alloc(0), None);
    assert_eq!(buddy.add_range(0, 1), Err(AddError::OutOfRange));
    assert_eq!(buddy.add_range(usize::MAX, usize::MAX), Ok(()));
    assert_eq!(buddy.free(usize::MAX, 0), Err(FreeError::OutOfRange));
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    let mut links = vec![Link::EMPTY; 1024];
    let mut buddy = Buddy::new(0x80000, &mut links);
    buddy.add_range(0x80000, 0x80400).unwrap();
    let a = buddy.alloc(3).unwrap();
    let free = buddy.free_frames();
    assert_eq!(buddy.free(a, 11), Err(FreeError::BadOrder));
    assert_eq!(buddy.free(a, usize::MAX), Err(FreeError::BadOrder));
    assert_eq!(buddy.free(a + 1, 3), Err(FreeError::Misaligned));
    assert_eq!(buddy.free(a + 1, 0), Err(FreeError::NotAllocated));
    assert_eq!(buddy.free(a, 2), Err(FreeError::WrongOrder { allocated: 3 }));
    assert_eq!(buddy.free(0x7ffff, 0), Err(FreeError::OutOfRange));
    assert_eq!(buddy.free(0x80400, 0), Err(FreeError::OutOfRange));
    assert_eq!(buddy.free_frames(), free);
    assert_eq!(buddy.free(a, 3), Ok(()));
    assert_eq!(buddy.free(a, 3), Err(FreeError::NotAllocated));
    assert_eq!(buddy.free_blocks(MAX_ORDER), 1);
}

#[test]
fn ranges_are_given_once() {
    let mut links = vec![Link::EMPTY; 100];
    let mut buddy = Buddy::new(3, &mut links);
    buddy.add_range(5, 20).unwrap();
    assert_eq!(buddy.add_range(19, 30), Err(AddError::Overlap { pfn: 19 }));
    assert_eq!(buddy.add_range(30, 29), Err(AddError::OutOfRange));
    assert_eq!(buddy.add_range(2, 4), Err(AddError::OutOfRange));
    assert_eq!(buddy.add_range(90, 104), Err(AddError::OutOfRange));
    buddy.add_range(20, 103).unwrap();
    assert_eq!(buddy.total(), 98);
    check(&buddy, &BTreeMap::new());
}

#[test]
fn a_split_block_comes_back_frame_by_frame() {
    let mut links = vec![Link::EMPTY; 1024];
    let mut buddy = Buddy::new(0, &mut links);
    buddy.add_range(0, 1024).unwrap();
    let a = buddy.alloc(4).unwrap();
    buddy.split(a, 4).unwrap();
    assert_eq!(buddy.free(a, 4), Err(FreeError::WrongOrder { allocated: 0 }));
    for frame in a..a + 16 {
        buddy.free(frame, 0).unwrap();
    }
    assert_eq!(buddy.free_blocks(MAX_ORDER), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize),
    Free(usize),
    Split(usize),
    FreeWild(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..ORDERS).prop_map(Step::Alloc),
        4 => (0..2usize).prop_map(Step::Alloc),
        6 => any::<usize>().prop_map(Step::Free),
        1 => any::<usize>().prop_map(Step::Split),
        1 => (0..6000usize, 0..13usize).prop_map(|(pfn, order)| Step::FreeWild(pfn, order)),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Blocks never overlap, counters are right after every step, and all comes together again when all is freed.
    #[test]
    fn blocks_never_overlap_and_always_join(base in 0usize..2000, len in 1usize..4000, hole in 0usize..4000, steps in steps()) {
        let mut links = vec![Link::EMPTY; len];
        let mut buddy = Buddy::new(base, &mut links);
        let hole = hole.min(len - 1);
        buddy.add_range(base, base + hole).unwrap();
        buddy.add_range(base + hole + 1, base + len).unwrap();
        let fresh: Vec<usize> = (0..ORDERS).map(|order| buddy.free_blocks(order)).collect();
        let mut allocated = BTreeMap::new();
        for step in steps {
            match step {
                Step::Alloc(order) => match buddy.alloc(order) {
                    Some(pfn) => {
                        prop_assert!(pfn.is_multiple_of(1 << order));
                        allocated.insert(pfn, order);
                    }
                    None => prop_assert!((order..ORDERS).all(|order| buddy.free_blocks(order) == 0)),
                },
                Step::Free(which) if !allocated.is_empty() => {
                    let (&pfn, &order) = allocated.iter().nth(which % allocated.len()).unwrap();
                    allocated.remove(&pfn);
                    prop_assert_eq!(buddy.free(pfn, order), Ok(()));
                }
                Step::Split(which) if !allocated.is_empty() => {
                    let (&pfn, &order) = allocated.iter().nth(which % allocated.len()).unwrap();
                    prop_assert_eq!(buddy.split(pfn, order), Ok(()));
                    allocated.extend((pfn..pfn + (1 << order)).map(|frame| (frame, 0)));
                }
                Step::Free(_) | Step::Split(_) => {}
                Step::FreeWild(pfn, order) => {
                    let known = allocated.get(&pfn) == Some(&order);
                    prop_assert_eq!(buddy.free(pfn, order).is_ok(), known);
                    if known {
                        allocated.remove(&pfn);
                    }
                }
            }
            check(&buddy, &allocated);
        }
        for (pfn, order) in core::mem::take(&mut allocated) {
            prop_assert_eq!(buddy.free(pfn, order), Ok(()));
        }
        check(&buddy, &allocated);
        let joined: Vec<usize> = (0..ORDERS).map(|order| buddy.free_blocks(order)).collect();
        prop_assert_eq!(joined, fresh);
    }
}
