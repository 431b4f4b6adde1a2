//! The checksum of logs of version 1: CRC-32, most significant bit first. Versions 2 and 3 have the CRC-32C of all metadata
//! ([`crate::crc`]).

use super::fields::index;

#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const fn forward() -> [u32; 256] {
    let mut t = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            c = if c >> 31 == 1 { (c << 1) ^ 0x04c1_1db7 } else { c << 1 };
            bit += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static FORWARD: [u32; 256] = forward();

/// CRC-32 of `data`, most significant bit first, going on from `crc` (`!0` to begin), without inversion at the end.
#[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries")]
pub(super) fn crc32_be(crc: u32, data: &[u8]) -> u32 {
    data.iter()
        .fold(crc, |crc, b| (crc << 8) ^ FORWARD[index((crc >> 24) ^ u32::from(*b))])
}

#[cfg(test)]
mod tests {
    use super::crc32_be;

    #[test]
    fn crc32_has_the_check_value_of_its_catalogue() {
        // CRC-32/BZIP2, before its final inversion.
        assert_eq!(!crc32_be(!0, b"123456789"), 0xfc89_1918);
    }
}
