//! Control messages of sendmsg(2) and recvmsg(2): `struct cmsghdr` followed by its data, each aligned to 8 bytes.

use alloc::vec::Vec;

/// Bytes of `struct cmsghdr` on a 64-bit machine: u64 length, i32 level, i32 type.
pub const HEADER: usize = 16;

const fn align(n: usize) -> usize {
    (n + 7) & !7
}

/// Bytes that a message with `len` bytes of data occupies (CMSG_SPACE).
pub const fn space(len: usize) -> usize {
    HEADER + align(len)
}

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// SOL_SOCKET, IPPROTO_IP, ...
    pub level: i32,
    /// SCM_RIGHTS, IP_PKTINFO, ...
    pub kind: i32,
    /// Its data.
    pub data: &'a [u8],
}

impl Message<'_> {
    /// The data as an `int`.
    pub fn int(&self) -> Option<i32> {
        Some(i32::from_le_bytes(self.data.get(..4)?.try_into().ok()?))
    }
}

/// A message's length does not fit (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The messages of a control buffer.
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Over a whole buffer.
    pub fn new(buffer: &'a [u8]) -> Self {
        Self { rest: buffer }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // Fewer bytes than a header end the walk (CMSG_OK).
        let header = self.rest.get(..HEADER)?;
        let (Ok(len), Ok(level), Ok(kind)) = (
            header.get(..8).unwrap_or_default().try_into().map(u64::from_le_bytes),
            header.get(8..12).unwrap_or_default().try_into().map(i32::from_le_bytes),
            header
                .get(12..16)
                .unwrap_or_default()
                .try_into()
                .map(i32::from_le_bytes),
        ) else {
            return None;
        };
        let data = usize::try_from(len)
            .ok()
            .filter(|l| *l >= HEADER)
            .and_then(|l| self.rest.get(HEADER..l));
        let Some(data) = data else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = self.rest.get(space(data.len())..).unwrap_or_default();
        Some(Ok(Message { level, kind, data }))
    }
}

/// Builds a control buffer of bounded size.
#[derive(Debug)]
pub struct Builder {
    out: Vec<u8>,
    room: usize,
    truncated: bool,
}

impl Builder {
    /// For a program's buffer of `room` bytes.
    pub fn new(room: usize) -> Self {
        Self {
            out: Vec::new(),
            room,
            truncated: false,
        }
    }

    /// Bytes of data that the next message may have; `None` when not even a header fits.
    pub fn room(&self) -> Option<usize> {
        self.room.checked_sub(self.out.len() + HEADER)
    }

    /// Adds a message. One that does not fit is cut short (or left out) and the buffer is marked truncated.
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let Some(room) = self.room() else {
            self.truncated = true;
            return;
        };
        let fits = data.get(..data.len().min(room)).unwrap_or_default();
        self.truncated |= fits.len() < data.len();
        self.out
            .extend_from_slice(&((HEADER + fits.len()) as u64).to_le_bytes());
        self.out.extend_from_slice(&level.to_le_bytes());
        self.out.extend_from_slice(&kind.to_le_bytes());
        self.out.extend_from_slice(fits);
        let end = align(self.out.len()).min(self.room);
        self.out.resize(end, 0);
    }

    /// Marks the buffer truncated (MSG_CTRUNC).
    pub fn truncate(&mut self) {
        self.truncated = true;
    }

    /// The bytes, and whether something was left out (MSG_CTRUNC).
    pub fn finish(self) -> (Vec<u8>, bool) {
        (self.out, self.truncated)
    }
}

#[cfg(test)]
mod tests;
