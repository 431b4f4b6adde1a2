//! Boot scripts as U-Boot's `source` takes them: what `mkimage -T script` makes (U-Boot's include/image.h, legacy format).

use flate2::Crc;

const MAGIC: u32 = 0x2705_1956;
/// `IH_OS_LINUX`, `IH_ARCH_ARM64`, `IH_TYPE_SCRIPT`, `IH_COMP_NONE`.
const KIND: [u8; 4] = [5, 22, 6, 0];
const NAME_BYTES: usize = 32;
const HEADER_BYTES: usize = 64;

/// The image of the script `text`; its time is 0, so that the same text gives the same bytes.
#[must_use]
pub fn image(text: &str, name: &str) -> Vec<u8> {
    // Lengths of the parts, ended by a zero: there is one.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let data = [&length.to_be_bytes()[..], &[0; 4], text.as_bytes()].concat();
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_be_bytes());
    put(12, &u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    put(24, &crc32(&data).to_be_bytes());
    put(28, &KIND);
    let name = name.as_bytes();
    put(32, &name[..name.len().min(NAME_BYTES)]);
    let own = crc32(&header).to_be_bytes();
    header[4..8].copy_from_slice(&own);
    [&header[..], &data].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Debian's mkimage 2023.01 makes of it:
    /// `SOURCE_DATE_EPOCH=0 mkimage -A arm64 -O linux -T script -C none -n sis -d script boot.scr`
    #[test]
    fn it_is_what_mkimage_makes() {
        let image = image("echo hello\n", "sis");
        assert_eq!(image.len(), 64 + 8 + 11);
        assert_eq!(&image[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(image[4..8], [0x10, 0x1c, 0xc8, 0x90]);
        assert_eq!(image[24..28], [0x3d, 0xb5, 0x5e, 0x6f]);
        assert_eq!(&image[32..36], b"sis\0");
        assert_eq!(&image[64..], b"\0\0\0\x0b\0\0\0\0echo hello\n");
    }
}
