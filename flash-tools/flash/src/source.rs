//! An image as a stream: plain, `.zst` or `.xz`, with the map of what of it is written.

use crate::bmap::{Bmap, BmapError, Range};
use rustix::fs::SeekFrom;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// How much memory the decompressor of an `.xz` image may take, in bytes: what `xz -9` needs, and some.
const XZ_MEMORY_BYTES: u64 = 128 << 20;

/// Where the map of what is written came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOrigin {
    /// A block map, with checksums.
    Bmap(PathBuf),
    /// The holes of the sparse image file; onto a device they are written as zeros.
    Holes,
    /// There is none: everything is written.
    Everything,
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Opening or reading failed.
    #[error("{path}: {error}")]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// The block map is not to be used.
    #[error("{path}: {error}")]
    Bmap {
        /// The block map.
        path: PathBuf,
        /// What is wrong with it.
        error: BmapError,
    },
    /// The image and its map do not belong together.
    #[error("the image has {image_bytes} bytes and its block map is for {map_bytes}: they do not belong together")]
    Length {
        /// The image's length.
        image_bytes: u64,
        /// The length that the map names.
        map_bytes: u64,
    },
    /// There is nothing in it.
    #[error("the image is empty")]
    Empty,
}

enum Stream {
    Plain(File),
    Packed(Box<dyn Read + Send>),
}

/// An open image.
pub struct Source {
    stream: Stream,
    position: u64,
    /// The image's length unpacked, in bytes, where it is known before reading.
    pub image_bytes: Option<u64>,
    /// What is written, ascending. Empty when the length is not known: everything is, until the stream ends.
    pub ranges: Vec<Range>,
    /// Where `ranges` came from.
    pub origin: MapOrigin,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("image_bytes", &self.image_bytes)
            .field("ranges", &self.ranges.len())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Opens the image at `path`. Its map is `bmap`, or `IMAGE.bmap` beside it (for `card.img.zst` also `card.img.bmap`),
    /// or the holes of a plain file.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(path: &Path, bmap: Option<&Path>) -> Result<Self, SourceError> {
        let io_error = |error| SourceError::Io {
            path: path.into(),
            error,
        };
        let file = File::open(path).map_err(io_error)?;
        let packing = path.extension().and_then(|extension| extension.to_str());
        let (stream, image_bytes) = match packing {
            Some("zst") => {
                let decoder = zstd::Decoder::new(file).map_err(io_error)?;
                (Stream::Packed(Box::new(decoder)), None)
            }
            Some("xz") => {
                let decoder =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)
                        .map_err(|error| io_error(error.into()))?;
                let reader = liblzma::bufread::XzDecoder::new_stream(BufReader::with_capacity(1 << 18, file), decoder);
                (Stream::Packed(Box::new(reader)), None)
            }
            _ => {
                let len = (&file).seek(io::SeekFrom::End(0)).map_err(io_error)?;
                (&file).seek(io::SeekFrom::Start(0)).map_err(io_error)?;
                (Stream::Plain(file), Some(len))
            }
        };
        let mut source = Self {
            stream,
            position: 0,
            image_bytes,
            ranges: Vec::new(),
            origin: MapOrigin::Everything,
        };
        source.find_map(path, bmap)?;
        if source.image_bytes == Some(0) {
            return Err(SourceError::Empty);
        }
        Ok(source)
    }

    fn find_map(&mut self, path: &Path, told: Option<&Path>) -> Result<(), SourceError> {
        let is_packed = matches!(self.stream, Stream::Packed(_));
        let beside = [
            Some(with_bmap(path)),
            is_packed.then(|| with_bmap(&path.with_extension(""))),
        ];
        let found = told
            .map(Path::to_path_buf)
            .or_else(|| beside.into_iter().flatten().find(|candidate| candidate.exists()));
        if let Some(map_path) = found {
            let io_error = |error| SourceError::Io {
                path: map_path.clone(),
                error,
            };
            let mut bytes = Vec::new();
            File::open(&map_path)
                .and_then(|file| file.take(crate::bmap::MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
                .map_err(io_error)?;
            let map = Bmap::parse(&bytes).map_err(|error| SourceError::Bmap {
                path: map_path.clone(),
                error,
            })?;
            if let Some(image_bytes) = self.image_bytes.filter(|len| *len != map.image_bytes) {
                return Err(SourceError::Length {
                    image_bytes,
                    map_bytes: map.image_bytes,
                });
            }
            self.image_bytes = Some(map.image_bytes);
            self.ranges = map.ranges;
            self.origin = MapOrigin::Bmap(map_path);
        } else if let (Stream::Plain(file), Some(len)) = (&self.stream, self.image_bytes) {
            self.ranges = data_of(file, len).map_err(|error| SourceError::Io {
                path: path.into(),
                error,
            })?;
            let is_whole = matches!(self.ranges.as_slice(), [only] if only.len == len);
            self.origin = if is_whole {
                MapOrigin::Everything
            } else {
                MapOrigin::Holes
            };
        }
        Ok(())
    }

    /// Has the holes of a sparse file written too: they are zeros, and whatever it is written onto need not hold zeros. A
    /// block map's holes stay out, as whoever made it says that what is there does not matter.
    pub fn fill_holes(&mut self) {
        if let (MapOrigin::Holes, Some(len)) = (&self.origin, self.image_bytes) {
            self.ranges = vec![Range {
                start: 0,
                len,
                sha256: None,
            }];
            self.origin = MapOrigin::Everything;
        }
    }

    /// Bytes that will be written, where it is known before reading.
    #[must_use]
    pub fn mapped_bytes(&self) -> Option<u64> {
        self.image_bytes
            .map(|_| self.ranges.iter().map(|range| range.len).sum())
    }

    /// Goes forward to `offset`.
    ///
    /// # Errors
    /// A packed image that ends before it, or that is damaged.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(file) => {
                file.seek(io::SeekFrom::Start(offset))?;
            }
            Stream::Packed(reader) => {
                let distance = offset.saturating_sub(self.position);
                if io::copy(&mut reader.take(distance), &mut io::sink())? < distance {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        self.position = offset;
        Ok(())
    }

    /// Has the kernel begin to read the first bytes of a range of a plain image that is wanted next.
    pub(crate) fn announce(&self, range: Range) {
        if let Stream::Plain(file) = &self.stream {
            let len = std::num::NonZeroU64::new(range.len.min(crate::buffer::CAPACITY as u64));
            // Only advice: the bytes are read all the same.
            let _ = rustix::fs::fadvise(file, range.start, len, rustix::fs::Advice::WillNeed);
        }
    }

    /// Fills `out` as far as the image goes; answers how much it was.
    ///
    /// # Errors
    /// As reading, and a packed image that is damaged or cut.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let reader: &mut dyn Read = match &mut self.stream {
            Stream::Plain(file) => file,
            Stream::Packed(reader) => reader,
        };
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Reads a packed image to its end, so that its own checksums are checked too.
    ///
    /// # Errors
    /// A packed image that is damaged, cut, or of another length than its map says.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Stream::Packed(reader) = &mut self.stream else {
            return Ok(());
        };
        self.position += io::copy(reader, &mut io::sink())?;
        match self.image_bytes {
            Some(len) if len != self.position => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the image has {} bytes and its block map is for {len}", self.position),
            )),
            _ => Ok(()),
        }
    }
}

fn with_bmap(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bmap");
    name.into()
}

/// The parts of a file that are not holes. On a file system that does not tell, all of it.
fn data_of(file: &File, len: u64) -> io::Result<Vec<Range>> {
    let everything = Range {
        start: 0,
        len,
        sha256: None,
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(vec![everything]),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(len);
        ranges.push(Range {
            start,
            len: end - start,
            sha256: None,
        });
        at = end;
    }
    Ok(ranges)
}
