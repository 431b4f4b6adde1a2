//! Connecting to a socket in a folder whose path may be longer than the 107 bytes `sun_path` holds.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connects to `folder/name`, through the folder's descriptor.
pub(crate) fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// The same, waiting for the socket to appear as long as `is_alive` says that someone may still make it.
pub(crate) fn connect_within(
    folder: &Path,
    name: &str,
    timeout: Duration,
    mut is_alive: impl FnMut() -> bool,
) -> io::Result<UnixStream> {
    let deadline = Instant::now() + timeout;
    loop {
        match connect(folder, name) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline || !is_alive() => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
