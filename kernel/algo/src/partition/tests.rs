//! Tables made by sfdisk and sgdisk (of Debian's fdisk and gdisk), tables made here, and tables broken in every byte.

use super::crc::crc32;
use super::{Geometry, GptFault, PARTITIONS_MAX, ScanError, Scheme, Table, TableError, scan};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const BLOCK: usize = 512;

/// Scans an image of blocks of `block` bytes.
fn scan_image(image: &[u8], block: u32) -> Result<Option<Table>, ScanError<()>> {
    let geometry = Geometry {
        block_bytes: block,
        block_count: image.len() as u64 / u64::from(block),
    };
    let mut calls = 0;
    scan(geometry, |at, out| {
        calls += 1;
        assert!(calls < 600, "a scan that does not end");
        assert!(out.len() <= 1 << 20 && !out.is_empty());
        let from = (at * u64::from(block)) as usize;
        // What is asked for lies on the disk: this would panic otherwise.
        out.copy_from_slice(&image[from..from + out.len()]);
        Ok(())
    })
}

fn bad(image: &[u8]) -> TableError {
    match scan_image(image, BLOCK as u32) {
        Err(ScanError::Bad(e)) => e,
        other => panic!("not refused: {other:?}"),
    }
}

/// An image of `mib` MiB that a tool has partitioned.
fn made_by(mib: usize, program: &str, arguments: &[&str], input: &str) -> Vec<u8> {
    let folder = std::env::temp_dir();
    let unique = std::format!("sis-partition-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = folder.join(unique);
    std::fs::write(&path, std::vec![0; mib << 20]).unwrap();
    let mut child = Command::new(program)
        .args(arguments)
        .arg(&path)
        .env(
            "PATH",
            std::format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}; cargo sis setup installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} failed");
    let image = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    image
}

fn gpt_image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(make_gpt_image).clone()
}

fn make_gpt_image() -> Vec<u8> {
    made_by(
        8,
        "sfdisk",
        &["-q"],
        "label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\nfirst-lba: 34\n\
         start=2048, size=2048, name=\"boot\", type=U, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\n\
         start=4096, size=4096, name=\"ro\u{f6}t\"\n",
    )
}

fn mbr_image() -> Vec<u8> {
    made_by(
        16,
        "sfdisk",
        &["-q"],
        "label: dos\nlabel-id: 0x1a2b3c4d\nstart=2048, size=2048, type=c, bootable\nstart=4096, size=20480, type=5\n\
         start=6144, size=2048\nstart=10240, size=4096, type=82\n",
    )
}

#[test]
fn a_gpt_made_by_sfdisk_is_read() {
    let table = scan_image(&gpt_image(), 512).unwrap().unwrap();
    assert_eq!(table.scheme, Scheme::Gpt);
    assert_eq!(table.disk_uuid, "11111111-2222-3333-4444-555555555555");
    assert_eq!(table.fallback, None);
    let seen: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.first_sector, p.sector_count, p.name.as_str()))
        .collect();
    assert_eq!(seen, [(1, 2048, 2048, "boot"), (2, 4096, 4096, "ro\u{f6}t")]);
    assert_eq!(table.partitions[0].uuid, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
    assert_eq!(table.partitions[0].kind, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
}

#[test]
fn a_gpt_made_by_sgdisk_is_read() {
    let image = made_by(
        8,
        "sgdisk",
        &["-n", "5:2048:4095", "-c", "5:five", "-n", "2:4096:0"],
        "",
    );
    let table = scan_image(&image, 512).unwrap().unwrap();
    let seen: Vec<_> = table.partitions.iter().map(|p| (p.number, p.first_sector)).collect();
    assert_eq!(seen, [(2, 4096), (5, 2048)]);
}

#[test]
fn an_mbr_with_logical_partitions_is_read() {
    let table = scan_image(&mbr_image(), 512).unwrap().unwrap();
    assert_eq!(table.scheme, Scheme::Mbr);
    assert_eq!(table.disk_uuid, "1a2b3c4d");
    let seen: Vec<_> = table
        .partitions
        .iter()
        .map(|p| {
            (
                p.number,
                p.first_sector,
                p.sector_count,
                p.kind.as_str(),
                p.uuid.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, 2048, 2048, "0c", "1a2b3c4d-01"),
            (2, 4096, 2, "05", "1a2b3c4d-02"),
            (5, 6144, 2048, "83", "1a2b3c4d-05"),
            (6, 10240, 4096, "82", "1a2b3c4d-06"),
        ]
    );
}

#[test]
fn a_disk_without_a_table_has_none() {
    assert_eq!(scan_image(&[0; 4096], 512), Ok(None));
    // A FAT file system on the whole disk: a boot sector with code where the entries would be.
    let mut fat = std::vec![0u8; 1 << 20];
    fat[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    fat[11..13].copy_from_slice(&512u16.to_le_bytes());
    fat[16] = 2;
    fat[21] = 0xf8;
    fat[446..462].copy_from_slice(b"no system disk\r\n");
    fat[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(scan_image(&fat, 512), Ok(None));
    fat[0] = 0;
    assert_eq!(bad(&fat), TableError::Status(1));
}

#[test]
fn a_broken_first_copy_is_replaced_by_the_last() {
    let whole = gpt_image();
    for (at, fault) in [
        (BLOCK, GptFault::Signature),
        (BLOCK + 20, GptFault::HeaderChecksum),
        (BLOCK + 60, GptFault::HeaderChecksum),
        (2 * BLOCK + 200, GptFault::ArrayChecksum),
    ] {
        let mut image = whole.clone();
        image[at] ^= 1;
        let table = scan_image(&image, 512).unwrap().unwrap();
        assert_eq!(table.partitions.len(), 2, "byte {at}");
        assert_eq!(table.fallback, Some(fault), "byte {at}");
        let end = image.len() - BLOCK;
        image[end] ^= 1;
        let both = TableError::Gpt {
            primary: fault,
            backup: GptFault::Signature,
        };
        assert_eq!(bad(&image), both);
    }
}

/// Changes the first header and mends its checksum; the last copy is destroyed.
fn with_header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut image = gpt_image();
    let end = image.len() - BLOCK;
    image[end..].fill(0);
    change(&mut image[BLOCK..2 * BLOCK]);
    seal(&mut image);
    image
}

fn seal(image: &mut [u8]) {
    let header = &mut image[BLOCK..BLOCK + 92];
    header[16..20].fill(0);
    let sum = crc32(&[header]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// Changes an entry of the first copy and mends both checksums.
fn with_entry(index: usize, first: u64, last: u64) -> Vec<u8> {
    let mut image = gpt_image();
    let at = 2 * BLOCK + 128 * index;
    image[at] = 1;
    image[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
    image[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
    let sum = crc32(&[&image[2 * BLOCK..2 * BLOCK + 128 * 128]]);
    image[BLOCK + 88..BLOCK + 92].copy_from_slice(&sum.to_le_bytes());
    seal(&mut image);
    image
}

#[test]
fn impossible_headers_are_refused() {
    let primary = |image: Vec<u8>| match bad(&image) {
        TableError::Gpt { primary, .. } => primary,
        other => panic!("{other}"),
    };
    let u32_put = |at: usize, v: u32| move |h: &mut [u8]| h[at..at + 4].copy_from_slice(&v.to_le_bytes());
    let u64_put = |at: usize, v: u64| move |h: &mut [u8]| h[at..at + 8].copy_from_slice(&v.to_le_bytes());
    assert_eq!(primary(with_header(u32_put(8, 0x20000))), GptFault::Revision(0x20000));
    assert_eq!(primary(with_header(u32_put(12, 91))), GptFault::HeaderBytes(91));
    assert_eq!(
        primary(with_header(u32_put(12, u32::MAX))),
        GptFault::HeaderBytes(u32::MAX)
    );
    assert_eq!(primary(with_header(u64_put(24, 5))), GptFault::Place(5));
    assert_eq!(
        primary(with_header(u64_put(48, u64::MAX))),
        GptFault::Usable(34, u64::MAX)
    );
    assert_eq!(
        primary(with_header(u64_put(72, u64::MAX))),
        GptFault::ArrayPlace(u64::MAX)
    );
    assert_eq!(primary(with_header(u64_put(72, 100))), GptFault::ArrayPlace(100));
    assert_eq!(primary(with_header(u64_put(72, 1))), GptFault::ArrayPlace(1));
    assert_eq!(
        primary(with_header(u32_put(80, u32::MAX))),
        GptFault::EntryCount(u32::MAX)
    );
    assert_eq!(primary(with_header(u32_put(80, 0))), GptFault::EntryCount(0));
    assert_eq!(primary(with_header(u32_put(84, 64))), GptFault::EntryBytes(64));
    assert_eq!(primary(with_header(u32_put(84, 384))), GptFault::EntryBytes(384));
    assert_eq!(
        primary(with_header(u32_put(84, 1 << 31))),
        GptFault::EntryBytes(1 << 31)
    );
}

#[test]
fn impossible_entries_are_refused() {
    assert_eq!(bad(&with_entry(2, 3000, 5000)), TableError::Overlap(1, 3));
    assert_eq!(bad(&with_entry(2, 9000, 8999)), TableError::Reversed(3));
    assert_eq!(bad(&with_entry(2, 1, 9000)), TableError::OutOfRange(3));
    assert_eq!(bad(&with_entry(2, 9000, u64::MAX)), TableError::OutOfRange(3));
    assert!(scan_image(&with_entry(2, 9000, 9000), 512).unwrap().is_some());
}

/// Puts entry `index` of the boot record in block `block`.
fn put_record(image: &mut [u8], block: usize, index: usize, kind: u8, first: u32, count: u32) {
    let at = block * BLOCK + 446 + 16 * index;
    image[at] = 0;
    image[at + 4] = kind;
    image[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
    image[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    image[block * BLOCK + 510..block * BLOCK + 512].copy_from_slice(&[0x55, 0xaa]);
}

#[test]
fn impossible_boot_records_are_refused() {
    let whole = mbr_image();
    let with = |block, index, kind, first, count| {
        let mut image = whole.clone();
        put_record(&mut image, block, index, kind, first, count);
        image
    };
    assert_eq!(bad(&with(0, 2, 0x83, 3000, 10)), TableError::Overlap(1, 3));
    assert_eq!(bad(&with(0, 2, 0x83, 30000, u32::MAX)), TableError::OutOfRange(3));
    assert_eq!(bad(&with(0, 2, 0x83, 0, 1)), TableError::OutOfRange(3));
    assert_eq!(bad(&with(0, 2, 0x0f, 30000, 10)), TableError::TwoExtended(2, 3));
    // The first link is at block 4096: its next one is itself, elsewhere, not there, or its partition is too long.
    assert_eq!(bad(&with(4096, 1, 5, 0, 10)), TableError::ChainLoop);
    assert_eq!(bad(&with(4096, 1, 5, 20480, 10)), TableError::ChainOutside);
    assert_eq!(bad(&with(4096, 1, 5, 100, 10)), TableError::ChainBroken);
    assert_eq!(bad(&with(4096, 0, 0x83, 2048, u32::MAX)), TableError::OutOfRange(5));
    assert_eq!(bad(&with(4096, 0, 0x83, 2048, 4096)), TableError::Overlap(2, 5));
}

#[test]
fn a_chain_without_end_is_refused() {
    let mut image = std::vec![0u8; 1 << 20];
    put_record(&mut image, 0, 0, 5, 1, 2000);
    for link in 0..1999usize {
        put_record(&mut image, 1 + link, 0, 5, link as u32 + 1, 1);
    }
    assert_eq!(bad(&image), TableError::TooMany);
    assert_eq!(PARTITIONS_MAX, 256);
}

#[test]
fn what_is_shown_of_an_extended_partition_is_in_no_logical_one() {
    let mut image = std::vec![0u8; 64 * BLOCK];
    put_record(&mut image, 0, 3, 5, 2, 60);
    put_record(&mut image, 2, 0, 0x83, 1, 10);
    let table = scan_image(&image, 512).unwrap().unwrap();
    let seen: Vec<_> = table
        .partitions
        .iter()
        .map(|p| (p.number, p.first_sector, p.sector_count))
        .collect();
    assert_eq!(seen, [(4, 2, 1), (5, 3, 10)]);
}

#[test]
fn tables_count_in_the_disks_blocks() {
    let mut image = std::vec![0u8; 1 << 20];
    put_record(&mut image, 0, 0, 0x83, 16, 32);
    let table = scan_image(&image, 4096).unwrap().unwrap();
    assert_eq!(
        (table.partitions[0].first_sector, table.partitions[0].sector_count),
        (128, 256)
    );
}

#[test]
fn a_name_cannot_break_a_line() {
    let mut image = gpt_image();
    image[2 * BLOCK + 56] = b'\n';
    let sum = crc32(&[&image[2 * BLOCK..2 * BLOCK + 128 * 128]]);
    image[BLOCK + 88..BLOCK + 92].copy_from_slice(&sum.to_le_bytes());
    seal(&mut image);
    let table = scan_image(&image, 512).unwrap().unwrap();
    assert_eq!(table.partitions[0].name, "!oot");
}

#[test]
fn what_cannot_be_read_is_told() {
    let geometry = Geometry {
        block_bytes: 512,
        block_count: 100,
    };
    assert_eq!(scan(geometry, |_, _| Err("damaged")), Err(ScanError::Read("damaged")));
    let none = Geometry {
        block_count: 0,
        ..geometry
    };
    assert_eq!(
        scan(none, |_, _| Ok::<_, ()>(())),
        Err(ScanError::Bad(TableError::Geometry))
    );
    let texts: Vec<String> = [TableError::ChainLoop, TableError::OutOfRange(3)]
        .map(|e| e.to_string())
        .into();
    assert!(texts.iter().all(|t| !t.is_empty()));
}

/// What every table that is accepted must be.
fn check(table: &Table, sectors: u64) {
    assert!(table.partitions.len() <= PARTITIONS_MAX + 4);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for p in &table.partitions {
        assert!(p.number >= 1 && p.sector_count > 0 && p.first_sector > 0);
        assert!(p.first_sector + p.sector_count <= sectors);
        ranges.push((p.first_sector, p.first_sector + p.sector_count));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{table:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        seed in proptest::collection::vec(any::<u8>(), 512),
        changes in proptest::collection::vec((0usize..40 * BLOCK, any::<u8>()), 0..64),
    ) {
        let mut image = std::vec![0u8; 64 * BLOCK];
        image[..BLOCK].copy_from_slice(&seed);
        for (at, value) in changes {
            image[at] = value;
        }
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        if let Ok(Some(table)) = scan_image(&image, 512) {
            check(&table, 64);
        }
    }

    #[test]
    fn any_record_is_survived(entries in proptest::collection::vec((0usize..64, 0usize..4, 0u8..8, 0u32..70, 0u32..70), 1..40)) {
        let mut image = std::vec![0u8; 64 * BLOCK];
        for (block, index, kind, first, count) in entries {
            put_record(&mut image, block, index, kind, first, count);
        }
        put_record(&mut image, 0, 3, 5, 2, 60);
        if let Ok(Some(table)) = scan_image(&image, 512) {
            check(&table, 64);
        }
    }

    #[test]
    fn any_sealed_entry_is_survived(index in 0usize..128, first in any::<u64>(), last in 0u64..20_000, near in 0u64..20_000) {
        for first in [first, near] {
            if let Ok(Some(table)) = scan_image(&with_entry(index, first, last), 512) {
                check(&table, 8 << 11);
            }
        }
    }
}
