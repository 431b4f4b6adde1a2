//! The workload for power cuts: `sis-guest crash-load`. What it does is decided by `sis-workload`; here it is done.
//!
//! The disk is mounted at DIRECTORY. Each worker is a process with a folder of its own there and a region of its own on
//! the log's disk, which gets a record before a group of operations begins and after each synchronising call has returned. It goes on until the
//! power is cut, or for STEPS operations. With `unsynced` the synchronising calls are not made but acknowledged all the
//! same: the checker must find that.

mod log;
mod worker;

use std::process::ExitCode;

use self::log::Log;
use crate::sys::{Ended, What, c, child, open, wait};
use sis_workload::{Kind, LOG_BYTES, WORKERS};

struct Options<'a> {
    directory: &'a str,
    mount_options: &'a str,
    seed: u64,
    workers: u32,
    steps: u64,
    is_synced: bool,
}

fn options<'a>(words: &[&'a str]) -> Option<Options<'a>> {
    let [directory, mount_options, seed, workers, sync, rest @ ..] = words else {
        return None;
    };
    let steps = match rest {
        [] => u64::MAX,
        [steps] => steps.parse().ok()?,
        _ => return None,
    };
    let workers = workers.parse().ok().filter(|n| (1..=WORKERS).contains(n))?;
    Some(Options {
        directory,
        mount_options: plain(mount_options),
        seed: seed.parse().ok()?,
        workers,
        steps,
        is_synced: match *sync {
            "synced" => true,
            "unsynced" => false,
            _ => return None,
        },
    })
}

/// `-` stands for no mount options.
fn plain(options: &str) -> &str {
    if options == "-" { "" } else { options }
}

/// The disk under test and the log's, which is known by its size: virtio disks come in any order.
fn disks() -> Result<(String, String), String> {
    let (mut disk, mut log) = (None, None);
    for letter in 'a'..='d' {
        let path = format!("/dev/vd{letter}");
        let Ok(file) = open(&path, libc::O_RDONLY | libc::O_CLOEXEC, 0) else {
            continue;
        };
        let size = sys!(SYS_lseek, &file, 0, libc::SEEK_END).what(&path)?;
        if size == LOG_BYTES as i64 {
            log = Some(path);
        } else {
            disk.get_or_insert(path);
        }
    }
    disk.zip(log)
        .ok_or_else(|| "there are no two disks /dev/vd*".to_owned())
}

pub(crate) fn load(words: &[&str]) -> ExitCode {
    let Some(options) = options(words) else {
        eprintln!("usage: sis-guest crash-load DIRECTORY OPTIONS SEED WORKERS synced|unsynced [STEPS]");
        return ExitCode::from(2);
    };
    match drive(&options) {
        Ok(()) => {
            println!("crash-load: done");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("crash-load: FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

fn drive(options: &Options<'_>) -> Result<(), String> {
    let (disk, log) = disks()?;
    mount(&disk, options.directory, options.mount_options)?;
    let mut workers = Vec::new();
    for number in 0..options.workers {
        workers.push(child(|| {
            let Err(why) = work(options, &log, number) else {
                return 0;
            };
            println!("crash-load: FAILED: worker {number}: {why}");
            1
        })?);
    }
    println!("crash-load: {} workers, seed {}", workers.len(), options.seed);
    let mut failed = 0;
    for pid in workers {
        failed += i32::from(wait(pid, 0).what("wait4")? != Ended::Exit(0));
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} workers ended"))
    }
}

fn work(options: &Options<'_>, log: &str, number: u32) -> Result<(), String> {
    let mut log = Log::open(log, options.seed, number)?;
    let result = worker::run(options, number, &mut log);
    match &result {
        Ok(()) => log.write(Kind::End, 0, "")?,
        Err(why) => log.write(Kind::Failed, 0, why)?,
    }
    result
}

/// Mounts and unmounts crash states, one after another: whoever plays the disk puts number N in its place when the
/// record *next* N arrives, and takes it away to be checked when *recovered* N does.
pub(crate) fn recover(words: &[&str]) -> ExitCode {
    let numbers = match words {
        [_, _, seed, count] => seed.parse::<u64>().ok().zip(count.parse::<u64>().ok()),
        _ => None,
    };
    let (Some((seed, count)), [directory, options, ..]) = (numbers, words) else {
        eprintln!("usage: sis-guest crash-recover DIRECTORY OPTIONS SEED COUNT");
        return ExitCode::from(2);
    };
    let recovered = disks().and_then(|(disk, log)| {
        let mut log = Log::open(&log, seed, WORKERS)?;
        for number in 0..count {
            log.write(Kind::Next, number, "")?;
            let outcome = recover_one(&disk, directory, plain(options));
            let text = outcome.as_ref().err().map_or("", String::as_str);
            log.write(Kind::Recovered, number, text)?;
        }
        Ok(())
    });
    match recovered {
        Ok(()) => {
            println!("crash-recover: done");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("crash-recover: FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

fn mount(disk: &str, directory: &str, options: &str) -> Result<(), String> {
    let (source, target, options) = (c(disk), c(directory), c(options));
    let kind = c"ext4";
    sys!(
        SYS_mount,
        source.as_ptr(),
        target.as_ptr(),
        kind.as_ptr(),
        0,
        options.as_ptr()
    )
    .map(drop)
    .what("mount")
}

fn recover_one(disk: &str, directory: &str, options: &str) -> Result<(), String> {
    // What the kernel remembers of the last state is not this one's.
    let device = open(disk, libc::O_RDONLY | libc::O_CLOEXEC, 0).what(disk)?;
    sys!(SYS_ioctl, &device, BLKFLSBUF, 0).what("BLKFLSBUF")?;
    drop(device);
    mount(disk, directory, options)?;
    // All of it is looked at, as a program would: what cannot be read is found here.
    let walked = walk(directory);
    let target = c(directory);
    sys!(SYS_umount2, target.as_ptr(), 0).what("umount")?;
    walked
}

/// `_IO(0x12, 97)` (linux/fs.h).
const BLKFLSBUF: u32 = 0x1261;

fn walk(directory: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{directory}: {error}");
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path().to_string_lossy().into_owned();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path)?;
        } else {
            std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        }
    }
    Ok(())
}
