//! System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).

use sis_abi::ipc::{IPC_RMID, IPC_SET, IPC_STAT, SHM_LOCK, SHM_UNLOCK, ShmatFlags, ShmgetFlags, ShmidDs};

use super::{Call, Row, built, partial};
use crate::process::limits::Resource;
use crate::shm;
use crate::user::UserPtr;
use crate::vm::{MapRequest, PAGE, Place, Protection, Rules};
use crate::{Errno, Result};

/// This family's rows.
pub(super) const CALLS: &[Row] = &[
    partial(194, "shmget", shmget, "SHM_HUGETLB"),
    partial(
        195,
        "shmctl",
        shmctl,
        "IPC_INFO, SHM_INFO, SHM_STAT, SHM_STAT_ANY answer EINVAL",
    ),
    built(196, "shmat", shmat),
    built(197, "shmdt", shmdt),
];

const PERMISSIONS: u32 = 0o777;

fn shmget(call: &mut Call<'_>) -> Result<usize> {
    let (key, size, bits) = (call.int(0), call.arg(1), call.uint(2));
    let flags = ShmgetFlags::from_bits(bits & !PERMISSIONS).ok_or(Errno::EINVAL)?;
    if flags.contains(ShmgetFlags::SHM_HUGETLB) {
        return Err(Errno::EINVAL);
    }
    let pid = call.thread.process.pid as i32;
    let id = shm::get(key, size, flags, bits & PERMISSIONS, &call.thread.cred(), pid)?;
    Ok(id as usize)
}

fn shmat(call: &mut Call<'_>) -> Result<usize> {
    let (id, address) = (call.int(0), call.usize(1));
    let flags = ShmatFlags::from_bits(call.uint(2)).ok_or(Errno::EINVAL)?;
    let place = match address {
        0 if flags.contains(ShmatFlags::REMAP) => return Err(Errno::EINVAL),
        0 => Place::Hint(0),
        _ => {
            let at = if flags.contains(ShmatFlags::RND) {
                address & !(PAGE - 1)
            } else {
                address
            };
            if !at.is_multiple_of(PAGE) || at == 0 {
                return Err(Errno::EINVAL);
            }
            if flags.contains(ShmatFlags::REMAP) {
                Place::Fixed(at)
            } else {
                Place::FixedIfFree(at)
            }
        }
    };
    let protection = Protection {
        read: true,
        write: !flags.contains(ShmatFlags::RDONLY),
        exec: flags.contains(ShmatFlags::EXEC),
    };
    let mut wanted = shm::READ;
    if protection.write {
        wanted |= shm::WRITE;
    }
    if protection.exec {
        wanted |= 1;
    }
    let process = &call.thread.process;
    let (backing, size) = shm::attach(id, wanted, &call.thread.cred(), process.pid as i32)?;
    let request = MapRequest {
        place,
        len: size as usize,
        protection,
        backing,
        label: "",
        rules: Rules {
            limit: process.limit(Resource::AddressSpace).soft,
            is_reserved: true,
            may_write: protection.write,
        },
    };
    call.thread.vm().map(request).map_err(|error| match error {
        Errno::EEXIST => Errno::EINVAL,
        other => other,
    })
}

/// Unmaps what is left of the segment whose first page is mapped at the address.
fn shmdt(call: &mut Call<'_>) -> Result<usize> {
    let start = call.usize(0);
    let vm = call.thread.vm();
    let maps = vm.maps();
    let first = maps
        .iter()
        .find(|line| line.start == start && line.offset == 0)
        .ok_or(Errno::EINVAL)?;
    let id = shm::id_of(first.identity).ok_or(Errno::EINVAL)?;
    let parts = maps.iter().filter(|line| {
        line.identity == first.identity && line.start >= start && line.offset == (line.start - start) as u64
    });
    for line in parts {
        vm.unmap(line.start, line.end - line.start)?;
    }
    shm::detached(id, call.thread.process.pid as i32);
    Ok(0)
}

fn shmctl(call: &mut Call<'_>) -> Result<usize> {
    let (id, command, buffer) = (call.int(0), call.int(1), UserPtr::<ShmidDs>::new(call.usize(2)));
    let cred = call.thread.cred();
    match command {
        IPC_RMID => shm::remove(id, &cred)?,
        IPC_STAT => buffer.write(&shm::stat(id, &cred)?)?,
        IPC_SET => shm::set(id, &buffer.read()?, &cred)?,
        SHM_LOCK | SHM_UNLOCK => shm::lock(id, command == SHM_LOCK, &cred)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
