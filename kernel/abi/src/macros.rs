//! How the tables of this crate are written down.

/// Constants with their C names: the name of the list for the comparison with the C headers, the type, where they are described.
macro_rules! constants {
    ($list:ident, $type:ty, $source:literal; $($name:ident = $value:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`, see ", $source, ".")] pub const $name: $type = $value;)*

        #[cfg(test)]
        pub(crate) const $list: &[(&str, i64)] = &[$((stringify!($name), $value as i64),)*];
    };
}

/// A set of flags whose constants are the C names without the prefix.
macro_rules! flags {
    ($(#[$meta:meta])* pub struct $type:ident: $bits:ty, $prefix:literal { $($name:ident = $value:expr;)* }) => {
        bitflags::bitflags! {
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $type: $bits {
                $(#[doc = concat!("`", $prefix, stringify!($name), "`.")] const $name = $value;)*
            }
        }

        #[cfg(test)]
        impl $type {
            pub(crate) const LIST: &[(&str, i64)] = &[$((concat!($prefix, stringify!($name)), $value as i64),)*];
        }
    };
}

/// A C structure: its C name and size, and each field at its offset (with its C name where that is no Rust name). Bytes of no field are read past, and written as zeros.
macro_rules! layout {
    ($(#[$meta:meta])* pub struct $type:ident = $c_name:literal, $size:literal {
        $($(#[$field_meta:meta])* $field:ident: $field_type:ty = $offset:literal $(=> $c_field:literal)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $type {
            $($(#[$field_meta])* pub $field: $field_type,)*
        }

        const _: () = {
            let mut end = 0;
            $(
                assert!($offset >= end, "fields ascend and do not overlap");
                end = $offset + <$field_type as $crate::Layout>::SIZE;
            )*
            assert!(end <= $size, "fields lie within the size");
        };

        impl $type {
            /// The bytes as programs see them, in an array.
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                let _ = $crate::Layout::write(self, &mut bytes);
                bytes
            }

            /// From the bytes of a program.
            pub fn from_bytes(bytes: &[u8; $size]) -> Self {
                $(
                    // The assertions above hold: no field leaves the array.
                    let $field = $crate::layout::field(bytes, $offset).unwrap_or_else($crate::Layout::zeroed);
                )*
                Self { $($field,)* }
            }
        }

        impl $crate::Layout for $type {
            const SIZE: usize = $size;

            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(Self::from_bytes)
            }

            fn write(&self, bytes: &mut [u8]) -> Option<()> {
                let bytes = bytes.get_mut(..$size)?;
                bytes.fill(0);
                $($crate::layout::set_field(bytes, $offset, &self.$field);)*
                Some(())
            }

            fn zeroed() -> Self {
                Self { $($field: $crate::Layout::zeroed(),)* }
            }
        }

        impl Default for $type {
            fn default() -> Self {
                <Self as $crate::Layout>::zeroed()
            }
        }

        #[cfg(test)]
        impl $type {
            pub(crate) const DESCRIBED: $crate::layout::Described = $crate::layout::Described {
                c_name: $c_name,
                size: $size,
                fields: &[$(($crate::macros::c_field!($field $($c_field)?), $offset, <$field_type as $crate::Layout>::SIZE),)*],
            };
        }
    };
}

/// The C name of a field.
#[cfg(test)]
macro_rules! c_field {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

#[cfg(test)]
pub(crate) use c_field;
pub(crate) use {constants, flags, layout};
