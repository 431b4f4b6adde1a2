//! Debian's Linux kernel for arm64: the reference for behaviour, on the same machine with the same root.

use crate::failure::{Failure, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The kernel image of Debian's package, which `cargo sis build rpi4` has fetched for its device tree.
///
/// # Errors
/// When the package is not in the cache.
pub fn linux_kernel() -> Result<PathBuf> {
    let cache = crate::workspace().join("target/sis/cache");
    let missing = || Failure::new("Debian's kernel package is not in the cache; run cargo sis build rpi4");
    let folders = std::fs::read_dir(&cache)
        .map_err(|_| missing())?
        .filter_map(std::result::Result::ok);
    let package = folders
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("linux-image-"))
        .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
        .flatten()
        .filter_map(std::result::Result::ok)
        // The empty package that names the current kernel's is small.
        .find(|file| {
            file.path().extension().is_some_and(|extension| extension == "deb")
                && file.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20)
        })
        .ok_or_else(missing)?
        .path();
    let kernel = package.with_extension("vmlinuz");
    if kernel.is_file() {
        return Ok(kernel);
    }
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::new)?;
    let mut tar = Command::new("tar");
    tar.args(["-xO", "--wildcards", "./boot/vmlinuz-*"]);
    if let Some(pipe) = unpack.stdout.take() {
        tar.stdin(pipe);
    }
    let output = tar.output().map_err(Failure::new);
    let _ = unpack.wait();
    let image = output?.stdout;
    if image.is_empty() {
        return Err(Failure::new(format_args!("{} has no kernel in it", package.display())));
    }
    // Whole or not at all: several tests may want it at once.
    let part = kernel.with_extension(format!("part-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&part, image)
        .and_then(|()| std::fs::rename(&part, &kernel))
        .map_err(Failure::new)?;
    Ok(kernel)
}
