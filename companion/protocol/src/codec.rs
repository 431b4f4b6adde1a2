//! CBOR encoding with bounds: how a value becomes bytes and how hostile bytes are kept from costing memory.
//!
//! *Bounded* means: no list longer than its declared limit is ever built, and text is never longer than the input that carried it, so
//! decoding costs at most a small constant times the input's length.

mod nesting;

use alloc::vec::Vec;
use minicbor::{Decode, Decoder, Encode, decode};

pub use nesting::MAX_NESTING;

/// Why bytes were not taken as a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input is longer than a message of this kind may be.
    TooLong {
        /// Length of the input in bytes.
        len: usize,
        /// The most that is taken.
        max: usize,
    },
    /// Not CBOR, not this type, or a list over its limit.
    Malformed(decode::Error),
    /// Items lie in each other deeper than [`MAX_NESTING`].
    TooDeep,
    /// A whole value, and then more bytes.
    TrailingBytes {
        /// How many bytes follow the value.
        count: usize,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong { len, max } => write!(f, "message of {len} bytes is over the limit of {max}"),
            Self::TooDeep => write!(f, "message with more than {MAX_NESTING} levels of nesting"),
            Self::Malformed(error) => write!(f, "malformed message: {error}"),
            Self::TrailingBytes { count } => write!(f, "{count} bytes after the end of the message"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Encodes `value` as one CBOR item.
pub fn to_vec<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a `Vec` has `Infallible` as its error, and no type of this crate refuses to be encoded.
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Decodes exactly one CBOR item that fills `bytes`, of at most `max` bytes.
///
/// # Errors
/// [`DecodeError`] when it is too long, too deep, malformed, or followed by more bytes.
pub fn from_slice<'b, T: Decode<'b, ()>>(bytes: &'b [u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { len: bytes.len(), max });
    }
    if !nesting::is_shallow(bytes) {
        return Err(DecodeError::TooDeep);
    }
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().map_err(DecodeError::Malformed)?;
    match bytes.len() - decoder.position() {
        0 => Ok(value),
        count => Err(DecodeError::TrailingBytes { count }),
    }
}

/// A value that stands for "something this version does not know".
pub trait Unknown {
    /// The stand-in.
    fn unknown() -> Self;
}

/// `#[cbor(decode_with = "..")]` of an enum: a variant that this version does not know becomes [`Unknown::unknown`].
///
/// # Errors
/// Whatever else is wrong with the item.
pub fn lenient<'b, C, T: Decode<'b, C> + Unknown>(d: &mut Decoder<'b>, ctx: &mut C) -> Result<T, decode::Error> {
    let start = d.position();
    match T::decode(d, ctx) {
        Err(error) if error.is_unknown_variant() => {
            d.set_position(start);
            d.skip()?;
            Ok(T::unknown())
        }
        other => other,
    }
}

/// `#[cbor(decode_with = "..")]` of a list with at most `MAX` elements.
///
/// # Errors
/// A longer list, or an element that does not decode.
pub fn list<'b, C, T: Decode<'b, C>, const MAX: usize>(
    d: &mut Decoder<'b>,
    ctx: &mut C,
) -> Result<Vec<T>, decode::Error> {
    let start = d.position();
    let mut values = Vec::new();
    for value in d.array_iter_with(ctx)? {
        if values.len() == MAX {
            return Err(decode::Error::message("list over its limit").at(start));
        }
        values.push(value?);
    }
    Ok(values)
}

/// An enum that travels as its number; a number that this version does not know is kept as `Unknown(n)`.
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
            /// A value from a newer peer, as its number.
            Unknown(u32),
        }

        impl $name {
            /// Every value that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number it travels as.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* Self::Unknown(n) => n }
            }

            /// The value of a number.
            #[must_use]
            pub const fn from_number(n: u32) -> Self {
                match n { $($number => Self::$variant,)* n => Self::Unknown(n) }
            }
        }

        #[cfg(test)]
        impl proptest::arbitrary::Arbitrary for $name {
            type Parameters = ();
            type Strategy = proptest::strategy::BoxedStrategy<Self>;

            fn arbitrary_with((): ()) -> Self::Strategy {
                use proptest::prelude::{Strategy as _, any, prop_oneof};
                prop_oneof![0..12u32, any::<u32>()].prop_map(Self::from_number).boxed()
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self, e: &mut minicbor::Encoder<W>, _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u32(self.number())?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Ok(Self::from_number(d.u32()?))
            }
        }
    };
}
pub(crate) use open_enum;

/// Decodes through [`lenient`] where there is no field to hang the attribute on.
pub(crate) struct Lenient<T>(pub(crate) T);

impl<'b, C, T: Decode<'b, C> + Unknown> Decode<'b, C> for Lenient<T> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        lenient(d, ctx).map(Self)
    }
}
