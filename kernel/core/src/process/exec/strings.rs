//! Arguments and environment on their way from one program to the next.

use alloc::vec::Vec;

use sis_algo::exec::rope::Rope;
use sis_machine::mm::usercopy;

use crate::user::UserPtr;
use crate::{Errno, Result};

/// Longest string, its NUL included (MAX_ARG_STRLEN).
const STRING_MAX: usize = 128 << 10;
/// Most bytes of strings and pointers together, whatever the stack's limit.
const TOTAL_MAX: usize = 6 << 20;
/// Least that is always possible (ARG_MAX).
const TOTAL_MIN: usize = 128 << 10;

/// A list of strings, each ending with a NUL, one behind another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    bytes: Rope,
    count: usize,
}

impl Strings {
    /// Adds one; `E2BIG`.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result<()> {
        if text.len() >= STRING_MAX {
            return Err(Errno::E2BIG);
        }
        self.add(text)?;
        self.add(&[0])?;
        self.count += 1;
        Ok(())
    }

    /// Reads an array of strings that NULL ends; NULL itself is an empty array, as on Linux.
    pub(crate) fn from_user(array: usize) -> Result<Self> {
        let mut out = Self::default();
        if array == 0 {
            return Ok(out);
        }
        let mut at = array;
        loop {
            let pointer = UserPtr::<u64>::new(at).read()? as usize;
            if pointer == 0 {
                return Ok(out);
            }
            out.read_one(pointer)?;
            if out.size() > TOTAL_MAX {
                return Err(Errno::E2BIG);
            }
            at = at.checked_add(8).ok_or(Errno::EFAULT)?;
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.push(bytes).map_err(|_| Errno::ENOMEM)
    }

    fn read_one(&mut self, address: usize) -> Result<()> {
        let begin = self.bytes.len();
        let mut at = address;
        loop {
            // Not across a page: the next one may not be mapped.
            let chunk = (4096 - at % 4096).min(256);
            let mut buf = [0; 256];
            let buf = buf.get_mut(..chunk).unwrap_or_default();
            usercopy::copy_in(at, buf).map_err(|_| Errno::EFAULT)?;
            let end = buf.iter().position(|b| *b == 0);
            self.add(buf.get(..end.map_or(chunk, |e| e + 1)).unwrap_or_default())?;
            if self.bytes.len() - begin > STRING_MAX {
                return Err(Errno::E2BIG);
            }
            if end.is_some() {
                self.count += 1;
                return Ok(());
            }
            at = at.checked_add(chunk).ok_or(Errno::EFAULT)?;
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The strings with their NULs.
    pub(crate) fn bytes(&self) -> &Rope {
        &self.bytes
    }

    /// The first string, without its NUL.
    pub(crate) fn first_owned(&self) -> Vec<u8> {
        self.bytes.bytes().take_while(|b| *b != 0).collect()
    }

    /// Puts others in the place of the first one.
    pub(crate) fn replace_first(&mut self, with: &[Option<&[u8]>]) -> Result<()> {
        let old = core::mem::take(self);
        for text in with.iter().flatten() {
            self.push(text)?;
        }
        let mut skip = old.bytes.bytes().position(|b| b == 0).map_or(0, |n| n + 1);
        for piece in old.bytes.pieces() {
            let gone = skip.min(piece.len());
            skip -= gone;
            self.add(piece.get(gone..).unwrap_or_default())?;
        }
        self.count += old.count.saturating_sub(1);
        Ok(())
    }

    /// Bytes that strings and pointers take.
    fn size(&self) -> usize {
        self.bytes.len() + 8 * (self.count + 1)
    }

    /// `E2BIG` when arguments and environment take more than a quarter of the stack (execve(2), "Limits").
    pub(crate) fn check_limit(&self, env: &Self, stack_limit: u64) -> Result<()> {
        let quarter = usize::try_from(stack_limit / 4).unwrap_or(usize::MAX);
        let limit = quarter.clamp(TOTAL_MIN, TOTAL_MAX);
        if self.size() + env.size() > limit {
            Err(Errno::E2BIG)
        } else {
            Ok(())
        }
    }
}
