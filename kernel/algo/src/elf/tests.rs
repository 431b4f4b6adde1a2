//! Files as linkers make them, and damaged ones.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::{ADDRESS_END, ElfError, Interpreter, PROGRAM_HEADERS_MAX, Segment, SegmentProblem, parse_header};

const LOAD: u32 = 1;
const INTERP: u32 = 3;
const PHDR: u32 = 6;
const STACK: u32 = 0x6474_e551;

/// A program header: type, flags, offset, address, size in the file, size in memory, alignment.
type Header = (u32, u32, u64, u64, u64, u64, u64);

fn file_at(kind: u16, table_at: u64, headers: &[Header]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(kind.to_le_bytes());
    out.extend(183u16.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for field in [0x40_1234, table_at, u64::MAX] {
        out.extend(field.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for field in [64, 56, headers.len() as u16, 64, u16::MAX, u16::MAX] {
        out.extend(field.to_le_bytes());
    }
    out.resize(table_at as usize, 0);
    for (kind, flags, offset, vaddr, filesz, memsz, align) in headers {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for field in [offset, vaddr, vaddr, filesz, memsz, align] {
            out.extend(field.to_le_bytes());
        }
    }
    out
}

fn file(kind: u16, headers: &[Header]) -> Vec<u8> {
    file_at(kind, 64, headers)
}

const TEXT: Header = (LOAD, 5, 0, 0x40_0000, 0x2000, 0x2000, 0x1_0000);
const DATA: Header = (LOAD, 6, 0x2f00, 0x41_2f00, 0x200, 0x1800, 0x1_0000);

fn segment(header: Header) -> Segment {
    let (_, flags, offset, vaddr, filesz, memsz, align) = header;
    Segment {
        vaddr,
        offset,
        filesz,
        memsz,
        is_readable: flags & 4 != 0,
        is_writable: flags & 2 != 0,
        is_executable: flags & 1 != 0,
        align,
    }
}

#[test]
fn a_static_executable_is_read() {
    let image = parse_header(&file(2, &[TEXT, DATA, (STACK, 6, 0, 0, 0, 0, 16)])).unwrap();
    assert!(!image.is_pie);
    assert_eq!(image.entry, 0x40_1234);
    assert_eq!(image.segments, [segment(TEXT), segment(DATA)]);
    assert_eq!(
        (image.phnum, image.phentsize, image.phdr_vaddr),
        (3, 56, Some(0x40_0040))
    );
    assert_eq!((image.interpreter, image.is_stack_executable), (None, Some(false)));
    assert_eq!(
        (image.min_vaddr, image.max_vaddr, image.align),
        (0x40_0000, 0x41_4700, 0x1_0000)
    );
}

#[test]
fn a_dynamic_executable_is_read() {
    let headers = [
        (PHDR, 4, 64, 0x40, 0x118, 0x118, 8),
        (INTERP, 4, 0x1000, 0x1000, 27, 27, 1),
        (LOAD, 4, 0, 0, 0x1100, 0x1100, 0x1000),
        (LOAD, 5, 0x2000, 0x2000, 0, 0, 0x1000),
        (STACK, 7, 0, 0, 0, 0, 16),
    ];
    let image = parse_header(&file(3, &headers)).unwrap();
    assert!(image.is_pie);
    assert_eq!(
        image.interpreter,
        Some(Interpreter {
            offset: 0x1000,
            len: 27
        })
    );
    assert_eq!(image.phdr_vaddr, Some(0x40));
    assert_eq!(image.is_stack_executable, Some(true));
    assert_eq!(image.segments.len(), 1, "the empty one is left out");
    assert_eq!((image.min_vaddr, image.max_vaddr, image.align), (0, 0x1100, 0x1000));
}

#[test]
fn program_headers_may_be_anywhere_and_unaligned() {
    for table_at in [65, 67, 0x123, 0xfff] {
        let bytes = file_at(2, table_at, &[TEXT]);
        // And so may the bytes themselves.
        for shift in 0..8 {
            let mut shifted = vec![0; shift];
            shifted.extend(&bytes);
            assert_eq!(
                parse_header(&shifted[shift..]).unwrap().phdr_vaddr,
                Some(0x40_0000 + table_at)
            );
        }
        let needed = bytes.len() as u64;
        assert_eq!(
            parse_header(&bytes[..bytes.len() - 1]),
            Err(ElfError::Incomplete { needed })
        );
    }
    let headers = [TEXT; 1];
    let image = parse_header(&file_at(2, 0x3000, &headers)).unwrap();
    assert_eq!(image.phdr_vaddr, None, "no segment holds them");
}

#[test]
fn what_cannot_be_executed_is_told() {
    let good = file(2, &[TEXT]);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        parse_header(&file).unwrap_err()
    };
    assert_eq!(parse_header(b""), Err(ElfError::NotElf));
    assert_eq!(parse_header(b"#!/bin/sh\n"), Err(ElfError::NotElf));
    assert_eq!(parse_header(b"\x7fELF"), Err(ElfError::Incomplete { needed: 64 }));
    assert_eq!(with(0, b"x"), ElfError::NotElf);
    assert_eq!(with(4, &[1]), ElfError::BadClass);
    assert_eq!(with(5, &[2]), ElfError::BadClass);
    assert_eq!(with(6, &[0]), ElfError::BadClass);
    assert_eq!(with(16, &[1, 0]), ElfError::BadType);
    assert_eq!(with(16, &[4, 0]), ElfError::BadType);
    assert_eq!(with(18, &[62, 0]), ElfError::BadMachine(62));
    assert_eq!(with(32, &[0xff; 8]), ElfError::BadHeader);
    assert_eq!(with(32, &(i64::MAX as u64 - 8).to_le_bytes()), ElfError::BadHeader);
    assert_eq!(with(54, &[32, 0]), ElfError::BadHeader);
    assert_eq!(with(56, &[0, 0]), ElfError::BadHeaderCount(0));
    assert_eq!(with(56, &[0xff, 0xff]), ElfError::BadHeaderCount(u16::MAX));
    assert_eq!(
        parse_header(&file(2, &[(STACK, 6, 0, 0, 0, 0, 16)])),
        Err(ElfError::NoSegments)
    );
    let many = vec![(STACK, 6, 0, 0, 0, 0, 16); PROGRAM_HEADERS_MAX - 1];
    let mut all = many.clone();
    all.push(TEXT);
    assert!(parse_header(&file(2, &all)).is_ok());
    for len in [0, 1, 4097, u64::MAX] {
        let headers = [TEXT, (INTERP, 4, 0, 0, len, len, 1)];
        assert_eq!(parse_header(&file(2, &headers)), Err(ElfError::BadInterpreter));
    }
}

#[test]
fn malformed_segments_are_refused() {
    let refused = |header: Header| match parse_header(&file(2, &[TEXT, header])) {
        Err(ElfError::BadSegment { index: 1, problem }) => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused((LOAD, 6, 0, 0x50_0000, 2, 1, 1)), SegmentProblem::LargerInFile);
    assert_eq!(
        refused((LOAD, 6, 0, u64::MAX - 4095, 0, 4096, 1)),
        SegmentProblem::OutOfRange
    );
    assert_eq!(
        refused((LOAD, 6, 0, ADDRESS_END - 4096, 0, 4097, 1)),
        SegmentProblem::OutOfRange
    );
    assert_eq!(
        refused((LOAD, 6, 0, 0x50_0000, 0, u64::MAX, 1)),
        SegmentProblem::OutOfRange
    );
    assert_eq!(
        refused((LOAD, 6, u64::MAX, 0x50_0000, 1, 1, 1)),
        SegmentProblem::OutOfRange
    );
    assert_eq!(refused((LOAD, 6, 0x10, 0x50_0000, 1, 1, 1)), SegmentProblem::Misaligned);
    assert_eq!(refused((LOAD, 6, 0, 0x50_0000, 1, 1, 3)), SegmentProblem::BadAlignment);
    assert_eq!(
        refused((LOAD, 6, 0, 0x50_0000, 1, 1, 1 << 63)),
        SegmentProblem::BadAlignment
    );
    assert_eq!(refused((LOAD, 6, 0x1fff, 0x40_1fff, 1, 1, 1)), SegmentProblem::Overlap);
    assert_eq!(refused((LOAD, 6, 0, 0x3f_0000, 1, 1, 1)), SegmentProblem::Overlap);
}

/// What the compiler of this host makes of a small program, if it makes ELF files.
#[test]
fn this_program_itself_is_for_another_machine_or_is_read() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    match parse_header(&bytes) {
        Ok(image) => assert!(cfg!(target_arch = "aarch64") && image.is_pie),
        Err(error) => assert!(!cfg!(target_arch = "aarch64") || error == ElfError::NotElf, "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No damage makes the parser panic, and what it accepts keeps its promises.
    #[test]
    fn damage_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        wild in proptest::collection::vec((0usize..30, prop::sample::select(vec![0, 1, 56, 4095, 1 << 32, i64::MAX as u64, u64::MAX - 55, u64::MAX])), 0..3),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = file(3, &[TEXT, DATA, (INTERP, 4, 0x1000, 0x1000, 27, 27, 1)]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in wild {
            if let Some(place) = bytes.get_mut(at * 8..at * 8 + 8) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(image) = parse_header(&bytes) {
            let mut end = 0;
            for segment in &image.segments {
                prop_assert!(segment.vaddr >= end && segment.filesz <= segment.memsz);
                prop_assert!(segment.align.is_power_of_two());
                end = segment.vaddr + segment.memsz;
                prop_assert!(end <= ADDRESS_END);
            }
            prop_assert_eq!((image.min_vaddr, image.max_vaddr), (image.segments[0].vaddr, end));
        }
    }
}
