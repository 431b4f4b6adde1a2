//! The image through the eyes of musl, of glibc, and of binutils.

use std::{format, process::Command, string::String, vec::Vec};

use super::{CODE_ALIGN, SONAME, VERSION, VdsoError, build, elf_hash};

const NAMES: [&str; 4] = [
    "__kernel_clock_gettime",
    "__kernel_gettimeofday",
    "__kernel_clock_getres",
    "__kernel_rt_sigreturn",
];

fn u16_at(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*image[at..].first_chunk().unwrap())
}

fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*image[at..].first_chunk().unwrap())
}

fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*image[at..].first_chunk().unwrap())
}

fn string_at(image: &[u8], at: usize) -> &str {
    let bytes = &image[at..];
    core::str::from_utf8(&bytes[..bytes.iter().position(|byte| *byte == 0).unwrap()]).unwrap()
}

/// Where the tables are.
struct Tables {
    strings: usize,
    symbols: usize,
    hash: usize,
    versym: usize,
    verdef: usize,
    soname: usize,
}

/// The program headers and the dynamic section as both libraries read them.
fn tables(image: &[u8]) -> Tables {
    assert_eq!(&image[..7], b"\x7fELF\x02\x01\x01");
    let (table_at, entry_bytes, count) = (u64_at(image, 32), u16_at(image, 54), u16_at(image, 56));
    let mut dynamic = None;
    for index in 0..usize::from(count) {
        let at = table_at as usize + index * usize::from(entry_bytes);
        match u32_at(image, at) {
            1 => assert_eq!(
                u64_at(image, at + 8),
                u64_at(image, at + 16),
                "offset and address agree"
            ),
            2 => dynamic = Some(u64_at(image, at + 8) as usize),
            other => panic!("program header of type {other}"),
        }
    }
    let mut tables = Tables {
        strings: 0,
        symbols: 0,
        hash: 0,
        versym: 0,
        verdef: 0,
        soname: 0,
    };
    let mut at = dynamic.unwrap();
    loop {
        let value = u64_at(image, at + 8) as usize;
        match u64_at(image, at) {
            0 => return tables,
            4 => tables.hash = value,
            5 => tables.strings = value,
            6 => tables.symbols = value,
            10 => assert!(value > 0),
            11 => assert_eq!(value, 24),
            14 => tables.soname = value,
            0x6fff_fff0 => tables.versym = value,
            0x6fff_fffc => tables.verdef = value,
            0x6fff_fffd => assert_eq!(value, 2),
            tag => panic!("tag {tag:#x}"),
        }
        at += 16;
    }
}

/// Whether a symbol has a version: `checkver` of musl's src/ldso/vdso.c.
fn has_version(image: &[u8], tables: &Tables, symbol: usize, version: &str) -> bool {
    let want = u16_at(image, tables.versym + symbol * 2) & 0x7fff;
    let mut at = tables.verdef;
    loop {
        if u16_at(image, at + 2) & 1 == 0 && u16_at(image, at + 4) & 0x7fff == want {
            let auxiliary = at + u32_at(image, at + 12) as usize;
            return string_at(image, tables.strings + u32_at(image, auxiliary) as usize) == version;
        }
        match u32_at(image, at + 16) {
            0 => return false,
            next => at += next as usize,
        }
    }
}

/// `__vdsosym` of musl.
fn musl(image: &[u8], version: &str, name: &str) -> Option<u64> {
    let tables = tables(image);
    let count = u32_at(image, tables.hash + 4) as usize;
    (0..count).find_map(|index| {
        let at = tables.symbols + index * 24;
        let info = image[at + 4];
        let is_wanted = [0, 1, 2, 5].contains(&(info & 15)) && [1, 2, 10].contains(&(info >> 4));
        let is_it = is_wanted
            && u16_at(image, at + 6) != 0
            && string_at(image, tables.strings + u32_at(image, at) as usize) == name
            && has_version(image, &tables, index, version);
        is_it.then(|| u64_at(image, at + 8))
    })
}

/// The lookup of glibc's dl-lookup.c: by bucket and chain, the version by index and hash.
fn glibc(image: &[u8], version: &str, name: &str) -> Option<u64> {
    let tables = tables(image);
    let word = |index: usize| u32_at(image, tables.hash + index * 4) as usize;
    let mut definitions = Vec::new();
    let mut at = tables.verdef;
    loop {
        let auxiliary = at + u32_at(image, at + 12) as usize;
        let text = string_at(image, tables.strings + u32_at(image, auxiliary) as usize);
        definitions.push((u16_at(image, at + 4), u32_at(image, at + 8), text));
        match u32_at(image, at + 16) {
            0 => break,
            next => at += next as usize,
        }
    }
    let buckets = word(0);
    let mut symbol = word(2 + elf_hash(name) as usize % buckets);
    while symbol != 0 {
        let at = tables.symbols + symbol * 24;
        if string_at(image, tables.strings + u32_at(image, at) as usize) == name {
            let index = u16_at(image, tables.versym + symbol * 2) & 0x7fff;
            let found = definitions.iter().find(|(ndx, ..)| *ndx == index);
            if found.is_some_and(|(_, hash, text)| *hash == elf_hash(version) && *text == version) {
                return Some(u64_at(image, at + 8));
            }
        }
        symbol = word(2 + buckets + symbol);
    }
    None
}

fn code() -> Vec<u8> {
    // mov x8, #139; svc #0 and returns: something that a disassembler knows.
    [0xd280_1168u32, 0xd400_0001, 0xd65f_03c0]
        .repeat(32)
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

#[test]
fn both_libraries_find_the_symbols() {
    let code = code();
    let symbols: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, index * 96, 12 * (index + 1)))
        .collect();
    let vdso = build(&code, &symbols).unwrap();
    assert_eq!(vdso.image.len(), 4096);
    assert!(vdso.code_offset.is_multiple_of(CODE_ALIGN));
    assert_eq!(vdso.image[vdso.code_offset..][..code.len()], code);
    for (name, offset, _) in &symbols {
        let want = Some((vdso.code_offset + offset) as u64);
        assert_eq!(musl(&vdso.image, VERSION, name), want);
        assert_eq!(glibc(&vdso.image, VERSION, name), want);
        assert_eq!(musl(&vdso.image, "LINUX_2.6", name), None);
        assert_eq!(glibc(&vdso.image, "LINUX_2.6", name), None);
    }
    for lookup in [musl, glibc] {
        assert_eq!(lookup(&vdso.image, VERSION, "__kernel_getcpu"), None);
        assert_eq!(lookup(&vdso.image, VERSION, ""), None);
    }
    let tables = tables(&vdso.image);
    assert_eq!(string_at(&vdso.image, tables.strings + tables.soname), SONAME);
    // The value that glibc has in sysdeps/unix/sysv/linux/dl-vdso-setup.h for this version.
    assert_eq!(elf_hash(VERSION), 123_718_537);
    // And our own loader accepts it.
    let image = crate::elf::parse_header(&vdso.image).unwrap();
    assert!(image.is_pie && image.segments[0].is_executable && !image.segments[0].is_writable);
    assert_eq!(image.phdr_vaddr, Some(64));
}

#[test]
fn large_code_takes_more_pages() {
    let code = [7; 5000];
    let vdso = build(&code, &[("a", 4990, 10)]).unwrap();
    assert_eq!(vdso.image.len(), 8192);
    assert_eq!(musl(&vdso.image, VERSION, "a"), Some(vdso.code_offset as u64 + 4990));
    let empty = build(&[], &[]).unwrap();
    assert_eq!(glibc(&empty.image, VERSION, "a"), None);
    assert_eq!(musl(&empty.image, VERSION, "a"), None);
}

#[test]
fn symbols_must_lie_in_the_code() {
    assert_eq!(
        build(&[0; 8], &[("a", 0, 8), ("b", 4, 5)]),
        Err(VdsoError::OutsideOfCode(1))
    );
    assert_eq!(
        build(&[0; 8], &[("a", usize::MAX, 2)]),
        Err(VdsoError::OutsideOfCode(0))
    );
    assert_eq!(build(&[0; 8], &[("", 0, 1)]), Err(VdsoError::BadName(0)));
    assert_eq!(build(&[0; 8], &[("a\0b", 0, 1)]), Err(VdsoError::BadName(0)));
}

/// The same through binutils, where there are any.
#[test]
fn binutils_agrees() {
    let code = code();
    let symbols: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, index * 96, 12))
        .collect();
    let vdso = build(&code, &symbols).unwrap();
    let path = std::env::temp_dir().join(format!("sis-vdso-{}.so", std::process::id()));
    std::fs::write(&path, &vdso.image).unwrap();
    let output = Command::new("readelf")
        .args(["--wide", "--all", "--use-dynamic"])
        .arg(&path)
        .output();
    let versions = Command::new("objdump").arg("-p").arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    let (Ok(output), Ok(versions)) = (output, versions) else {
        std::println!("skipped: no binutils here");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(
        !complaints.contains("rror") && !complaints.contains("orrupt"),
        "{complaints}"
    );
    for want in NAMES.iter().chain(&[SONAME, "AArch64", "R E", "DYN"]) {
        assert!(text.contains(want), "{want} is not in\n{text}");
    }
    let text = String::from_utf8(versions.stdout).unwrap();
    if text.contains("aarch64") {
        assert!(text.contains("LINUX_2.6.39") && text.contains("0x075fcb89"), "{text}");
    }
}
