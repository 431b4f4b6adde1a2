use super::*;

const EM_AARCH64: u16 = 183;
const BASE: u64 = 0xffff_8000_0000_0000;

struct Segment {
    address: u64,
    data: Vec<u8>,
    memory_bytes: u64,
}

fn header_page() -> Vec<u8> {
    let mut page = vec![0xd5; 0x1000];
    page[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(MAGIC);
    page
}

/// A small static ELF64 file, put together field by field: file header, program headers, segments, then a symbol
/// table with its names and three section headers (null, symbols, names).
fn elf(machine: u16, segments: &[Segment], functions: &[(&str, u64)]) -> Vec<u8> {
    let mut data = Vec::new();
    let data_offset = 64 + 56 * segments.len() as u64;
    let mut programs = Vec::new();
    for segment in segments {
        let (offset, size) = (data_offset + data.len() as u64, segment.data.len() as u64);
        programs.extend([1u32, 7].iter().flat_map(|word| word.to_le_bytes())); // PT_LOAD, rwx
        let fields = [offset, segment.address, segment.address, size, segment.memory_bytes, 16];
        programs.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        data.extend_from_slice(&segment.data);
    }
    let (mut symbols, mut names) = (vec![0u8; 24], vec![0u8]);
    for (name, address) in functions {
        symbols.extend_from_slice(&(names.len() as u32).to_le_bytes());
        symbols.extend_from_slice(&[2, 0, 1, 0]); // STT_FUNC, in section 1
        symbols.extend_from_slice(&address.to_le_bytes());
        symbols.extend_from_slice(&4u64.to_le_bytes());
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    let symbols_offset = data_offset + data.len() as u64;
    let names_offset = symbols_offset + symbols.len() as u64;
    let sections_offset = names_offset + names.len() as u64;
    let section = |kind: u32, offset: u64, size: u64, link: u32, entry_size: u64| {
        let mut bytes = Vec::new();
        bytes.extend([0, kind].iter().flat_map(|word: &u32| word.to_le_bytes()));
        bytes.extend([0, 0, offset, size].iter().flat_map(|field: &u64| field.to_le_bytes()));
        bytes.extend([link, 1].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend([1, entry_size].iter().flat_map(|field| field.to_le_bytes()));
        bytes
    };

    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([2, machine].iter().flat_map(|half: &u16| half.to_le_bytes())); // ET_EXEC
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend([BASE, 64, sections_offset].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.extend(
        [64, 56, segments.len() as u16, 64, 3, 2]
            .iter()
            .flat_map(|half| half.to_le_bytes()),
    );
    for part in [&programs, &data, &symbols, &names] {
        bytes.extend_from_slice(part);
    }
    bytes.extend(section(0, 0, 0, 0, 0));
    bytes.extend(section(2, symbols_offset, symbols.len() as u64, 2, 24)); // SHT_SYMTAB
    bytes.extend(section(3, names_offset, names.len() as u64, 0, 0)); // SHT_STRTAB
    bytes
}

fn two_segments() -> Vec<Segment> {
    vec![
        Segment {
            address: BASE + 0x2000,
            data: vec![7; 8],
            memory_bytes: 0x1808,
        },
        Segment {
            address: BASE,
            data: header_page(),
            memory_bytes: 0x1000,
        },
    ]
}

#[test]
fn segments_are_placed_by_address_bss_is_zero_and_symbols_follow() {
    let elf = elf(
        EM_AARCH64,
        &two_segments(),
        &[("_ZN4core5panic5crash17h0123456789abcdefE", BASE + 0x10), ("out", 0)],
    );
    let image = image(&elf).expect("converts");
    assert_eq!(image.base, BASE);
    assert_eq!(image.memory_bytes, 0x4000, "0x3808 rounded up to a page");
    assert_eq!(image.bytes[0x1000..0x2000], [0; 0x1000]);
    assert_eq!(image.bytes[0x2000..0x2008], [7; 8]);
    assert!(image.bytes[0x2008..0x4000].iter().all(|byte| *byte == 0));
    assert_eq!(image.symbols, 1, "the symbol outside the image is left out");
    assert_eq!(&image.bytes[0x4000..0x4008], b"SISKSYM1");
    assert!(image.bytes.ends_with(b"core::panic::crash\0"));
    assert_eq!(image.bytes[16..24], 0x1_0000u64.to_le_bytes(), "rounded up to 64 KiB");
}

#[test]
fn what_is_not_a_kernel_is_refused() {
    assert!(matches!(image(b"not an ELF file"), Err(KernelError::NotElf(_))));
    assert!(matches!(
        image(&elf(62, &two_segments(), &[])),
        Err(KernelError::NotAarch64(62))
    ));
    assert!(matches!(
        image(&elf(EM_AARCH64, &[], &[])),
        Err(KernelError::NothingToLoad)
    ));
    let headless = [Segment {
        address: BASE,
        data: vec![0; 4096],
        memory_bytes: 4096,
    }];
    assert!(matches!(
        image(&elf(EM_AARCH64, &headless, &[])),
        Err(KernelError::NoImageHeader)
    ));
}

#[test]
fn segments_that_overlap_or_lie_far_apart_are_refused() {
    let mut overlapping = two_segments();
    overlapping[0].address = BASE + 0x800;
    assert!(matches!(
        image(&elf(EM_AARCH64, &overlapping, &[])),
        Err(KernelError::BadSegment { .. })
    ));
    let mut apart = two_segments();
    apart[0].address = BASE + (1 << 40);
    assert!(matches!(
        image(&elf(EM_AARCH64, &apart, &[])),
        Err(KernelError::TooLarge(_))
    ));
    let mut endless = two_segments();
    endless[0].memory_bytes = u64::MAX;
    assert!(image(&elf(EM_AARCH64, &endless, &[])).is_err());
}

proptest::proptest! {
    /// Any damage to a kernel gives an image or an error, never a panic.
    #[test]
    fn damaged_files_do_not_panic(at in 0usize..0x400, value: u8, cut in 0usize..0x3000) {
        let mut bytes = elf(EM_AARCH64, &two_segments(), &[("f", BASE + 16)]);
        let length = bytes.len();
        bytes[at % length] = value;
        bytes.truncate(length - cut % length);
        let _ = image(&bytes);
    }
}
