//! `sisctl build`: from sources to what a board boots.

pub(crate) mod card;
mod compile;
mod debian;
pub(crate) mod disk;
mod firmware;
pub(crate) mod key;
mod root;

use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::report::Report;
use crate::workspace::Workspace;
use sis_image::manifest::{FileRecord, Manifest, SCHEMA, sha256_hex};
use sis_image::root::{RootSpec, Source};
use sis_qemu::{Board, Files};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Target triple of the programs in the image.
const PROGRAM_TARGET: &str = "aarch64-unknown-linux-musl";

/// What to build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// The kernel with debug assertions and lock-order checks.
    pub(crate) checked: bool,
    /// Fetch foreign packages anew.
    pub(crate) refresh: bool,
}

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
}

/// Where a build of `board` leaves its files.
pub(crate) fn files(workspace: &Workspace, board: &Board) -> Files {
    let folder = workspace.build_folder(&board.name);
    Files {
        kernel: folder.join(&board.image.file),
        initrd: Some(folder.join("initramfs.cpio")),
        device_tree: board.device_tree.as_ref().map(|tree| folder.join(&tree.file)),
        loader: None,
    }
}

/// Builds everything that `board` boots.
pub(crate) fn build(workspace: &Workspace, board: &Board, wishes: &Wishes, report: &Report) -> Outcome<Built> {
    let folder = workspace.build_folder(&board.name);
    fs::create_dir_all(&folder).or_fail("build.folder")?;
    let _lock = lock(&folder)?;
    let mut output = OutputFolder {
        folder: &folder,
        records: Vec::new(),
    };
    let mut packages = debian::Packages::new(workspace.cache_folder(), wishes.refresh);

    let profile = if wishes.checked { "kernel-checked" } else { "kernel" };
    let step = report.step("kernel");
    let elf = compile::kernel(workspace, board, profile, &step)?;
    let image = sis_image::kernel::image(&elf).or_fail("build.image")?;
    output.write("kernel.elf", &elf)?;
    output.write(&board.image.file, &image.bytes)?;
    step.done(format_args!(
        "{} KiB, {} symbols",
        image.bytes.len() / 1024,
        image.symbols
    ));

    let step = report.step("programs");
    let specification = read(&workspace.root().join("firmware/rootfs/image.toml"))?;
    let specification = RootSpec::parse(&String::from_utf8_lossy(&specification)).or_fail("build.root")?;
    let names: Vec<&str> = specification
        .files
        .iter()
        .filter_map(|file| {
            if let Source::Program(name) = &file.from {
                Some(name.as_str())
            } else {
                None
            }
        })
        .collect();
    let programs = compile::programs(workspace, &names, PROGRAM_TARGET, &step)?;
    step.done(names.join(", "));

    let step = report.step("root");
    let archive = specification
        .archive(|source| fetch(workspace, source, &programs, &mut packages, &step).map_err(|failure| failure.message))
        .map_err(|error| Failure::new("build.root", error).fix("cargo sis setup"))?;
    output.write("initramfs.cpio", &archive)?;
    step.done(format_args!("{} KiB", archive.len() / 1024));

    if let Some(tree) = &board.device_tree {
        let step = report.step("device tree");
        let bytes = packages.member(&tree.package, &tree.member, &step)?;
        output.write(&tree.file, &bytes)?;
        step.done(&tree.file);
    }

    let manifest = Manifest {
        schema: SCHEMA,
        board: board.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        revision: workspace.revision(),
        build_id: image
            .build_id
            .map_or_else(|| sha256_hex(&elf)[..40].to_owned(), |id| hex(&id)),
        profile: profile.into(),
        files: std::mem::take(&mut output.records),
        packages: packages.used(),
    };
    let text = serde_json::to_string_pretty(&manifest).or_fail("build.manifest")?;
    output.write("manifest.json", format!("{text}\n").as_bytes())?;
    Ok(Built { folder, manifest })
}

/// The program for a board that the trials run there (`tests/guest`), which no image carries.
pub(crate) fn guest_program(workspace: &Workspace, step: &crate::report::Step) -> Outcome<Vec<u8>> {
    const NAME: &str = "sis-guest";
    let programs = compile::programs(workspace, &[NAME], PROGRAM_TARGET, step)?;
    match programs.get(NAME) {
        Some(path) => read(path),
        None => Err(Failure::new("build.program", format_args!("{NAME} was not built"))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fetch(
    workspace: &Workspace,
    source: &Source,
    programs: &HashMap<String, PathBuf>,
    packages: &mut debian::Packages,
    step: &crate::report::Step,
) -> Outcome<Vec<u8>> {
    match source {
        Source::Program(name) => match programs.get(name) {
            Some(path) => read(path),
            None => Err(Failure::new("build.program", format_args!("{name} was not built"))),
        },
        Source::File(name) => read(&workspace.root().join("firmware/rootfs").join(name)),
        Source::Package { package, member } => packages.member(package, member, step),
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::new("build.read", format_args!("{}: {error}", path.display())))
}

/// One build of a board at a time: two would take each other's files away.
fn lock(folder: &Path) -> Outcome<File> {
    let file = File::create(folder.join("build.lock")).or_fail("build.folder")?;
    file.lock()
        .map_err(|error| Failure::new("build.lock", error).exit(Exit::Busy))?;
    Ok(file)
}

/// Files appear in it whole or not at all: a running QEMU or a test may read them meanwhile.
struct OutputFolder<'a> {
    folder: &'a Path,
    records: Vec<FileRecord>,
}

impl OutputFolder<'_> {
    fn write(&mut self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let part = self.folder.join(format!(".{name}.part"));
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, self.folder.join(name)))
            .or_fail("build.write")?;
        self.records.push(FileRecord::of(name, bytes));
        Ok(())
    }
}
