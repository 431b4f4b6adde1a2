//! Debian's Linux kernel for arm64: the reference for behaviour, on the same machine with the same root.
//!
//! Its drivers and file systems are modules; [`linux_modules`] has those that a test needs, [`add_disk_modules`] and [`add_fat_modules`] those for ext4
//! and FAT on a disk.

use crate::failure::{Failure, Result};
use sis_image::root::{Archive, Node};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernel image of Debian's package, which `cargo sis build rpi4` has fetched for its device tree.
///
/// # Errors
/// When the package is not in the cache.
pub fn linux_kernel() -> Result<PathBuf> {
    let package = package()?;
    let kernel = package.with_extension("vmlinuz");
    if kernel.is_file() {
        return Ok(kernel);
    }
    let image = extract(&package, &["-xO", "--wildcards", "./boot/vmlinuz-*"])?;
    if image.is_empty() {
        return Err(Failure::new(format_args!("{} has no kernel in it", package.display())));
    }
    // Whole or not at all: several tests may want it at once.
    let part = part_of(&kernel);
    std::fs::write(&part, image)
        .and_then(|()| std::fs::rename(&part, &kernel))
        .map_err(Failure::new)?;
    Ok(kernel)
}

/// What Linux needs to see virtio disks, in the order in which `insmod` must have them.
const DISK_MODULES: [&str; 2] = ["drivers/virtio/virtio_mmio.ko", "drivers/block/virtio_blk.ko"];
/// And then to mount ext4.
const EXT4_MODULES: [&str; 5] = [
    "crypto/crc32c_generic.ko",
    "lib/crc16.ko",
    "fs/mbcache.ko",
    "fs/jbd2/jbd2.ko",
    "fs/ext4/ext4.ko",
];
/// Or FAT.
const FAT_MODULES: [&str; 4] = [
    "fs/nls/nls_cp437.ko",
    "fs/nls/nls_ascii.ko",
    "fs/fat/fat.ko",
    "fs/fat/vfat.ko",
];

/// Adds the modules for disks and ext4 to a root, and gives the commands that load them.
///
/// # Errors
/// As [`linux_modules`].
pub fn add_disk_modules(archive: &mut Archive) -> Result<Vec<String>> {
    add_modules(archive, &EXT4_MODULES)
}

/// As [`add_disk_modules`], for FAT.
///
/// # Errors
/// As [`linux_modules`].
pub fn add_fat_modules(archive: &mut Archive) -> Result<Vec<String>> {
    add_modules(archive, &FAT_MODULES)
}

fn add_modules(archive: &mut Archive, file_system: &[&str]) -> Result<Vec<String>> {
    let paths = [&DISK_MODULES, file_system].concat();
    let mut commands = Vec::new();
    for (path, bytes) in paths.iter().zip(linux_modules(&paths)?) {
        let name = path.rsplit('/').next().unwrap_or(path);
        archive
            .add(&format!("/{name}"), Node::File(bytes), 0o644)
            .map_err(Failure::new)?;
        commands.push(format!("insmod /{name}"));
    }
    Ok(commands)
}

/// Modules of that kernel: their bytes, by paths below its `kernel` folder such as `fs/ext4/ext4.ko`, in that order.
///
/// # Errors
/// When the package is not in the cache, or has no such module.
pub fn linux_modules(paths: &[&str]) -> Result<Vec<Vec<u8>>> {
    let package = package()?;
    let all = package.with_extension("modules");
    if !all.is_dir() {
        let part = part_of(&all);
        std::fs::create_dir_all(&part).map_err(Failure::new)?;
        let into = part.to_string_lossy().into_owned();
        let member = "./lib/modules/*/kernel";
        extract(
            &package,
            &["-x", "--strip-components=5", "-C", &into, "--wildcards", member],
        )?;
        // Another test may have been faster.
        if std::fs::rename(&part, &all).is_err() {
            std::fs::remove_dir_all(&part).map_err(Failure::new)?;
        }
    }
    paths
        .iter()
        .map(|path| {
            let file = all.join(path);
            std::fs::read(&file).map_err(|error| Failure::new(format_args!("{}: {error}", file.display())))
        })
        .collect()
}

fn part_of(path: &Path) -> PathBuf {
    path.with_extension(format!("part-{}-{:?}", std::process::id(), std::thread::current().id()))
}

fn package() -> Result<PathBuf> {
    let cache = crate::workspace().join("target/sis/cache");
    let missing = || Failure::new("Debian's kernel package is not in the cache; run cargo sis build rpi4");
    let folders = std::fs::read_dir(&cache)
        .map_err(|_| missing())?
        .filter_map(std::result::Result::ok);
    folders
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("linux-image-"))
        .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
        .flatten()
        .filter_map(std::result::Result::ok)
        // The empty package that names the current kernel's is small.
        .find(|file| {
            file.path().extension().is_some_and(|extension| extension == "deb")
                && file.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20)
        })
        .map(|file| file.path())
        .ok_or_else(missing)
}

/// Runs tar over what is in the package.
fn extract(package: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::new)?;
    let mut tar = Command::new("tar");
    tar.args(arguments);
    if let Some(pipe) = unpack.stdout.take() {
        tar.stdin(pipe);
    }
    let output = tar.output().map_err(Failure::new);
    let _ = unpack.wait();
    Ok(output?.stdout)
}
