//! Updates: the systems of cards as bundles that boards install.

use super::blocks::Blocks;
use super::layout::{Layout, Role};
use super::window::Window;
use super::{BootFile, CardError, Made, fat};
use sis_bundle::sign::Signer;
use sis_bundle::{Manifest, Range, Slot, Source, Target};
use std::fs::File;
use std::path::Path;

/// Writes the bundle of the system on the card at `image`, as `made` describes it, into the new file at `path`. `boot_b` is
/// what the second boot partition holds where a board installs it there; the root is the same in both slots.
///
/// # Errors
/// [`CardError`]; the file at `path` is of no use then.
pub fn build(
    path: &Path,
    image: &Path,
    layout: &Layout,
    made: &Made,
    boot_b: &[BootFile],
    manifest: &mut Manifest,
    signer: &Signer,
) -> Result<(), CardError> {
    let failed = |path: &Path| {
        let what = path.display().to_string();
        move |error| CardError::Io { what, error }
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = || tempfile::tempfile_in(folder).map_err(failed(folder));
    let card = File::open(image).map_err(failed(image))?;
    let second = temporary()?;
    let place = layout.place(Role::BootB);
    second.set_len(place.bytes).map_err(failed(folder))?;
    let second_mapped = fat::write(Window::new(&second, 0, place.bytes), place, boot_b)?;
    let of_card = |role: Role, target, slot| {
        let place = layout.place(role);
        Source {
            target,
            slot,
            file: &card,
            offset: place.offset,
            bytes: place.bytes,
            ranges: ranges(&made.mapped_of[role as usize - 1], place.offset),
        }
    };
    let sources = [
        of_card(Role::BootA, Target::Boot, Some(Slot::A)),
        Source {
            target: Target::Boot,
            slot: Some(Slot::B),
            file: &second,
            offset: 0,
            bytes: place.bytes,
            ranges: ranges(&second_mapped, 0),
        },
        of_card(Role::SlotA, Target::Root, None),
    ];
    let out = File::create_new(path).map_err(failed(path))?;
    Ok(sis_bundle::write(&out, &temporary()?, manifest, &sources, signer)?)
}

/// Runs of blocks, counted from `offset` on.
fn ranges(blocks: &Blocks, offset: u64) -> Vec<Range> {
    let start = offset / super::blocks::BLOCK_BYTES;
    let range = |(first, end): (u64, u64)| Range {
        first: first - start,
        count: end - first,
    };
    blocks.runs().map(range).collect()
}
