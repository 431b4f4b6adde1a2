//! A Linux host's kernel log, `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use sis_protocol::control::{EventKind, Facility, Level, LogRecord};
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::Told;

/// Longer than any record (the kernel's `CONSOLE_EXT_LOG_MAX`).
const RECORD_BYTES: usize = 8192;

/// Passes on the kernel's lines, where this user may read them; else there are none.
pub(super) async fn follow(teller: mpsc::Sender<Told>) {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg") else {
        return;
    };
    let Ok(file) = super::watched(file) else { return };
    let mut buffer = vec![0; RECORD_BYTES];
    loop {
        let told = match file
            .async_io(Interest::READABLE, |mut file: &File| file.read(&mut buffer))
            .await
        {
            Ok(0) => return,
            Ok(len) => match parse(&buffer[..len]) {
                Some(record) => Told::Unnumbered {
                    ts_ns: record.ts_ns,
                    kind: EventKind::LogLine(record),
                },
                None => continue,
            },
            // EPIPE: the ring went round; the next read goes on at its oldest record.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Told::Lost(1),
            Err(_) => return,
        };
        if teller.send(told).await.is_err() {
            return;
        }
    }
}

/// `priority,sequence,microseconds,flags[,..];text\n[ KEY=value\n..]`
fn parse(record: &[u8]) -> Option<LogRecord> {
    let text = String::from_utf8_lossy(record);
    let (prefix, text) = text.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let microseconds: u64 = fields.nth(1)?.parse().ok()?;
    Some(LogRecord {
        ts_ns: microseconds.saturating_mul(1000),
        level: Level::from_number(priority & 7),
        facility: Facility::from_number(priority >> 3),
        text: text.lines().next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed() {
        let record = parse(b"30,1234,5140900,-;NET: Registered protocol; ok\n SUBSYSTEM=net\n").unwrap();
        assert_eq!(record.level, Level::Info);
        assert_eq!(record.facility, Facility::Daemon);
        assert_eq!(record.ts_ns, 5_140_900_000);
        assert_eq!(record.text, "NET: Registered protocol; ok");
    }

    #[test]
    fn junk_is_passed_over() {
        for junk in [
            &b""[..],
            b";",
            b"x,1,2;t",
            b"6,1",
            b"6,1;t",
            b"6,1,-2,;t",
            &[0xff, b';'],
        ] {
            assert_eq!(parse(junk), None);
        }
    }
}
