//! Arguments that several families decode alike.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sis_abi::fs::IOV_MAX;

use super::Call;
use crate::fs::file::OpenFile;
use crate::fs::flags::{O_PATH, PATH_MAX};
use crate::time::Deadline;
use crate::user::{UserPtr, UserSlice, read_cstr};
use crate::{Errno, Result};

/// Most bytes of one read or write (MAX_RW_COUNT).
pub(super) const IO_MAX: usize = 0x7fff_f000;

/// Argument `n` as a path; `ENAMETOOLONG`.
pub(super) fn path(call: &Call<'_>, n: usize) -> Result<Vec<u8>> {
    read_cstr(call.usize(n), PATH_MAX - 1)
}

/// Argument `n` as an open file that is more than a place; `EBADF`.
pub(super) fn file(call: &Call<'_>, n: usize) -> Result<Arc<OpenFile>> {
    let file = call.thread.files().get(call.int(n))?;
    if file.flags() & O_PATH != 0 {
        Err(Errno::EBADF)
    } else {
        Ok(file)
    }
}

/// An array of `iovec`s; `EINVAL` when there are too many or their lengths overflow.
pub(super) fn iovecs(address: usize, count: usize) -> Result<Vec<UserSlice>> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let raw: Vec<u64> = UserPtr::<u64>::new(address).read_array(count * 2, IOV_MAX * 2)?;
    let mut total = 0usize;
    let mut out = Vec::with_capacity(count);
    for pair in raw.chunks_exact(2) {
        let [base, len] = pair else { continue };
        let len = usize::try_from(*len)
            .ok()
            .filter(|l| isize::try_from(*l).is_ok())
            .ok_or(Errno::EINVAL)?;
        let take = len.min(IO_MAX - total);
        total += take;
        out.push(UserSlice::new(*base as usize, take));
    }
    Ok(out)
}

/// A relative timeout behind a `timespec` pointer; NULL is never. `EINVAL` for a malformed one.
pub(super) fn timeout(address: usize) -> Result<Deadline> {
    match UserPtr::<sis_abi::time::Timespec>::new(address).read_opt()? {
        None => Ok(Deadline::NEVER),
        Some(t) => Ok(Deadline::after_ns(t.to_ns().ok_or(Errno::EINVAL)?)),
    }
}
