//! `sisctl image`: from what a build left to the image of a card, its block map and its signed manifest.

use super::{firmware, lock, read};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::report::Report;
use crate::workspace::Workspace;
use sis_bundle::selection::{Kind, Selection};
use sis_bundle::sign::Signer;
use sis_bundle::{KIND, Slot};
use sis_image::card::layout::{Layout, Role};
use sis_image::card::record::{CardManifest, SCHEMA};
use sis_image::card::{BootFile, Contents, bundle, script};
use sis_image::manifest::{FileRecord, Manifest, sha256_hex};
use sis_image::root::{Archive, Node};
use sis_qemu::Board;
use sis_qemu::board::Loader;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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

/// Says in the root what system it is, and whose updates it takes.
fn identify(root: &mut Archive, board: &Board, version: &semver::Version, built: &Manifest, key: &Key) -> Outcome<()> {
    let release = serde_json::json!({
        "board": board.name, "version": version, "revision": built.revision, "buildId": built.build_id,
    });
    let mut add = |path: &str, node, mode| root.add(path, node, mode).or_fail("image.root");
    add("/etc/sis", Node::Directory, 0o755)?;
    add(
        "/etc/sis/release.json",
        Node::File(format!("{release}\n").into_bytes()),
        0o644,
    )?;
    add("/etc/sis/update-keys", Node::Directory, 0o755)?;
    let public = key.signer.public_pem().into_bytes();
    add("/etc/sis/update-keys/image.pem", Node::File(public), 0o644)
}

/// Puts what is in `folder` into the root below `at`, in the place of what is there: files (executable where they are), folders
/// and symbolic links.
fn lay_over(root: &mut Archive, folder: &Path, at: &str) -> Outcome<()> {
    let code = "image.overlay";
    let failed = |error: std::io::Error| Failure::new(code, format_args!("{}: {error}", folder.display()));
    let mut entries: Vec<_> = fs::read_dir(folder).and_then(Iterator::collect).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| {
            Failure::new(
                code,
                format_args!("{}: {} is no text", folder.display(), name.display()),
            )
        })?;
        let (path, source) = (format!("{at}/{name}"), entry.path());
        let kind = entry.metadata().map_err(failed)?;
        let (node, mode) = if kind.is_dir() {
            (Node::Directory, 0o755)
        } else if kind.is_symlink() {
            let to = fs::read_link(&source).map_err(failed)?;
            (Node::Link(to.to_string_lossy().into_owned()), 0o777)
        } else if kind.is_file() {
            let is_program = kind.permissions().mode() & 0o111 != 0;
            (Node::File(read(&source)?), if is_program { 0o755 } else { 0o644 })
        } else {
            return Err(Failure::new(code, format_args!("{} is no file", source.display())));
        };
        if !(kind.is_dir() && root.entries().any(|(have, _, _)| have == path.trim_start_matches('/'))) {
            root.replace(&path, node, mode).or_fail(code)?;
        }
        if kind.is_dir() {
            lay_over(root, &source, &path)?;
        }
    }
    Ok(())
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
