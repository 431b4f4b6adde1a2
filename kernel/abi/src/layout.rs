//! Values as programs see them in memory: little-endian, at fixed offsets, without unsafe code.

/// A value with a fixed binary layout.
///
/// The size is that of the C type, trailing padding included. Reading never fails on the values of the bytes, only when there are too few.
pub trait Layout: Sized {
    /// The size in bytes.
    const SIZE: usize;

    /// Reads a value from the first [`SIZE`](Self::SIZE) bytes; `None` when there are fewer.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Writes the value over the first [`SIZE`](Self::SIZE) bytes, padding as zeros; `None`, and nothing written, when there are fewer.
    #[must_use = "nothing is written when there is no room"]
    fn write(&self, bytes: &mut [u8]) -> Option<()>;

    /// The value whose bytes are all zero.
    fn zeroed() -> Self;
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(impl Layout for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|chunk| <$type>::from_le_bytes(*chunk))
            }

            #[inline]
            fn write(&self, bytes: &mut [u8]) -> Option<()> {
                *bytes.first_chunk_mut()? = self.to_le_bytes();
                Some(())
            }

            #[inline]
            fn zeroed() -> Self {
                0
            }
        })*
    };
}

integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 isize);

impl<T: Layout + Copy, const N: usize> Layout for [T; N] {
    const SIZE: usize = T::SIZE * N;

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::SIZE)?;
        let mut values = [T::zeroed(); N];
        for (value, chunk) in values.iter_mut().zip(bytes.chunks_exact(T::SIZE)) {
            *value = T::read(chunk)?;
        }
        Some(values)
    }

    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let bytes = bytes.get_mut(..Self::SIZE)?;
        for (value, chunk) in self.iter().zip(bytes.chunks_exact_mut(T::SIZE)) {
            value.write(chunk)?;
        }
        Some(())
    }

    fn zeroed() -> Self {
        [T::zeroed(); N]
    }
}

/// The field at an offset; `None` when it leaves the bytes.
#[inline]
pub(crate) fn field<T: Layout>(bytes: &[u8], offset: usize) -> Option<T> {
    T::read(bytes.get(offset..)?)
}

/// Writes the field at an offset, if it lies within the bytes.
#[inline]
pub(crate) fn set_field<T: Layout>(bytes: &mut [u8], offset: usize, value: &T) {
    let _ = bytes.get_mut(offset..).and_then(|place| value.write(place));
}

/// A structure as the comparison with the C headers needs it: fields as (name, offset, size).
#[cfg(test)]
pub(crate) struct Described {
    pub(crate) c_name: &'static str,
    pub(crate) size: usize,
    pub(crate) fields: &'static [(&'static str, usize, usize)],
}
