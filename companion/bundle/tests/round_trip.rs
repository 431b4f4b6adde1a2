//! A bundle from partitions and back.

use sis_bundle::sign::Signer;
use sis_bundle::{
    BLOCK_BYTES, BundleError, Head, HeadReader, KIND, Manifest, Range, SCHEMA, Slot, Source, Target, Unpacker, write,
};
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: usize = BLOCK_BYTES as usize;
const PARTITION_BYTES: u64 = 64 * BLOCK_BYTES;

fn noise(seed: u32) -> Vec<u8> {
    (0..64 * BLOCK as u32)
        .map(|n| (n.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 19) as u8)
        .collect()
}

fn manifest() -> Manifest {
    Manifest {
        kind: KIND.into(),
        schema: SCHEMA,
        board: "test".into(),
        version: "0.3.0-rc.1".parse().expect("a version"),
        revision: String::new(),
        build_id: String::new(),
        parts: Vec::new(),
    }
}

/// A bundle of three partitions that lie in one file, its head, and the ranges of each part.
fn bundle() -> (Vec<u8>, Head) {
    let disk = tempfile::tempfile().expect("a file");
    disk.write_all_at(&noise(1), 0).expect("has room");
    disk.write_all_at(&noise(7), PARTITION_BYTES).expect("has room");
    let ranges = vec![Range { first: 1, count: 3 }, Range { first: 40, count: 24 }];
    let source = |target, slot, offset| Source {
        target,
        slot,
        file: &disk,
        offset,
        bytes: PARTITION_BYTES,
        ranges: ranges.clone(),
    };
    let sources = [
        source(Target::Boot, Some(Slot::A), 0),
        source(Target::Boot, Some(Slot::B), PARTITION_BYTES),
        source(Target::Root, None, 0),
    ];
    let signer = Signer::from_pem(&Signer::generate().expect("a key")).expect("a key");
    let (out, temporary) = (
        tempfile::NamedTempFile::new().expect("a file"),
        tempfile::tempfile().expect("a file"),
    );
    write(out.as_file(), &temporary, &mut manifest(), &sources, &signer).expect("is written");
    let bytes = std::fs::read(out.path()).expect("is there");
    let (head, _) = HeadReader::default()
        .feed(&bytes, &[signer.public_pem()])
        .expect("is sound")
        .expect("is whole");
    (bytes, head)
}

fn unpack(bytes: &[u8], head: &Head, slot: Slot) -> Result<Vec<Vec<u8>>, BundleError> {
    let mut partitions = Vec::new();
    for (offset, part) in head.manifest.parts_of(slot) {
        let mut unpacker = Unpacker::new(part, &bytes[(head.len + offset) as usize..]);
        let mut partition = vec![0; PARTITION_BYTES as usize];
        for range in &part.ranges {
            let at = range.first as usize * BLOCK;
            unpacker.fill(&mut partition[at..at + range.count as usize * BLOCK])?;
        }
        unpacker.finish()?;
        partitions.push(partition);
    }
    Ok(partitions)
}

#[test]
fn what_went_in_comes_out_and_nothing_else() {
    let (bytes, head) = bundle();
    assert_eq!(head.bundle_bytes(), bytes.len() as u64);
    let partitions = unpack(&bytes, &head, Slot::B).expect("is whole");
    for (partition, content) in partitions.iter().zip([noise(7), noise(1)]) {
        for (number, (block, wanted)) in partition.chunks(BLOCK).zip(content.chunks(BLOCK)).enumerate() {
            if (1..4).contains(&number) || number >= 40 {
                assert!(block == wanted, "block {number}");
            } else {
                assert!(block.iter().all(|byte| *byte == 0), "block {number} is not mapped");
            }
        }
    }
}

#[test]
fn a_damaged_part_is_never_taken_for_whole() {
    let (bytes, head) = bundle();
    for step in 0..200 {
        let mut changed = bytes.clone();
        let at = head.len as usize + step * (bytes.len() - head.len as usize) / 200;
        changed[at] ^= 1 << (step % 8);
        let (a, b) = (unpack(&changed, &head, Slot::A), unpack(&changed, &head, Slot::B));
        assert!(a.is_err() || b.is_err(), "byte {at}");
    }
    let cut = unpack(&bytes[..bytes.len() - 1], &head, Slot::A);
    assert!(matches!(cut, Err(BundleError::Damaged { .. })));
}

#[test]
fn a_manifest_that_no_reader_takes_is_not_written() {
    let disk: File = tempfile::tempfile().expect("a file");
    disk.set_len(PARTITION_BYTES).expect("has room");
    let source = Source {
        target: Target::Boot,
        slot: None,
        file: &disk,
        offset: 0,
        bytes: PARTITION_BYTES,
        ranges: vec![Range { first: 0, count: 1 }],
    };
    let signer = Signer::from_pem(&Signer::generate().expect("a key")).expect("a key");
    let (out, temporary) = (
        tempfile::tempfile().expect("a file"),
        tempfile::tempfile().expect("a file"),
    );
    let result = write(&out, &temporary, &mut manifest(), &[source], &signer);
    assert!(matches!(result, Err(BundleError::Manifest(_))));
    assert_eq!(out.metadata().expect("is there").len(), 0);
}
