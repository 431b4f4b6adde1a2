//! System V shared memory: shmget(2), shmop(2), shmctl(2).

use crate::macros::{constants, flags, layout};

constants! { IPC_LIST, i32, "shmctl(2)";
    IPC_PRIVATE = 0;
    IPC_RMID = 0;
    IPC_SET = 1;
    IPC_STAT = 2;
    SHM_LOCK = 11;
    SHM_UNLOCK = 12;
}

flags! {
    /// shmget(2), over the permission bits.
    pub struct ShmgetFlags: u32, "" {
        IPC_CREAT = 0o1000;
        IPC_EXCL = 0o2000;
        SHM_HUGETLB = 0o4000;
        SHM_NORESERVE = 0o10000;
    }
}

flags! {
    /// shmat(2).
    pub struct ShmatFlags: u32, "SHM_" {
        RDONLY = 0o10000;
        RND = 0o20000;
        REMAP = 0o40000;
        EXEC = 0o100000;
    }
}

/// In the mode of shmctl(2): it is gone with its last mapping.
pub const SHM_DEST: u32 = 0o1000;
/// In the mode of shmctl(2): its pages stay in memory.
pub const SHM_LOCKED: u32 = 0o2000;

layout! {
    /// Who may do what with an object.
    pub struct IpcPerm = "struct ipc64_perm", 48 {
        /// The key it was made with.
        key: i32 = 0,
        /// The owner.
        uid: u32 = 4,
        /// The owner's group.
        gid: u32 = 8,
        /// Who made it.
        cuid: u32 = 12,
        /// Its maker's group.
        cgid: u32 = 16,
        /// Permission bits, `SHM_DEST`, `SHM_LOCKED`.
        mode: u32 = 20,
        /// Which of the objects that had this place.
        seq: u16 = 24,
    }
}

layout! {
    /// shmctl(2).
    pub struct ShmidDs = "struct shmid64_ds", 112 {
        /// Who may do what.
        shm_perm: IpcPerm = 0,
        /// Bytes.
        shm_segsz: u64 = 48,
        /// When it was last attached, in seconds.
        shm_atime: i64 = 56,
        /// When it was last detached.
        shm_dtime: i64 = 64,
        /// When it was last changed by shmctl(2).
        shm_ctime: i64 = 72,
        /// The process that made it.
        shm_cpid: i32 = 80,
        /// The process that last attached or detached it.
        shm_lpid: i32 = 84,
        /// How often it is attached.
        shm_nattch: u64 = 88,
    }
}
