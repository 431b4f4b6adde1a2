//! Resource limits (getrlimit(2)).

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// What is limited; the numbers of asm-generic/resource.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Resource {
    /// CPU seconds.
    Cpu = 0,
    /// Bytes of a file.
    FileSize = 1,
    /// Bytes of data.
    Data = 2,
    /// Bytes of stack.
    Stack = 3,
    /// Bytes of a core file.
    Core = 4,
    /// Resident bytes (no effect, as on Linux).
    Resident = 5,
    /// Processes of a user.
    Processes = 6,
    /// One more than the highest descriptor.
    Files = 7,
    /// Locked bytes.
    LockedMemory = 8,
    /// Bytes of address space.
    AddressSpace = 9,
    /// File locks.
    Locks = 10,
    /// Queued signals of a user.
    PendingSignals = 11,
    /// Bytes in message queues.
    MessageQueue = 12,
    /// Ceiling of the nice value.
    Nice = 13,
    /// Ceiling of the real-time priority.
    RealtimePriority = 14,
    /// Microseconds of real-time CPU without a blocking call.
    RealtimeTime = 15,
}

/// Number of resources.
pub const RESOURCES: usize = 16;

impl Resource {
    /// From its number.
    pub const fn new(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Cpu,
            1 => Self::FileSize,
            2 => Self::Data,
            3 => Self::Stack,
            4 => Self::Core,
            5 => Self::Resident,
            6 => Self::Processes,
            7 => Self::Files,
            8 => Self::LockedMemory,
            9 => Self::AddressSpace,
            10 => Self::Locks,
            11 => Self::PendingSignals,
            12 => Self::MessageQueue,
            13 => Self::Nice,
            14 => Self::RealtimePriority,
            15 => Self::RealtimeTime,
            _ => return None,
        })
    }
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// What is enforced.
    pub soft: u64,
    /// How far `soft` may be raised without privilege.
    pub hard: u64,
}

/// The most descriptors a process may have (fs.nr_open).
pub const NR_OPEN: u64 = 1 << 16;

/// A process's limits.
#[derive(Clone, Debug)]
pub struct Limits([Rlimit; RESOURCES]);

impl Limits {
    /// Those of process 1 on Linux, for a machine that can have `processes` processes.
    pub fn initial(processes: u64) -> Self {
        let mut all = [Rlimit {
            soft: INFINITY,
            hard: INFINITY,
        }; RESOURCES];
        let mut set = |r: Resource, soft: u64, hard: u64| {
            if let Some(slot) = all.get_mut(r as usize) {
                *slot = Rlimit { soft, hard };
            }
        };
        set(Resource::Stack, 8 << 20, INFINITY);
        set(Resource::Core, 0, INFINITY);
        set(Resource::Processes, processes, processes);
        // INR_OPEN_CUR and INR_OPEN_MAX. What a call takes from the heap for each descriptor (poll, dup2) stays small.
        set(Resource::Files, 1024, 4096);
        set(Resource::LockedMemory, 8 << 20, 8 << 20);
        set(Resource::PendingSignals, processes, processes);
        set(Resource::MessageQueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::RealtimePriority, 0, 0);
        Self(all)
    }

    /// A limit.
    pub fn get(&self, resource: Resource) -> Rlimit {
        self.0.get(resource as usize).copied().unwrap_or(Rlimit {
            soft: INFINITY,
            hard: INFINITY,
        })
    }

    /// Replaces a limit.
    pub fn set(&mut self, resource: Resource, limit: Rlimit) {
        if let Some(slot) = self.0.get_mut(resource as usize) {
            *slot = limit;
        }
    }
}
