//! How long files are, and where their content is.

use alloc::vec::Vec;

use super::{Place, Volume};
use crate::slot::ARCHIVE;
use crate::{Disk, Error};

/// The clusters of a file or directory, by the first; an empty file has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(pub(crate) u32);

impl Chain {
    /// Of a file without content.
    pub const NONE: Self = Self(0);
}

/// Clusters that follow each other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first sector, of 512 bytes.
    pub sector: u64,
    /// Bytes.
    pub bytes: u64,
}

impl<D: Disk> Volume<D> {
    /// Where `count` clusters from the `first`th of a file on are, in order, as far as the file has them.
    pub fn runs(&self, chain: Chain, first: u64, count: u64) -> Vec<Run> {
        let geometry = &self.tables.geometry;
        let bytes = geometry.cluster_bytes() as u64;
        let limit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let clusters = self.tables.table.chain(chain.0).skip(limit(first)).take(limit(count));
        let mut out: Vec<Run> = Vec::new();
        for cluster in clusters {
            let sector = geometry.sector_of(cluster);
            match out.last_mut() {
                Some(run) if run.sector + run.bytes / 512 == sector => run.bytes += bytes,
                _ => out.push(Run { sector, bytes }),
            }
        }
        out
    }

    /// Clusters of a file.
    pub fn clusters(&self, chain: Chain) -> u64 {
        self.tables.table.chain(chain.0).count() as u64
    }

    /// Gives a file at least `count` clusters; what they hold is what was there before. The answer is the chain from now on.
    ///
    /// # Errors
    /// [`Error::NoSpace`], with nothing taken; [`Error::ReadOnly`]; [`Error::Disk`].
    pub fn lengthen(&mut self, chain: Chain, count: u64) -> Result<Chain, Error> {
        self.writable()?;
        let (had, mut last) = self
            .tables
            .table
            .chain(chain.0)
            .fold((0, None), |(had, _), cluster| (had + 1, Some(cluster)));
        let mut first = chain;
        for _ in had..count {
            match self.take(last) {
                Ok(cluster) => {
                    if first == Chain::NONE {
                        first = Chain(cluster);
                    }
                    last = Some(cluster);
                }
                Err(e) => {
                    self.shorten(first, had)?;
                    return Err(e);
                }
            }
        }
        Ok(first)
    }

    /// Takes a cluster. Those that were freed can be had again once the disk knows.
    pub(super) fn take(&mut self, after: Option<u32>) -> Result<u32, Error> {
        match self.tables.table.take(after) {
            Err(Error::NoSpace) if self.tables.table.free_clusters() > 0 => {
                self.commit()?;
                self.tables.table.take(after)
            }
            out => out,
        }
    }

    /// Frees all but the first `count` clusters. The answer is the chain from now on.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn shorten(&mut self, chain: Chain, count: u64) -> Result<Chain, Error> {
        self.writable()?;
        let table = &mut self.tables.table;
        let Some(before) = count.checked_sub(1) else {
            table.free_chain(chain.0);
            return Ok(Chain::NONE);
        };
        let last = table.chain(chain.0).nth(usize::try_from(before).unwrap_or(usize::MAX));
        if let Some(last) = last {
            table.cut_after(last);
        }
        Ok(chain)
    }

    /// Notes in a file's entry where its content is and how many bytes of it there are. They have been written.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::ReadOnly`].
    pub fn set_file_size(&mut self, place: Place, chain: Chain, bytes: u64) -> Result<(), Error> {
        let size = u32::try_from(bytes).map_err(|_| Error::TooLarge)?;
        self.change(place, |slot| {
            slot.set_first(chain.0);
            slot.set_size(size);
            slot.set_attributes(slot.attributes() | ARCHIVE);
        })
    }
}
