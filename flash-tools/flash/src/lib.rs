//! Writes an image onto a card, a loop device or a file.
//!
//! What is written is what the image's block map names, or what its holes leave; it is read back and compared. The image
//! is a stream and never in memory as a whole. Progress is a callback, and stopping a flag: what a person sees is the
//! command line's.
//!
//! Not here: making images (`sis-image`), and any change of an image on its way.
#![forbid(unsafe_code)]

pub mod bmap;
mod buffer;
pub mod device;
pub mod source;
pub mod target;
mod verify;
pub mod write;
