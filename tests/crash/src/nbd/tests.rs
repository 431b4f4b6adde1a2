use super::{DataExport, Export, LogExport, Server};
use crate::disk::Disk;
use crate::trace::{Event, Recorder};
use sis_workload::{Kind, Record};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A client that speaks just enough.
struct Client(UnixStream);

impl Client {
    fn connect(server: &Server, export: &str) -> Self {
        let mut client = Self(UnixStream::connect(server.path()).expect("connects"));
        assert_eq!(client.take(18)[..16], *b"NBDMAGICIHAVEOPT");
        client.send(&3_u32.to_be_bytes());
        // An option nobody knows is refused, and the conversation goes on.
        client.option(99, b"what");
        assert_eq!(client.take(20)[12..16], 0x8000_0001_u32.to_be_bytes());
        let mut data = (export.len() as u32).to_be_bytes().to_vec();
        data.extend(export.as_bytes());
        data.extend([0, 0]);
        client.option(7, &data);
        client
    }

    fn to_export(server: &Server, export: &str) -> (Self, u64) {
        let mut client = Self::connect(server, export);
        let info = client.take(32);
        assert_eq!(info[12..16], 3_u32.to_be_bytes());
        client.take(20);
        (client, u64::from_be_bytes(info[22..30].try_into().expect("eight")))
    }

    fn option(&mut self, number: u32, data: &[u8]) {
        self.send(b"IHAVEOPT");
        self.send(&number.to_be_bytes());
        self.send(&(data.len() as u32).to_be_bytes());
        self.send(data);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sends");
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("answers");
        bytes
    }

    fn request(command: u16, flags: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend(flags.to_be_bytes());
        request.extend(command.to_be_bytes());
        request.extend(cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(length.to_be_bytes());
        request
    }

    /// The error number of the next reply, and whose it is.
    fn reply(&mut self) -> (u32, u64) {
        let reply = self.take(16);
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        (
            u32::from_be_bytes(reply[4..8].try_into().expect("four")),
            u64::from_be_bytes(reply[8..].try_into().expect("eight")),
        )
    }

    fn call(&mut self, command: u16, flags: u16, offset: u64, length: u32, data: &[u8]) -> u32 {
        let mut request = Self::request(command, flags, 5, offset, length);
        request.extend(data);
        self.send(&request);
        self.reply().0
    }
}

const SIZE: u64 = 1 << 20;

fn server() -> (Arc<Recorder>, Server, tempfile::TempDir) {
    let recorder = Arc::new(Recorder::new(Disk::zeros(SIZE), 42));
    let folder = tempfile::tempdir().expect("a folder");
    let exports: Vec<(String, Arc<dyn Export>)> = vec![
        ("data".into(), Arc::new(DataExport(Arc::clone(&recorder)))),
        ("log".into(), Arc::new(LogExport(Arc::clone(&recorder)))),
    ];
    let server = Server::start(&folder.path().join("socket"), exports).expect("listens");
    (recorder, server, folder)
}

#[test]
fn reads_writes_trims_and_flushes_are_served_and_written_down() {
    let (recorder, server, _folder) = server();
    let (mut client, size) = Client::to_export(&server, "data");
    assert_eq!(size, SIZE);
    assert_eq!(client.call(1, 0, 512, 4, b"abcd"), 0);
    assert_eq!(client.call(1, 1, 516, 2, b"ef"), 0);
    assert_eq!(client.call(3, 0, 0, 0, &[]), 0);
    assert_eq!(client.call(6, 0, 513, 1, &[]), 0);
    assert_eq!(client.call(4, 0, 514, 1, &[]), 0);
    assert_eq!(client.call(0, 0, 510, 8, &[]), 0);
    assert_eq!(client.take(8), *b"\0\0a\0\0def");
    let kinds: Vec<&str> = recorder
        .trace()
        .events
        .iter()
        .map(|event| match event {
            Event::Write { is_durable: true, .. } => "durable",
            Event::Write { .. } => "write",
            Event::Flush(_) => "flush",
            Event::Completed(_) => "completed",
            Event::Log(_) => "log",
        })
        .collect();
    let completed = ["write", "durable", "flush", "write", "write"].map(|kind| [kind, "completed"]);
    assert_eq!(kinds, completed.concat());
}

#[test]
fn what_is_outside_or_unknown_is_refused() {
    let (_recorder, server, _folder) = server();
    let (mut client, _) = Client::to_export(&server, "data");
    assert_eq!(client.call(1, 0, SIZE - 1, 2, b"xx"), 28);
    assert_eq!(client.call(0, 0, u64::MAX, 2, &[]), 28);
    assert_eq!(client.call(77, 0, 0, 0, &[]), 22);
    assert_eq!(client.call(3, 0, 0, 0, &[]), 0, "and the connection lives");
    let mut unknown = Client::connect(&server, "nothing");
    assert_eq!(unknown.take(20)[12..16], 0x8000_0006_u32.to_be_bytes());
}

#[test]
fn a_flush_covers_no_write_that_came_together_with_it() {
    let (recorder, server, _folder) = server();
    let (mut client, _) = Client::to_export(&server, "data");
    let mut both = Client::request(1, 0, 1, 0, 512);
    both.extend([1; 512]);
    both.extend(Client::request(3, 0, 2, 0, 0));
    client.send(&both);
    let mut answered = [client.reply(), client.reply()];
    answered.sort_unstable();
    assert_eq!(answered, [(0, 1), (0, 2)]);
    let events = recorder.trace().events;
    let flush = events.iter().position(|event| matches!(event, Event::Flush(_)));
    let write = events.iter().position(|event| matches!(event, Event::Write { .. }));
    assert!(flush < write, "{events:?}");
}

#[test]
fn the_log_is_read_as_records_of_this_run() {
    let (recorder, server, _folder) = server();
    let (mut client, size) = Client::to_export(&server, "log");
    assert_eq!(size, sis_workload::LOG_BYTES);
    let record = |seed, number| Record {
        seed,
        worker: 1,
        kind: Kind::Ack,
        number,
        text: String::new(),
    };
    let mut data = record(42, 7).to_bytes().to_vec();
    data.extend(record(41, 8).to_bytes());
    data.extend([0; 512]);
    data.extend(record(42, 9).to_bytes());
    assert_eq!(client.call(1, 0, 0, data.len() as u32, &data), 0);
    let numbers: Vec<u64> = recorder
        .trace()
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Log(record) => Some(record.number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [7, 9]);
}
