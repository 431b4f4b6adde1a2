use super::{Bmap, BmapError, Range, hash};
use proptest::prelude::{any, prop_assert, proptest};
use sha2::{Digest, Sha256};

const ONES: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A map with its own checksum made right.
fn map(image: u64, block: u64, blocks: u64, mapped: u64, ranges: &[&str]) -> String {
    let ranges: String = ranges
        .iter()
        .map(|range| format!("<Range chksum=\"{ONES}\"> {range} </Range>\n"))
        .collect();
    let zeros = "0".repeat(64);
    let text = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n<ImageSize> {image} </ImageSize>\n<BlockSize> {block} </BlockSize>\n\
         <BlocksCount> {blocks} </BlocksCount>\n<MappedBlocksCount> {mapped} </MappedBlocksCount>\n\
         <ChecksumType> sha256 </ChecksumType>\n<BmapFileChecksum> {zeros} </BmapFileChecksum>\n<BlockMap>\n{ranges}</BlockMap>\n</bmap>\n"
    );
    let own: String = Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text.replace(&zeros, &own)
}

#[test]
fn ranges_become_bytes_and_the_last_ends_with_the_image() {
    let map = Bmap::parse(map(40_000, 4096, 10, 4, &["0-1", "3", "9"]).as_bytes()).expect("a map");
    let sha256 = hash(ONES).ok();
    let range = |start, len| Range { start, len, sha256 };
    assert_eq!(map.image_bytes, 40_000);
    assert_eq!(map.ranges, [range(0, 8192), range(12_288, 4096), range(36_864, 3136)]);
}

#[test]
fn contradictions_are_refused() {
    for (why, text) in [
        ("overlapping", map(40_960, 4096, 10, 5, &["0-2", "2-3"])),
        ("descending", map(40_960, 4096, 10, 2, &["3", "1"])),
        ("backwards", map(40_960, 4096, 10, 1, &["3-2"])),
        ("beyond the image", map(40_960, 4096, 10, 1, &["10"])),
        ("miscounted", map(40_960, 4096, 10, 3, &["1"])),
        ("blocks that do not cover", map(40_960, 4096, 9, 1, &["1"])),
        ("an odd block", map(40_960, 4095, 11, 1, &["1"])),
        ("no block", map(40_960, 0, 10, 1, &["1"])),
    ] {
        let result = Bmap::parse(text.as_bytes());
        assert!(matches!(result, Err(BmapError::Inconsistent(_))), "{why}: {result:?}");
    }
    for (why, text) in [
        ("signed", map(40_960, 4096, 10, 1, &["+1"])),
        ("huge", map(40_960, 4096, 10, 1, &["1-99999999999999999999"])),
        (
            "a document type",
            format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{}", map(4096, 4096, 1, 1, &["0"])),
        ),
    ] {
        let result = Bmap::parse(text.as_bytes());
        assert!(
            matches!(result, Err(BmapError::Malformed(_) | BmapError::OwnChecksum)),
            "{why}: {result:?}"
        );
    }
}

#[test]
fn an_edited_map_is_noticed() {
    let text = map(40_960, 4096, 10, 1, &["1"]).replace(" 1 </Range>", " 2 </Range>");
    assert_eq!(Bmap::parse(text.as_bytes()), Err(BmapError::OwnChecksum));
}

proptest! {
    /// Whatever is in the file: no panic, and what is accepted lies inside the image, in order.
    #[test]
    fn hostile_numbers_give_sound_ranges_or_none(
        image in any::<u64>(), shift in 0u32..64, blocks in any::<u64>(), first in any::<u64>(), last in any::<u64>(),
    ) {
        let text = map(image, 1 << shift, blocks, 1, &[&format!("{first}-{last}")]);
        if let Ok(map) = Bmap::parse(text.as_bytes()) {
            prop_assert!(map.ranges.iter().all(|range| range.start + range.len <= map.image_bytes && range.len > 0));
        }
    }

    #[test]
    fn damage_is_never_accepted(at in 0usize..700, byte in any::<u8>()) {
        let good = map(40_000, 4096, 10, 4, &["0-1", "3", "9"]).into_bytes();
        let mut bad = good.clone();
        bad[at % good.len()] = byte;
        if bad != good {
            prop_assert!(Bmap::parse(&bad).is_err() || bad.eq_ignore_ascii_case(&good));
        }
    }
}
