//! Making a bundle.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};

use crate::sign::Signer;
use crate::{BLOCK_BYTES, BundleError, Manifest, Part, Range, Slot, Target, head, sha256_hex};

/// What is read at once.
const READ_BLOCKS: u64 = 256;

/// Where the content of a part is.
#[derive(Debug)]
pub struct Source<'a> {
    /// What it is written onto.
    pub target: Target,
    /// The slot that it is for; none where it suits both.
    pub slot: Option<Slot>,
    /// The file that has the partition.
    pub file: &'a File,
    /// Where the partition begins there.
    pub offset: u64,
    /// The partition's length in bytes.
    pub bytes: u64,
    /// Its blocks that mean something, in ascending order.
    pub ranges: Vec<Range>,
}

/// Writes the bundle of `sources` into `out`, an empty file, and completes `manifest` with its parts. `temporary` is an empty
/// file that holds the parts until their checksums are known.
///
/// # Errors
/// The files' own, and a manifest that contradicts itself.
pub fn write(
    out: &File,
    mut temporary: &File,
    manifest: &mut Manifest,
    sources: &[Source<'_>],
    signer: &Signer,
) -> Result<(), BundleError> {
    manifest.parts.clear();
    for source in sources {
        manifest.parts.push(pack(source, temporary)?);
    }
    let text = serde_json::to_vec(manifest).map_err(io::Error::from)?;
    // What no reader would take is not written.
    Manifest::parse(&text)?;
    let mut out = BufWriter::new(out);
    out.write_all(&head::encode(&text, &signer.sign(&text)))?;
    temporary.seek(SeekFrom::Start(0))?;
    io::copy(&mut temporary, &mut out)?;
    out.flush()?;
    Ok(())
}

/// Counts and digests what passes.
struct Meter<W> {
    to: W,
    bytes: u64,
    digest: Sha256,
}

impl<W: Write> Write for Meter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn pack(source: &Source<'_>, to: &File) -> Result<Part, BundleError> {
    let meter = Meter {
        to: BufWriter::new(to),
        bytes: 0,
        digest: Sha256::new(),
    };
    let mut packer = ZlibEncoder::new(meter, Compression::default());
    let mut digest = Sha256::new();
    let mut buffer = Vec::new();
    for range in &source.ranges {
        let end = range.first + range.count;
        let mut next = range.first;
        while next < end {
            let count = READ_BLOCKS.min(end - next);
            buffer.resize((count * BLOCK_BYTES) as usize, 0);
            source
                .file
                .read_exact_at(&mut buffer, source.offset + next * BLOCK_BYTES)?;
            digest.update(&buffer);
            packer.write_all(&buffer)?;
            next += count;
        }
    }
    let mut meter = packer.finish()?;
    meter.flush()?;
    Ok(Part {
        target: source.target,
        slot: source.slot,
        partition_bytes: source.bytes,
        ranges: source.ranges.clone(),
        sha256: sha256_hex(digest),
        stored_bytes: meter.bytes,
        stored_sha256: sha256_hex(meter.digest),
    })
}
