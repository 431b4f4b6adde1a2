//! Descriptors: duplicates, flags, limits.

use super::{new_file, stat};
use crate::sys::{Outcome, Scratch, What, fd, open, read, refused};

pub(super) fn dup() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"abcdef")?;
    let copy = fd(sys!(SYS_dup, &file), "dup")?;
    sys!(SYS_lseek, &file, 2, libc::SEEK_SET).what("lseek")?;
    same!(read(&copy, 2).what("read")?, b"cd".to_vec(), "the offset is shared");
    let at = sys!(SYS_dup3, &file, 70, libc::O_CLOEXEC).what("dup3")? as i32;
    same!(
        (at, sys!(SYS_fcntl, 70, libc::F_GETFD)),
        (70, Ok(1)),
        "dup3 with O_CLOEXEC"
    );
    same!(
        sys!(SYS_fcntl, &copy, libc::F_GETFD),
        Ok(0),
        "the flag is each descriptor's own"
    );
    refused("dup3 onto itself", sys!(SYS_dup3, &file, file.0, 0), libc::EINVAL)?;
    refused("dup3 with unknown flags", sys!(SYS_dup3, &file, 71, 1), libc::EINVAL)?;
    refused(
        "dup3 to a number too large",
        sys!(SYS_dup3, &file, 1 << 30, 0),
        libc::EBADF,
    )?;
    let high = fd(sys!(SYS_fcntl, &file, libc::F_DUPFD_CLOEXEC, 50), "F_DUPFD_CLOEXEC")?;
    same!(
        (high.0, sys!(SYS_fcntl, &high, libc::F_GETFD)),
        (50, Ok(1)),
        "the lowest from 50"
    );
    Ok(())
}

pub(super) fn fcntl() -> Outcome {
    let scratch = Scratch::new()?;
    let file = new_file(&scratch, b"")?;
    same!(
        sys!(SYS_fcntl, &file, libc::F_SETFL, libc::O_APPEND | libc::O_NONBLOCK),
        Ok(0),
        "F_SETFL"
    );
    let flags = sys!(SYS_fcntl, &file, libc::F_GETFL).what("F_GETFL")? as i32;
    same!(
        flags & (libc::O_APPEND | libc::O_NONBLOCK | libc::O_ACCMODE),
        libc::O_APPEND | libc::O_NONBLOCK | libc::O_RDWR,
        "flags"
    );
    sys!(SYS_fcntl, &file, libc::F_SETFD, libc::FD_CLOEXEC).what("F_SETFD")?;
    same!(sys!(SYS_fcntl, &file, libc::F_GETFD), Ok(1), "F_GETFD");
    refused("an unknown command", sys!(SYS_fcntl, &file, 9999), libc::EINVAL)?;
    refused("a bad descriptor", sys!(SYS_fcntl, 999, libc::F_GETFD), libc::EBADF)
}

pub(super) fn bad_descriptors() -> Outcome {
    for number in [-1, 999, i32::MAX, i32::MIN] {
        refused("read", sys!(SYS_read, number, 0, 0), libc::EBADF)?;
        refused("write", sys!(SYS_write, number, 0, 0), libc::EBADF)?;
        refused("close", sys!(SYS_close, number), libc::EBADF)?;
        refused("fstat", sys!(SYS_fstat, number, 8), libc::EBADF)?;
        refused("ioctl", sys!(SYS_ioctl, number, libc::TCGETS, 0), libc::EBADF)?;
    }
    let file = open("/dev/null", libc::O_RDONLY, 0).what("open")?;
    same!(sys!(SYS_close, &file), Ok(0), "close");
    refused("close twice", sys!(SYS_close, &file), libc::EBADF)
}

pub(super) fn lowest_descriptor() -> Outcome {
    let one = open("/dev/null", 0, 0).what("open")?;
    let two = open("/dev/null", 0, 0).what("open")?;
    let number = one.0;
    check!(two.0 > number, "descriptors {number} and {}", two.0);
    drop(one);
    same!(
        open("/dev/null", 0, 0).what("open")?.0,
        number,
        "the lowest free number"
    );
    Ok(())
}

pub(super) fn close_range() -> Outcome {
    for at in [80, 81, 83, 90] {
        sys!(SYS_dup3, 0, at, 0).what("dup3")?;
    }
    sys!(SYS_close_range, 81, 85, 0).what("close_range")?;
    let is_open = |at: i32| sys!(SYS_fcntl, at, libc::F_GETFD).is_ok();
    same!(
        [80, 81, 83, 90].map(is_open),
        [true, false, false, true],
        "which are open"
    );
    refused("backwards", sys!(SYS_close_range, 90, 80, 0), libc::EINVAL)?;
    refused("unknown flags", sys!(SYS_close_range, 80, 90, 0x100), libc::EINVAL)
}

pub(super) fn path_descriptor() -> Outcome {
    let scratch = Scratch::new()?;
    drop(new_file(&scratch, b"text")?);
    let handle = open(&scratch.path("file"), libc::O_PATH, 0).what("O_PATH")?;
    refused("read", read(&handle, 1), libc::EBADF)?;
    same!(stat(&handle)?.st_size, 4, "fstat");
    let link = std::fs::read_link(format!("/proc/self/fd/{}", handle.0)).map_err(|e| e.to_string())?;
    same!(link.to_str(), Some(scratch.path("file").as_str()), "/proc/self/fd");
    Ok(())
}

/// The highest descriptor that the hard limit allows, and a poll of as many: neither may cost more than the kernel has.
pub(super) fn descriptor_limit() -> Outcome {
    let mut limit = [0_u64; 2];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, 0, limit.as_mut_ptr()).what("prlimit64")?;
    let most = limit[1];
    let raised = [most, most];
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, raised.as_ptr(), 0).what("prlimit64 up to the hard limit")?;
    let null = open("/dev/null", libc::O_RDWR, 0).what("open")?;
    let top = fd(sys!(SYS_dup3, &null, most - 1, 0), "dup3 to the highest descriptor")?;
    same!(top.0 as u64, most - 1, "the descriptor");
    refused("one more", sys!(SYS_dup3, &null, most, 0), libc::EBADF)?;
    let count = most.min(1 << 20) as usize;
    let watched: Vec<[i32; 2]> = vec![[null.0, i32::from(libc::POLLOUT)]; count];
    same!(
        sys!(SYS_ppoll, watched.as_ptr(), count, 0, 0, 0),
        Ok(count as i64),
        "descriptors that poll says are ready"
    );
    Ok(())
}
