//! Recovery by mounting a state in this process.

use super::NOW;
use super::cache::Cache;
use super::disk::Scratch;
use crate::check::Loss;
use crate::disk::Disk;
use crate::states::Run;
use sis_ext4::{Error, Ino, Kind, MountOptions, Volume};
use sis_workload::{Found, expect, folder};

/// Mounts what is on `disk`, looks at all that the runs must have left, unmounts: what is on the disk then.
///
/// # Errors
/// What is lost, or that it does not mount.
pub fn recover(disk: Disk, runs: &[Run]) -> Result<Disk, Loss> {
    let scratch = Scratch::new(disk);
    let mounted = Volume::mount(scratch.clone(), &MountOptions::default(), NOW);
    let (mut volume, _) = mounted.map_err(|error| Loss::Mount(error.to_string()))?;
    for run in runs {
        look(&mut volume, run)?;
    }
    let (_, unmounted) = volume.unmount(NOW);
    unmounted.map_err(|error| Loss::Mount(format!("unmounting: {error}")))?;
    Ok(scratch.disk())
}

fn look(volume: &mut Volume<Scratch>, run: &Run) -> Result<(), Loss> {
    let seed = run.seed;
    for (worker, reached) in (0..).zip(&run.reached) {
        if !reached.has_begun {
            continue;
        }
        let found = match volume.lookup(Ino::ROOT, folder(seed, worker).as_bytes()) {
            Ok((ino, _)) => {
                let mut found = Found::new();
                collect(volume, ino, "", &mut found).map(|()| found)
            }
            Err(error) => Err(error),
        };
        let found = found.map_err(|error| Loss::Files {
            seed,
            worker,
            faults: vec![error.to_string()],
        })?;
        expect(seed, worker, reached.acked, reached.intended)
            .check(&found)
            .map_err(|faults| Loss::Files { seed, worker, faults })?;
    }
    Ok(())
}

fn collect(volume: &mut Volume<Scratch>, directory: Ino, relative: &str, found: &mut Found) -> Result<(), Error> {
    let mut names = Vec::new();
    volume.read_dir(directory, 0, &mut |entry| {
        names.push((String::from_utf8_lossy(entry.name).into_owned(), entry.ino));
        true
    })?;
    for (name, ino) in names.into_iter().filter(|(name, _)| name != "." && name != "..") {
        let path = if relative.is_empty() {
            name
        } else {
            format!("{relative}/{name}")
        };
        if volume.inode(ino)?.kind == Kind::Directory {
            collect(volume, ino, &path, found)?;
            found.insert(path, None);
        } else {
            found.insert(path, Some(Cache::default().read(volume, ino)?));
        }
    }
    Ok(())
}
