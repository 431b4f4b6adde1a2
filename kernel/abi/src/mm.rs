//! Memory: mmap(2) and its kin.

use crate::macros::{constants, flags};

flags! {
    /// The protection of mmap(2) and mprotect(2); no bit is `PROT_NONE`.
    pub struct Prot: u32, "PROT_" {
        READ = 1;
        WRITE = 2;
        EXEC = 4;
        SEM = 8;
        BTI = 0x10;
        MTE = 0x20;
        GROWSDOWN = 0x0100_0000;
        GROWSUP = 0x0200_0000;
    }
}

flags! {
    /// mmap(2). The lowest four bits are the type ([`MapFlags::TYPE`]): `MAP_SHARED` 1, `MAP_PRIVATE` 2, `MAP_SHARED_VALIDATE` 3.
    ///
    /// Only `MAP_SHARED_VALIDATE` refuses unknown flags (EOPNOTSUPP).
    pub struct MapFlags: u32, "MAP_" {
        SHARED = 1;
        PRIVATE = 2;
        FIXED = 0x10;
        ANONYMOUS = 0x20;
        GROWSDOWN = 0x100;
        DENYWRITE = 0x800;
        EXECUTABLE = 0x1000;
        LOCKED = 0x2000;
        NORESERVE = 0x4000;
        POPULATE = 0x8000;
        NONBLOCK = 0x1_0000;
        STACK = 0x2_0000;
        HUGETLB = 0x4_0000;
        SYNC = 0x8_0000;
        FIXED_NOREPLACE = 0x10_0000;
    }
}

impl MapFlags {
    /// `MAP_TYPE`.
    pub const TYPE: Self = Self::from_bits_retain(0xf);
    /// `MAP_SHARED_VALIDATE`.
    pub const SHARED_VALIDATE: Self = Self::SHARED.union(Self::PRIVATE);
}

flags! {
    /// mremap(2).
    pub struct MremapFlags: u32, "MREMAP_" {
        MAYMOVE = 1;
        FIXED = 2;
        DONTUNMAP = 4;
    }
}

flags! {
    /// msync(2).
    pub struct MsyncFlags: u32, "MS_" {
        ASYNC = 1;
        INVALIDATE = 2;
        SYNC = 4;
    }
}

flags! {
    /// mlockall(2).
    pub struct MlockallFlags: u32, "MCL_" {
        CURRENT = 1;
        FUTURE = 2;
        ONFAULT = 4;
    }
}

flags! {
    /// mlock2(2).
    pub struct MlockFlags: u32, "MLOCK_" {
        ONFAULT = 1;
    }
}

constants! { MADV_LIST, u32, "madvise(2)";
    MADV_NORMAL = 0;
    MADV_RANDOM = 1;
    MADV_SEQUENTIAL = 2;
    MADV_WILLNEED = 3;
    MADV_DONTNEED = 4;
    MADV_FREE = 8;
    MADV_REMOVE = 9;
    MADV_DONTFORK = 10;
    MADV_DOFORK = 11;
    MADV_MERGEABLE = 12;
    MADV_UNMERGEABLE = 13;
    MADV_HUGEPAGE = 14;
    MADV_NOHUGEPAGE = 15;
    MADV_DONTDUMP = 16;
    MADV_DODUMP = 17;
    MADV_WIPEONFORK = 18;
    MADV_KEEPONFORK = 19;
    MADV_COLD = 20;
    MADV_PAGEOUT = 21;
    MADV_POPULATE_READ = 22;
    MADV_POPULATE_WRITE = 23;
    MADV_DONTNEED_LOCKED = 24;
    MADV_COLLAPSE = 25;
}

flags! {
    /// membarrier(2): the commands, which are bits so that `MEMBARRIER_CMD_QUERY` (0) can answer with a set.
    pub struct MembarrierCommands: u32, "MEMBARRIER_CMD_" {
        GLOBAL = 1;
        GLOBAL_EXPEDITED = 2;
        REGISTER_GLOBAL_EXPEDITED = 4;
        PRIVATE_EXPEDITED = 8;
        REGISTER_PRIVATE_EXPEDITED = 16;
        PRIVATE_EXPEDITED_SYNC_CORE = 32;
        REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64;
    }
}
