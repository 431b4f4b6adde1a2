//! Options of mount(8) (ext4(5)).

use crate::{Errno, Result};

/// Seconds between commits.
pub(super) const COMMIT_S: u32 = 5;
/// The most that is taken for `commit=`.
const COMMIT_S_MAX: u32 = 300;

/// What happens after an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnError {
    /// Nothing is written any more.
    #[default]
    RemountReadOnly,
    /// The kernel stops.
    Panic,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) read_only: Option<bool>,
    pub(super) commit_s: Option<u32>,
    pub(super) on_error: Option<OnError>,
}

impl Options {
    /// `EINVAL` for what is unknown, or would not be done.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut out = Self::default();
        for word in text.split(',').filter(|w| !w.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match (name, value) {
                ("ro", "") => out.read_only = Some(true),
                ("rw", "") => out.read_only = Some(false),
                ("commit", n) => {
                    let n: u32 = n.parse().map_err(|_| Errno::EINVAL)?;
                    // 0 means the default (ext4(5)).
                    out.commit_s = Some(if n == 0 { COMMIT_S } else { n.min(COMMIT_S_MAX) });
                }
                ("errors", "remount-ro") => out.on_error = Some(OnError::RemountReadOnly),
                ("errors", "panic") => out.on_error = Some(OnError::Panic),
                // What is done anyway.
                ("data", "ordered")
                | ("barrier", "" | "1")
                | ("user_xattr" | "delalloc" | "noauto_da_alloc", "")
                | (
                    "defaults" | "relatime" | "nodiscard" | "block_validity" | "nouid32" | "nogrpid" | "sysvgroups",
                    "",
                ) => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(out)
    }
}
