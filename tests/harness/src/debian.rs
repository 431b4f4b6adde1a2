//! Unmodified dynamic programs of Debian's arm64 packages, with every library that they need: a small tree to lay over a
//! root or to make a disk of.
//!
//! apt resolves and fetches the packages (it checks their signatures); of what is in them the tree holds the programs,
//! what they name as needed, and the files that the caller asks for. It stays in the cache of `cargo sis build`.

use crate::failure::{Failure, Result};
use object::elf::FileHeader64;
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, elf};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the dynamic linker looks, below the root (ld.so(8), and `/etc/ld.so.conf.d` of Debian's arm64).
const LIBRARY_FOLDERS: [&str; 5] = [
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib",
    "usr/lib",
    "usr/lib/aarch64-linux-gnu/ceph",
];
/// The dynamic linker, which programs name by its path.
const LINKER: &str = "lib/ld-linux-aarch64.so.1";
/// Packages that the libraries' packages want for their own scripts.
const LEFT_OUT: [&str; 2] = ["libperl", "libpython"];

/// What is wanted of Debian.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Packages.
    pub packages: &'a [&'a str],
    /// Programs in them, by path below the root.
    pub programs: &'a [&'a str],
    /// Other files and folders in them.
    pub files: &'a [&'a str],
}

/// A tree with what is wanted, named `name` in the cache.
///
/// # Errors
/// When apt, dpkg or the network fail, or something is not in the packages.
pub fn debian_tree(name: &str, wanted: &Wanted<'_>) -> Result<PathBuf> {
    let cache = crate::workspace().join("target/sis/cache");
    let tree = cache.join(format!("debian-{name}"));
    std::fs::create_dir_all(&cache).map_err(Failure::new)?;
    // One test fetches, the others wait for it.
    let lock = File::create(cache.join(format!(".debian-{name}.lock"))).map_err(Failure::new)?;
    lock.lock().map_err(Failure::new)?;
    if tree.is_dir() {
        return Ok(tree);
    }
    let fresh = cache.join(format!(".debian-{name}.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&fresh);
    let made = fetch(&fresh, wanted).and_then(|()| std::fs::rename(fresh.join("tree"), &tree).map_err(Failure::new));
    let _ = std::fs::remove_dir_all(&fresh);
    made.map(|()| tree)
}

fn fetch(folder: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let (packages, all) = (folder.join("packages"), folder.join("all"));
    for made in [&packages, &all] {
        std::fs::create_dir_all(made).map_err(Failure::new)?;
    }
    let names = resolve(folder, wanted.packages)?;
    let arm64 = names.iter().map(|name| format!("{name}:arm64"));
    // As root apt would fetch as `_apt`, who may not write here.
    let fetch = ["-q", "-o", "APT::Sandbox::User=root", "download"];
    run(Command::new("apt-get").args(fetch).args(arm64).current_dir(&packages))?;
    for package in std::fs::read_dir(&packages).map_err(Failure::new)? {
        let package = package.map_err(Failure::new)?.path();
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&all))?;
    }
    let tree = folder.join("tree");
    for file in wanted.files {
        copy(&all, &tree, Path::new(file))?;
    }
    for file in closure(&all, wanted.programs)? {
        copy(&all, &tree, &file)?;
    }
    Ok(())
}

/// The arm64 packages with libraries that `packages` need on an empty system.
fn resolve(folder: &Path, packages: &[&str]) -> Result<BTreeSet<String>> {
    let status = folder.join("status");
    std::fs::write(&status, "").map_err(Failure::new)?;
    let output = run(Command::new("apt-get")
        .args(["-q", "-y", "--no-install-recommends", "--print-uris"])
        .args(["-o", &format!("Dir::State::status={}", status.display())])
        .args(["-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"])
        .arg("install")
        .args(packages))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A line a package: 'URI' FILE SIZE DIGEST, where FILE is name_version_architecture.deb.
    let names: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split(' ').nth(1)?.strip_suffix("_arm64.deb")?.split('_').next())
        .filter(|name| packages.contains(name) || is_library(name))
        .map(str::to_owned)
        .collect();
    if packages.iter().all(|package| names.contains(*package)) {
        Ok(names)
    } else {
        Err(Failure::new(format_args!(
            "apt does not know {packages:?} for arm64; run cargo sis setup"
        )))
    }
}

fn is_library(name: &str) -> bool {
    (name.starts_with("lib") || name == "zlib1g") && !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix))
}

/// The programs, and everything that they and their libraries name as needed.
fn closure(all: &Path, programs: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
    files.push(LINKER.into());
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        at += 1;
        let bytes = std::fs::read(all.join(&file))
            .map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))?;
        for name in needed(&bytes).map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))? {
            if found.contains_key(&name) {
                continue;
            }
            let place = LIBRARY_FOLDERS
                .iter()
                .map(|folder| Path::new(folder).join(&name))
                .find(|path| all.join(path).is_file())
                .ok_or_else(|| Failure::new(format_args!("{} needs {name}, which is nowhere", file.display())))?;
            files.push(place.clone());
            found.insert(name, place);
        }
    }
    Ok(files)
}

/// The `DT_NEEDED` entries of an ELF file.
fn needed(bytes: &[u8]) -> object::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((entries, strings)) = sections.dynamic(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, strings)?;
    entries
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED)
        .map(|entry| Ok(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned()))
        .collect()
}

/// Copies a file (what a link stands for) or a folder with all that is in it.
fn copy(all: &Path, tree: &Path, path: &Path) -> Result<()> {
    let (from, to) = (all.join(path), tree.join(path));
    let told = |error: std::io::Error| Failure::new(format_args!("{}: {error}", from.display()));
    if from.metadata().map_err(told)?.is_dir() {
        for entry in std::fs::read_dir(&from).map_err(told)? {
            copy(all, tree, &path.join(entry.map_err(told)?.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(told)?;
    }
    std::fs::copy(&from, &to).map(drop).map_err(told)
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format_args!("{name}: {error}")))?;
    if output.status.success() {
        Ok(output)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format_args!("{name}: {}", said.trim())))
    }
}

/// A tree of the host's as an archive to lay over a root.
///
/// # Errors
/// When it cannot be read.
pub fn archive_of(tree: &Path) -> Result<crate::Archive> {
    let mut archive = crate::Archive::default();
    add(&mut archive, tree, "")?;
    Ok(archive)
}

fn add(archive: &mut crate::Archive, folder: &Path, at: &str) -> Result<()> {
    use crate::Node;
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(folder).map_err(Failure::new)? {
        let entry = entry.map_err(Failure::new)?;
        let path = format!("{at}/{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().map_err(Failure::new)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_dir() {
            archive.add(&path, Node::Directory, 0o755).map_err(Failure::new)?;
            add(archive, &entry.path(), &path)?;
        } else {
            let bytes = std::fs::read(entry.path()).map_err(Failure::new)?;
            archive.add(&path, Node::File(bytes), mode).map_err(Failure::new)?;
        }
    }
    Ok(())
}
