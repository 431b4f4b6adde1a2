//! Requests and replies of the transmission phase.

use std::io::{self, Read};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const FLAG_FUA: u16 = 1;
/// More in one request a client may not ask for (the protocol's default limit).
const MAX_BYTES: u32 = 32 << 20;

/// NBD_EINVAL.
pub(super) const EINVAL: u32 = 22;
/// NBD_ENOSPC.
pub(super) const ENOSPC: u32 = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) is_fua: bool,
    pub(super) cookie: [u8; 8],
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) data: Vec<u8>,
}

pub(super) fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_request(reader: &mut impl Read) -> io::Result<Request> {
    if u32::from_be_bytes(bytes(reader)?) != REQUEST_MAGIC {
        return Err(io::Error::other("not a request"));
    }
    let flags = u16::from_be_bytes(bytes(reader)?);
    let command = match u16::from_be_bytes(bytes(reader)?) {
        0 => Command::Read,
        1 => Command::Write,
        2 => Command::Disconnect,
        3 => Command::Flush,
        4 => Command::Trim,
        6 => Command::WriteZeroes,
        _ => Command::Unknown,
    };
    let cookie = bytes(reader)?;
    let offset = u64::from_be_bytes(bytes(reader)?);
    let length = u32::from_be_bytes(bytes(reader)?);
    if matches!(command, Command::Read | Command::Write) && length > MAX_BYTES {
        return Err(io::Error::other("more than a request may carry"));
    }
    let mut data = Vec::new();
    if command == Command::Write {
        data.resize(length as usize, 0);
        reader.read_exact(&mut data)?;
    }
    Ok(Request {
        command,
        is_fua: flags & FLAG_FUA != 0,
        cookie,
        offset,
        length,
        data,
    })
}

pub(super) fn reply(cookie: [u8; 8], error: u32, data: &[u8]) -> Vec<u8> {
    let mut reply = Vec::with_capacity(16 + data.len());
    reply.extend(REPLY_MAGIC.to_be_bytes());
    reply.extend(error.to_be_bytes());
    reply.extend(cookie);
    reply.extend(data);
    reply
}
