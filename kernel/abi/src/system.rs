//! The system as a whole: reboot(2), syslog(2), getrandom(2), what execve(2) tells a program.

use crate::macros::{constants, flags};

constants! { REBOOT_LIST, u32, "reboot(2)";
    LINUX_REBOOT_MAGIC1 = 0xfee1_dead;
    LINUX_REBOOT_MAGIC2 = 672_274_793;
    LINUX_REBOOT_MAGIC2A = 85_072_278;
    LINUX_REBOOT_MAGIC2B = 369_367_448;
    LINUX_REBOOT_MAGIC2C = 537_993_216;
    LINUX_REBOOT_CMD_RESTART = 0x0123_4567;
    LINUX_REBOOT_CMD_HALT = 0xcdef_0123;
    LINUX_REBOOT_CMD_CAD_ON = 0x89ab_cdef;
    LINUX_REBOOT_CMD_CAD_OFF = 0;
    LINUX_REBOOT_CMD_POWER_OFF = 0x4321_fedc;
    LINUX_REBOOT_CMD_RESTART2 = 0xa1b2_c3d4;
    LINUX_REBOOT_CMD_SW_SUSPEND = 0xd000_fce2;
    LINUX_REBOOT_CMD_KEXEC = 0x4558_4543;
}

/// The actions of syslog(2), which no C header names.
pub mod syslog {
    /// Nothing.
    pub const CLOSE: u32 = 0;
    /// Nothing.
    pub const OPEN: u32 = 1;
    /// Waits for messages and reads them.
    pub const READ: u32 = 2;
    /// Reads the last messages.
    pub const READ_ALL: u32 = 3;
    /// Reads the last messages and clears.
    pub const READ_CLEAR: u32 = 4;
    /// Clears what `READ_ALL` reads.
    pub const CLEAR: u32 = 5;
    /// No messages on the console but emergencies.
    pub const CONSOLE_OFF: u32 = 6;
    /// Messages on the console as before.
    pub const CONSOLE_ON: u32 = 7;
    /// Sets the level of messages on the console, 1 to 8.
    pub const CONSOLE_LEVEL: u32 = 8;
    /// How many bytes `READ` would read.
    pub const SIZE_UNREAD: u32 = 9;
    /// The size of the buffer.
    pub const SIZE_BUFFER: u32 = 10;
}

flags! {
    /// getrandom(2).
    pub struct GetrandomFlags: u32, "GRND_" {
        NONBLOCK = 1;
        RANDOM = 2;
        INSECURE = 4;
    }
}

constants! { AUXV_LIST, u64, "getauxval(3)";
    AT_NULL = 0;
    AT_IGNORE = 1;
    AT_EXECFD = 2;
    AT_PHDR = 3;
    AT_PHENT = 4;
    AT_PHNUM = 5;
    AT_PAGESZ = 6;
    AT_BASE = 7;
    AT_FLAGS = 8;
    AT_ENTRY = 9;
    AT_NOTELF = 10;
    AT_UID = 11;
    AT_EUID = 12;
    AT_GID = 13;
    AT_EGID = 14;
    AT_PLATFORM = 15;
    AT_HWCAP = 16;
    AT_CLKTCK = 17;
    AT_SECURE = 23;
    AT_RANDOM = 25;
    AT_HWCAP2 = 26;
    AT_EXECFN = 31;
    AT_SYSINFO_EHDR = 33;
    AT_MINSIGSTKSZ = 51;
}

flags! {
    /// What the CPU can do, AT_HWCAP (Documentation/arm64/elf_hwcaps.rst).
    pub struct Hwcap: u64, "HWCAP_" {
        FP = 1;
        ASIMD = 1 << 1;
        EVTSTRM = 1 << 2;
        AES = 1 << 3;
        PMULL = 1 << 4;
        SHA1 = 1 << 5;
        SHA2 = 1 << 6;
        CRC32 = 1 << 7;
        ATOMICS = 1 << 8;
        FPHP = 1 << 9;
        ASIMDHP = 1 << 10;
        CPUID = 1 << 11;
        ASIMDRDM = 1 << 12;
        JSCVT = 1 << 13;
        FCMA = 1 << 14;
        LRCPC = 1 << 15;
        DCPOP = 1 << 16;
        SHA3 = 1 << 17;
        SM3 = 1 << 18;
        SM4 = 1 << 19;
        ASIMDDP = 1 << 20;
        SHA512 = 1 << 21;
        SVE = 1 << 22;
        ASIMDFHM = 1 << 23;
        DIT = 1 << 24;
        USCAT = 1 << 25;
        ILRCPC = 1 << 26;
        FLAGM = 1 << 27;
        SSBS = 1 << 28;
        SB = 1 << 29;
        PACA = 1 << 30;
        PACG = 1 << 31;
    }
}
