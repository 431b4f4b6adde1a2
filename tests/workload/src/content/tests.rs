use super::{Author, Content, fill};

const AUTHOR: Author = Author {
    seed: 1,
    worker: 2,
    file: 3,
};

#[test]
fn a_part_is_what_the_whole_has_there() {
    let mut whole = [0; 100];
    fill(AUTHOR, 9, 0, &mut whole);
    for start in 0..40 {
        let mut part = [0; 23];
        fill(AUTHOR, 9, start, &mut part);
        assert_eq!(part, whole[start as usize..start as usize + 23]);
    }
}

#[test]
fn versions_files_workers_and_seeds_differ() {
    let bytes = |author, version| {
        let mut out = [0; 64];
        fill(author, version, 0, &mut out);
        out
    };
    let first = bytes(AUTHOR, 1);
    assert_ne!(first, bytes(AUTHOR, 2));
    assert_ne!(first, bytes(Author { seed: 2, ..AUTHOR }, 1));
    assert_ne!(first, bytes(Author { worker: 3, ..AUTHOR }, 1));
    assert_ne!(first, bytes(Author { file: 4, ..AUTHOR }, 1));
}

#[test]
fn a_content_is_the_bytes_that_its_operations_leave() {
    let mut content = Content::default();
    let mut bytes: Vec<u8> = Vec::new();
    let mut random = crate::Random::new(7);
    for version in 1..400 {
        if random.chance(1, 4) {
            let size = random.below(3000);
            content = content.truncated(size);
            bytes.resize(size as usize, 0);
        } else {
            let (offset, length) = (random.below(3000), 1 + random.below(700));
            content = content.written(offset, length, version);
            let end = (offset + length) as usize;
            bytes.resize(bytes.len().max(end), 0);
            fill(AUTHOR, version, offset, &mut bytes[offset as usize..end]);
        }
        assert_eq!(content.size(), bytes.len() as u64);
        assert_eq!(content.bytes(AUTHOR, bytes.len()), bytes);
    }
}
