//! The disk of a board that runs here: its card, kept between runs. A new build replaces the systems on it and leaves the data.

use super::card;
use super::key::Key;
use super::{lock, read};
use crate::failure::{Failure, OrFail, Outcome};
use crate::report::Report;
use crate::workspace::Workspace;
use sis_flash::bmap::Bmap;
use sis_image::card::layout::{CARD_BYTES, Layout, Role};
use sis_image::manifest::sha256_hex;
use sis_qemu::Board;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const DISK: &str = "disk.img";
/// What the card, and the disk, were made from: a SHA-256.
const CARD_INPUTS: &str = "card.inputs";
const DISK_INPUTS: &str = "disk.inputs";
const COPY_BYTES: usize = 1 << 20;

/// Brings the disk of `board` up to what was built, and answers where it is. `is_fresh`: its data goes too.
pub(crate) fn ready(workspace: &Workspace, board: &Board, is_fresh: bool, report: &Report) -> Outcome<PathBuf> {
    let folder = workspace.build_folder(&board.name);
    let (disk, card) = (folder.join(DISK), folder.join(card::IMAGE));
    let inputs = inputs(workspace, board)?;
    let is_made_from = |name: &str| fs::read_to_string(folder.join(name)).is_ok_and(|text| text == inputs);
    let layout = Layout::new(&board.name, CARD_BYTES).or_fail("disk.layout")?;
    if !(is_made_from(CARD_INPUTS) && card.exists()) {
        let _ = fs::remove_file(folder.join(CARD_INPUTS));
        let wishes = card::Wishes {
            layout: layout.clone(),
            out: &folder,
            firmware: None,
            overlay: None,
            release: None,
            refresh: false,
        };
        let key = Key::find(workspace, None)?;
        card::make(workspace, board, &wishes, &key, report)?;
        fs::write(folder.join(CARD_INPUTS), &inputs).or_fail("disk.write")?;
    }
    let _lock = lock(&folder)?;
    let is_new = is_fresh || !disk.exists();
    if !is_new && is_made_from(DISK_INPUTS) {
        return Ok(disk);
    }
    let step = report.step("disk");
    let _ = fs::remove_file(folder.join(DISK_INPUTS));
    if is_new {
        let _ = fs::remove_file(&disk);
    }
    let data = layout.place(Role::Data);
    let kept = (!is_new).then_some((data.offset, data.offset + data.bytes));
    copy(&card, &card.with_extension("img.bmap"), &disk, kept)?;
    fs::write(folder.join(DISK_INPUTS), &inputs).or_fail("disk.write")?;
    step.done(if is_new { "new" } else { "its data is kept" });
    Ok(disk)
}

/// Names everything that a card of `board` is made from.
fn inputs(workspace: &Workspace, board: &Board) -> Outcome<String> {
    let folder = workspace.root().join("boards").join(&board.name);
    let mut paths = vec![
        workspace.build_folder(&board.name).join("manifest.json"),
        folder.join("board.toml"),
    ];
    if let Ok(entries) = fs::read_dir(folder.join("card")) {
        paths.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    paths.sort();
    let mut all = String::new();
    for path in paths {
        all += &sha256_hex(&read(&path)?);
    }
    Ok(sha256_hex(all.as_bytes()))
}

/// Copies the mapped blocks of the card but for those from `kept.0` up to `kept.1`.
fn copy(card: &Path, map: &Path, disk: &Path, kept: Option<(u64, u64)>) -> Outcome<()> {
    let code = "disk.write";
    let map = Bmap::parse(&read(map)?).or_fail(code)?;
    let from = File::open(card).or_fail(code)?;
    let to = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(disk)
        .or_fail(code)?;
    to.set_len(map.image_bytes).or_fail(code)?;
    let mut buffer = vec![0; COPY_BYTES];
    let is_kept = |at: u64| kept.is_some_and(|(first, end)| (first..end).contains(&at));
    for range in &map.ranges {
        let mut at = range.start;
        let end = range.start + range.len;
        // Runs may go over the border between partitions, which is a multiple of what is copied at once.
        while at < end {
            let piece = (end - at).min(COPY_BYTES as u64 - at % COPY_BYTES as u64);
            let bytes = buffer
                .get_mut(..piece as usize)
                .ok_or_else(|| Failure::new(code, "a piece is too long"))?;
            if !is_kept(at) {
                from.read_exact_at(bytes, at)
                    .and_then(|()| to.write_all_at(bytes, at))
                    .or_fail(code)?;
            }
            at += piece;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::copy;
    use std::fs;

    #[test]
    fn what_is_kept_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mib = 1 << 20;
        fs::write(path("card"), vec![1u8; 3 * mib]).expect("is written");
        fs::write(path("disk"), vec![2u8; 3 * mib]).expect("is written");
        let card = fs::File::open(path("card")).expect("is there");
        let mut mapped = sis_image::card::blocks::Blocks::default();
        // All but the first block.
        mapped.add(1, 3 * 256);
        let map = sis_image::card::bmap::render(&card, 3 * mib as u64, &mapped).expect("a map");
        fs::write(path("map"), map).expect("is written");
        copy(
            &path("card"),
            &path("map"),
            &path("disk"),
            Some((mib as u64, 2 * mib as u64)),
        )
        .expect("is copied");
        let disk = fs::read(path("disk")).expect("is there");
        assert!(disk[..4096].iter().all(|byte| *byte == 2), "is not mapped");
        assert!(disk[4096..mib].iter().all(|byte| *byte == 1));
        assert!(disk[mib..2 * mib].iter().all(|byte| *byte == 2), "is kept");
        assert!(disk[2 * mib..].iter().all(|byte| *byte == 1));
    }
}
