//! Pure parts of execve(2): the `#!` line, the first contents of the stack, what the CPU can do.

pub mod rope;
pub mod script;
pub mod stack;

/// AT_HWCAP from the identification registers (Documentation/arm64/elf_hwcaps.rst): only what EL0 can use without the
/// kernel's help.
pub fn hwcap(isar0: u64, isar1: u64, pfr0: u64) -> u64 {
    // (register value, lowest bit of the field, least value, bit of the capability)
    let fields = [
        (isar0, 4, 1, 3),   // AES
        (isar0, 4, 2, 4),   // PMULL
        (isar0, 8, 1, 5),   // SHA1
        (isar0, 12, 1, 6),  // SHA2
        (isar0, 12, 2, 21), // SHA512
        (isar0, 16, 1, 7),  // CRC32
        (isar0, 20, 2, 8),  // ATOMICS
        (isar0, 28, 1, 12), // ASIMDRDM
        (isar0, 32, 1, 17), // SHA3
        (isar0, 36, 1, 18), // SM3
        (isar0, 40, 1, 19), // SM4
        (isar0, 44, 1, 20), // ASIMDDP
        (isar0, 48, 1, 23), // ASIMDFHM
        (isar0, 52, 1, 27), // FLAGM
        (isar1, 0, 1, 16),  // DCPOP
        (isar1, 12, 1, 13), // JSCVT
        (isar1, 16, 1, 14), // FCMA
        (isar1, 20, 1, 15), // LRCPC
        (isar1, 20, 2, 26), // ILRCPC
        (isar1, 36, 1, 29), // SB
    ];
    let mut out = 0;
    for (register, at, least, bit) in fields {
        if (register >> at) & 15 >= least {
            out |= 1 << bit;
        }
    }
    // FP and Advanced SIMD: 15 for none, 0 for there, 1 with half precision.
    match (pfr0 >> 16) & 15 {
        15 => {}
        0 => out |= 1,
        _ => out |= 1 | 1 << 9,
    }
    match (pfr0 >> 20) & 15 {
        15 => {}
        0 => out |= 1 << 1,
        _ => out |= 1 << 1 | 1 << 10,
    }
    out
}

#[cfg(test)]
mod tests {
    use super::hwcap;

    #[test]
    fn a_cortex_a72_has_what_linux_says() {
        // ID registers of the Cortex-A72 with cryptography; Linux: fp asimd aes pmull sha1 sha2 crc32.
        assert_eq!(hwcap(0x0001_1120, 0, 0x2222), 0xfb);
    }

    #[test]
    fn without_floating_point_there_is_nothing() {
        assert_eq!(hwcap(0, 0, 0x00ff_0000), 0);
    }
}
