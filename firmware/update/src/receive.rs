//! Taking a bundle in: refused as early as it can be, kept on the data partition until it is known to be whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use sha2::{Digest, Sha256};
use sis_bundle::{BundleError, Head, HeadReader, sha256_hex};

use crate::card::Card;
use crate::{UpdateError, at};

/// What stays free on the data partition, in bytes.
const RESERVE_BYTES: u64 = 4 << 20;

/// A bundle that is known to be whole and meant for this board.
#[derive(Debug)]
pub struct Received {
    /// What it is.
    pub head: Head,
    /// Where it is.
    pub path: PathBuf,
}

/// Takes the bytes of one bundle, in any chunking.
#[derive(Debug)]
pub struct Receiver {
    path: PathBuf,
    card: Card,
    may_go_back: bool,
    head_reader: HeadReader,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    head: Head,
    file: File,
    /// Bytes of parts so far.
    taken: u64,
    /// The part that is coming, its bytes so far, and their digest.
    part: usize,
    part_taken: u64,
    digest: Sha256,
}

/// Removes what an earlier attempt left.
///
/// # Errors
/// [`UpdateError::Io`].
pub fn clear(folder: &Path) -> Result<(), UpdateError> {
    let path = stored(folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn stored(folder: &Path) -> PathBuf {
    folder.join("bundle")
}

impl Receiver {
    /// Stores what comes below `folder`, on the data partition. `may_go_back`: an older version is taken too.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn new(folder: &Path, card: Card, may_go_back: bool) -> Result<Self, UpdateError> {
        fs::create_dir_all(folder).map_err(at(folder))?;
        clear(folder)?;
        Ok(Self {
            path: stored(folder),
            card,
            may_go_back,
            head_reader: HeadReader::default(),
            body: None,
        })
    }

    /// Takes more bytes. Answers the head when these complete it: the bundle is then one that this board would install.
    ///
    /// # Errors
    /// [`UpdateError`]; nothing of the bundle is of use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<&Head>, UpdateError> {
        if let Some(body) = &mut self.body {
            body.feed(bytes, &self.path)?;
            return Ok(None);
        }
        let Some((head, rest)) = self.head_reader.feed(bytes, &self.card.keys)? else {
            return Ok(None);
        };
        self.check(&head)?;
        let file = File::create(&self.path).map_err(at(&self.path))?;
        let body = self.body.insert(Body {
            head,
            file,
            taken: 0,
            part: 0,
            part_taken: 0,
            digest: Sha256::new(),
        });
        body.feed(&rest, &self.path)?;
        Ok(Some(&body.head))
    }

    fn check(&self, head: &Head) -> Result<(), UpdateError> {
        let (manifest, own) = (&head.manifest, &self.card.release);
        if manifest.board != own.board {
            return Err(UpdateError::Board {
                bundle: manifest.board.clone(),
                own: own.board.clone(),
            });
        }
        if manifest.version < own.version && !self.may_go_back {
            return Err(UpdateError::Downgrade {
                bundle: manifest.version.clone(),
                own: own.version.clone(),
            });
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let room = statvfs(folder).map_err(|error| at(folder)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let needs = manifest.stored_bytes();
        if needs.saturating_add(RESERVE_BYTES) > free {
            return Err(UpdateError::NoRoom { needs, free });
        }
        Ok(())
    }

    /// Bytes of parts so far, and of all parts.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let body = self.body.as_ref();
        body.map_or((0, 0), |body| (body.taken, body.head.manifest.stored_bytes()))
    }

    /// No more bytes come.
    ///
    /// # Errors
    /// [`BundleError::Truncated`], and the device's.
    pub fn finish(self) -> Result<Received, UpdateError> {
        let Some(body) = self.body else {
            return Err(self.head_reader.truncated().into());
        };
        let (got, wanted) = (body.head.len + body.taken, body.head.bundle_bytes());
        if got < wanted {
            return Err(BundleError::Truncated { got, wanted }.into());
        }
        body.file.sync_all().map_err(at(&self.path))?;
        Ok(Received {
            head: body.head,
            path: self.path,
        })
    }
}

impl Body {
    fn feed(&mut self, mut bytes: &[u8], path: &Path) -> Result<(), UpdateError> {
        while !bytes.is_empty() {
            let Some(part) = self.head.manifest.parts.get(self.part) else {
                let wanted = self.head.bundle_bytes();
                let got = wanted + bytes.len() as u64;
                return Err(BundleError::TooLong { got, wanted }.into());
            };
            let rest = usize::try_from(part.stored_bytes - self.part_taken).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(rest.min(bytes.len()));
            self.file.write_all(now).map_err(at(path))?;
            self.digest.update(now);
            self.part_taken += now.len() as u64;
            self.taken += now.len() as u64;
            bytes = later;
            if self.part_taken == part.stored_bytes {
                if sha256_hex(std::mem::take(&mut self.digest)) != part.stored_sha256 {
                    return Err(BundleError::Damaged {
                        part: part.name(),
                        what: "its checksum is another".into(),
                    }
                    .into());
                }
                self.part += 1;
                self.part_taken = 0;
            }
        }
        Ok(())
    }
}
