//! System calls without a C library in between, and small helpers over them.

use std::ffi::CString;

/// What a case comes to: nothing, or what is wrong.
pub(crate) type Outcome = Result<(), String>;

/// A value that can be an argument of a system call.
pub(crate) trait Arg {
    /// As the register holds it.
    fn arg(self) -> usize;
}

macro_rules! integers {
    ($($t:ty)*) => { $(impl Arg for $t {
        fn arg(self) -> usize { self as usize }
    })* };
}
integers!(i32 u32 i64 u64 usize isize u16 u8 i16);

impl<T> Arg for *const T {
    fn arg(self) -> usize {
        self as usize
    }
}
impl<T> Arg for *mut T {
    fn arg(self) -> usize {
        self as usize
    }
}

/// An error number that prints as its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (errno {})", std::io::Error::from_raw_os_error(self.0), self.0)
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<Errno> for String {
    fn from(e: Errno) -> Self {
        e.to_string()
    }
}

/// One system call by number.
///
/// # Safety
/// Memory that the arguments name must be valid for what the call does with it, and the call must not change what Rust
/// relies on (such as unmapping memory in use).
#[inline]
pub(crate) unsafe fn raw(number: i64, arguments: [usize; 6]) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller answers for the arguments; syscall(2) has no requirement of its own.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result != -1 {
        return Ok(result);
    }
    // SAFETY: the location of this thread's errno is always valid.
    Err(Errno(unsafe { *libc::__errno_location() }))
}

/// `sys!(SYS_name, arguments...)`: a system call, `Ok` with its result or `Err` with the error number.
macro_rules! sys {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        // A match, so that what the arguments borrow lives through the call.
        match $crate::sys::padded([$($crate::sys::Arg::arg($argument)),*]) {
            // SAFETY: the memory named is the case's own and lives through the call, or is wrong on purpose, which the
            // kernel must refuse; cases that change the address space change only what they have mapped themselves.
            arguments => unsafe { $crate::sys::raw(libc::$number, arguments) },
        }
    };
}

/// The arguments of a call, with zeros after them.
pub(crate) fn padded<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    for (place, value) in all.iter_mut().zip(given) {
        *place = value;
    }
    all
}

/// Leaves the case with a message unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        let is_right: bool = $condition;
        if !is_right {
            return Err(format!($($message)+));
        }
    };
}

/// Leaves the case unless both are equal.
macro_rules! same {
    ($got:expr, $want:expr, $what:expr) => {
        match (&$got, &$want) {
            (got, want) => {
                if got != want {
                    return Err(format!("{}: {:?} and not {:?}", $what, got, want));
                }
            }
        }
    };
}

/// Leaves the case unless the call was refused with this error.
pub(crate) fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, Errno>, want: i32) -> Outcome {
    match result {
        Err(got) if got.0 == want => Ok(()),
        other => Err(format!("{what}: {other:?} and not {}", Errno(want))),
    }
}

/// Says what was being done.
pub(crate) trait What<T> {
    /// Adds `what` to the error.
    fn what(self, what: &str) -> Result<T, String>;
}

impl<T> What<T> for Result<T, Errno> {
    fn what(self, what: &str) -> Result<T, String> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

/// A file descriptor that is closed at the end.
#[derive(Debug)]
pub(crate) struct Fd(pub(crate) i32);

impl Drop for Fd {
    fn drop(&mut self) {
        let _ = sys!(SYS_close, self.0);
    }
}

impl Arg for &Fd {
    fn arg(self) -> usize {
        self.0 as usize
    }
}

/// A descriptor out of a call's result.
pub(crate) fn fd(result: Result<i64, Errno>, what: &str) -> Result<Fd, String> {
    result.map(|n| Fd(n as i32)).what(what)
}

/// A NUL-terminated string.
pub(crate) fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// openat(2) from the working directory.
pub(crate) fn open(path: &str, flags: i32, mode: u32) -> Result<Fd, Errno> {
    let path = c(path);
    sys!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, mode).map(|n| Fd(n as i32))
}

/// write(2) of all bytes at once.
pub(crate) fn write(fd: &Fd, bytes: &[u8]) -> Result<usize, Errno> {
    sys!(SYS_write, fd, bytes.as_ptr(), bytes.len()).map(|n| n as usize)
}

/// read(2) of at most `limit` bytes.
pub(crate) fn read(fd: &Fd, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; limit];
    let length = sys!(SYS_read, fd, bytes.as_mut_ptr(), limit)?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// pipe2(2): the reading and the writing end.
pub(crate) fn pipe(flags: i32) -> Result<(Fd, Fd), String> {
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, ends.as_mut_ptr(), flags).what("pipe2")?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Ended {
    Exit(i32),
    Signal(i32),
    Stopped(i32),
    Continued,
}

/// A wait status taken apart.
pub(crate) fn ended(status: i32) -> Ended {
    if libc::WIFEXITED(status) {
        Ended::Exit(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Ended::Signal(libc::WTERMSIG(status))
    } else if libc::WIFSTOPPED(status) {
        Ended::Stopped(libc::WSTOPSIG(status))
    } else {
        Ended::Continued
    }
}

/// wait4(2) for one child.
pub(crate) fn wait(pid: i32, options: i32) -> Result<Ended, Errno> {
    let mut status = 0_i32;
    loop {
        match sys!(SYS_wait4, pid, &raw mut status, options, 0) {
            Err(Errno(libc::EINTR)) => {}
            Err(e) => return Err(e),
            Ok(_) => return Ok(ended(status)),
        }
    }
}

/// exit_group(2).
pub(crate) fn exit(status: i32) -> ! {
    let _ = sys!(SYS_exit_group, status);
    unreachable!("exit_group came back")
}

/// A child that runs `work` and exits with what it returns.
pub(crate) fn child(work: impl FnOnce() -> i32) -> Result<i32, String> {
    // SAFETY: cases run in a process with one thread (or fork before they make more), so the child has it whole.
    match unsafe { libc::fork() } {
        -1 => Err("fork failed".to_owned()),
        0 => exit(work()),
        pid => Ok(pid),
    }
}

/// Runs `work` in a child and returns how it ended.
pub(crate) fn in_child(work: impl FnOnce() -> i32) -> Result<Ended, String> {
    let pid = child(work)?;
    wait(pid, 0).what("wait4")
}

/// What a child says that has done all it was to do: the status alone may be that of a program that took its place.
pub(crate) const DONE: &[u8] = b"done";

/// Runs `work` in a child and passes on what it finds wrong.
pub(crate) fn checked_child(work: impl FnOnce() -> Outcome) -> Outcome {
    let (reader, writer) = pipe(libc::O_CLOEXEC)?;
    let pid = child(|| match work() {
        Ok(()) => {
            let _ = write(&writer, DONE);
            0
        }
        Err(why) => {
            let _ = write(&writer, why.as_bytes());
            1
        }
    })?;
    drop(writer);
    let mut told = Vec::new();
    while let Ok(part) = read(&reader, 4096) {
        if part.is_empty() {
            break;
        }
        told.extend(part);
    }
    let how = wait(pid, 0).what("wait4")?;
    if how == Ended::Exit(0) && told == DONE {
        return Ok(());
    }
    Err(format!("in the child ({how:?}): {}", String::from_utf8_lossy(&told)))
}

/// Nanoseconds of a clock.
pub(crate) fn now_ns(clock: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = sys!(SYS_clock_gettime, clock, &raw mut time);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps at least so long, signals or not.
pub(crate) fn sleep_ms(ms: u64) {
    let end = now_ns(libc::CLOCK_MONOTONIC) + ms * 1_000_000;
    let until = libc::timespec {
        tv_sec: (end / 1_000_000_000) as i64,
        tv_nsec: (end % 1_000_000_000) as i64,
    };
    while sys!(
        SYS_clock_nanosleep,
        libc::CLOCK_MONOTONIC,
        libc::TIMER_ABSTIME,
        &raw const until,
        0
    )
    .is_err()
    {}
}

/// Fresh memory: `pages` of it with this protection.
pub(crate) fn map(pages: usize, protection: i32) -> Result<usize, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    sys!(SYS_mmap, 0, pages * PAGE, protection, flags, -1, 0).map(|at| at as usize)
}

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// A byte of memory that the case has mapped.
pub(crate) fn peek(at: usize) -> u8 {
    // SAFETY: the cases pass addresses that they have mapped, or are prepared for the fault.
    unsafe { (at as *const u8).read_volatile() }
}

/// Sets a byte of memory that the case has mapped.
pub(crate) fn poke(at: usize, value: u8) {
    // SAFETY: as for `peek`; nothing of Rust's lives there.
    unsafe { (at as *mut u8).write_volatile(value) }
}

/// A folder for one case, gone afterwards: in `SIS_GUEST_DIR`, so that the cases run on any file system, or in /tmp.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) String);

impl Scratch {
    pub(crate) fn new() -> Result<Self, String> {
        let under = std::env::var("SIS_GUEST_DIR").unwrap_or_else(|_| "/tmp".to_owned());
        let now = now_ns(libc::CLOCK_MONOTONIC);
        let path = format!("{under}/guest-{}-{now}", std::process::id());
        std::fs::create_dir_all(&path).map_err(|e| format!("{path}: {e}"))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
