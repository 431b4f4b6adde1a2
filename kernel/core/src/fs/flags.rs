//! Numbers of open(2), fcntl(2) and the *at family as aarch64 has them (asm-generic/fcntl.h, arm64's asm/fcntl.h).

/// Access mode: read only.
pub const O_RDONLY: u32 = 0;
/// Access mode: write only.
pub const O_WRONLY: u32 = 1;
/// Access mode: both.
pub const O_RDWR: u32 = 2;
/// The bits of the access mode.
pub const O_ACCMODE: u32 = 3;
/// Create the file if it is missing.
pub const O_CREAT: u32 = 0o100;
/// Fail if it exists.
pub const O_EXCL: u32 = 0o200;
/// Do not become the controlling terminal.
pub const O_NOCTTY: u32 = 0o400;
/// Empty the file.
pub const O_TRUNC: u32 = 0o1000;
/// Each write goes to the end.
pub const O_APPEND: u32 = 0o2000;
/// Do not wait.
pub const O_NONBLOCK: u32 = 0o4000;
/// Data reach the device before write returns.
pub const O_DSYNC: u32 = 0o10000;
/// SIGIO (not built: F_SETFL ignores it as a file without fasync does).
pub const O_ASYNC: u32 = 0o20000;
/// Only a directory will do.
pub const O_DIRECTORY: u32 = 0o40000;
/// A symbolic link at the end is an error.
pub const O_NOFOLLOW: u32 = 0o100000;
/// No page cache.
pub const O_DIRECT: u32 = 0o200000;
/// Files beyond 2 GiB; always so here.
pub const O_LARGEFILE: u32 = 0o400000;
/// Reading leaves the access time alone.
pub const O_NOATIME: u32 = 0o1000000;
/// Closed by execve.
pub const O_CLOEXEC: u32 = 0o2000000;
/// Data and metadata reach the device before write returns.
pub const O_SYNC: u32 = 0o4010000;
/// Only a handle on the path.
pub const O_PATH: u32 = 0o10000000;
/// The part of O_TMPFILE that is its own.
pub const O_TMPFILE_BIT: u32 = 0o20000000;
/// A file without a name.
pub const O_TMPFILE: u32 = O_TMPFILE_BIT | O_DIRECTORY;

/// Flags that open(2) remembers and F_GETFL shows.
pub const STATUS_FLAGS: u32 =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT | O_LARGEFILE | O_NOATIME | O_PATH | O_ASYNC;
/// Every flag that open(2) knows.
pub const OPEN_FLAGS: u32 =
    STATUS_FLAGS | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_TMPFILE_BIT;
/// Flags that F_SETFL changes.
pub const SETFL_FLAGS: u32 = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC;

/// The current directory in place of a descriptor.
pub const AT_FDCWD: i32 = -100;
/// Do not follow a symbolic link at the end.
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// unlinkat: remove a directory.
pub const AT_REMOVEDIR: u32 = 0x200;
/// faccessat2: check with the effective ids.
pub const AT_EACCESS: u32 = 0x200;
/// Follow a symbolic link at the end.
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// Do not mount automatically; there are no automounts.
pub const AT_NO_AUTOMOUNT: u32 = 0x800;
/// An empty name means the descriptor itself.
pub const AT_EMPTY_PATH: u32 = 0x1000;
/// statx: how fresh the answer must be; it always is.
pub const AT_STATX_SYNC_TYPE: u32 = 0x6000;

/// Longest path, its NUL included.
pub const PATH_MAX: usize = 4096;
/// Longest name in a directory.
pub const NAME_MAX: usize = 255;
/// Most symbolic links in one walk.
pub const LINKS_MAX: u32 = 40;

/// File type bits of a mode.
pub const S_IFMT: u32 = 0o170000;
/// Set-user-id.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-id.
pub const S_ISGID: u32 = 0o2000;
/// Sticky.
pub const S_ISVTX: u32 = 0o1000;
