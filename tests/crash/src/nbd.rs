//! A server for the NBD protocol, fixed newstyle, over a Unix socket: <https://github.com/NetworkBlockDevice/nbd>,
//! `doc/proto.md`. Simple replies; no TLS, no structured replies, no extended headers.
//!
//! Requests that are there at the same time are answered together, in another order, and a flush among them covers none
//! of the writes among them: the protocol promises no more, so a kernel that flushes before its writes have completed is
//! found.

mod handshake;
mod wire;

use crate::trace::{Id, Recorder};
use std::io::{self, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::{Command, Request};

/// What one connection's disk is.
pub trait Export: Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;
    /// Reads; the range is inside the disk.
    fn read(&self, offset: u64, length: usize) -> Vec<u8>;
    /// Takes a write.
    fn write(&self, offset: u64, data: Vec<u8>, is_durable: bool) -> Id;
    /// Makes a range, which is inside the disk, zero.
    fn zero(&self, offset: u64, length: u64, is_durable: bool) -> Id;
    /// The client is about to be told that these have been done.
    fn completed(&self, ids: &[Id]);
    /// A flush has come: what has been completed by now it covers.
    fn flush(&self) -> Id;
}

/// A listening server; its threads end with their connections.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Serves the exports, by name, at the socket `path`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(path: &Path, exports: Vec<(String, Arc<dyn Export>)>) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let exports = Arc::new(exports);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let exports = Arc::clone(&exports);
                // A client that goes away, or speaks nonsense, ends its connection and nothing else.
                std::thread::spawn(move || serve(stream, &exports));
            }
        });
        Ok(Self { path: path.into() })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Bytes that may wait to be read.
const BUFFER_BYTES: usize = 1 << 20;
/// So long a connection is listened to before what has come is answered.
const GATHER: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 50_000,
};
/// As many are answered together at most.
const MAX_BATCH: usize = 64;

fn serve(stream: UnixStream, exports: &[(String, Arc<dyn Export>)]) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let Some(export) = handshake::negotiate(&mut reader, &mut writer, exports)? else {
        return Ok(());
    };
    loop {
        let mut batch = vec![wire::read_request(&mut reader)?];
        while batch.len() < MAX_BATCH && is_more_there(&reader) {
            batch.push(wire::read_request(&mut reader)?);
        }
        let has_disconnected = batch.iter().any(|request| request.command == Command::Disconnect);
        answer(&mut writer, export.as_ref(), batch)?;
        if has_disconnected {
            return Ok(());
        }
    }
}

fn is_more_there(reader: &BufReader<UnixStream>) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    if !reader.buffer().is_empty() {
        return true;
    }
    let mut sockets = [PollFd::new(reader.get_ref(), PollFlags::IN)];
    matches!(poll(&mut sockets, Some(&GATHER)), Ok(count) if count > 0)
}

fn answer(writer: &mut impl Write, export: &dyn Export, batch: Vec<Request>) -> io::Result<()> {
    let (mut replies, mut done) = (Vec::new(), Vec::new());
    // The flushes first: they cover what had been completed before they came.
    for request in batch.iter().filter(|request| request.command == Command::Flush) {
        done.push(export.flush());
        replies.push(wire::reply(request.cookie, 0, &[]));
    }
    for request in batch {
        let is_inside = request
            .offset
            .checked_add(u64::from(request.length))
            .is_some_and(|end| end <= export.size());
        let reply = match request.command {
            Command::Flush | Command::Disconnect => continue,
            Command::Unknown => wire::reply(request.cookie, wire::EINVAL, &[]),
            _ if !is_inside => wire::reply(request.cookie, wire::ENOSPC, &[]),
            Command::Read => {
                let data = export.read(request.offset, request.length as usize);
                wire::reply(request.cookie, 0, &data)
            }
            Command::Write => {
                done.push(export.write(request.offset, request.data, request.is_fua));
                wire::reply(request.cookie, 0, &[])
            }
            Command::Trim | Command::WriteZeroes => {
                done.push(export.zero(request.offset, u64::from(request.length), request.is_fua));
                wire::reply(request.cookie, 0, &[])
            }
        };
        replies.push(reply);
    }
    export.completed(&done);
    // The last first: nobody may count on an order.
    for reply in replies.into_iter().rev() {
        writer.write_all(&reply)?;
    }
    Ok(())
}

/// The disk under test: every request of it is written down.
#[derive(Clone, Debug)]
pub struct DataExport(pub Arc<Recorder>);

impl Export for DataExport {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        self.0.read(offset, length)
    }
    fn write(&self, offset: u64, data: Vec<u8>, is_durable: bool) -> Id {
        self.0.write(offset, data, is_durable)
    }
    fn zero(&self, offset: u64, length: u64, is_durable: bool) -> Id {
        self.0.write(offset, vec![0; length as usize], is_durable)
    }
    fn completed(&self, ids: &[Id]) {
        self.0.completed(ids);
    }
    fn flush(&self) -> Id {
        self.0.flush()
    }
}

/// The workload's log: what is written to it is read as records.
#[derive(Clone, Debug)]
pub struct LogExport(pub Arc<Recorder>);

impl Export for LogExport {
    fn size(&self) -> u64 {
        sis_workload::LOG_BYTES
    }
    /// Nobody reads the log; a kernel that looks for a partition table finds none.
    fn read(&self, _offset: u64, length: usize) -> Vec<u8> {
        vec![0; length]
    }
    fn write(&self, _offset: u64, data: Vec<u8>, _is_durable: bool) -> Id {
        self.0.log(&data);
        Id::NONE
    }
    fn zero(&self, _offset: u64, _length: u64, _is_durable: bool) -> Id {
        Id::NONE
    }
    fn completed(&self, _ids: &[Id]) {}
    fn flush(&self) -> Id {
        Id::NONE
    }
}

#[cfg(test)]
mod tests;
