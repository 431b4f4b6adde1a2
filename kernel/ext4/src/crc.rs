//! Checksums of the format: CRC-32C (Castagnoli) as the kernel's `crc32c`, without inversion at either end, and CRC-16
//! (ANSI, reflected) of group descriptors before `metadata_csum`.

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would tell")]
const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 };
            bit += 1;
        }
        t[0][i] = c;
        i += 1;
    }
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

static TABLES: [[u32; 256]; 8] = tables();

#[expect(
    clippy::indexing_slicing,
    reason = "a byte indexes 256 entries, and k is a literal below 8"
)]
fn entry(k: usize, byte: u32) -> u32 {
    TABLES[k & 7][(byte & 0xff) as usize]
}

/// CRC-32C of `data`, going on from `crc` (`!0` to begin).
pub(crate) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<8>();
    let mut crc = crc;
    for w in words {
        let [a, b, c, d, e, f, g, h] = *w;
        let low = crc ^ u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, g, h]);
        crc = entry(7, low)
            ^ entry(6, low >> 8)
            ^ entry(5, low >> 16)
            ^ entry(4, low >> 24)
            ^ entry(3, high)
            ^ entry(2, high >> 8)
            ^ entry(1, high >> 16)
            ^ entry(0, high >> 24);
    }
    for b in rest {
        crc = (crc >> 8) ^ entry(0, crc ^ u32::from(*b));
    }
    crc
}

/// CRC-16 of `data`, going on from `crc` (`!0` to begin).
pub(crate) fn crc16(crc: u16, data: &[u8]) -> u16 {
    let mut crc = crc;
    for b in data {
        crc ^= u16::from(*b);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::{crc16, crc32c};

    #[test]
    fn crc32c_has_the_check_value_of_its_catalogue() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn crc32c_may_be_cut_anywhere() {
        let data: alloc::vec::Vec<u8> = (0..100).collect();
        for cut in 0..data.len() {
            let (a, b) = data.split_at(cut);
            assert_eq!(crc32c(crc32c(7, a), b), crc32c(7, &data));
        }
    }

    #[test]
    fn crc16_has_the_check_value_of_its_catalogue() {
        // CRC-16/MODBUS: the same polynomial and the same start.
        assert_eq!(crc16(!0, b"123456789"), 0x4b37);
    }
}
