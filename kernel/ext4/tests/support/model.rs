//! A tree in memory that does what the file system has to do, and operations at random on both.

use std::collections::BTreeMap;
use std::path::Path;

use sis_ext4::{Device, Disk, Error, Ino, Kind, NewFile, RenameMode, Source, Volume};

use super::{NOW, Rng, clear_tail, read_file, write_file};

/// What a file is in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, usize>),
    Special(Kind, u32, u32),
}

/// A file of the model.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) node: Node,
    pub(crate) ino: Ino,
    pub(crate) links: u32,
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The tree; 0 is the root.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) files: BTreeMap<usize, File>,
    next: usize,
    /// Content that is there is not overwritten in place: a cut then leaves what some step had left.
    pub(crate) is_append_only: bool,
}

fn new_file(kind: Kind) -> NewFile {
    NewFile {
        kind,
        permissions: 0o644,
        uid: 70_000,
        gid: 5,
        device: Device { major: 8, minor: 300 },
    }
}

impl Model {
    /// The model of a new image: `lost+found` in the root.
    pub(crate) fn new<D: Disk>(v: &mut Volume<D>) -> Self {
        let mut model = Self {
            files: BTreeMap::new(),
            next: 0,
            is_append_only: false,
        };
        model.add(Node::Directory(BTreeMap::new()), Ino::ROOT);
        let (lost, _) = v.lookup(Ino::ROOT, b"lost+found").expect("mke2fs makes it");
        let lost = model.add(Node::Directory(BTreeMap::new()), lost);
        model.entries(0).insert(b"lost+found".to_vec(), lost);
        model
    }

    fn add(&mut self, node: Node, ino: Ino) -> usize {
        let id = self.next;
        self.next += 1;
        let file = File {
            node,
            ino,
            links: 1,
            attributes: BTreeMap::new(),
        };
        self.files.insert(id, file);
        id
    }

    fn entries(&mut self, dir: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        match &mut self.files.get_mut(&dir).expect("a file of the model").node {
            Node::Directory(entries) => entries,
            _ => panic!("no directory"),
        }
    }

    fn pick(&self, rng: &mut Rng, want: impl Fn(&Node) -> bool) -> Option<usize> {
        let all: Vec<usize> = self
            .files
            .iter()
            .filter(|(_, f)| want(&f.node))
            .map(|(id, _)| *id)
            .collect();
        (!all.is_empty()).then(|| all[rng.below(all.len() as u64) as usize])
    }

    fn pick_dir(&self, rng: &mut Rng) -> usize {
        // Mostly a few directories, so that some grow an index.
        if rng.below(3) > 0 {
            return 0;
        }
        self.pick(rng, |n| matches!(n, Node::Directory(_))).expect("the root")
    }

    fn pick_entry(&mut self, rng: &mut Rng) -> Option<(usize, Vec<u8>, usize)> {
        let dir = self.pick_dir(rng);
        let entries = self.entries(dir);
        let names: Vec<(Vec<u8>, usize)> = entries.iter().map(|(n, id)| (n.clone(), *id)).collect();
        if names.is_empty() {
            return None;
        }
        let (name, id) = names[rng.below(names.len() as u64) as usize].clone();
        (name != b"lost+found").then_some((dir, name, id))
    }

    fn name(rng: &mut Rng) -> Vec<u8> {
        let len = if rng.below(10) == 0 {
            255
        } else {
            1 + rng.below(40) as usize
        };
        let mut name: Vec<u8> = (0..len)
            .map(|_| b"abcdefghijklmnopqrstuvwxyz0123456789\xc3\xa4"[rng.below(38) as usize])
            .collect();
        name[0] = b'n';
        name
    }

    fn is_within(&self, dir: usize, above: usize) -> bool {
        dir == above
            || match &self.files[&above].node {
                Node::Directory(entries) => entries.values().any(|child| self.is_within(dir, *child)),
                _ => false,
            }
    }

    fn unlinked<D: Disk>(&mut self, v: &mut Volume<D>, id: usize, unlinked: Option<sis_ext4::Unlinked>) {
        let file = self.files.get_mut(&id).expect("a file of the model");
        file.links -= 1;
        let unlinked = unlinked.expect("a name is gone");
        assert_eq!(unlinked.ino, file.ino);
        assert_eq!(unlinked.was_last, file.links == 0);
        if file.links == 0 {
            self.files.remove(&id);
            v.evict(unlinked.ino, NOW).expect("evict");
        }
    }

    /// Does one operation on both; answers what it was.
    pub(crate) fn step<D: Disk>(&mut self, v: &mut Volume<D>, rng: &mut Rng) -> &'static str {
        match rng.below(24) {
            0..=4 => {
                let (dir, name) = (self.pick_dir(rng), Self::name(rng));
                let kind = match rng.below(12) {
                    0..=1 => Kind::Directory,
                    2 => Kind::Fifo,
                    3 => Kind::CharDevice,
                    _ => Kind::Regular,
                };
                let result = v.create(self.files[&dir].ino, &name, &new_file(kind), NOW);
                if self.entries(dir).contains_key(&name) {
                    assert_eq!(result.unwrap_err(), Error::Exists);
                    return "create taken";
                }
                let inode = match result {
                    Ok(inode) => inode,
                    Err(Error::NoSpace) => return "create full",
                    Err(e) => panic!("create: {e}"),
                };
                let node = match kind {
                    Kind::Directory => Node::Directory(BTreeMap::new()),
                    Kind::Regular => Node::File(Vec::new()),
                    kind => Node::Special(kind, inode.device.major, inode.device.minor),
                };
                let id = self.add(node, inode.ino);
                self.entries(dir).insert(name, id);
                "create"
            }
            5 => {
                let (dir, name) = (self.pick_dir(rng), Self::name(rng));
                let len = [1, 59, 60, 61, 500, 1023][rng.below(6) as usize];
                let target: Vec<u8> = (0..len).map(|_| b'a' + rng.below(26) as u8).collect();
                match v.symlink(self.files[&dir].ino, &name, &target, 1, 2, NOW) {
                    Ok(inode) => {
                        let id = self.add(Node::Symlink(target), inode.ino);
                        assert!(self.entries(dir).insert(name, id).is_none());
                    }
                    Err(Error::Exists) => assert!(self.entries(dir).contains_key(&name)),
                    Err(Error::NoSpace) => {}
                    Err(e) => panic!("symlink: {e}"),
                }
                "symlink"
            }
            6 => {
                let Some(id) = self.pick(rng, |n| !matches!(n, Node::Directory(_))) else {
                    return "nothing";
                };
                let (dir, name) = (self.pick_dir(rng), Self::name(rng));
                match v.link(self.files[&id].ino, self.files[&dir].ino, &name, NOW) {
                    Ok(_) => {
                        assert!(self.entries(dir).insert(name, id).is_none());
                        self.files.get_mut(&id).expect("a file").links += 1;
                    }
                    Err(Error::Exists) => assert!(self.entries(dir).contains_key(&name)),
                    Err(Error::NoSpace) => {}
                    Err(e) => panic!("link: {e}"),
                }
                "link"
            }
            7..=9 => {
                let Some((dir, name, id)) = self.pick_entry(rng) else {
                    return "nothing";
                };
                let dir_ino = self.files[&dir].ino;
                if let Node::Directory(entries) = &self.files[&id].node {
                    let is_empty = entries.is_empty();
                    assert_eq!(v.unlink(dir_ino, &name, NOW), Err(Error::IsDirectory));
                    let result = v.rmdir(dir_ino, &name, NOW);
                    if !is_empty {
                        assert_eq!(result, Err(Error::NotEmpty));
                        return "rmdir full";
                    }
                    self.entries(dir).remove(&name);
                    self.unlinked(v, id, Some(result.expect("rmdir")));
                    return "rmdir";
                }
                assert_eq!(v.rmdir(dir_ino, &name, NOW), Err(Error::NotDirectory));
                let unlinked = v.unlink(dir_ino, &name, NOW).expect("unlink");
                self.entries(dir).remove(&name);
                self.unlinked(v, id, Some(unlinked));
                "unlink"
            }
            10..=11 => self.rename(v, rng),
            12..=16 => {
                let Some(id) = self.pick(rng, |n| matches!(n, Node::File(_))) else {
                    return "nothing";
                };
                let ino = self.files[&id].ino;
                let mut at = rng.below(200_000);
                if self.is_append_only {
                    at = v
                        .inode(ino)
                        .expect("an inode")
                        .size
                        .next_multiple_of(v.block_bytes() as u64);
                }
                let len = [1, 100, 4096, 5000, 40_000][rng.below(5) as usize];
                let data = rng.bytes(len);
                match write_file(v, ino, at, &data) {
                    Ok(()) => {}
                    Err(Error::NoSpace) => return "write full",
                    Err(e) => panic!("write: {e}"),
                }
                let Node::File(content) = &mut self.files.get_mut(&id).expect("a file").node else {
                    return "nothing";
                };
                let end = at as usize + len;
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[at as usize..end].copy_from_slice(&data);
                "write"
            }
            17..=18 => {
                let Some(id) = self.pick(rng, |n| matches!(n, Node::File(_))) else {
                    return "nothing";
                };
                let ino = self.files[&id].ino;
                let Node::File(content) = &mut self.files.get_mut(&id).expect("a file").node else {
                    return "nothing";
                };
                let mut size = rng.below(250_000);
                if self.is_append_only {
                    size -= size % 4096;
                }
                clear_tail(v, ino, (content.len() as u64).min(size)).expect("clear");
                v.truncate(ino, size, NOW).expect("truncate");
                content.resize(size as usize, 0);
                "truncate"
            }
            19 => {
                let Some(id) = self.pick(rng, |n| matches!(n, Node::File(_))) else {
                    return "nothing";
                };
                let ino = self.files[&id].ino;
                let self_is_append_only = self.is_append_only;
                let Node::File(content) = &mut self.files.get_mut(&id).expect("a file").node else {
                    return "nothing";
                };
                let block = v.block_bytes();
                let (first, count) = (rng.below(50), 1 + rng.below(20));
                let (from, to) = (first as usize * block, (first + count) as usize * block);
                match if self_is_append_only {
                    2 * rng.below(2)
                } else {
                    rng.below(3)
                } {
                    0 => v.punch_hole(ino, first, count, NOW).expect("punch"),
                    1 => match v.zero_range(ino, first, count, None, Source::Free, NOW) {
                        Ok(()) => {}
                        Err(Error::Unsupported) => return "nothing",
                        // What was there is zeros by then.
                        Err(Error::NoSpace) => {}
                        Err(e) => panic!("zero: {e}"),
                    },
                    _ => match v.fallocate(ino, first, count, None, Source::Free, NOW) {
                        Ok(()) | Err(Error::Unsupported | Error::NoSpace) => return "fallocate",
                        Err(e) => panic!("fallocate: {e}"),
                    },
                }
                let to = to.min(content.len());
                if from < to {
                    content[from..to].fill(0);
                }
                "punch"
            }
            20 => {
                let Some(id) = self.pick(rng, |_| true) else {
                    return "nothing";
                };
                let ino = self.files[&id].ino;
                let prefix: &[u8] = if rng.below(2) == 0 { b"user." } else { b"security." };
                let name = [prefix, &[b'a' + rng.below(6) as u8]].concat();
                if rng.below(4) == 0 {
                    let had = self.files.get_mut(&id).expect("a file").attributes.remove(&name);
                    let result = v.remove_attribute(ino, &name, NOW);
                    assert_eq!(result, if had.is_some() { Ok(()) } else { Err(Error::NoAttribute) });
                    return "xattr";
                }
                let len = rng.below(300) as usize;
                let value = rng.bytes(len);
                match v.set_attribute(ino, &name, &value, None, NOW) {
                    Ok(()) => {
                        self.files.get_mut(&id).expect("a file").attributes.insert(name, value);
                    }
                    Err(Error::NoSpace) => {}
                    Err(e) => panic!("xattr: {e}"),
                }
                "xattr"
            }
            21 => {
                let inode = match v.create_unnamed(Ino::ROOT, &new_file(Kind::Regular), NOW) {
                    Ok(inode) => inode,
                    Err(Error::NoSpace) => return "unnamed full",
                    Err(e) => panic!("unnamed: {e}"),
                };
                let name = Self::name(rng);
                if rng.below(2) == 0 || self.entries(0).contains_key(&name) {
                    v.evict(inode.ino, NOW).expect("evict");
                } else {
                    v.link(inode.ino, Ino::ROOT, &name, NOW).expect("link of the unnamed");
                    let id = self.add(Node::File(Vec::new()), inode.ino);
                    self.entries(0).insert(name, id);
                }
                "unnamed"
            }
            22 => {
                v.commit(NOW).expect("commit");
                "commit"
            }
            _ => {
                let Some(id) = self.pick(rng, |_| true) else {
                    return "nothing";
                };
                self.check_one(v, id);
                "read"
            }
        }
    }

    fn rename<D: Disk>(&mut self, v: &mut Volume<D>, rng: &mut Rng) -> &'static str {
        let Some((from, name, id)) = self.pick_entry(rng) else {
            return "nothing";
        };
        let is_dir = matches!(self.files[&id].node, Node::Directory(_));
        let from_ino = self.files[&from].ino;
        match rng.below(3) {
            0 => {
                let Some((to, other, other_id)) = self.pick_entry(rng) else {
                    return "nothing";
                };
                let to_ino = self.files[&to].ino;
                let other_dir = matches!(self.files[&other_id].node, Node::Directory(_));
                let loops = from != to
                    && id != other_id
                    && ((is_dir && self.is_within(to, id)) || (other_dir && self.is_within(from, other_id)));
                let result = v.rename((from_ino, &name), (to_ino, &other), RenameMode::Exchange, NOW);
                if loops {
                    assert_eq!(result, Err(Error::Loop));
                    return "exchange loop";
                }
                assert_eq!(result, Ok(None));
                self.entries(from).insert(name, other_id);
                self.entries(to).insert(other, id);
                "exchange"
            }
            1 => {
                let Some((to, other, other_id)) = self.pick_entry(rng) else {
                    return "nothing";
                };
                let to_ino = self.files[&to].ino;
                let result = v.rename((from_ino, &name), (to_ino, &other), RenameMode::Replace, NOW);
                let expected = if is_dir && from != to && self.is_within(to, id) {
                    Err(Error::Loop)
                } else if id == other_id {
                    Ok(None)
                } else {
                    match (&self.files[&other_id].node, is_dir) {
                        (Node::Directory(entries), true) if !entries.is_empty() => Err(Error::NotEmpty),
                        (Node::Directory(_), false) => Err(Error::IsDirectory),
                        (Node::Directory(_), true) => Ok(Some(())),
                        (_, true) => Err(Error::NotDirectory),
                        (_, false) => Ok(Some(())),
                    }
                };
                match (result, expected) {
                    (Ok(unlinked), Ok(Some(()))) => {
                        self.entries(from).remove(&name);
                        self.entries(to).insert(other, id);
                        self.unlinked(v, other_id, unlinked);
                    }
                    (Ok(None), Ok(None)) => {}
                    (Err(e), Err(expected)) => assert_eq!(e, expected),
                    (result, expected) => panic!("rename over: {result:?}, not {expected:?}"),
                }
                "rename over"
            }
            _ => {
                let (to, other) = (self.pick_dir(rng), Self::name(rng));
                let to_ino = self.files[&to].ino;
                let result = v.rename((from_ino, &name), (to_ino, &other), RenameMode::NoReplace, NOW);
                if self.entries(to).contains_key(&other) {
                    assert_eq!(result, Err(Error::Exists));
                } else if is_dir && from != to && self.is_within(to, id) {
                    assert_eq!(result, Err(Error::Loop));
                } else if result != Err(Error::NoSpace) {
                    assert_eq!(result, Ok(None));
                    self.entries(from).remove(&name);
                    self.entries(to).insert(other, id);
                }
                "rename"
            }
        }
    }

    fn check_one<D: Disk>(&self, v: &mut Volume<D>, id: usize) {
        let file = &self.files[&id];
        let inode = v.inode(file.ino).expect("an inode");
        match &file.node {
            Node::File(content) => {
                assert_eq!(inode.kind, Kind::Regular);
                assert!(read_file(v, file.ino) == *content, "content of {:?}", file.ino);
            }
            Node::Symlink(target) => assert_eq!(v.read_link(file.ino).expect("a target"), *target),
            Node::Special(kind, major, minor) => {
                assert_eq!(inode.kind, *kind);
                assert_eq!((inode.device.major, inode.device.minor), (*major, *minor));
            }
            Node::Directory(entries) => {
                let mut seen = BTreeMap::new();
                let mut from = 0;
                while from != sis_ext4::DIRECTORY_END {
                    // A few at a time, as getdents with a small buffer.
                    let mut taken = 0;
                    from = v
                        .read_dir(file.ino, from, &mut |e| {
                            if taken == 7 {
                                return false;
                            }
                            taken += 1;
                            if e.name != b"." && e.name != b".." {
                                assert!(seen.insert(e.name.to_vec(), e.ino).is_none(), "a name twice");
                            }
                            true
                        })
                        .expect("read_dir");
                }
                let expected: BTreeMap<Vec<u8>, Ino> =
                    entries.iter().map(|(n, id)| (n.clone(), self.files[id].ino)).collect();
                assert_eq!(seen, expected);
                for (name, id) in entries {
                    assert_eq!(v.lookup(file.ino, name).expect("a name").0, self.files[id].ino);
                }
            }
        }
        if !matches!(file.node, Node::Directory(_)) {
            assert_eq!(inode.links, file.links);
        }
        let names = v.attributes(file.ino).expect("attributes");
        assert_eq!(names.len(), file.attributes.len());
        for (name, value) in &file.attributes {
            assert_eq!(v.attribute(file.ino, name).expect("an attribute"), *value);
        }
    }

    /// Compares all of it, through the volume.
    pub(crate) fn check<D: Disk>(&self, v: &mut Volume<D>) {
        for id in self.files.keys() {
            self.check_one(v, *id);
        }
    }

    /// Compares all of it with what debugfs has dumped to `path`.
    pub(crate) fn check_dump(&self, path: &Path) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut left = vec![(0, path.to_owned())];
        while let Some((id, path)) = left.pop() {
            match &self.files[&id].node {
                Node::Directory(entries) => {
                    let mut names: Vec<Vec<u8>> = std::fs::read_dir(&path)
                        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
                        .map(|e| e.expect("an entry").file_name().into_vec())
                        .collect();
                    names.sort();
                    // debugfs dumps files, directories and symbolic links only.
                    let expected: Vec<Vec<u8>> = entries
                        .iter()
                        .filter(|(_, id)| !matches!(self.files[id].node, Node::Special(..)))
                        .map(|(n, _)| n.clone())
                        .collect();
                    assert_eq!(names, expected, "{}", path.display());
                    for name in names {
                        let child = entries[&name];
                        left.push((child, path.join(std::ffi::OsStr::from_bytes(&name))));
                    }
                }
                Node::File(content) => {
                    assert!(
                        std::fs::read(&path).expect("a dumped file") == *content,
                        "{}",
                        path.display()
                    );
                }
                Node::Symlink(target) => {
                    let dumped = std::fs::read_link(&path).expect("a dumped link");
                    assert_eq!(dumped.as_os_str().as_bytes(), target);
                }
                Node::Special(..) => {}
            }
        }
    }

    /// A number for the whole tree; two trees that differ have two.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut lines = Vec::new();
        self.lines(0, b"", &mut lines);
        digest(lines)
    }

    fn lines(&self, id: usize, path: &[u8], lines: &mut Vec<Vec<u8>>) {
        let file = &self.files[&id];
        let what = match &file.node {
            Node::Directory(_) => "directory".to_owned(),
            Node::File(content) => format!("file {} {}", content.len(), hash(content)),
            Node::Symlink(target) => format!("link {}", hash(target)),
            Node::Special(kind, major, minor) => format!("{kind:?} {major} {minor}"),
        };
        let attributes: Vec<_> = file.attributes.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        lines.push(line(path, &what, file.links, &attributes));
        if let Node::Directory(entries) = &file.node {
            for (name, child) in entries {
                self.lines(*child, &[path, b"/", name].concat(), lines);
            }
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for b in bytes {
        hash = (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    hash
}

fn line(path: &[u8], what: &str, links: u32, attributes: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let links = if what == "directory" { 0 } else { links };
    let head = format!(" {what} {links} {attributes:?}");
    [path, head.as_bytes()].concat()
}

fn digest(mut lines: Vec<Vec<u8>>) -> u64 {
    lines.sort();
    hash(&lines.join(&b'\n'))
}

/// The fingerprint of what a volume holds, as [`Model::fingerprint`].
pub(crate) fn volume_fingerprint<D: Disk>(v: &mut Volume<D>) -> u64 {
    let mut lines = Vec::new();
    let mut left = vec![(Ino::ROOT, Vec::new())];
    while let Some((ino, path)) = left.pop() {
        let inode = v.inode(ino).expect("an inode");
        let what = match inode.kind {
            Kind::Directory => {
                let end = v.read_dir(ino, 0, &mut |e| {
                    if e.name != b"." && e.name != b".." {
                        left.push((e.ino, [&path, &b"/"[..], e.name].concat()));
                    }
                    true
                });
                assert_eq!(end, Ok(sis_ext4::DIRECTORY_END));
                "directory".to_owned()
            }
            Kind::Regular => {
                let content = read_file(v, ino);
                format!("file {} {}", content.len(), hash(&content))
            }
            Kind::Symlink => format!("link {}", hash(&v.read_link(ino).expect("a target"))),
            kind => format!("{kind:?} {} {}", inode.device.major, inode.device.minor),
        };
        let mut names = v.attributes(ino).expect("attributes");
        names.sort();
        let attributes: Vec<_> = names
            .into_iter()
            .map(|n| {
                let value = v.attribute(ino, &n).expect("an attribute");
                (n, value)
            })
            .collect();
        lines.push(line(&path, &what, inode.links, &attributes));
    }
    digest(lines)
}
