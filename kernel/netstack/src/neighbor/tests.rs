use alloc::vec;

use super::*;

fn key(n: u8) -> Key {
    (2, IpAddr::from([10, 0, 2, n]))
}

#[test]
fn frames_wait_for_an_answer_and_leave_in_order() {
    let mut t = NeighborTable::new();
    assert_eq!(t.resolve(0, key(2), vec![1]), Outcome::Wait(true));
    assert_eq!(t.resolve(1, key(2), vec![2]), Outcome::Wait(false));
    assert_eq!(t.learn(2, key(2), [7; 6], false), vec![vec![1], vec![2]]);
    assert_eq!(t.resolve(3, key(2), vec![3]), Outcome::Send(vec![3], [7; 6], false));
    // Stale: still used, but asked for once.
    let later = 2 + REACHABLE_NS;
    assert_eq!(t.resolve(later, key(2), vec![4]), Outcome::Send(vec![4], [7; 6], true));
    assert_eq!(t.resolve(later, key(2), vec![5]), Outcome::Send(vec![5], [7; 6], false));
}

#[test]
fn silence_loses_the_frames_and_then_forgets() {
    let mut t = NeighborTable::new();
    t.resolve(0, key(9), vec![1]);
    let mut now = 0;
    for _ in 1..ATTEMPTS {
        now = t.next_ns().unwrap();
        assert_eq!(t.tick(now), vec![Due::Ask(key(9))]);
    }
    now = t.next_ns().unwrap().max(now);
    assert_eq!(t.tick(now), vec![Due::Lost(key(9), vec![vec![1]])]);
    assert_eq!(t.resolve(now, key(9), vec![2]), Outcome::Unreachable);
    now = t.next_ns().unwrap();
    assert_eq!(t.tick(now), vec![]);
    assert_eq!(t.resolve(now, key(9), vec![3]), Outcome::Wait(true));
}

#[test]
fn a_stranger_is_not_remembered_unless_wanted() {
    let mut t = NeighborTable::new();
    t.learn(0, key(3), [1; 6], false);
    assert_eq!(t.iter().count(), 0);
    t.learn(0, key(3), [1; 6], true);
    assert_eq!(
        t.iter().next(),
        Some(Seen {
            key: key(3),
            mac: Some([1; 6]),
            is_permanent: false
        })
    );
    t.flush(2);
    assert_eq!(t.iter().count(), 0);
}

#[test]
fn the_table_and_its_queues_are_bounded() {
    let mut t = NeighborTable::new();
    for i in 0..2 * CAPACITY {
        t.resolve(i as u64, (2, IpAddr::from([10, 0, (i >> 8) as u8, i as u8])), vec![0]);
        assert!(t.iter().count() <= CAPACITY);
    }
    let mut t = NeighborTable::new();
    for i in 0..QUEUE + 5 {
        t.resolve(0, key(2), vec![i as u8]);
    }
    let out = t.learn(0, key(2), [1; 6], false);
    assert_eq!(out.len(), QUEUE);
    assert_eq!(out[0], vec![5], "the oldest go first");
}

#[test]
fn permanent_neighbours_are_not_overruled() {
    let mut t = NeighborTable::new();
    t.resolve(0, key(2), vec![1]);
    assert_eq!(t.set_permanent(key(2), [5; 6]), vec![vec![1]]);
    t.learn(1, key(2), [6; 6], true);
    t.flush(2);
    assert_eq!(t.resolve(2, key(2), vec![2]), Outcome::Send(vec![2], [5; 6], false));
    assert!(t.remove(key(2)));
}
