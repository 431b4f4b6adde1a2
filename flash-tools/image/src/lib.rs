//! Makes what a board boots: the kernel image, the root archive, the manifest that names them, and images of whole cards.
//!
//! Everything here is a function of bytes and of `image.toml`: no compiler is started, nothing is fetched, no time is
//! read, so that the same inputs always give the same images. `sisctl build` brings the inputs. Only [`card`] writes a
//! file by itself, and starts programs of e2fsprogs on it.
#![forbid(unsafe_code)]

pub mod card;
pub mod kernel;
pub mod ksyms;
pub mod manifest;
pub mod root;
