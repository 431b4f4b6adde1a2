//! Archives as cpio and the Linux build make them, and damaged ones.

use std::{format, string::ToString, vec, vec::Vec};

use miniz_oxide::deflate::compress_to_vec;
use proptest::prelude::*;

use super::{Entry, Error, ErrorKind, Kind, Reader, crc32};

const LIMIT: usize = 1 << 20;

/// An entry that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    name: Vec<u8>,
    mode: u32,
    data: Vec<u8>,
    link_to: Option<Vec<u8>>,
}

impl From<Entry<'_>> for Owned {
    fn from(entry: Entry<'_>) -> Self {
        Self {
            name: entry.name.to_vec(),
            mode: entry.mode,
            data: entry.data.to_vec(),
            link_to: entry.link_to.map(<[u8]>::to_vec),
        }
    }
}

fn owned(name: &str, mode: u32, data: &[u8]) -> Owned {
    Owned {
        name: name.as_bytes().to_vec(),
        mode,
        data: data.to_vec(),
        link_to: None,
    }
}

fn read_all(image: &[u8], limit: usize) -> (Vec<Owned>, Option<Error>) {
    let mut reader = Reader::new(image, limit);
    let mut entries = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => entries.push(entry.into()),
            Ok(None) => return (entries, None),
            Err(error) => {
                assert!(matches!(reader.next_entry(), Ok(None)), "nothing after an error");
                return (entries, Some(error));
            }
        }
    }
}

fn put(out: &mut Vec<u8>, magic: &str, fields: [u32; 13], name: &[u8], data: &[u8]) {
    out.extend(magic.as_bytes());
    for field in fields {
        out.extend(format!("{field:08x}").as_bytes());
    }
    out.extend(name);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn entry(out: &mut Vec<u8>, ino: u32, mode: u32, nlink: u32, name: &str, data: &[u8]) {
    let name = format!("{name}\0");
    let fields = [
        ino,
        mode,
        1,
        2,
        nlink,
        0x5f00_0000,
        data.len() as u32,
        8,
        1,
        5,
        1,
        name.len() as u32,
        0,
    ];
    put(out, "070701", fields, name.as_bytes(), data);
}

fn trailer(out: &mut Vec<u8>) {
    put(
        out,
        "070701",
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0],
        b"TRAILER!!!\0",
        b"",
    );
}

fn gzip(data: &[u8]) -> Vec<u8> {
    // With a name, an extra field, a comment and a header CRC, which gzip itself would rarely write.
    let mut out = vec![0x1f, 0x8b, 8, 0b1_1110, 0, 0, 0, 0, 0, 3, 3, 0, b'e', b'x', b't'];
    out.extend(b"name\0comment\0");
    let crc = crc32(&out) as u16;
    out.extend(crc.to_le_bytes());
    out.extend(compress_to_vec(data, 6));
    out.extend(crc32(data).to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out
}

fn small() -> Vec<u8> {
    let mut out = Vec::new();
    entry(&mut out, 1, 0o040_755, 2, "dev", b"");
    entry(&mut out, 2, 0o020_600, 1, "dev/console", b"");
    entry(&mut out, 3, 0o100_755, 1, "init", b"#!/bin/sh\n");
    entry(&mut out, 4, 0o120_777, 1, "sh", b"bin/busybox");
    trailer(&mut out);
    out
}

fn small_entries() -> Vec<Owned> {
    vec![
        owned("dev", 0o040_755, b""),
        owned("dev/console", 0o020_600, b""),
        owned("init", 0o100_755, b"#!/bin/sh\n"),
        owned("sh", 0o120_777, b"bin/busybox"),
    ]
}

#[test]
fn an_archive_is_read() {
    let image = small();
    let mut reader = Reader::new(&image, 0);
    assert_eq!(reader.next_entry().unwrap().unwrap().kind(), Kind::Directory);
    let console = reader.next_entry().unwrap().unwrap();
    assert_eq!(
        (console.kind(), console.rdev, console.permissions()),
        (Kind::CharDevice, (5, 1), 0o600)
    );
    let init = reader.next_entry().unwrap().unwrap();
    assert_eq!(
        (init.uid, init.gid, init.nlink, init.mtime, init.ino, init.dev),
        (1, 2, 1, 0x5f00_0000, 3, (8, 1))
    );
    // Borrowed from the image itself.
    assert!(image.as_ptr_range().contains(&init.data.as_ptr()));
    assert_eq!(reader.next_entry().unwrap().unwrap().kind(), Kind::Symlink);
    assert_eq!(reader.next_entry(), Ok(None));
    assert_eq!(reader.next_entry(), Ok(None));
}

#[test]
fn archives_follow_each_other_plain_and_compressed() {
    let mut twice = small();
    twice.extend([0; 512 - 4]);
    twice.extend(small());
    let mut image = vec![0; 8];
    image.extend(small());
    image.extend([0; 1024]);
    image.extend(gzip(&twice));
    image.extend(gzip(&small()));
    image.resize(image.len().next_multiple_of(4) + 4, 0);
    image.extend(small());
    image.extend([0; 3]);
    let want: Vec<Owned> = (0..5).flat_map(|_| small_entries()).collect();
    assert_eq!(read_all(&image, LIMIT), (want, None));
    assert_eq!(read_all(&[], 0), (vec![], None));
    assert_eq!(read_all(&[0; 4096], 0), (vec![], None));
}

#[test]
fn a_missing_trailer_and_missing_last_padding_are_read() {
    let mut image = Vec::new();
    entry(&mut image, 1, 0o100_644, 1, "a", b"12345");
    image.truncate(image.len() - 3);
    assert_eq!(read_all(&image, 0), (vec![owned("a", 0o100_644, b"12345")], None));
    image.truncate(image.len() - 1);
    assert_eq!(read_all(&image, 0).1.unwrap().kind, ErrorKind::Truncated);
}

#[test]
fn hard_links_are_found_within_an_archive_only() {
    let mut image = Vec::new();
    entry(&mut image, 7, 0o100_644, 3, "a", b"");
    entry(&mut image, 8, 0o100_644, 1, "other", b"x");
    entry(&mut image, 7, 0o100_644, 3, "b", b"");
    entry(&mut image, 7, 0o100_644, 3, "c", b"content");
    entry(&mut image, 7, 0o040_755, 2, "directory", b"");
    trailer(&mut image);
    entry(&mut image, 7, 0o100_644, 2, "d", b"new");
    let (entries, error) = read_all(&image, 0);
    assert_eq!(error, None);
    let links: Vec<_> = entries.iter().map(|entry| entry.link_to.as_deref()).collect();
    assert_eq!(links, [None, None, Some(&b"a"[..]), Some(b"a"), None, None]);
    assert_eq!(entries[3].data, b"content");
}

#[test]
fn checksums_are_checked() {
    let name = b"f\0";
    let fields = |sum| [1, 0o100_644, 0, 0, 1, 0, 3, 0, 0, 0, 0, 2, sum];
    let mut image = Vec::new();
    put(&mut image, "070702", fields(1 + 2 + 250), name, &[1, 2, 250]);
    assert_eq!(read_all(&image, 0), (vec![owned("f", 0o100_644, &[1, 2, 250])], None));
    let mut image = Vec::new();
    put(&mut image, "070702", fields(1), name, &[1, 2, 250]);
    assert_eq!(read_all(&image, 0).1.unwrap().kind, ErrorKind::BadChecksum);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let fail = |image: &[u8]| read_all(image, LIMIT).1.unwrap();
    let plain = |kind, offset| Error {
        kind,
        offset,
        compressed_at: None,
    };
    let good = small();
    let mut image = good.clone();
    image.extend([0, 0, 0, 0, 0]);
    image.extend(&good);
    assert_eq!(fail(&image), plain(ErrorKind::Misaligned, good.len() + 5));
    assert_eq!(fail(b"070707"), plain(ErrorKind::OldFormat, 0));
    assert_eq!(fail(b"\0\0\0\0hello"), plain(ErrorKind::UnknownFormat, 4));
    assert_eq!(fail(b"0123456"), plain(ErrorKind::UnknownFormat, 0));
    assert_eq!(fail(b"0707"), plain(ErrorKind::Truncated, 0));
    assert_eq!(fail(b"\xfd7zXZ\0"), plain(ErrorKind::UnsupportedCompression("xz"), 0));
    assert_eq!(
        fail(b"\x28\xb5\x2f\xfd"),
        plain(ErrorKind::UnsupportedCompression("zstd"), 0)
    );
    let mut image = good.clone();
    image[20] = b'g';
    assert_eq!(fail(&image), plain(ErrorKind::BadHeader, 0));
    for (name_bytes, name) in [(0, &b""[..]), (4097, b"x"), (2, b"xx"), (2, b"\0\0")] {
        let mut image = Vec::new();
        put(
            &mut image,
            "070701",
            [1, 0o100_644, 0, 0, 1, 0, 0, 0, 0, 0, 0, name_bytes, 0],
            name,
            b"",
        );
        assert_eq!(fail(&image), plain(ErrorKind::BadName, 0));
    }
    let mut image = Vec::new();
    put(
        &mut image,
        "070701",
        [1, 0o100_644, 0, 0, 1, 0, u32::MAX, 0, 0, 0, 0, 2, 0],
        b"f\0",
        b"data",
    );
    assert_eq!(fail(&image), plain(ErrorKind::Truncated, 0));
    let inner = Error {
        kind: ErrorKind::UnknownFormat,
        offset: 4,
        compressed_at: Some(2),
    };
    let mut image = vec![0; 2];
    image.extend(gzip(b"\0\0\0\0hello"));
    assert_eq!(fail(&image), inner);
    assert_eq!(
        inner.to_string(),
        "initramfs: neither a newc cpio archive nor a gzip stream at byte 4 of the stream that is compressed at byte 2"
    );
}

#[test]
fn inflating_is_bounded_and_checked() {
    let mut archive = Vec::new();
    entry(&mut archive, 1, 0o100_644, 1, "zeros", &vec![0; 300_000]);
    let image = gzip(&archive);
    assert!(image.len() < 1000);
    assert_eq!(read_all(&image, archive.len()).1, None);
    let error = read_all(&image, archive.len() - 1).1.unwrap();
    assert_eq!(
        error.kind,
        ErrorKind::TooLarge {
            limit: archive.len() - 1
        }
    );
    // The limit counts over all streams.
    let mut both = image.clone();
    both.extend(&image);
    assert_eq!(read_all(&both, archive.len() * 2).1, None);
    assert!(matches!(
        read_all(&both, archive.len() * 2 - 1).1.unwrap().kind,
        ErrorKind::TooLarge { .. }
    ));
    for (at, kind) in [
        (image.len() - 1, ErrorKind::BadGzipCrc),
        (image.len() - 5, ErrorKind::BadGzipCrc),
    ] {
        let mut bad = image.clone();
        bad[at] ^= 1;
        assert_eq!(read_all(&bad, LIMIT).1.unwrap().kind, kind);
    }
    for (at, value) in [(2, 9), (3, 0xff), (20, b'x')] {
        let mut bad = image.clone();
        bad[at] = value;
        assert_eq!(read_all(&bad, LIMIT).1.unwrap().kind, ErrorKind::BadGzipHeader);
    }
    for len in 2..image.len() {
        assert!(read_all(&image[..len], LIMIT).1.is_some());
    }
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// What `cpio` and `gzip` make on this host, if it has them.
#[test]
fn archives_of_the_usual_tools_are_read() {
    let dir = std::env::temp_dir().join(format!("sis-cpio-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let script = "set -e; mkdir d; printf content > d/a; ln d/a d/b; ln -s a d/s; : > d/empty; \
                  printf '%s\\n' d d/a d/b d/s d/empty | cpio -o -H newc --quiet > plain; gzip -9 < plain > gz; cat plain gz > all; \
                  while [ $(($(wc -c < all) % 4)) -ne 0 ]; do printf '\\0' >> all; done; cat plain >> all";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(&dir)
        .status();
    let image = std::fs::read(dir.join("all"));
    std::fs::remove_dir_all(&dir).unwrap();
    let (Ok(true), Ok(image)) = (made.map(|status| status.success()), image) else {
        std::println!("skipped: no cpio or no gzip here");
        return;
    };
    let (entries, error) = read_all(&image, LIMIT);
    assert_eq!(error, None);
    assert_eq!(entries.len(), 15);
    for archive in entries.chunks(5) {
        let of = |name: &str| archive.iter().find(|entry| entry.name == name.as_bytes()).unwrap();
        assert_eq!(of("d").mode & 0o170_000, 0o040_000);
        assert_eq!(of("d/s").data, b"a");
        assert_eq!(of("d/empty").data, b"");
        assert_eq!([of("d/a").data.len() + of("d/b").data.len()], [7]);
        assert_eq!(archive.iter().filter(|entry| entry.link_to.is_some()).count(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written is read.
    #[test]
    fn what_is_written_is_read(
        files in proptest::collection::vec(("[a-z/]{1,20}", proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
        compress in any::<bool>(),
    ) {
        let mut image = Vec::new();
        let mut want = Vec::new();
        for (index, (name, data)) in files.iter().enumerate() {
            entry(&mut image, index as u32, 0o100_644, 1, name, data);
            want.push(owned(name, 0o100_644, data));
        }
        trailer(&mut image);
        let image = if compress { gzip(&image) } else { image };
        prop_assert_eq!(read_all(&image, LIMIT), (want, None));
    }

    /// No damage makes the reader panic, and it never inflates more than it may.
    #[test]
    fn damage_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        cut in any::<prop::sample::Index>(),
        compress in any::<bool>(),
    ) {
        let mut image = if compress { gzip(&small()) } else { small() };
        for (at, value) in changes {
            let at = at.index(image.len());
            image[at] = value;
        }
        image.truncate(cut.index(image.len()) + 1);
        read_all(&image, 4096);
    }
}
