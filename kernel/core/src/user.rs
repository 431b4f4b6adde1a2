//! The only way to user memory.
//!
//! A system call's argument becomes a [`UserPtr`] or a [`UserSlice`]: a claim on user memory that is checked when it is
//! used, copied once, and never followed further inside. A copy may fault and sleep: hold no spinning lock.

use alloc::vec::Vec;
use core::marker::PhantomData;

use sis_abi::Errno;
use sis_machine::mm::frames::Frame;
use sis_machine::mm::scatter::FramePiece;
use sis_machine::mm::{PAGE_SIZE, usercopy};

use crate::{Result, vm};

/// A layout that crosses the boundary as bytes.
pub trait Pod: Sized {
    /// Bytes in user memory.
    const SIZE: usize;
    /// From exactly [`Self::SIZE`] bytes.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    /// Into exactly [`Self::SIZE`] bytes.
    fn to_bytes(&self, bytes: &mut [u8]);
}

impl<T: sis_abi::Layout> Pod for T {
    const SIZE: usize = T::SIZE;
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        T::read(bytes)
    }
    fn to_bytes(&self, bytes: &mut [u8]) {
        // Callers pass exactly the size.
        let _ = self.write(bytes);
    }
}

/// A typed address in user memory.
#[derive(Debug)]
pub struct UserPtr<T> {
    address: usize,
    _type: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T: Pod> UserPtr<T> {
    /// From a system call's argument.
    pub const fn new(address: usize) -> Self {
        Self {
            address,
            _type: PhantomData,
        }
    }

    /// Whether the program passed NULL.
    pub const fn is_null(self) -> bool {
        self.address == 0
    }

    /// The address, for messages and for keys (futex).
    pub const fn address(self) -> usize {
        self.address
    }

    /// The `n`th element of an array that starts here; `EFAULT` past the end of the address space.
    pub fn nth(self, n: usize) -> Result<Self> {
        let offset = n.checked_mul(T::SIZE).ok_or(Errno::EFAULT)?;
        Ok(Self::new(self.address.checked_add(offset).ok_or(Errno::EFAULT)?))
    }

    /// Copies the value in.
    pub fn read(self) -> Result<T> {
        let mut small = [0u8; 128];
        if let Some(buf) = small.get_mut(..T::SIZE) {
            usercopy::copy_in(self.address, buf).map_err(|_| Errno::EFAULT)?;
            return T::from_bytes(buf).ok_or(Errno::EINVAL);
        }
        let mut buf = alloc::vec![0u8; T::SIZE];
        usercopy::copy_in(self.address, &mut buf).map_err(|_| Errno::EFAULT)?;
        T::from_bytes(&buf).ok_or(Errno::EINVAL)
    }

    /// Copies the value out.
    pub fn write(self, value: &T) -> Result<()> {
        let mut small = [0u8; 128];
        if let Some(buf) = small.get_mut(..T::SIZE) {
            value.to_bytes(buf);
            return usercopy::copy_out(self.address, buf).map_err(|_| Errno::EFAULT);
        }
        let mut buf = alloc::vec![0u8; T::SIZE];
        value.to_bytes(&mut buf);
        usercopy::copy_out(self.address, &buf).map_err(|_| Errno::EFAULT)
    }

    /// As [`Self::read`]; `None` for NULL.
    pub fn read_opt(self) -> Result<Option<T>> {
        if self.is_null() {
            Ok(None)
        } else {
            self.read().map(Some)
        }
    }

    /// As [`Self::write`]; nothing for NULL.
    pub fn write_opt(self, value: &T) -> Result<()> {
        if self.is_null() { Ok(()) } else { self.write(value) }
    }

    /// Copies an array of `count` values in; `EINVAL` above `most`.
    pub fn read_array(self, count: usize, most: usize) -> Result<Vec<T>> {
        if count > most {
            return Err(Errno::EINVAL);
        }
        let len = count.checked_mul(T::SIZE).ok_or(Errno::EINVAL)?;
        let mut bytes = alloc::vec![0u8; len];
        usercopy::copy_in(self.address, &mut bytes).map_err(|_| Errno::EFAULT)?;
        let mut out = Vec::with_capacity(count);
        for chunk in bytes.chunks_exact(T::SIZE.max(1)) {
            out.push(T::from_bytes(chunk).ok_or(Errno::EINVAL)?);
        }
        Ok(out)
    }
}

/// Reads a NUL-terminated string of at most `most` bytes, the NUL not counted; `ENAMETOOLONG` when longer.
pub fn read_cstr(address: usize, most: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = address;
    loop {
        // Not across a page: the next one may not be mapped.
        let chunk = (4096 - at % 4096).min(256);
        let mut buf = [0u8; 256];
        let Some(buf) = buf.get_mut(..chunk) else {
            return Err(Errno::EFAULT);
        };
        usercopy::copy_in(at, buf).map_err(|_| Errno::EFAULT)?;
        if let Some(end) = buf.iter().position(|b| *b == 0) {
            out.extend_from_slice(buf.get(..end).unwrap_or_default());
            return if out.len() > most {
                Err(Errno::ENAMETOOLONG)
            } else {
                Ok(out)
            };
        }
        out.extend_from_slice(buf);
        if out.len() > most {
            return Err(Errno::ENAMETOOLONG);
        }
        at = at.checked_add(chunk).ok_or(Errno::EFAULT)?;
    }
}

/// A range of user memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSlice {
    /// First address.
    pub address: usize,
    /// Bytes.
    pub len: usize,
}

impl UserSlice {
    /// From a system call's arguments. Checked when used.
    pub const fn new(address: usize, len: usize) -> Self {
        Self { address, len }
    }

    /// Copies all of it into a new buffer; `EINVAL` above `most` bytes.
    pub fn read_to_vec(self, most: usize) -> Result<Vec<u8>> {
        if self.len > most {
            return Err(Errno::EINVAL);
        }
        let mut out = alloc::vec![0u8; self.len];
        usercopy::copy_in(self.address, &mut out).map_err(|_| Errno::EFAULT)?;
        Ok(out)
    }

    /// Copies as much of `data` as fits; returns how much.
    pub fn write_prefix(self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.len);
        usercopy::copy_out(self.address, data.get(..n).unwrap_or_default()).map_err(|_| Errno::EFAULT)?;
        Ok(n)
    }
}

enum Ends<'a> {
    /// The usual read and write: no allocation.
    One([UserSlice; 1]),
    User(Vec<UserSlice>),
    KernelMut(&'a mut [u8]),
    Kernel(&'a [u8]),
}

/// Where a read puts its bytes: user memory (one or several ranges) or a kernel buffer. Remembers how far it got.
pub struct Sink<'a> {
    ends: Ends<'a>,
    index: usize,
    offset: usize,
    done: usize,
    total: usize,
}

/// Where a write takes its bytes from: user memory (one or several ranges) or a kernel buffer. Remembers how far it got.
pub struct Source<'a> {
    ends: Ends<'a>,
    index: usize,
    offset: usize,
    done: usize,
    total: usize,
}

macro_rules! cursor {
    ($name:ident) => {
        impl<'a> $name<'a> {
            /// One user range.
            pub fn user(slice: UserSlice) -> Self {
                Self {
                    ends: Ends::One([slice]),
                    index: 0,
                    offset: 0,
                    done: 0,
                    total: slice.len,
                }
            }

            /// Several user ranges, in order. The lengths' sum must not overflow (checked by whoever read the iovecs).
            pub fn iovecs(slices: Vec<UserSlice>) -> Self {
                let total = slices.iter().fold(0usize, |n, s| n.saturating_add(s.len));
                Self {
                    ends: Ends::User(slices),
                    index: 0,
                    offset: 0,
                    done: 0,
                    total,
                }
            }

            /// Bytes still to go.
            pub fn remaining(&self) -> usize {
                self.total - self.done
            }

            /// Bytes done.
            pub fn done(&self) -> usize {
                self.done
            }

            /// Whether it is user memory.
            pub fn is_user(&self) -> bool {
                matches!(self.ends, Ends::One(_) | Ends::User(_))
            }

            /// Takes the next `len` bytes of user memory, which must be there, as the frames that they lie in, for a
            /// device to transfer; each range is a multiple of `align` bytes (a power of two, at most a page) from a
            /// multiple of it (`EINVAL` otherwise).
            pub fn pin(&mut self, len: usize, align: usize) -> Result<Vec<FramePiece>> {
                let mut out = Vec::new();
                out.try_reserve(len.div_ceil(PAGE_SIZE) + 1)
                    .map_err(|_| Errno::ENOMEM)?;
                let mut n = 0;
                while n < len {
                    let (address, step) = self.next_user(len - n).ok_or(Errno::EFAULT)?;
                    let offset = address % PAGE_SIZE;
                    let step = step.min(PAGE_SIZE - offset);
                    if (address | step) & (align - 1) != 0 {
                        return Err(Errno::EINVAL);
                    }
                    out.push(FramePiece {
                        frame: vm::pin(address, Self::DEVICE_WRITES)?,
                        offset: offset as u32,
                        len: step as u32,
                    });
                    self.advance(step);
                    n += step;
                }
                Ok(out)
            }

            /// Shortens what remains to at most `most` bytes.
            pub fn limit(&mut self, most: usize) {
                self.total = self.total.min(self.done.saturating_add(most));
            }

            /// The next contiguous user range, at most `most` bytes.
            fn next_user(&mut self, most: usize) -> Option<(usize, usize)> {
                let left = self.total - self.done;
                let slices: &[UserSlice] = match &self.ends {
                    Ends::One(slice) => slice,
                    Ends::User(slices) => slices,
                    _ => return None,
                };
                loop {
                    let s = slices.get(self.index)?;
                    if self.offset < s.len {
                        let n = (s.len - self.offset).min(most).min(left);
                        return Some((s.address.wrapping_add(self.offset), n));
                    }
                    self.index += 1;
                    self.offset = 0;
                }
            }

            fn advance(&mut self, n: usize) {
                self.offset += n;
                self.done += n;
            }
        }
    };
}
cursor!(Sink);
cursor!(Source);

impl<'a> Sink<'a> {
    const DEVICE_WRITES: bool = true;

    /// A kernel buffer.
    pub fn kernel(buf: &'a mut [u8]) -> Self {
        let total = buf.len();
        Self {
            ends: Ends::KernelMut(buf),
            index: 0,
            offset: 0,
            done: 0,
            total,
        }
    }

    /// Puts as much of `data` as fits; returns how much. `EFAULT` only when nothing could be put.
    pub fn put(&mut self, data: &[u8]) -> Result<usize> {
        let mut n = 0;
        while n < data.len() && self.remaining() > 0 {
            let rest = data.get(n..).unwrap_or_default();
            let step = match &mut self.ends {
                Ends::KernelMut(buf) => {
                    let step = rest.len().min(self.total - self.done);
                    let to = buf.get_mut(self.done..self.done + step).ok_or(Errno::EFAULT)?;
                    to.copy_from_slice(rest.get(..step).unwrap_or_default());
                    step
                }
                _ => {
                    let Some((address, step)) = self.next_user(rest.len()) else {
                        break;
                    };
                    if usercopy::copy_out(address, rest.get(..step).unwrap_or_default()).is_err() {
                        return if n > 0 { Ok(n) } else { Err(Errno::EFAULT) };
                    }
                    step
                }
            };
            self.advance(step);
            n += step;
        }
        Ok(n)
    }

    /// Puts up to `len` bytes of a frame, from `offset`; returns how much. `EFAULT` only when nothing could be put.
    pub fn put_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> Result<usize> {
        if let Ends::KernelMut(buf) = &mut self.ends {
            let step = len.min(self.total - self.done);
            frame.read(offset, buf.get_mut(self.done..self.done + step).ok_or(Errno::EFAULT)?);
            self.advance(step);
            return Ok(step);
        }
        let mut n = 0;
        while n < len && self.remaining() > 0 {
            let Some((address, step)) = self.next_user(len - n) else {
                break;
            };
            if usercopy::copy_out_frame(address, frame, offset + n, step).is_err() {
                return if n > 0 { Ok(n) } else { Err(Errno::EFAULT) };
            }
            self.advance(step);
            n += step;
        }
        Ok(n)
    }

    /// Puts up to `len` zero bytes; returns how many.
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        static ZEROS: [u8; 512] = [0; 512];
        let mut n = 0;
        while n < len && self.remaining() > 0 {
            let step = self.put(ZEROS.get(..(len - n).min(512)).unwrap_or_default());
            match step {
                Ok(0) => break,
                Ok(s) => n += s,
                Err(e) => return if n > 0 { Ok(n) } else { Err(e) },
            }
        }
        Ok(n)
    }
}

impl<'a> Source<'a> {
    const DEVICE_WRITES: bool = false;

    /// A kernel buffer.
    pub fn kernel(buf: &'a [u8]) -> Self {
        let total = buf.len();
        Self {
            ends: Ends::Kernel(buf),
            index: 0,
            offset: 0,
            done: 0,
            total,
        }
    }

    /// Takes up to `out.len()` bytes; returns how many. `EFAULT` only when none could be taken.
    pub fn take(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while n < out.len() && self.remaining() > 0 {
            let rest = out.get_mut(n..).unwrap_or_default();
            let step = match &self.ends {
                Ends::Kernel(buf) => {
                    let step = rest.len().min(self.total - self.done);
                    let from = buf.get(self.done..self.done + step).ok_or(Errno::EFAULT)?;
                    rest.get_mut(..step).ok_or(Errno::EFAULT)?.copy_from_slice(from);
                    step
                }
                _ => {
                    let most = rest.len();
                    let Some((address, step)) = self.next_user(most) else {
                        break;
                    };
                    let to = rest.get_mut(..step).ok_or(Errno::EFAULT)?;
                    if usercopy::copy_in(address, to).is_err() {
                        return if n > 0 { Ok(n) } else { Err(Errno::EFAULT) };
                    }
                    step
                }
            };
            self.advance(step);
            n += step;
        }
        Ok(n)
    }

    /// Takes up to `len` bytes into a frame at `offset`; returns how many. `EFAULT` only when none could be taken.
    pub fn take_to_frame(&mut self, frame: &Frame, offset: usize, len: usize) -> Result<usize> {
        if let Ends::Kernel(buf) = &self.ends {
            let step = len.min(self.total - self.done);
            frame.write(offset, buf.get(self.done..self.done + step).ok_or(Errno::EFAULT)?);
            self.advance(step);
            return Ok(step);
        }
        let mut n = 0;
        while n < len && self.remaining() > 0 {
            let Some((address, step)) = self.next_user(len - n) else {
                break;
            };
            if usercopy::copy_in_frame(address, frame, offset + n, step).is_err() {
                return if n > 0 { Ok(n) } else { Err(Errno::EFAULT) };
            }
            self.advance(step);
            n += step;
        }
        Ok(n)
    }

    /// Takes everything into a new buffer of at most `most` bytes.
    pub fn take_vec(&mut self, most: usize) -> Result<Vec<u8>> {
        let len = self.remaining().min(most);
        let mut out = Vec::new();
        out.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        out.resize(len, 0);
        let n = self.take(&mut out)?;
        out.truncate(n);
        Ok(out)
    }
}
