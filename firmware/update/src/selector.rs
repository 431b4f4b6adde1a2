//! Telling the loader what to start: one sector of the file that it reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use sis_bundle::selection::{FILE_BYTES, Kind, Selection, TRYBOOT};
use sis_bundle::{Slot, fat};

use crate::{UpdateError, at};

/// The loader's choice on a card.
#[derive(Debug)]
pub struct Selector {
    device: PathBuf,
    file: File,
    /// Where on the partition the file's only sector is.
    offset: u64,
    kind: Kind,
}

/// Drops what is cached of `file`, so that the next read asks the device. What is dirty stays: sync first.
pub(crate) fn forget_cached(file: &File) -> io::Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

impl Selector {
    /// Finds the file on the partition at `device`.
    ///
    /// # Errors
    /// [`UpdateError::Io`] where there is none, or the device fails.
    pub fn open(device: &Path) -> Result<Self, UpdateError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(device)
            .map_err(at(device))?;
        // The loader writes it too, but never while a system runs.
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for kind in Kind::ALL {
            match fat::find(kind.file(), &mut |offset, out| file.read_exact_at(out, offset)) {
                Ok(offset) => {
                    return Ok(Self {
                        device: device.into(),
                        file,
                        offset,
                        kind,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(at(device)(last))
    }

    /// What starts next.
    ///
    /// # Errors
    /// [`UpdateError::Io`]; `InvalidData` for a file that says nothing.
    pub fn read(&self) -> Result<Selection, UpdateError> {
        let mut sector = [0; FILE_BYTES];
        self.file
            .read_exact_at(&mut sector, self.offset)
            .map_err(at(&self.device))?;
        self.kind.parse(&sector).ok_or_else(|| {
            let what = format!("{} does not say which slot starts", self.kind.file());
            at(&self.device)(io::Error::new(io::ErrorKind::InvalidData, what))
        })
    }

    /// Has the other slot of `committed` started once. Answers the argument that the restart needs for that, if any.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn arm(&self, committed: Slot) -> Result<Option<&'static str>, UpdateError> {
        match self.kind {
            Kind::Environment => {
                let trial = Some(committed.other());
                self.write(Selection { committed, trial }).map(|()| None)
            }
            // The file stays as it is: its [tryboot] names the other slot.
            Kind::Autoboot => Ok(Some(TRYBOOT)),
        }
    }

    /// Has `slot` started from now on.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn commit(&self, slot: Slot) -> Result<(), UpdateError> {
        self.write(Selection::of(slot))
    }

    fn write(&self, selection: Selection) -> Result<(), UpdateError> {
        let sector = self.kind.render(selection);
        let mut back = [0; FILE_BYTES];
        self.file
            .write_all_at(&sector, self.offset)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| forget_cached(&self.file))
            .and_then(|()| self.file.read_exact_at(&mut back, self.offset))
            .map_err(at(&self.device))?;
        if back == sector {
            return Ok(());
        }
        let what = "the card gave back another choice of slots than was written";
        Err(at(&self.device)(io::Error::new(io::ErrorKind::InvalidData, what)))
    }
}
