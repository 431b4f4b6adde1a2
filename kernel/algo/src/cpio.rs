//! A reader of initramfs images: any number of newc cpio archives one after the other, each plain or gzip-compressed.
//!
//! It follows Linux (Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c): a plain archive begins on a multiple
//! of four bytes, zeros between archives are skipped, a compressed stream may itself hold several archives, `TRAILER!!!` forgets the hard
//! links and may be missing at the end, magics `070701` and `070702` (with a checksum) are read. Unlike Linux, which skips some malformed
//! entries silently, everything malformed is an error with its offset.
//!
//! Entries are lent one at a time: of a plain archive their names and data are parts of the image itself, of a compressed one parts of
//! its inflated copy, which is dropped when its last entry has been read. Never more than the given limit is inflated, whatever the
//! headers claim.

mod gzip;

pub use gzip::crc32;

use alloc::{
    collections::{BTreeMap, btree_map as map},
    vec::Vec,
};

use thiserror::Error;

/// The size of a newc header.
const HEADER_BYTES: usize = 110;

/// The longest name, its NUL included (Linux's PATH_MAX).
const NAME_BYTES_MAX: usize = 4096;

/// The last entry of an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("initramfs: {kind} at byte {offset}{}", Stream(*compressed_at))]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where: in the image, or in the inflated bytes of the stream at `compressed_at`.
    pub offset: usize,
    /// Where in the image the compressed stream begins that `offset` is in.
    pub compressed_at: Option<usize>,
}

/// Tells which stream an offset is in.
struct Stream(Option<usize>);

impl core::fmt::Display for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(at) => write!(f, " of the stream that is compressed at byte {at}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ErrorKind {
    /// Neither a newc header, nor zeros, nor a known compression.
    #[error("neither a newc cpio archive nor a gzip stream")]
    UnknownFormat,
    /// The old portable format.
    #[error("an old-format cpio archive (make it with `cpio -H newc`)")]
    OldFormat,
    /// A compression other than gzip.
    #[error("a {0}-compressed archive (only gzip is supported)")]
    UnsupportedCompression(&'static str),
    /// A header field is not hexadecimal.
    #[error("a malformed cpio header")]
    BadHeader,
    /// A plain archive that does not begin on a multiple of four.
    #[error("a misaligned cpio archive")]
    Misaligned,
    /// The name is empty, too long, or lacks its NUL.
    #[error("a malformed name")]
    BadName,
    /// The image ends within an entry.
    #[error("the archive is cut short")]
    Truncated,
    /// The data of a `070702` entry do not have its checksum.
    #[error("a wrong checksum")]
    BadChecksum,
    /// The gzip header is malformed or cut short.
    #[error("a malformed gzip header")]
    BadGzipHeader,
    /// The compressed data are malformed or cut short.
    #[error("corrupt compressed data")]
    BadDeflate,
    /// The inflated data do not have the CRC or the length of the gzip trailer.
    #[error("compressed data that do not match their CRC")]
    BadGzipCrc,
    /// There is no memory for the inflated data.
    #[error("no memory for the inflated data")]
    OutOfMemory,
    /// More than the limit would be inflated.
    #[error("more inflated data than the {limit} bytes allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; the data are its target.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A mode that means nothing.
    Unknown,
}

/// An entry of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// The path as stored, without its NUL. It may begin with `/` or `./` and be anything that an attacker likes.
    pub name: &'e [u8],
    /// File type and permissions, as `st_mode`.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names the file has.
    pub nlink: u32,
    /// Modification time in seconds since the epoch.
    pub mtime: u32,
    /// The inode number in the archive.
    pub ino: u32,
    /// The device that the archive was made from: major, minor.
    pub dev: (u32, u32),
    /// For devices: major, minor.
    pub rdev: (u32, u32),
    /// The content, or the target of a symbolic link.
    pub data: &'e [u8],
    /// The name under which the same inode came before in this archive: a hard link to make. If there are data too, they are the content
    /// of the file (`cpio` stores them with the last name).
    pub link_to: Option<&'e [u8]>,
}

impl Entry<'_> {
    /// What the entry makes.
    pub fn kind(&self) -> Kind {
        match self.mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Symlink,
            0o020_000 => Kind::CharDevice,
            0o060_000 => Kind::BlockDevice,
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            _ => Kind::Unknown,
        }
    }

    /// The permission bits with set-user-id, set-group-id and sticky.
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// A parsed header.
#[derive(Clone, Copy)]
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    file_bytes: usize,
    dev: (u32, u32),
    rdev: (u32, u32),
    name_bytes: usize,
    checksum: Option<u32>,
}

/// The inflated copy of a compressed stream.
struct Inflated {
    /// Where in the image it begins.
    compressed_at: usize,
    bytes: Vec<u8>,
    at: usize,
}

/// The same file on the device that the archive was made from: device, inode, file type.
type LinkKey = ((u32, u32), u32, u32);

/// Reads an image from its beginning to its end.
pub struct Reader<'a> {
    image: &'a [u8],
    at: usize,
    inflated: Option<Inflated>,
    links: BTreeMap<LinkKey, Vec<u8>>,
    inflate_limit: usize,
    inflated_bytes: usize,
    has_failed: bool,
}

/// Where the parts of an entry are, before they are lent.
struct Found {
    header: Header,
    /// From the header's first byte on.
    name: core::ops::Range<usize>,
    data: core::ops::Range<usize>,
    next: usize,
}

impl<'a> Reader<'a> {
    /// A reader that inflates at most `inflate_limit` bytes in total.
    pub fn new(image: &'a [u8], inflate_limit: usize) -> Self {
        Self {
            image,
            at: 0,
            inflated: None,
            links: BTreeMap::new(),
            inflate_limit,
            inflated_bytes: 0,
            has_failed: false,
        }
    }

    /// The next entry, `None` at the end of the image. After an error there is nothing more.
    ///
    /// # Errors
    /// [`struct@Error`] when the image is malformed; the entries before were good.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        if self.has_failed {
            return Ok(None);
        }
        let found = match self.find() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.has_failed = true;
                return Err(error);
            }
        };
        let Found { header, name, data, .. } = found;
        let bytes = match &self.inflated {
            Some(inflated) => inflated.bytes.as_slice(),
            None => self.image,
        };
        let name = bytes.get(name).unwrap_or_default();
        let key = (header.dev, header.ino, header.mode & 0o170_000);
        let is_linkable = header.nlink >= 2 && key.2 != 0o040_000;
        let mut link_to = None;
        if is_linkable {
            match self.links.entry(key) {
                map::Entry::Vacant(first) => drop(first.insert(name.to_vec())),
                map::Entry::Occupied(first) => link_to = Some(first.into_mut().as_slice()),
            }
        }
        Ok(Some(Entry {
            name,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            nlink: header.nlink,
            mtime: header.mtime,
            ino: header.ino,
            dev: header.dev,
            rdev: header.rdev,
            data: bytes.get(data).unwrap_or_default(),
            link_to,
        }))
    }

    /// Goes to the next entry that is no trailer, opening and closing compressed streams.
    fn find(&mut self) -> Result<Option<Found>, Error> {
        loop {
            if let Some(inflated) = &mut self.inflated {
                let place = |error: (ErrorKind, usize)| Error {
                    kind: error.0,
                    offset: error.1,
                    compressed_at: Some(inflated.compressed_at),
                };
                match step(&inflated.bytes, inflated.at).map_err(place)? {
                    Step::Entry(found) => {
                        inflated.at = found.next;
                        return Ok(Some(found));
                    }
                    Step::Trailer(next) => {
                        inflated.at = next;
                        self.links.clear();
                    }
                    Step::End => self.inflated = None,
                    Step::Other(at) => return Err(place((unknown(inflated.bytes.get(at..).unwrap_or_default()), at))),
                }
                continue;
            }
            let place = |error: (ErrorKind, usize)| Error {
                kind: error.0,
                offset: error.1,
                compressed_at: None,
            };
            match step(self.image, self.at).map_err(place)? {
                Step::Entry(found) => {
                    self.at = found.next;
                    return Ok(Some(found));
                }
                Step::Trailer(next) => {
                    self.at = next;
                    self.links.clear();
                }
                Step::End => return Ok(None),
                Step::Other(at) => {
                    let input = self.image.get(at..).unwrap_or_default();
                    if !input.starts_with(&gzip::MAGIC) {
                        return Err(place((unknown(input), at)));
                    }
                    let limit = self.inflate_limit - self.inflated_bytes;
                    let (bytes, used) = gzip::inflate(input, limit).map_err(|kind| match kind {
                        ErrorKind::TooLarge { .. } => place((
                            ErrorKind::TooLarge {
                                limit: self.inflate_limit,
                            },
                            at,
                        )),
                        kind => place((kind, at)),
                    })?;
                    self.inflated_bytes += bytes.len();
                    self.at = at + used;
                    self.inflated = Some(Inflated {
                        compressed_at: at,
                        bytes,
                        at: 0,
                    });
                }
            }
        }
    }
}

/// What comes next in a buffer.
enum Step {
    Entry(Found),
    /// The end of an archive, and where to go on.
    Trailer(usize),
    /// Nothing but zeros.
    End,
    /// Something that is no newc header, and where.
    Other(usize),
}

fn step(bytes: &[u8], at: usize) -> Result<Step, (ErrorKind, usize)> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(zeros) = rest.iter().position(|byte| *byte != 0) else {
        return Ok(Step::End);
    };
    let at = at + zeros;
    let rest = rest.get(zeros..).unwrap_or_default();
    if rest.first() != Some(&b'0') {
        return Ok(Step::Other(at));
    }
    if !at.is_multiple_of(4) {
        return Err((ErrorKind::Misaligned, at));
    }
    let header = header(rest).map_err(|kind| (kind, at))?;
    let name_end = HEADER_BYTES + header.name_bytes;
    let name = rest.get(HEADER_BYTES..name_end).ok_or((ErrorKind::Truncated, at))?;
    if name.last() != Some(&0) {
        return Err((ErrorKind::BadName, at));
    }
    let name_len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    if name_len == 0 {
        return Err((ErrorKind::BadName, at));
    }
    // The header begins aligned, so what follows is padded relative to it.
    let data_at = align4(name_end).ok_or((ErrorKind::Truncated, at))?;
    let data_end = data_at
        .checked_add(header.file_bytes)
        .ok_or((ErrorKind::Truncated, at))?;
    let name = HEADER_BYTES..HEADER_BYTES + name_len;
    // The padding of the very last entry may be missing.
    let next = at.saturating_add(align4(data_end).unwrap_or(data_end)).min(bytes.len());
    if rest.get(name.clone()) == Some(TRAILER) {
        return Ok(Step::Trailer(next));
    }
    let data = if header.file_bytes == 0 {
        &[]
    } else {
        rest.get(data_at..data_end).ok_or((ErrorKind::Truncated, at))?
    };
    if let Some(checksum) = header.checksum {
        let sum = data.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        if sum != checksum && header.mode & 0o170_000 == 0o100_000 {
            return Err((ErrorKind::BadChecksum, at));
        }
    }
    let name = at + name.start..at + name.end;
    let data = if header.file_bytes == 0 {
        0..0
    } else {
        at + data_at..at + data_end
    };
    Ok(Step::Entry(Found {
        header,
        name,
        data,
        next,
    }))
}

fn align4(value: usize) -> Option<usize> {
    value.checked_next_multiple_of(4)
}

fn header(bytes: &[u8]) -> Result<Header, ErrorKind> {
    let has_checksum = match bytes.get(..6) {
        Some(b"070701") => false,
        Some(b"070702") => true,
        Some(b"070707") => return Err(ErrorKind::OldFormat),
        Some(_) => return Err(ErrorKind::UnknownFormat),
        None => return Err(ErrorKind::Truncated),
    };
    let fields = bytes.get(6..HEADER_BYTES).ok_or(ErrorKind::Truncated)?;
    let mut values = [0u32; 13];
    for (value, digits) in values.iter_mut().zip(fields.chunks_exact(8)) {
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or(ErrorKind::BadHeader)?;
            *value = *value << 4 | digit;
        }
    }
    let [
        ino,
        mode,
        uid,
        gid,
        nlink,
        mtime,
        file_bytes,
        major,
        minor,
        rmajor,
        rminor,
        name_bytes,
        checksum,
    ] = values;
    let name_bytes = name_bytes as usize;
    if name_bytes == 0 || name_bytes > NAME_BYTES_MAX {
        return Err(ErrorKind::BadName);
    }
    Ok(Header {
        ino,
        mode,
        uid,
        gid,
        nlink,
        mtime,
        file_bytes: file_bytes as usize,
        dev: (major, minor),
        rdev: (rmajor, rminor),
        name_bytes,
        checksum: has_checksum.then_some(checksum),
    })
}

/// Names a compression that is not supported, by its magic (Linux's lib/decompress.c).
fn unknown(bytes: &[u8]) -> ErrorKind {
    const KNOWN: [(&[u8], &str); 7] = [
        (&gzip::MAGIC, "doubly gzip"),
        (&[0xfd, b'7', b'z', b'X'], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
        (b"BZh", "bzip2"),
        (&[0x89, b'L', b'Z', b'O'], "lzo"),
        (&[0x5d, 0, 0], "lzma"),
    ];
    let known = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic));
    known.map_or(ErrorKind::UnknownFormat, |(_, name)| {
        ErrorKind::UnsupportedCompression(name)
    })
}

#[cfg(test)]
mod tests;
