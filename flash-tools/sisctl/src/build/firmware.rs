//! The firmware of a board whose card has to bring it: from a folder that was named, or from Debian's package.

use super::debian::Packages;
use super::read;
use crate::failure::{Failure, Outcome};
use crate::report::Step;
use crate::workspace::Workspace;
use sis_image::card::BootFile;
use sis_image::manifest::PackageRecord;
use sis_qemu::board::Firmware;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<BootFile>,
    /// Where it comes from, for the person and for the manifest.
    pub(super) origin: String,
    pub(super) packages: Vec<PackageRecord>,
    /// What is not there, and can be done without.
    pub(super) without: Vec<String>,
}

/// From the folder at `path`.
pub(super) fn from_folder(firmware: &Firmware, path: &Path) -> Outcome<Found> {
    let mut found = Found {
        origin: path.display().to_string(),
        ..Found::default()
    };
    for name in &firmware.files {
        let bytes = read(&path.join(name))
            .map_err(|failure| failure.fix(format!("the folder must have {}", firmware.files.join(" and "))))?;
        found.add(name, bytes);
    }
    for name in &firmware.optional {
        let file = path.join(name);
        if file.exists() {
            found.add(name, read(&file)?);
        } else {
            found.without.push(name.clone());
        }
    }
    Ok(found)
}

/// From Debian's package.
pub(super) fn from_package(workspace: &Workspace, firmware: &Firmware, refresh: bool, step: &Step) -> Outcome<Found> {
    let mut packages = Packages::of_component(workspace.cache_folder(), refresh, &firmware.component);
    let mut found = Found::default();
    let is_needed = |name: &String| firmware.files.contains(name);
    for name in firmware.files.iter().chain(&firmware.optional) {
        let member = format!("{}/{name}", firmware.folder);
        let bytes = packages
            .optional_member(&firmware.package, &member, step)
            .map_err(|failure| failure.fix("name a folder that has the firmware: --firmware FOLDER"))?;
        match bytes {
            Some(bytes) => found.add(name, bytes),
            None if is_needed(name) => {
                let message = format_args!("{} has no {member}", firmware.package);
                return Err(Failure::new("image.firmware", message)
                    .fix("name a folder that has the firmware: --firmware FOLDER"));
            }
            None => found.without.push(name.clone()),
        }
    }
    found.packages = packages.used();
    let versions: Vec<String> = found
        .packages
        .iter()
        .map(|package| format!("Debian's {} {}", package.name, package.version))
        .collect();
    found.origin = versions.join(", ");
    Ok(found)
}

impl Found {
    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.push(BootFile {
            path: name.into(),
            bytes,
        });
    }
}
