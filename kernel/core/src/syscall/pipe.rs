//! pipe2.

use super::{Call, Row, partial};
use crate::fs::flags::{O_CLOEXEC, O_NONBLOCK};
use crate::fs::pipe;
use crate::user::UserPtr;
use crate::{Errno, Result};

pub(super) const CALLS: &[Row] = &[partial(59, "pipe2", pipe2, "packet mode (O_DIRECT)")];

fn pipe2(call: &mut Call<'_>) -> Result<usize> {
    let flags = call.uint(1);
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = pipe::pair(flags & O_NONBLOCK);
    let files = call.thread.files();
    let limit = call.thread.process.nofile_limit();
    let on_exec = flags & O_CLOEXEC != 0;
    let first = files.insert(reader, on_exec, 0, limit)?;
    let second = match files.insert(writer, on_exec, 0, limit) {
        Ok(fd) => fd,
        Err(e) => {
            drop(files.remove(first));
            return Err(e);
        }
    };
    let out = UserPtr::<i32>::new(call.usize(0));
    let written = out.write(&first).and_then(|()| out.nth(1)?.write(&second));
    if let Err(e) = written {
        drop(files.remove(first));
        drop(files.remove(second));
        return Err(e);
    }
    Ok(0)
}
