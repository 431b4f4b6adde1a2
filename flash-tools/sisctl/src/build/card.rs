//! `sisctl image`: from what a build left to the image of a card, its block map and its signed manifest.

use super::{firmware, lock, read};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::report::Report;
use crate::workspace::Workspace;
use sis_image::card::layout::Layout;
use sis_image::card::record::{CardManifest, SCHEMA};
use sis_image::card::sign::Signer;
use sis_image::card::{BootFile, Contents};
use sis_image::manifest::{FileRecord, Manifest, sha256_hex};
use sis_image::root::Archive;
use sis_qemu::Board;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the image; the others are called after it.
pub(crate) const IMAGE: &str = "card.img";
const BMAP: &str = "card.img.bmap";
const MANIFEST: &str = "card.json";
const SIGNATURE: &str = "card.json.sig";
const ROOT: &str = "initramfs.cpio";

/// What to make.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub(crate) layout: Layout,
    pub(crate) out: &'a Path,
    pub(crate) firmware: Option<&'a Path>,
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

/// A key, and where it is.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) signer: Signer,
    pub(crate) path: PathBuf,
    /// Made here, for development: whoever has the workspace has it.
    pub(crate) is_development: bool,
}

impl Key {
    /// The key that was named, or the workspace's own, which is made on first use.
    pub(crate) fn find(workspace: &Workspace, named: Option<&Path>) -> Outcome<Self> {
        let path = named.map_or_else(|| workspace.keys_folder().join("development.pem"), Path::to_path_buf);
        if named.is_none() && !path.exists() {
            make_key(&path)?;
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::new("image.key", format_args!("{}: {error}", path.display())))?;
        let signer = Signer::from_pem(&text).map_err(|error| {
            Failure::new("image.key", format_args!("{}: {error}", path.display()))
                .exit(Exit::Usage)
                .fix("openssl genpkey -algorithm ed25519 -out key.pem makes one")
        })?;
        Ok(Self {
            signer,
            path,
            is_development: named.is_none(),
        })
    }
}

/// Makes a key that only its owner reads, and its public half beside it.
fn make_key(path: &Path) -> Outcome<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).or_fail("image.key")?;
    let text = Signer::generate().or_fail("image.key")?;
    let public = Signer::from_pem(&text).or_fail("image.key")?.public_pem();
    fs::write(path.with_extension("pub.pem"), public).or_fail("image.key")?;
    // Whole or not at all: two that make one at once must not mix theirs.
    let part = folder.join(format!(".key.{}", std::process::id()));
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .or_fail("image.key")?;
    file.write_all(text.as_bytes())
        .and_then(|()| fs::rename(&part, path))
        .or_fail("image.key")
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

    let mut boot = vec![built.file(&board.image.file)?];
    if let Some(tree) = &board.device_tree {
        boot.push(built.file(&tree.file)?);
    }
    for name in &board.card.files {
        let path = workspace
            .root()
            .join("boards")
            .join(&board.name)
            .join("card")
            .join(name);
        boot.push(BootFile {
            path: name.clone(),
            bytes: read(&path)?,
        });
    }
    if let Some(name) = &board.card.command_line {
        boot.push(BootFile {
            path: name.clone(),
            bytes: format!("{} {}\n", board.qemu.append, wishes.layout.root_words()).into_bytes(),
        });
    }
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

    let archive = built.file(ROOT)?.bytes;
    let root = Archive::parse(&archive).or_fail("image.root")?;
    let step = report.step("card");
    let part = wishes.out.join(format!(".{IMAGE}.{}.part", std::process::id()));
    let _ = fs::remove_file(&part);
    let contents = Contents {
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

    let mut packages = built.manifest.packages.clone();
    packages.extend(found.packages);
    let manifest = CardManifest {
        schema: SCHEMA,
        board: board.name.clone(),
        version: built.manifest.version.clone(),
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
        let message = format_args!("{} is not what its manifest says", self.folder.join(name).display());
        Err(Failure::new("image.build", message).fix(format!("cargo sis build {}", self.board)))
    }
}
