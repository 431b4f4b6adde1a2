//! CRC-32 as Ethernet and GPT have it (polynomial 0x04C11DB7, reflected).

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 != 0 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 };
            bit += 1;
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "n is below the table's length; get_mut is not const"
        )]
        {
            table[n] = c;
        }
        n += 1;
    }
    table
};

/// The checksum of all parts, one after the other.
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    let step = |c: u32, b: &u8| {
        let index = (c ^ u32::from(*b)) & 0xff;
        TABLE.get(index as usize).copied().unwrap_or_default() ^ c >> 8
    };
    !parts.iter().flat_map(|p| p.iter()).fold(!0, step)
}
