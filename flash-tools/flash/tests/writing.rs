//! Images onto files and onto devices that fail.

use sha2::{Digest, Sha256};
use sis_flash::source::{MapOrigin, Source, SourceError};
use sis_flash::target::{FileTarget, Target};
use sis_flash::write::{Phase, WriteError, Written, write};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const IMAGE_BYTES: u64 = 24 * MIB + 1000;

/// Where the image has data, in bytes: apart from each other, across a chunk's boundary, and to the odd end.
const DATA: [(u64, u64); 3] = [(0, 2 * MIB), (6 * MIB, 5 * MIB), (24 * MIB - 8192, 9192)];

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content() -> Vec<u8> {
    let mut image = vec![0; IMAGE_BYTES as usize];
    let mut state = 1u32;
    for (start, len) in DATA {
        for byte in &mut image[start as usize..(start + len) as usize] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    }
    image
}

/// A sparse image `card.img`.
fn image(folder: &Path) -> PathBuf {
    let (path, content) = (folder.join("card.img"), content());
    let file = File::create(&path).expect("a file");
    file.set_len(IMAGE_BYTES).expect("room");
    for (start, len) in DATA {
        file.write_all_at(&content[start as usize..(start + len) as usize], start)
            .expect("written");
    }
    path
}

/// The block map of [`content`]; `is_wrong` gives its second range another checksum.
fn bmap(path: &Path, is_wrong: bool) {
    let content = content();
    let mut ranges = String::new();
    let mut mapped = 0;
    for (index, (start, len)) in DATA.into_iter().enumerate() {
        let sum = hex(if is_wrong && index == 1 {
            b"else"
        } else {
            &content[start as usize..(start + len) as usize]
        });
        let (first, last) = (start / 4096, (start + len).div_ceil(4096) - 1);
        mapped += last - first + 1;
        ranges.push_str(&format!("<Range chksum=\"{sum}\"> {first}-{last} </Range>"));
    }
    let (zeros, blocks) = ("0".repeat(64), IMAGE_BYTES.div_ceil(4096));
    let text = format!(
        "<bmap version=\"2.0\"><ImageSize>{IMAGE_BYTES}</ImageSize><BlockSize>4096</BlockSize><BlocksCount>{blocks}</BlocksCount>\
         <MappedBlocksCount>{mapped}</MappedBlocksCount><ChecksumType>sha256</ChecksumType>\
         <BmapFileChecksum>{zeros}</BmapFileChecksum><BlockMap>{ranges}</BlockMap></bmap>"
    );
    let own = hex(text.as_bytes());
    fs::write(path, text.replace(&zeros, &own)).expect("a map");
}

fn run(source: Source, target: &dyn Target) -> Result<Written, WriteError> {
    write(source, target, true, &AtomicBool::new(false), &mut |_| {})
}

/// Writes the image at `path` into a file, and compares the file.
fn to_file(folder: &TempDir, path: &Path) -> Written {
    let out = folder.path().join("out");
    let target = FileTarget::file(&out).expect("a target");
    let written = run(Source::open(path, None).expect("a source"), &target).expect("written");
    assert!(
        fs::read(&out).expect("a file") == content(),
        "the target differs from the image"
    );
    assert!(written.is_verified);
    written
}

fn pack(program: &str, image: &Path) -> PathBuf {
    let status = std::process::Command::new(program)
        .args(["-q", "-k", "-1"])
        .arg(image)
        .status();
    assert!(status.expect("the packer is installed").success());
    let mut name = image.as_os_str().to_owned();
    name.push(if program == "zstd" { ".zst" } else { ".xz" });
    name.into()
}

#[test]
fn holes_are_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = to_file(&folder, &image(folder.path()));
    assert!(written.written_bytes < 8 * MIB, "{written:?}");
}

#[test]
fn exactly_the_mapped_blocks_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    bmap(&folder.path().join("card.img.bmap"), false);
    let written = to_file(&folder, &path);
    assert_eq!(written.written_bytes, DATA.iter().map(|(_, len)| len).sum::<u64>());
}

#[test]
fn packed_images_stream_with_and_without_a_map() {
    for program in ["zstd", "xz"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = pack(program, &image(folder.path()));
        assert_eq!(to_file(&folder, &path).written_bytes, IMAGE_BYTES, "{program}");
        bmap(&folder.path().join("card.img.bmap"), false);
        assert_eq!(
            to_file(&folder, &path).written_bytes,
            DATA.iter().map(|(_, len)| len).sum::<u64>(),
            "{program}"
        );
    }
}

#[test]
fn a_cut_packed_image_is_an_error() {
    for program in ["zstd", "xz"] {
        for has_map in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = pack(program, &image(folder.path()));
            if has_map {
                bmap(&folder.path().join("card.img.bmap"), false);
            }
            let len = fs::metadata(&path).expect("a file").len();
            File::options()
                .write(true)
                .open(&path)
                .expect("it opens")
                .set_len(len - 3)
                .expect("cut");
            let target = FileTarget::file(&folder.path().join("out")).expect("a target");
            let result = run(Source::open(&path, None).expect("a source"), &target);
            assert!(
                matches!(result, Err(WriteError::Source { .. })),
                "{program}, map {has_map}: {result:?}"
            );
        }
    }
}

#[test]
fn an_image_that_differs_from_its_map_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    bmap(&folder.path().join("card.img.bmap"), true);
    let target = FileTarget::file(&folder.path().join("out")).expect("a target");
    let result = run(Source::open(&path, None).expect("a source"), &target);
    assert!(
        matches!(result, Err(WriteError::Checksum { start, .. }) if start == 6 * MIB),
        "{result:?}"
    );
}

#[test]
fn a_map_of_another_image_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    bmap(&folder.path().join("card.img.bmap"), false);
    File::options()
        .write(true)
        .open(&path)
        .expect("it opens")
        .set_len(5)
        .expect("cut");
    assert!(matches!(
        Source::open(&path, None),
        Err(SourceError::Length { image_bytes: 5, .. })
    ));
}

/// What is wrong with a [`Faulty`] device.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Writing at or after this byte fails.
    FailsAt(u64),
    /// This byte comes back with one bit changed.
    Flips(u64),
    /// Bytes from here on are taken and not kept, as on a card that lies about its size.
    LosesFrom(u64),
    /// What is written at or after this byte lies in the place of what is as far from the start, as on a card that is
    /// smaller than it says.
    WrapsAt(u64),
    /// It cannot make anything durable.
    CannotSync,
}

/// A device of a fixed length over a file.
struct Faulty {
    file: File,
    len: u64,
    fault: Fault,
}

impl Faulty {
    fn place(&self, offset: u64) -> u64 {
        match self.fault {
            Fault::WrapsAt(at) => offset % at,
            _ => offset,
        }
    }
}

impl Target for Faulty {
    fn len_bytes(&self) -> Option<u64> {
        Some(self.len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let mut kept = bytes.to_vec();
        match self.fault {
            Fault::FailsAt(at) if end > at => return Err(io::Error::other("the device failed")),
            Fault::Flips(at) if (offset..end).contains(&at) => kept[(at - offset) as usize] ^= 4,
            Fault::LosesFrom(at) => kept.truncate(at.saturating_sub(offset) as usize),
            _ => {}
        }
        self.file.write_all_at(&kept, self.place(offset))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, self.place(offset))
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.fault == Fault::CannotSync {
            Err(io::Error::other("lost"))
        } else {
            Ok(())
        }
    }

    fn forget_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

fn onto(fault: Fault, len: u64) -> Result<Written, WriteError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len).expect("room");
    run(
        Source::open(&image(folder.path()), None).expect("a source"),
        &Faulty { file, len, fault },
    )
}

#[test]
fn every_fault_of_the_device_is_found() {
    assert!(onto(Fault::None, IMAGE_BYTES).is_ok());
    let at = 7 * MIB + 5;
    let result = onto(Fault::FailsAt(at), IMAGE_BYTES);
    assert!(
        matches!(result, Err(WriteError::Device { what: "writing", offset, .. }) if offset == 4 * MIB),
        "{result:?}"
    );
    let result = onto(Fault::Flips(at), IMAGE_BYTES);
    assert!(
        matches!(result, Err(WriteError::Differs { start, end }) if (start..end).contains(&at)),
        "{result:?}"
    );
    let result = onto(Fault::LosesFrom(at), IMAGE_BYTES);
    assert!(
        matches!(result, Err(WriteError::Differs { start, end }) if (start..end).contains(&at)),
        "{result:?}"
    );
    // The last run lies on the first one then, and both were right when they were written.
    let result = onto(Fault::WrapsAt(12 * MIB), IMAGE_BYTES);
    assert!(
        matches!(result, Err(WriteError::Differs { start: 0, .. })),
        "{result:?}"
    );
    let result = onto(Fault::CannotSync, IMAGE_BYTES);
    assert!(
        matches!(result, Err(WriteError::Device { what: "syncing", .. })),
        "{result:?}"
    );
}

#[test]
fn one_changed_byte_is_found_in_the_first_and_in_the_last_chunk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    bmap(&folder.path().join("card.img.bmap"), false);
    for at in [0, 4096, 10 * MIB, IMAGE_BYTES - 1] {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(IMAGE_BYTES).expect("room");
        let target = Faulty {
            file,
            len: IMAGE_BYTES,
            fault: Fault::Flips(at),
        };
        let result = run(Source::open(&path, None).expect("a source"), &target);
        assert!(
            matches!(result, Err(WriteError::Differs { start, end }) if (start..end).contains(&at)),
            "{at}: {result:?}"
        );
    }
}

/// What a [`Recorder`] was asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Write,
    Sync,
    Forget,
    Read,
}

/// A device that loses all that is written, and gives it back from its memory until that is forgotten. It records what
/// it is asked.
#[derive(Default)]
struct Recorder {
    memory: Mutex<Vec<u8>>,
    is_keeping: bool,
    steps: Mutex<Vec<Step>>,
    under_way: AtomicU32,
}

impl Recorder {
    fn new(is_keeping: bool) -> Self {
        Self {
            memory: Mutex::new(vec![0; IMAGE_BYTES as usize]),
            is_keeping,
            ..Self::default()
        }
    }

    fn record(&self, step: Step) {
        self.steps.lock().expect("no panic").push(step);
    }
}

impl Target for Recorder {
    fn len_bytes(&self) -> Option<u64> {
        Some(IMAGE_BYTES)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.record(Step::Write);
        let at = offset as usize;
        self.memory.lock().expect("no panic")[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.record(Step::Read);
        // Slow, so that a thread that nobody waits for would be seen.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let at = offset as usize;
        out.copy_from_slice(&self.memory.lock().expect("no panic")[at..at + out.len()]);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.record(Step::Sync);
        Ok(())
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.record(Step::Forget);
        if !self.is_keeping {
            self.memory.lock().expect("no panic").fill(0);
        }
        Ok(())
    }
}

#[test]
fn nothing_is_read_back_before_everything_is_durable_and_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    let target = Recorder::new(true);
    run(Source::open(&path, None).expect("a source"), &target).expect("written");
    let mut steps = target.steps.into_inner().expect("no panic");
    steps.dedup();
    assert_eq!(steps, [Step::Write, Step::Sync, Step::Forget, Step::Read]);
}

#[test]
fn what_only_memory_held_is_found_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    let result = run(Source::open(&path, None).expect("a source"), &Recorder::new(false));
    assert!(matches!(result, Err(WriteError::Differs { .. })), "{result:?}");
}

#[test]
fn no_thread_goes_on_after_an_interruption() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = image(folder.path());
    for phase in [Phase::Write, Phase::Verify] {
        let target = Recorder::new(true);
        let source = Source::open(&path, None).expect("a source");
        let stop = AtomicBool::new(false);
        let result = write(source, &target, true, &stop, &mut |progress| {
            stop.fetch_or(progress.phase == phase, Ordering::Relaxed);
        });
        assert!(matches!(result, Err(WriteError::Interrupted)), "{result:?}");
        assert_eq!(target.under_way.into_inner(), 0, "{phase:?}");
    }
}

#[test]
fn what_was_on_a_device_does_not_show_through_holes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = tempfile::tempfile().expect("a file");
    let len = IMAGE_BYTES + MIB;
    std::io::Write::write_all(&mut file, &vec![0xa5; len as usize]).expect("old content");
    let target = Faulty {
        file,
        len,
        fault: Fault::None,
    };
    let source = Source::open(&image(folder.path()), None).expect("a source");
    assert_eq!(source.origin, MapOrigin::Holes);
    let written = run(source, &target).expect("written");
    assert_eq!(written.written_bytes, IMAGE_BYTES);
    let mut found = vec![0; IMAGE_BYTES as usize];
    target.read_at(0, &mut found).expect("read");
    assert!(found == content(), "the device differs from the image");
}

#[test]
fn an_image_larger_than_the_device_writes_nothing() {
    let result = onto(Fault::FailsAt(0), IMAGE_BYTES - 1);
    assert!(
        matches!(
            result,
            Err(WriteError::TooLarge {
                image_bytes: IMAGE_BYTES,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn it_stops_between_chunks_in_both_phases() {
    for phase in [Phase::Write, Phase::Verify] {
        let folder = tempfile::tempdir().expect("a folder");
        let target = FileTarget::file(&folder.path().join("out")).expect("a target");
        let source = Source::open(&image(folder.path()), None).expect("a source");
        assert_eq!(source.origin, MapOrigin::Holes);
        let stop = AtomicBool::new(false);
        let mut after = 0;
        let result = write(source, &target, true, &stop, &mut |progress| {
            after += u32::from(stop.load(Ordering::Relaxed));
            if progress.phase == phase {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert!(matches!(result, Err(WriteError::Interrupted)), "{result:?}");
        assert_eq!(after, 0, "nothing goes on after the chunk under way");
    }
}
