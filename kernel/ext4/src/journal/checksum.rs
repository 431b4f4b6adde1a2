//! Checksums of the log: CRC-32C of versions 2 and 3, CRC-32 (most significant bit first) of version 1.

use super::fields::index;

#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const fn reflected() -> [u32; 256] {
    let mut t = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 };
            bit += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

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

/// `SLICES[k]` advances by `k` more zero bytes, so that eight bytes are taken at once.
#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const fn slices() -> [[u32; 256]; 8] {
    let mut t = [reflected(); 8];
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[k - 1][i];
            t[k][i] = (c >> 8) ^ t[0][(c & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

static SLICES: [[u32; 256]; 8] = slices();
static FORWARD: [u32; 256] = forward();

#[expect(
    clippy::indexing_slicing,
    reason = "a byte indexes 256 entries, and k is masked to 8"
)]
fn slice(k: usize, byte: u32) -> u32 {
    SLICES[k & 7][index(byte & 0xff)]
}

/// CRC-32C of `data`, going on from `crc` (`!0` to begin), without inversion at the end.
pub(super) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<8>();
    let mut crc = crc;
    for [a, b, c, d, e, f, g, h] in words {
        let low = crc ^ u32::from_le_bytes([*a, *b, *c, *d]);
        let high = u32::from_le_bytes([*e, *f, *g, *h]);
        crc = (0..4usize).fold(0, |sum, i| {
            sum ^ slice(7 - i, low >> (8 * i)) ^ slice(3 - i, high >> (8 * i))
        });
    }
    for b in rest {
        crc = (crc >> 8) ^ slice(0, crc ^ u32::from(*b));
    }
    crc
}

/// CRC-32 of `data`, most significant bit first, going on from `crc` (`!0` to begin), without inversion at the end.
#[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries")]
pub(super) fn crc32_be(crc: u32, data: &[u8]) -> u32 {
    data.iter()
        .fold(crc, |crc, b| (crc << 8) ^ FORWARD[index((crc >> 24) ^ u32::from(*b))])
}

#[cfg(test)]
mod tests {
    use super::{crc32_be, crc32c};

    #[test]
    fn sums_have_the_check_values_of_their_catalogue() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        // CRC-32/BZIP2, before its final inversion.
        assert_eq!(!crc32_be(!0, b"123456789"), 0xfc89_1918);
    }

    #[test]
    fn crc32c_may_be_cut_anywhere() {
        let data: alloc::vec::Vec<u8> = (0..100).collect();
        for cut in 0..data.len() {
            let (a, b) = data.split_at(cut);
            assert_eq!(crc32c(crc32c(7, a), b), crc32c(7, &data));
        }
    }
}
