//! Random changes, made to a file system and to a model of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use sis_ext4::{Error, NewFile, Owner, ROOT, Rename, Volume};

use crate::rig::{Memory, NOW, Node, Rng, Tree, write_file};

pub const OWNER: Owner = Owner {
    mode: 0o644,
    uid: 1000,
    gid: 100_000,
};

fn find(v: &mut Volume<Memory>, path: &str) -> u32 {
    path.split('/')
        .filter(|p| !p.is_empty())
        .fold(ROOT, |dir, name| v.lookup(dir, name.as_bytes()).unwrap())
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Directories of the model, the root among them.
fn directories(tree: &Tree) -> Vec<String> {
    let dirs = tree
        .iter()
        .filter(|(_, n)| **n == Node::Directory)
        .map(|(p, _)| p.clone());
    std::iter::once(String::new()).chain(dirs).collect()
}

fn pick<'a>(rng: &mut Rng, tree: &'a Tree, wanted: impl Fn(&Node) -> bool) -> Option<&'a String> {
    let all: Vec<&String> = tree.iter().filter(|(_, n)| wanted(n)).map(|(p, _)| p).collect();
    (!all.is_empty()).then(|| all[rng.below(all.len())])
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.into()
    } else {
        format!("{dir}/{name}")
    }
}

/// One random change, to both. Whether something was changed.
pub fn step(v: &mut Volume<Memory>, tree: &mut Tree, rng: &mut Rng, n: usize) -> Result<(), Error> {
    let now = NOW + n as i64 * 1_000_003;
    let dirs = directories(tree);
    let dir = dirs[rng.below(dirs.len())].clone();
    let long = rng.below(12) == 0;
    let name = format!(
        "n{n}{}",
        if long {
            "-long".repeat(rng.below(40))
        } else {
            String::new()
        }
    );
    match rng.below(16) {
        0..=3 => {
            let at = find(v, &dir);
            let ino = v.create(at, name.as_bytes(), &NewFile::Regular, OWNER, now)?;
            tree.insert(join(&dir, &name), Node::File(Vec::new()));
            let len = rng.below(9000);
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + n) as u8).collect();
            write_file(v, ino, 0, &data, now)?;
            tree.insert(join(&dir, &name), Node::File(data));
        }
        4 => {
            let at = find(v, &dir);
            v.create(at, name.as_bytes(), &NewFile::Directory, OWNER, now)?;
            tree.insert(join(&dir, &name), Node::Directory);
        }
        5 => {
            let most = if rng.below(2) == 0 { 59 } else { 700 };
            let text = "t".repeat(1 + rng.below(most));
            let at = find(v, &dir);
            v.create(at, name.as_bytes(), &NewFile::Symlink(text.as_bytes()), OWNER, now)?;
            tree.insert(join(&dir, &name), Node::Link(text.into_bytes()));
        }
        6..=8 => {
            let Some(path) = pick(rng, tree, |n| matches!(n, Node::File(_))).cloned() else {
                return Ok(());
            };
            let ino = find(v, &path);
            let Some(Node::File(content)) = tree.get(&path) else {
                return Ok(());
            };
            let mut content = content.clone();
            // Somewhere, now and then far behind the end.
            let offset = if rng.below(4) == 0 {
                rng.below(300_000)
            } else {
                rng.below(content.len() + 1)
            };
            let bs = v.block_bytes();
            let data: Vec<u8> = (0..1 + rng.below(20_000)).map(|i| (i * 3 + n) as u8).collect();
            write_file(v, ino, offset as u64, &data, now)?;
            let _ = bs;
            if content.len() < offset + data.len() {
                content.resize(offset + data.len(), 0);
            }
            content[offset..offset + data.len()].copy_from_slice(&data);
            tree.insert(path, Node::File(content));
        }
        9 => {
            let Some(path) = pick(rng, tree, |n| matches!(n, Node::File(_))).cloned() else {
                return Ok(());
            };
            let Some(Node::File(content)) = tree.get(&path) else {
                return Ok(());
            };
            let mut content = content.clone();
            let bs = v.block_bytes();
            // Whole blocks, as the rest of a last block is the page cache's.
            let size = rng.below(content.len() / bs + 2) * bs;
            let ino = find(v, &path);
            v.truncate(ino, size as u64, now)?;
            content.resize(size, 0);
            tree.insert(path, Node::File(content));
        }
        10 | 11 => {
            let Some(path) = pick(rng, tree, |n| *n != Node::Directory).cloned() else {
                return Ok(());
            };
            let (parent, name) = split(&path);
            let at = find(v, parent);
            let (ino, is_last) = v.unlink(at, name.as_bytes(), now)?;
            tree.remove(&path);
            if is_last {
                v.evict(ino, now)?;
            }
        }
        12 => {
            let Some(path) = pick(rng, tree, |n| *n == Node::Directory).cloned() else {
                return Ok(());
            };
            let (parent, name) = split(&path);
            let at = find(v, parent);
            let is_empty = !tree.keys().any(|k| k.starts_with(&format!("{path}/")));
            match v.rmdir(at, name.as_bytes(), now) {
                Ok(ino) => {
                    assert!(is_empty, "{path} was not empty");
                    tree.remove(&path);
                    v.evict(ino, now)?;
                }
                Err(Error::NotEmpty) => assert!(!is_empty, "{path} is empty"),
                Err(e) => return Err(e),
            }
        }
        13 | 14 => {
            let Some(path) = pick(rng, tree, |_| true).cloned() else {
                return Ok(());
            };
            let is_dir = tree[&path] == Node::Directory;
            let target = if rng.below(2) == 0 {
                join(&dir, &name)
            } else {
                pick(rng, tree, |n| (*n == Node::Directory) == is_dir)
                    .cloned()
                    .unwrap_or_default()
            };
            if target.is_empty()
                || target == path
                || target.starts_with(&format!("{path}/"))
                || path.starts_with(&format!("{target}/"))
            {
                return Ok(());
            }
            let (a, an) = split(&path);
            let (b, bn) = split(&target);
            let (from, to) = (find(v, a), find(v, b));
            let is_empty = !tree.keys().any(|k| k.starts_with(&format!("{target}/")));
            match v.rename((from, an.as_bytes()), (to, bn.as_bytes()), Rename::Replace, now) {
                Ok(lost) => {
                    assert!(is_empty, "{target} was not empty");
                    tree.remove(&target);
                    let moved: Vec<(String, Node)> = tree
                        .iter()
                        .filter(|(k, _)| **k == path || k.starts_with(&format!("{path}/")))
                        .map(|(k, n)| (k.clone(), n.clone()))
                        .collect();
                    for (k, node) in moved {
                        tree.remove(&k);
                        tree.insert(format!("{target}{}", &k[path.len()..]), node);
                    }
                    if let Some(ino) = lost {
                        v.evict(ino, now)?;
                    }
                }
                Err(Error::NotEmpty) => assert!(!is_empty),
                Err(e) => return Err(e),
            }
        }
        _ => {
            v.commit(now)?;
        }
    }
    Ok(())
}

pub fn assert_same(seen: &Tree, wanted: &Tree, what: &str) {
    for (path, node) in wanted {
        match (seen.get(path), node) {
            (Some(Node::File(a)), Node::File(b)) if a != b => {
                let at = a.iter().zip(b).position(|(x, y)| x != y);
                panic!(
                    "{what}: {path}: {} bytes, not {}; the first difference is at {at:?}",
                    a.len(),
                    b.len()
                );
            }
            (seen, wanted) => assert!(seen == Some(wanted), "{what}: {path}: {seen:?}, not {wanted:?}"),
        }
    }
    assert_eq!(seen.len(), wanted.len(), "{what}: names that should not be there");
}
