//! Where process 1 writes what it has to say: the kernel's log.
//!
//! A line in `/dev/kmsg` reaches the console when the console's log level allows it, is kept for `dmesg`, and is
//! streamed by the agent. Until `/dev` is there, and on a kernel without `/dev/kmsg`, lines go to standard error.
//!
//! Levels are those of syslog(2): warnings (4) and the steps of the start (6) are for the console, what happens later
//! while a person types (5 and 7) is not.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

static KMSG: OnceLock<Option<File>> = OnceLock::new();

/// Opens `/dev/kmsg`; call it once `/dev` is mounted.
pub(crate) fn open() {
    let _ = KMSG.set(File::options().write(true).open("/dev/kmsg").ok());
}

fn line(level: u8, text: &str) {
    // Nobody is left to tell when the log itself cannot be written.
    if let Some(Some(mut file)) = KMSG.get().map(Option::as_ref) {
        // One write is one record.
        let _ = file.write_all(format!("<{level}>init: {text}\n").as_bytes());
    } else if level < 7 {
        let _ = writeln!(std::io::stderr(), "init: {text}");
    }
}

/// Something is wrong and a person should see it.
pub(crate) fn warn(text: &str) {
    line(4, text);
}

/// Something that a person should find in the log, without being interrupted by it.
pub(crate) fn notice(text: &str) {
    line(5, text);
}

/// A step of the start or of the shut-down.
pub(crate) fn info(text: &str) {
    line(6, text);
}

/// What happens in the background: kept, not shown on the console.
pub(crate) fn debug(text: &str) {
    line(7, text);
}
