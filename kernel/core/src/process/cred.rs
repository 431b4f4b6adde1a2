//! Credentials (credentials(7), capabilities(7)).
//!
//! A [`Cred`] is immutable: a change makes a new one and replaces the thread's. Capabilities are real masks, but the
//! kernel asks only the questions below; file capabilities do not exist.

use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most supplementary groups.
pub const GROUPS_MAX: usize = 65536;

/// A capability's number (linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Change owners.
    Chown = 0,
    /// Ignore file permissions.
    DacOverride = 1,
    /// Ignore read permission.
    DacReadSearch = 2,
    /// Act as any file's owner.
    Fowner = 3,
    /// Keep set-id bits.
    Fsetid = 4,
    /// Signal any process.
    Kill = 5,
    /// Change group ids.
    Setgid = 6,
    /// Change user ids.
    Setuid = 7,
    /// Change capabilities.
    Setpcap = 8,
    /// Bind ports below 1024.
    NetBindService = 10,
    /// Configure the network.
    NetAdmin = 12,
    /// Raw sockets.
    NetRaw = 13,
    /// Lock memory.
    IpcLock = 14,
    /// Ignore permissions of System V objects.
    IpcOwner = 15,
    /// chroot.
    SysChroot = 18,
    /// Look into other processes.
    SysPtrace = 19,
    /// Administration: mounts, host name.
    SysAdmin = 21,
    /// Reboot.
    SysBoot = 22,
    /// Priorities.
    SysNice = 23,
    /// Limits.
    SysResource = 24,
    /// Clocks.
    SysTime = 25,
    /// Terminals.
    SysTtyConfig = 26,
    /// Device nodes.
    Mknod = 27,
    /// The kernel log.
    Syslog = 34,
}

/// The last capability's number.
pub const CAP_LAST: u32 = 40;
/// Every capability.
pub const CAP_ALL: u64 = (1 << (CAP_LAST + 1)) - 1;

/// Who a thread acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cred {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// User for file access.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// Group for file access.
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Arc<[u32]>,
    /// Effective capabilities.
    pub cap_effective: u64,
    /// Permitted capabilities.
    pub cap_permitted: u64,
    /// Inheritable capabilities.
    pub cap_inheritable: u64,
    /// Keep permitted capabilities when every user id leaves 0 (prctl PR_SET_KEEPCAPS).
    pub keep_caps: bool,
}

impl Cred {
    /// The superuser's.
    pub fn root() -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::from(Vec::new()),
            cap_effective: CAP_ALL,
            cap_permitted: CAP_ALL,
            cap_inheritable: 0,
            keep_caps: false,
        }
    }

    /// Whether the capability is effective.
    pub const fn has(&self, capability: Capability) -> bool {
        self.cap_effective & (1 << capability as u8) != 0
    }

    /// Whether file permissions do not count (CAP_DAC_OVERRIDE).
    pub const fn may_override(&self) -> bool {
        self.has(Capability::DacOverride)
    }

    /// Whether `gid` is the group for file access or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Whether a thread with this may send a signal to one with `target` (kill(2)).
    pub const fn may_signal(&self, target: &Self) -> bool {
        self.has(Capability::Kill)
            || self.euid == target.suid
            || self.euid == target.uid
            || self.uid == target.suid
            || self.uid == target.uid
    }

    /// What follows for capabilities when user ids change from `old` (capabilities(7), "Effect of user ID changes").
    pub fn after_uid_change(mut self, old: &Self) -> Self {
        let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
        let has_root = self.uid == 0 || self.euid == 0 || self.suid == 0;
        if had_root && !has_root && !self.keep_caps {
            self.cap_permitted = 0;
            self.cap_effective = 0;
        }
        if old.euid == 0 && self.euid != 0 {
            self.cap_effective = 0;
        }
        if old.euid != 0 && self.euid == 0 {
            self.cap_effective = self.cap_permitted;
        }
        self
    }

    /// What follows for file capabilities when only the fsuid changes.
    pub fn after_fsuid_change(mut self, old: &Self) -> Self {
        const FILE_CAPS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 27 | 1 << 32;
        if old.fsuid == 0 && self.fsuid != 0 {
            self.cap_effective &= !FILE_CAPS;
        }
        if old.fsuid != 0 && self.fsuid == 0 {
            self.cap_effective |= self.cap_permitted & FILE_CAPS;
        }
        self
    }
}

impl Cred {
    /// Whether a thread with this may look into one with `target` (ptrace(2), "Ptrace access mode checking").
    pub const fn may_inspect(&self, target: &Self) -> bool {
        let is_same = self.uid == target.uid && self.uid == target.euid && self.uid == target.suid;
        let is_same_group = self.gid == target.gid && self.gid == target.egid && self.gid == target.sgid;
        is_same && is_same_group || self.has(Capability::SysPtrace)
    }
}
