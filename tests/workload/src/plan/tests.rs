use super::{Plan, Step};
use crate::op::Op;
use std::collections::HashSet;

fn steps(seed: u64, worker: u32, groups: usize) -> Vec<Step> {
    let mut plan = Plan::new(seed, worker);
    (0..groups).flat_map(|_| plan.next_group()).collect()
}

#[test]
fn the_same_seed_makes_the_same_plan_and_another_another() {
    assert_eq!(steps(1, 0, 200), steps(1, 0, 200));
    assert_ne!(steps(1, 0, 200), steps(2, 0, 200));
    assert_ne!(steps(1, 0, 200), steps(1, 1, 200));
}

#[test]
fn steps_are_numbered_without_a_gap() {
    for (index, step) in steps(3, 0, 500).iter().enumerate() {
        assert_eq!(step.number, index as u64 + 1);
    }
}

#[test]
fn every_kind_of_operation_comes_and_the_tree_stays_small() {
    let mut plan = Plan::new(5, 2);
    let mut kinds = HashSet::new();
    for _ in 0..3000 {
        for step in plan.next_group() {
            kinds.insert(std::mem::discriminant(&step.op));
        }
        assert!(plan.tree().0.len() < 70, "{} names", plan.tree().0.len());
        assert!(plan.sizes.values().all(|size| *size < 300_000));
    }
    assert_eq!(kinds.len(), 13);
}

/// On the host's own file system every operation of a plan succeeds and leaves the tree that the plan thinks it does.
#[test]
fn a_plan_can_be_carried_out() {
    let root = std::env::temp_dir().join(format!("sis-plan-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("is made");
    let at = |path: &str| root.join(path);
    let mut plan = Plan::new(11, 1);
    for _ in 0..400 {
        for Step { number, op } in plan.next_group() {
            let done = match &op {
                Op::Create { path, .. } => std::fs::File::create_new(at(path)).map(drop),
                Op::Rename { from, to } => std::fs::rename(at(from), at(to)),
                Op::Link { from, to } => std::fs::hard_link(at(from), at(to)),
                Op::Unlink { path } => std::fs::remove_file(at(path)),
                Op::MakeDirectory { path } => std::fs::create_dir(at(path)),
                Op::RemoveDirectory { path } => std::fs::remove_dir(at(path)),
                Op::Write { path, .. }
                | Op::Truncate { path, .. }
                | Op::MapWrite { path, .. }
                | Op::SyncFile { path, .. }
                | Op::SyncMap { path } => std::fs::metadata(at(path)).map(|found| assert!(found.is_file())),
                Op::SyncDirectory { path } => std::fs::metadata(at(path)).map(|found| assert!(found.is_dir())),
                Op::SyncAll => Ok(()),
            };
            assert!(done.is_ok(), "{number} {op:?}: {done:?}");
        }
        for path in plan.tree().0.keys() {
            assert!(at(path).exists(), "{path}");
        }
    }
    std::fs::remove_dir_all(root).expect("tidies");
}
