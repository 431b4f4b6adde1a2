use super::{Expectation, Found, expect};
use crate::content::{Author, Content, fill};
use crate::op::Op;
use crate::plan::Plan;
use crate::tree::{Node, Tree};
use std::collections::BTreeMap;

const SEED: u64 = 21;

/// A file system that loses nothing: what is there after the first `steps` operations of worker 0.
fn carried_out(steps: u64) -> Found {
    let mut plan = Plan::new(SEED, 0);
    let mut tree = Tree::default();
    let mut files: BTreeMap<u32, Content> = BTreeMap::new();
    'plan: loop {
        for step in plan.next_group() {
            if step.number > steps {
                break 'plan;
            }
            match &step.op {
                Op::Create { file, .. } => {
                    files.insert(*file, Content::default());
                }
                Op::Write { path, offset, length } | Op::MapWrite { path, offset, length } => {
                    let content = files.get_mut(&tree.file(path).expect("is there")).expect("has content");
                    *content = content.written(*offset, *length, step.number);
                }
                Op::Truncate { path, size } => {
                    let content = files.get_mut(&tree.file(path).expect("is there")).expect("has content");
                    *content = content.truncated(*size);
                }
                _ => {}
            }
            tree.apply(&step.op);
        }
    }
    let content = |node: &Node| match node {
        Node::Directory => None,
        Node::File(number) => {
            let content = &files[number];
            Some(content.bytes(author(*number), content.size() as usize))
        }
    };
    tree.0
        .iter()
        .map(|(path, node)| (path.clone(), content(node)))
        .collect()
}

fn author(file: u32) -> Author {
    Author {
        seed: SEED,
        worker: 0,
        file,
    }
}

/// The number of the last step of group `groups`, and of the last acknowledgement up to it.
fn after(groups: usize) -> (u64, u64) {
    let mut plan = Plan::new(SEED, 0);
    let (mut acked, mut last) = (0, 0);
    for step in (0..groups).flat_map(|_| plan.next_group()) {
        last = step.number;
        if step.op.is_sync() {
            acked = last;
        }
    }
    (acked, last)
}

#[test]
fn a_file_system_that_does_everything_at_once_is_right_at_every_step() {
    let (acked, intended) = after(120);
    let faults = (acked..=intended)
        .map(|steps| expect(SEED, 0, acked, intended).check(&carried_out(steps)))
        .find_map(Result::err);
    assert_eq!(faults, None);
    for groups in 1..120 {
        let (acked, last) = after(groups);
        assert_eq!(
            expect(SEED, 0, acked, last).check(&carried_out(last)),
            Ok(()),
            "{groups}"
        );
    }
}

/// Groups in which something is acknowledged, and the last step before them.
fn acked_groups() -> impl Iterator<Item = (u64, u64)> {
    (2..150).filter_map(|groups| {
        let (before, _) = after(groups - 1);
        let (acked, _) = after(groups);
        (acked > before).then(|| (after(groups - 1).1, acked))
    })
}

#[test]
fn a_lost_acknowledgement_is_found() {
    let mut count = 0;
    for (before, acked) in acked_groups() {
        let (old, new) = (carried_out(before), carried_out(acked));
        // A group may undo itself.
        if old != new {
            assert!(expect(SEED, 0, acked, acked).check(&old).is_err(), "{before} {acked}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

fn last_expectation() -> (Expectation, Found) {
    let (acked, last) = after(150);
    (expect(SEED, 0, acked, last), carried_out(last))
}

#[test]
fn any_wrong_name_or_byte_is_found() {
    let (expectation, found) = last_expectation();
    assert_eq!(expectation.check(&found), Ok(()));
    assert!(found.len() > 20, "{} names", found.len());
    for path in found.keys() {
        let mut less = found.clone();
        less.remove(path);
        assert!(expectation.check(&less).is_err(), "{path} lost");
        let mut other = found.clone();
        other.insert(
            path.clone(),
            if found[path].is_some() { None } else { Some(Vec::new()) },
        );
        assert!(expectation.check(&other).is_err(), "{path} is something else");
        let Some(bytes) = &found[path] else { continue };
        for at in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let mut wrong = bytes.clone();
            let Some(byte) = wrong.get_mut(at) else { continue };
            *byte ^= 0x40;
            let mut other = found.clone();
            other.insert(path.clone(), Some(wrong));
            assert!(expectation.check(&other).is_err(), "{path} byte {at}");
        }
        let mut short = bytes.clone();
        short.pop();
        // A file that has grown since it was synchronised may be shorter.
        let number = expectation
            .trees
            .last()
            .and_then(|tree| tree.file(path))
            .expect("a file");
        if short.len() < bytes.len() && expectation.files[&number].states.len() == 1 {
            let mut other = found.clone();
            other.insert(path.clone(), Some(short));
            assert!(expectation.check(&other).is_err(), "{path} too short");
        }
    }
    let mut more = found;
    more.insert("stray".into(), Some(Vec::new()));
    assert!(expectation.check(&more).is_err());
}

#[test]
fn the_bytes_of_another_file_and_of_an_older_version_are_found() {
    let mut history = super::History::new(author(1));
    history.change(Content::default().written(0, 100, 5), true);
    history.synchronise();
    let bytes = |file, version| {
        let mut bytes = vec![0; 100];
        fill(author(file), version, 0, &mut bytes);
        bytes
    };
    assert_eq!(history.check(&bytes(1, 5)), Ok(()));
    assert!(history.check(&bytes(1, 4)).is_err());
    assert!(history.check(&bytes(2, 5)).is_err());
    assert!(history.check(&[0; 100]).is_err());
    // An overwrite that nobody has synchronised: the old and the new in any mixture, but nothing else.
    history.change(history.now().written(0, 100, 6), true);
    let mut mixed = bytes(1, 5);
    mixed[30..60].copy_from_slice(&bytes(1, 6)[30..60]);
    assert_eq!(history.check(&mixed), Ok(()));
    mixed[30..60].fill(0);
    assert!(history.check(&mixed).is_err());
}

#[test]
fn a_write_that_is_not_synchronised_may_have_any_size_and_a_truncation_may_not() {
    let mut history = super::History::new(author(1));
    history.change(Content::default().written(0, 100, 5), true);
    history.synchronise();
    history.change(history.now().written(100, 100, 6), true);
    let whole = history.now().bytes(author(1), 200);
    for size in 100..=200 {
        assert_eq!(history.check(&whole[..size]), Ok(()));
    }
    assert!(history.check(&whole[..99]).is_err());
    let mut zeros = whole[..150].to_vec();
    zeros[110..].fill(0);
    assert_eq!(history.check(&zeros), Ok(()), "not yet written");
    history.synchronise();
    history.change(history.now().truncated(50), false);
    assert_eq!(history.check(&whole), Ok(()));
    assert_eq!(history.check(&whole[..50]), Ok(()));
    assert!(history.check(&whole[..120]).is_err());
    assert!(history.check(&whole[..49]).is_err());
}
