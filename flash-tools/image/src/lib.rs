//! Makes what a board boots: the kernel image, the root archive and the manifest that names them.
//!
//! Everything here is a function of bytes and of `image.toml`: no compiler is started, nothing is fetched, no time is
//! read, so that the same inputs always give the same images. `sisctl build` brings the inputs.
#![forbid(unsafe_code)]

pub mod kernel;
pub mod ksyms;
pub mod manifest;
pub mod root;
