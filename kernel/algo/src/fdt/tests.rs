//! Against QEMU's trees, a tree with a Raspberry Pi's shapes, and damaged bytes.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::{Chosen, Error, Fdt, MAX_DEPTH, Reservation, total_size_of};

const VIRT_GICV2: &[u8] = include_bytes!("../../testdata/virt-gicv2.dtb");
const VIRT_GICV3: &[u8] = include_bytes!("../../testdata/virt-gicv3.dtb");
const BOARD: &[u8] = include_bytes!("../../testdata/board.dtb");

#[test]
fn virt_has_what_a_kernel_needs() {
    for (bytes, gic, regs) in [
        (
            VIRT_GICV2,
            "arm,cortex-a15-gic",
            vec![(0x800_0000, 0x1_0000), (0x801_0000, 0x1_0000)],
        ),
        (
            VIRT_GICV3,
            "arm,gic-v3",
            vec![(0x800_0000, 0x1_0000), (0x80a_0000, 0xf6_0000)],
        ),
    ] {
        let fdt = Fdt::new(bytes).unwrap();
        assert_eq!(total_size_of(&bytes[..8]), Some(bytes.len()));
        assert_eq!(fdt.memory().collect::<Vec<_>>(), [(0x4000_0000, 0x2000_0000)]);
        assert_eq!(fdt.reservations().count(), 0);
        let chosen = fdt.chosen();
        assert_eq!(chosen.bootargs, Some("console=ttyAMA0 init=/bin/thing"));
        assert_eq!(chosen.initrd, Some((0x4800_0000, 0x4800_2710)));
        assert_eq!(chosen.rng_seed.unwrap().len(), 32);
        assert!(chosen.kaslr_seed.is_some());
        let (uart, options) = fdt.resolve(chosen.stdout_path.unwrap()).unwrap();
        assert!(uart.is_compatible("arm,pl011"));
        assert_eq!(options, None);
        assert_eq!(uart.reg().collect::<Vec<_>>(), [(0x900_0000, 0x1000)]);
        assert_eq!(uart.interrupts().collect::<Vec<_>>(), [0, 1, 4]);
        let controller = uart.interrupt_parent().unwrap();
        assert!(controller.is_compatible(gic));
        assert_eq!(controller.u32("#interrupt-cells"), Some(3));
        let found: Vec<_> = fdt.find_compatible(gic).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].is_same(&controller));
        assert!(found[0].reg().eq(regs));
        let cpus: Vec<_> = fdt
            .cpus()
            .map(|cpu| (cpu.mpidr, cpu.enable_method, cpu.is_enabled))
            .collect();
        assert_eq!(cpus, (0..4).map(|id| (id, Some("psci"), true)).collect::<Vec<_>>());
        assert_eq!(fdt.find_compatible("virtio,mmio").count(), 32);
        assert_eq!(fdt.find("/psci").and_then(|node| node.str("method")), Some("hvc"));
    }
}

#[test]
fn the_its_is_reached_through_an_empty_ranges() {
    let fdt = Fdt::new(VIRT_GICV3).unwrap();
    let its = fdt.find_compatible("arm,gic-v3-its").next().unwrap();
    assert_eq!(its.reg().collect::<Vec<_>>(), [(0x808_0000, 0x2_0000)]);
    assert!(its.parent().unwrap().is_compatible("arm,gic-v3"));
    assert!(its.parent().unwrap().parent().unwrap().parent().is_none());
}

#[test]
fn addresses_are_translated_through_the_buses() {
    let fdt = Fdt::new(BOARD).unwrap();
    let reg = |path: &str| fdt.find(path).unwrap().reg().collect::<Vec<_>>();
    assert_eq!(reg("/soc/serial@7e201000"), [(0xfe20_1000, 0x200)]);
    assert_eq!(reg("/soc/serial"), [(0xfe20_1000, 0x200)]);
    assert_eq!(
        reg("/soc/interrupt-controller"),
        [(0xff84_1000, 0x1000), (0xff84_2000, 0x2000)]
    );
    // Not covered, or covered only in part.
    assert_eq!(reg("/soc/outside@10000000"), [(0xfe7f_ffff, 1)]);
    assert_eq!(reg("/scb/inner/ethernet@580000"), [(0xfd58_0000, 0x1_0000)]);
    // Behind a bus without addresses in memory.
    let rtc = fdt.find("/soc/i2c/rtc").unwrap();
    assert_eq!(rtc.reg().count(), 0);
    assert_eq!(rtc.reg_raw().collect::<Vec<_>>(), [(0x68, 0)]);
    assert!(fdt.find("/soc/serial@7e201001").is_none());
    assert!(fdt.find("soc").is_none());
}

#[test]
fn the_board_has_memory_reservations_and_cpus() {
    let fdt = Fdt::new(BOARD).unwrap();
    let memory: Vec<_> = fdt.memory().collect();
    assert_eq!(
        memory,
        [
            (0, 0x3b40_0000),
            (0x4000_0000, 0xbc00_0000),
            (0x1_0000_0000, 0x8000_0000)
        ]
    );
    let reserved = |start, size, name, is_no_map| Reservation {
        start,
        size,
        name,
        is_no_map,
    };
    assert_eq!(
        fdt.reservations().collect::<Vec<_>>(),
        [
            reserved(0, 0x1000, "", false),
            reserved(0x3b40_0000, 0x4c0_0000, "", false),
            reserved(0x1000, 0x400, "nvram@1", true),
            reserved(0x2000, 0x100, "ram@2", false),
            reserved(0x3000, 0x100, "ram@2", false),
        ]
    );
    let cpus: Vec<_> = fdt
        .cpus()
        .map(|cpu| (cpu.mpidr, cpu.enable_method, cpu.release_addr, cpu.is_enabled))
        .collect();
    assert_eq!(
        cpus,
        [
            (0, Some("spin-table"), Some(0xd8), true),
            (1, Some("spin-table"), Some(0xe0), true),
            (0x102, Some("brcm,bcm2836-smp"), None, false),
        ]
    );
    assert_eq!(
        fdt.chosen(),
        Chosen {
            bootargs: Some("console=ttyAMA0,115200 quiet"),
            initrd: Some((0x800_0000, 0x812_3456)),
            stdout_path: Some("serial0:115200n8"),
            rng_seed: Some(&[1, 2, 3, 4]),
            kaslr_seed: Some(0x0123_4567_89ab_cdef),
        }
    );
    let (uart, options) = fdt.resolve("serial0:115200n8").unwrap();
    assert_eq!(
        (uart.name(), uart.base_name(), options),
        ("serial@7e201000", "serial", Some("115200n8"))
    );
    assert_eq!(fdt.resolve("bus/serial").unwrap().0.name(), "serial@7e201000");
    assert!(fdt.resolve("serial1").is_none());
    let strings: Vec<_> = uart.strings("compatible").collect();
    assert_eq!(strings, ["arm,pl011", "arm,primecell"]);
    assert_eq!(uart.u32("compatible"), None);
    assert_eq!(fdt.root().str("model"), Some("Example board"));
}

/// A tree of `depth` nested nodes, each a header and a structure block alone.
fn nested(depth: usize) -> Vec<u8> {
    let mut structure: Vec<u32> = Vec::new();
    for level in 0..depth {
        structure.extend([1, if level == 0 { 0 } else { u32::from_be_bytes(*b"n\0\0\0") }]);
    }
    structure.extend(vec![2; depth]);
    structure.push(9);
    let size = structure.len() as u32 * 4;
    let mut blob = vec![
        0xd00d_feed,
        56 + size,
        56,
        56 + size,
        40,
        17,
        16,
        0,
        0,
        size,
        0,
        0,
        0,
        0,
    ];
    blob.extend(structure);
    blob.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn depth_is_bounded() {
    let bytes = nested(MAX_DEPTH);
    let fdt = Fdt::new(&bytes).unwrap();
    let deepest = fdt.nodes().last().unwrap();
    assert_eq!(fdt.nodes().count(), MAX_DEPTH);
    let mut at = deepest;
    for _ in 1..MAX_DEPTH {
        at = at.parent().unwrap();
    }
    assert!(at.is_same(&fdt.root()));
    assert_eq!(Fdt::new(&nested(MAX_DEPTH + 1)).err(), Some(Error::TooDeep));
    assert!(matches!(Fdt::new(&nested(0)), Err(Error::BadStructure(0))));
}

#[test]
fn damaged_headers_are_told() {
    assert_eq!(Fdt::new(&[]).err(), Some(Error::Truncated));
    assert_eq!(Fdt::new(&[0; 64]).err(), Some(Error::BadMagic));
    assert_eq!(total_size_of(&[0; 64]), None);
    assert_eq!(total_size_of(&BOARD[..7]), None);
    for len in 0..BOARD.len() {
        let error = Fdt::new(&BOARD[..len]).err();
        assert_eq!(error, Some(Error::Truncated), "{len} bytes");
    }
    let with = |at: usize, value: u32| {
        let mut bytes = BOARD.to_vec();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Fdt::new(&bytes).map(|_| ()).err()
    };
    assert_eq!(with(20, 16), Some(Error::BadVersion(16)));
    assert_eq!(with(24, 18), Some(Error::BadVersion(17)));
    assert_eq!(with(8, u32::MAX), Some(Error::BadLayout));
    assert_eq!(with(16, u32::MAX - 7), Some(Error::BadLayout));
    assert_eq!(with(36, u32::MAX), Some(Error::BadLayout));
    assert_eq!(with(32, u32::MAX), Some(Error::BadLayout));
    assert_eq!(with(4, 39), Some(Error::Truncated));
    assert!(matches!(with(36, 8), Some(Error::BadStructure(_))));
    assert!(matches!(with(32, 4), Some(Error::BadStructure(_))));
}

/// Asks everything of a tree.
fn exercise(fdt: &Fdt<'_>) -> usize {
    let mut seen = 0;
    for node in fdt.nodes() {
        seen += node.reg().count() + node.reg_raw().count() + node.properties().count();
        seen += node.strings("compatible").count() + node.interrupts().count();
        seen += usize::from(node.is_enabled()) + usize::from(node.parent().is_some());
    }
    for node in fdt.nodes().take(20) {
        seen += usize::from(node.interrupt_parent().is_some());
    }
    seen += fdt.memory().count() + fdt.reservations().count() + fdt.cpus().count();
    let chosen = fdt.chosen();
    seen + chosen
        .stdout_path
        .map_or(0, |path| usize::from(fdt.resolve(path).is_some()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// No damage makes the reader panic or run on.
    #[test]
    fn damage_never_panics(
        which in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = [VIRT_GICV2, VIRT_GICV3, BOARD][which].to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(fdt) = Fdt::new(&bytes) {
            exercise(&fdt);
        }
    }

    /// Words that mean something to the format, anywhere.
    #[test]
    fn misplaced_tokens_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![0u32, 1, 2, 3, 4, 9, 7, 40, u32::MAX, 1 << 31])), 1..6),
    ) {
        let mut bytes = BOARD.to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        if let Ok(fdt) = Fdt::new(&bytes) {
            exercise(&fdt);
        }
    }
}
