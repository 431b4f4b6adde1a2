//! Options of mount(8) (mount(8), "Mount options for fat" and "for vfat").

use alloc::format;
use alloc::string::String;

use crate::process::thread;
use crate::{Errno, Result};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) read_only: Option<bool>,
    /// Owner of everything.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permissions that files and directories do not have.
    pub(super) file_mask: u32,
    pub(super) directory_mask: u32,
}

impl Options {
    /// `EINVAL` for what is unknown, or would not be done. Without masks the process's umask is taken.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let umask = thread::try_current().map_or(0o022, |t| t.fs().umask());
        let mut out = Self {
            read_only: None,
            uid: 0,
            gid: 0,
            file_mask: umask,
            directory_mask: umask,
        };
        for word in text.split(',').filter(|w| !w.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match (name, value) {
                ("ro", "") => out.read_only = Some(true),
                ("rw", "") => out.read_only = Some(false),
                ("uid", n) => out.uid = number(n)?,
                ("gid", n) => out.gid = number(n)?,
                ("fmask", n) => out.file_mask = mask(n)?,
                ("dmask", n) => out.directory_mask = mask(n)?,
                ("umask", n) => {
                    out.file_mask = mask(n)?;
                    out.directory_mask = out.file_mask;
                }
                // What is done anyway.
                ("defaults" | "relatime" | "utf8", "")
                | ("utf8", "1")
                | ("codepage", "437")
                | ("iocharset", "utf8" | "ascii" | "iso8859-1")
                | ("shortname", "mixed")
                | ("tz", "UTC")
                | ("fat", "32")
                | ("errors", "remount-ro") => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(out)
    }

    /// As /proc/mounts shows them.
    pub(super) fn shown(&self) -> String {
        let mut out = String::new();
        if self.uid != 0 {
            out.push_str(&format!(",uid={}", self.uid));
        }
        if self.gid != 0 {
            out.push_str(&format!(",gid={}", self.gid));
        }
        out.push_str(&format!(
            ",fmask={:04o},dmask={:04o},shortname=mixed,utf8,errors=remount-ro",
            self.file_mask, self.directory_mask
        ));
        out
    }
}

fn number(text: &str) -> Result<u32> {
    text.parse().map_err(|_| Errno::EINVAL)
}

fn mask(text: &str) -> Result<u32> {
    let mask = u32::from_str_radix(text, 8).map_err(|_| Errno::EINVAL)?;
    if mask & !0o777 != 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(mask)
    }
}
