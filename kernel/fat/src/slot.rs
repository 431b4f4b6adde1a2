//! The 32 bytes of a directory entry.

use crate::Timestamp;
use crate::layout::{put, u16_at, u32_at};

/// Bytes of an entry.
pub(crate) const SLOT: usize = 32;

pub(crate) const READ_ONLY: u8 = 1;
const LABEL: u8 = 8;
pub(crate) const DIRECTORY: u8 = 0x10;
pub(crate) const ARCHIVE: u8 = 0x20;
/// Of a part of a long name.
const LONG: u8 = 0x0f;

/// The first byte of an entry that is free.
const FREE: u8 = 0xe5;

/// Times of a file. The last access has a date only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created: Timestamp,
    /// When its content was changed.
    pub modified: Timestamp,
    /// When it was last used.
    pub accessed: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) [u8; SLOT]);

impl Slot {
    pub(crate) const EMPTY: Self = Self([0; SLOT]);

    /// No entry comes after it.
    pub(crate) const fn is_end(&self) -> bool {
        self.0[0] == 0
    }

    pub(crate) const fn is_free(&self) -> bool {
        self.0[0] == FREE || self.is_end()
    }

    pub(crate) const fn free(&mut self) {
        self.0[0] = FREE;
    }

    pub(crate) const fn attributes(&self) -> u8 {
        self.0[11]
    }

    pub(crate) const fn is_long(&self) -> bool {
        self.attributes() & 0x3f == LONG
    }

    pub(crate) const fn is_label(&self) -> bool {
        !self.is_long() && self.attributes() & LABEL != 0
    }

    pub(crate) const fn is_directory(&self) -> bool {
        self.attributes() & DIRECTORY != 0
    }

    /// `.` or `..`.
    pub(crate) const fn is_dot(&self) -> bool {
        self.0[0] == b'.'
    }

    /// A file or directory with a name of its own.
    pub(crate) const fn is_file(&self) -> bool {
        !self.is_free() && !self.is_long() && !self.is_label() && !self.is_dot()
    }

    pub(crate) const fn set_attributes(&mut self, attributes: u8) {
        self.0[11] = attributes;
    }

    /// The name in 8 and 3 characters, filled up with blanks.
    pub(crate) fn short(&self) -> [u8; 11] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    pub(crate) fn set_short(&mut self, short: &[u8; 11]) {
        put(&mut self.0, 0, short);
    }

    /// Whether base and extension are meant in small letters (Windows NT).
    pub(crate) const fn lower_case(&self) -> (bool, bool) {
        (self.0[12] & 8 != 0, self.0[12] & 16 != 0)
    }

    pub(crate) const fn forget_case(&mut self) {
        self.0[12] = 0;
    }

    pub(crate) fn first(&self) -> u32 {
        u32::from(u16_at(&self.0, 20)) << 16 | u32::from(u16_at(&self.0, 26))
    }

    pub(crate) fn set_first(&mut self, first: u32) {
        put(&mut self.0, 20, &((first >> 16) as u16).to_le_bytes());
        put(&mut self.0, 26, &((first & 0xffff) as u16).to_le_bytes());
    }

    pub(crate) fn size(&self) -> u32 {
        u32_at(&self.0, 28)
    }

    pub(crate) fn set_size(&mut self, size: u32) {
        put(&mut self.0, 28, &size.to_le_bytes());
    }

    pub(crate) fn times(&self) -> Times {
        let at = |date, time, fine| Timestamp::from_fat(u16_at(&self.0, date), time, fine);
        Times {
            created: at(16, u16_at(&self.0, 14), self.0[13]),
            modified: at(24, u16_at(&self.0, 22), 0),
            accessed: at(18, 0, 0),
        }
    }

    pub(crate) fn set_times(&mut self, times: &Times) {
        let (date, time, fine) = times.created.to_fat();
        self.0[13] = fine;
        put(&mut self.0, 14, &time.to_le_bytes());
        put(&mut self.0, 16, &date.to_le_bytes());
        let (date, time, _) = times.modified.to_fat();
        put(&mut self.0, 22, &time.to_le_bytes());
        put(&mut self.0, 24, &date.to_le_bytes());
        let (date, ..) = times.accessed.to_fat();
        put(&mut self.0, 18, &date.to_le_bytes());
    }

    /// Everything of a file but its name: what moves when two names exchange their files.
    pub(crate) fn with_file_of(&self, other: &Self) -> Self {
        let mut out = *other;
        out.set_short(&self.short());
        out.0[12] = self.0[12];
        out
    }
}
