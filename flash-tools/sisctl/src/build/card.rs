//! `sisctl image`: from what a build left to the image of a card, its block map and its signed manifest.

use super::key::Key;
use super::root::{identify, lay_over};
use super::{firmware, lock, read};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::report::Report;
use crate::workspace::Workspace;
use sis_bundle::selection::{Kind, Selection};
use sis_bundle::{KIND, Slot};
use sis_image::card::layout::{Layout, Role};
use sis_image::card::record::{CardManifest, SCHEMA};
use sis_image::card::{BootFile, Contents, bundle, script};
use sis_image::manifest::{FileRecord, Manifest, sha256_hex};
use sis_image::root::Archive;
use sis_qemu::Board;
use sis_qemu::board::Loader;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the image; the others are called after it.
pub(crate) const IMAGE: &str = "card.img";
const BMAP: &str = "card.img.bmap";
const MANIFEST: &str = "card.json";
const SIGNATURE: &str = "card.json.sig";
/// Name of the update to the same system.
pub(crate) const BUNDLE: &str = "update.sis";
const ROOT: &str = "initramfs.cpio";

/// What to make.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub(crate) layout: Layout,
    pub(crate) out: &'a Path,
    pub(crate) firmware: Option<&'a Path>,
    /// A folder whose content is laid over the root.
    pub(crate) overlay: Option<&'a Path>,
    /// The system's version; the workspace's if none.
    pub(crate) release: Option<semver::Version>,
    pub(crate) refresh: bool,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) manifest: CardManifest,
    /// The files, in the order in which they were put there.
    pub(crate) files: Vec<PathBuf>,
    /// Parts of the firmware that the card is without.
    pub(crate) without: Vec<String>,
}

/// Makes the card of `board` from what was built.
pub(crate) fn make(
    workspace: &Workspace,
    board: &Board,
    wishes: &Wishes<'_>,
    key: &Key,
    report: &Report,
) -> Outcome<Card> {
    let folder = workspace.build_folder(&board.name);
    let _lock = lock(&folder).map_err(|failure| failure.fix(format!("cargo sis build {}", board.name)))?;
    fs::create_dir_all(wishes.out).or_fail("image.folder")?;
    let built = Build::read(&folder, board)?;

    let version = match &wishes.release {
        Some(version) => version.clone(),
        None => built.manifest.version.parse().or_fail("image.version")?,
    };

    let mut boot = vec![built.file(&board.image.file)?];
    if let Some(tree) = &board.device_tree {
        boot.push(built.file(&tree.file)?);
    }
    let of_board = |name: &str| {
        let folder = workspace.root().join("boards").join(&board.name);
        read(&folder.join("card").join(name))
    };
    for name in &board.card.files {
        boot.push(BootFile {
            path: name.clone(),
            bytes: of_board(name)?,
        });
    }
    let select = match board.card.loader {
        None => Vec::new(),
        Some(loader) => {
            let kind = match loader {
                Loader::UBoot => Kind::Environment,
                Loader::Autoboot => Kind::Autoboot,
            };
            let mut select = vec![BootFile {
                path: kind.file().into(),
                bytes: kind.render(Selection::of(Slot::A)).to_vec(),
            }];
            if loader == Loader::UBoot {
                let text = String::from_utf8(of_board("boot.script")?).or_fail("image.script")?;
                select.push(BootFile {
                    path: "boot.scr".into(),
                    bytes: script::image(&text, "sis"),
                });
            }
            select
        }
    };
    let mut found = firmware::Found::default();
    if let Some(firmware) = &board.card.firmware {
        let step = report.step("firmware");
        found = match wishes.firmware {
            Some(path) => firmware::from_folder(firmware, path)?,
            None => firmware::from_package(workspace, firmware, wishes.refresh, &step)?,
        };
        boot.append(&mut found.files);
        step.done(&found.origin);
    } else if wishes.firmware.is_some() {
        let message = format_args!("{} needs no firmware on its card", board.name);
        return Err(Failure::new("image.firmware", message).exit(Exit::Usage));
    }

    let command_line = |slot| {
        let name = board.card.command_line.as_ref()?;
        let more = board
            .card
            .append
            .as_deref()
            .map_or_else(String::new, |words| format!("{words} "));
        let line = format!(
            "{}{} {more}{}\n",
            name.prefix,
            board.qemu.append,
            wishes.layout.root_words(slot)
        );
        Some(BootFile {
            path: name.file.clone(),
            bytes: line.into_bytes(),
        })
    };
    let mut boot_b = boot.clone();
    boot.extend(command_line(Role::SlotA));
    boot_b.extend(command_line(Role::SlotB));

    let archive = built.file(ROOT)?.bytes;
    let mut root = Archive::parse(&archive).or_fail("image.root")?;
    if let Some(folder) = wishes.overlay {
        lay_over(&mut root, folder, "")?;
    }
    identify(&mut root, board, &version, &built.manifest, key)?;
    let step = report.step("card");
    let part = wishes.out.join(format!(".{IMAGE}.{}.part", std::process::id()));
    let _ = fs::remove_file(&part);
    let contents = Contents {
        select: &select,
        boot: &boot,
        root: &root,
    };
    let made =
        sis_image::card::build(&part, &wishes.layout, &contents, &mut |what| step.now(what)).map_err(|error| {
            let _ = fs::remove_file(&part);
            Failure::new("image.card", error)
        })?;
    step.done(format_args!(
        "{} MiB, of which {} are used",
        wishes.layout.bytes >> 20,
        (made.mapped.count() * sis_image::card::blocks::BLOCK_BYTES) >> 20
    ));

    let step = report.step("update");
    let bundle_part = wishes.out.join(format!(".{BUNDLE}.{}.part", std::process::id()));
    let _ = fs::remove_file(&bundle_part);
    let mut update = sis_bundle::Manifest {
        kind: KIND.into(),
        schema: sis_bundle::SCHEMA,
        board: board.name.clone(),
        version: version.clone(),
        revision: built.manifest.revision.clone(),
        build_id: built.manifest.build_id.clone(),
        parts: Vec::new(),
    };
    bundle::build(
        &bundle_part,
        &part,
        &wishes.layout,
        &made,
        &boot_b,
        &mut update,
        &key.signer,
    )
    .map_err(|error| {
        let _ = fs::remove_file(&part);
        let _ = fs::remove_file(&bundle_part);
        Failure::new("image.update", error)
    })?;
    step.done(format_args!("{version}, {} KiB", update.stored_bytes() >> 10));

    let mut packages = built.manifest.packages.clone();
    packages.extend(found.packages);
    let manifest = CardManifest {
        schema: SCHEMA,
        board: board.name.clone(),
        version: version.to_string(),
        revision: built.manifest.revision.clone(),
        build_id: built.manifest.build_id.clone(),
        profile: built.manifest.profile.clone(),
        image: FileRecord {
            name: IMAGE.into(),
            size: wishes.layout.bytes,
            sha256: made.sha256,
        },
        bmap: FileRecord::of(BMAP, made.bmap.as_bytes()),
        disk: wishes.layout.disk_uuid.to_string(),
        partitions: made.partitions,
        boot: boot
            .iter()
            .map(|file| FileRecord::of(&file.path, &file.bytes))
            .collect(),
        root: FileRecord::of(ROOT, &archive),
        firmware: board.card.firmware.as_ref().map(|_| found.origin),
        packages,
        mke2fs: made.mke2fs,
    };
    let text = serde_json::to_string_pretty(&manifest).or_fail("image.manifest")? + "\n";
    let signature = key.signer.sign(text.as_bytes());
    let rename = |name: &str, part: &Path| -> Outcome<PathBuf> {
        let path = wishes.out.join(name);
        fs::rename(part, &path).or_fail("image.write")?;
        Ok(path)
    };
    let mut files = vec![rename(IMAGE, &part)?];
    for (name, bytes) in [
        (BMAP, made.bmap.as_bytes()),
        (MANIFEST, text.as_bytes()),
        (SIGNATURE, &signature),
    ] {
        let part = wishes.out.join(format!(".{name}.{}.part", std::process::id()));
        fs::write(&part, bytes).or_fail("image.write")?;
        files.push(rename(name, &part)?);
    }
    files.push(rename(BUNDLE, &bundle_part)?);
    Ok(Card {
        manifest,
        files,
        without: found.without,
    })
}

/// What a build left.
struct Build<'a> {
    folder: &'a Path,
    board: &'a str,
    manifest: Manifest,
}

impl<'a> Build<'a> {
    fn read(folder: &'a Path, board: &'a Board) -> Outcome<Self> {
        let text = read(&folder.join("manifest.json"))
            .map_err(|failure| failure.fix(format!("cargo sis build {}", board.name)))?;
        Ok(Self {
            folder,
            board: &board.name,
            manifest: serde_json::from_slice(&text).or_fail("image.build")?,
        })
    }

    /// A file of the build, which must be what its manifest says.
    fn file(&self, name: &str) -> Outcome<BootFile> {
        let bytes = read(&self.folder.join(name))?;
        let record = self.manifest.files.iter().find(|record| record.name == name);
        if record.is_some_and(|record| record.sha256 == sha256_hex(&bytes)) {
            return Ok(BootFile {
                path: name.into(),
                bytes,
            });
        }
        let message = format!("{} is not what its manifest says", self.folder.join(name).display());
        Err(Failure::new("image.build", message).fix(format!("cargo sis build {}", self.board)))
    }
}
