//! `flash`: an image onto a card, a loop device or a file.

mod own;
mod signature;

use super::{Context, print_json};
use crate::arguments::Flash;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sis_flash::device::{self, Device};
use sis_flash::source::{MapOrigin, Source};
use sis_flash::target::FileTarget;
use sis_flash::write::{Phase, Progress, WriteError, write};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often progress is told.
const PERIOD: Duration = Duration::from_millis(250);

pub(crate) fn run(context: &Context, wishes: &Flash) -> Outcome {
    let (Some(image), Some(path)) = (&wishes.image, &wishes.device) else {
        return candidates(context);
    };
    // All that a person may have got wrong comes before the first byte.
    let own = own::files(wishes)?;
    let source = Source::open(image, wishes.bmap.as_deref()).or_fail("flash.image")?;
    if let Some(key) = &wishes.signed_by {
        let MapOrigin::Bmap(map) = &source.origin else {
            return Err(Failure::new(
                "flash.signature",
                "there is no block map beside the image to be signed for",
            ));
        };
        let manifest = signature::check(image, map, key)?;
        context.report.say(format_args!(
            "{} {} for {}, signed by {}",
            image.display(),
            manifest.version,
            manifest.board,
            key.display()
        ));
    }
    let target = open(wishes, image, path, source.image_bytes)?;
    if source.origin == MapOrigin::Everything && source.image_bytes.is_none() {
        context
            .report
            .say("there is no block map beside the packed image: all of it is written");
    }
    let stop = stop_on_signal()?;
    let mut meter = Meter::new(context);
    let result = write(source, &target, !wishes.no_verify, &stop, &mut |progress| {
        meter.show(progress);
    });
    meter.bar.finish_and_clear();
    let written = result.map_err(|error| write_failure(&error, path))?;
    if !own.is_empty() {
        own::give(target.as_file(), path, &own)?;
    }
    drop(target);
    let is_ejected = !wishes.no_eject && eject(path)?;
    let seconds = meter.start.elapsed().as_secs_f64();
    if context.is_json {
        return print_json(&serde_json::json!({
            "result": "written", "device": path, "image_bytes": written.image_bytes,
            "written_bytes": written.written_bytes, "verified": written.is_verified, "seconds": seconds,
            "own_files": own.iter().map(|file| format!("/{}", file.path)).collect::<Vec<_>>(), "ejected": is_ejected,
        }));
    }
    let verified = if written.is_verified {
        "read back and compared"
    } else {
        "not verified"
    };
    println!(
        "{} of {} written onto {} in {seconds:.1} s, {verified}",
        HumanBytes(written.written_bytes),
        HumanBytes(written.image_bytes),
        path.display(),
    );
    for file in &own {
        println!("its own: /{} on the data partition", file.path);
    }
    if is_ejected {
        println!("{} was ejected: take it out", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Has eject(1) let go of a removable disk, where there is that program; whether it did.
fn eject(path: &Path) -> Outcome<bool> {
    let metadata = std::fs::metadata(path).or_fail("flash.eject")?;
    if !metadata.file_type().is_block_device() {
        return Ok(false);
    }
    let rdev = metadata.rdev();
    let number = format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let is_removable = list()?
        .iter()
        .any(|device| device.number == number && device.is_removable);
    if !is_removable {
        return Ok(false);
    }
    let ran = std::process::Command::new("eject")
        .arg(path)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    // Everything is synced: without it the card can be taken out as well.
    Ok(ran.is_ok_and(|status| status.success()))
}

/// Lists what could be written, and why the rest could not.
fn candidates(context: &Context) -> Outcome {
    let devices: Vec<Device> = list()?.into_iter().filter(|device| device.size_bytes > 0).collect();
    if context.is_json {
        let list: Vec<_> = devices
            .iter()
            .map(|device| {
                let refusal = device.refusal(false);
                serde_json::json!({
                    "device": format!("/dev/{}", device.name), "model": device.model, "serial": device.serial,
                    "bytes": device.size_bytes, "removable": device.is_removable, "partitions": device.partitions,
                    "mounts": device.mounts, "refused": refusal.as_ref().map(ToString::to_string),
                    "force_lifts": refusal.is_some_and(|refusal| refusal.yields_to_force()),
                })
            })
            .collect();
        return print_json(&serde_json::json!({ "devices": list }));
    }
    for device in &devices {
        let verdict = match device.refusal(false) {
            None => "can be written".to_owned(),
            Some(refusal) if refusal.yields_to_force() => format!("{refusal}; --force lifts that"),
            Some(refusal) => refusal.to_string(),
        };
        println!("{}  {verdict}", title(device));
    }
    if devices.is_empty() {
        println!("no disks were found");
    }
    Ok(ExitCode::SUCCESS)
}

fn list() -> Outcome<Vec<Device>> {
    device::list(Path::new("/")).or_fail("flash.devices")
}

/// Name, size, model and serial number, in columns.
fn title(device: &Device) -> String {
    let serial = device.serial.as_deref().unwrap_or("-");
    let model = if device.model.is_empty() { "-" } else { &device.model };
    let size = HumanBytes(device.size_bytes).to_string();
    format!(
        "{:<16}{size:>12}  {model:<24}{serial:<16}",
        format!("/dev/{}", device.name)
    )
}

/// Opens what is to be written, after every check that comes before the first byte.
fn open(wishes: &Flash, image: &Path, path: &Path, image_bytes: Option<u64>) -> Outcome<FileTarget> {
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.starts_with("/dev") => None,
        other => {
            Some(other.map_err(|error| Failure::new("flash.device", format_args!("{}: {error}", path.display())))?)
        }
    };
    match found {
        Some(found) if found.file_type().is_block_device() => device_target(wishes, path, found.rdev(), image_bytes),
        Some(found) if found.is_file() => {
            let of_image = std::fs::metadata(image).or_fail("flash.image")?;
            if (of_image.dev(), of_image.ino()) == (found.dev(), found.ino()) {
                return Err(
                    Failure::new("flash.same", "the image and what it is written onto are one file").exit(Exit::Usage),
                );
            }
            confirm(wishes, &format!("the file {} will be overwritten", path.display()))?;
            FileTarget::file(path).or_fail("flash.open")
        }
        Some(_) => Err(Failure::new(
            "flash.device",
            format_args!("{} is neither a disk nor a file", path.display()),
        )
        .exit(Exit::Usage)
        .fix("cargo sis flash lists the disks")),
        None => FileTarget::file(path).or_fail("flash.open"),
    }
}

fn device_target(wishes: &Flash, path: &Path, rdev: u64, image_bytes: Option<u64>) -> Outcome<FileTarget> {
    let number = format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let Some(device) = list()?.into_iter().find(|device| device.number == number) else {
        return Err(Failure::new(
            "flash.device",
            format_args!("{} is a partition, or lies on other disks", path.display()),
        )
        .exit(Exit::Usage)
        .fix("name the whole disk; cargo sis flash lists them"));
    };
    if let Some(refusal) = device.refusal(wishes.force) {
        let failure = Failure::new(
            "flash.refused",
            format_args!("{} is not written: {refusal}", path.display()),
        );
        return Err(match refusal {
            device::Refusal::Mounted(_) => failure.exit(Exit::Busy).fix("unmount it"),
            device::Refusal::System(_) | device::Refusal::InUse(_) => failure.exit(Exit::Busy),
            _ if refusal.yields_to_force() => failure.fix("if it is the right one: --force"),
            _ => failure,
        });
    }
    if let Some(image_bytes) = image_bytes.filter(|len| *len > device.size_bytes) {
        let device_bytes = device.size_bytes;
        return Err(write_failure(
            &WriteError::TooLarge {
                image_bytes,
                device_bytes,
            },
            path,
        ));
    }
    let parts = match device.partitions.as_slice() {
        [] => "no partitions are on it".to_owned(),
        parts => format!("on it are {}", parts.join(", ")),
    };
    confirm(
        wishes,
        &format!("{}\n{parts}; everything on it will be lost", title(&device)),
    )?;
    FileTarget::device(path, device.size_bytes).map_err(|error| {
        let failure = Failure::new("flash.open", format_args!("{}: {error}", path.display()));
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::BUSY) => failure.exit(Exit::Busy).fix("unmount it, or end what uses it"),
            Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => failure.fix("run this as root"),
            _ => failure,
        }
    })
}

fn confirm(wishes: &Flash, what: &str) -> Outcome<()> {
    if wishes.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::new("flash.ask", format_args!("{what}; there is no terminal to ask on"))
                .exit(Exit::Usage)
                .fix("--yes, if that is meant"),
        );
    }
    eprint!("{what}\nWrite? [y/N] ");
    std::io::stderr().flush().or_fail("flash.ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).or_fail("flash.ask")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new("flash.declined", "nothing was written"))
}

/// A flag that Ctrl-C and a polite end set.
fn stop_on_signal() -> Outcome<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_fail("flash.signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).or_fail("flash.signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

fn write_failure(error: &WriteError, path: &Path) -> Failure {
    let again = format!("{} is incomplete and must be written again", path.display());
    let (code, exit, fix) = match error {
        WriteError::TooLarge { .. } => ("flash.too-large", Exit::Failed, "take a larger device".to_owned()),
        WriteError::Source { .. } => ("flash.image", Exit::Failed, format!("{again}, from a whole image")),
        WriteError::Checksum { .. } => (
            "flash.checksum",
            Exit::Failed,
            format!("fetch the image again; {again}"),
        ),
        WriteError::Device { .. } => ("flash.write", Exit::Failed, again),
        WriteError::Differs { .. } => ("flash.differs", Exit::Failed, format!("{again}, or replaced")),
        WriteError::Interrupted => ("flash.interrupted", Exit::Interrupted, again),
    };
    Failure::new(code, error).exit(exit).fix(fix)
}

/// Tells progress: a bar on a terminal, lines of JSON, or nothing.
struct Meter {
    is_json: bool,
    bar: ProgressBar,
    start: Instant,
    phase: Option<(Phase, Instant)>,
    told: Instant,
}

impl Meter {
    fn new(context: &Context) -> Self {
        let is_shown = context.report.is_shown() && !context.is_json;
        let target = if is_shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            is_json: context.is_json,
            bar: ProgressBar::with_draw_target(None, target),
            start: Instant::now(),
            phase: None,
            told: Instant::now(),
        }
    }

    fn show(&mut self, progress: Progress) {
        let now = Instant::now();
        let begun = match self.phase {
            Some((phase, begun)) if phase == progress.phase => begun,
            _ => {
                self.begin(progress);
                self.phase = Some((progress.phase, now));
                self.told = now.checked_sub(PERIOD).unwrap_or(now);
                now
            }
        };
        self.bar.set_position(progress.bytes);
        let is_last = progress.total == Some(progress.bytes);
        if !self.is_json || (now < self.told + PERIOD && !is_last) {
            return;
        }
        self.told = now;
        let rate = progress.bytes as f64 / (now - begun).as_secs_f64();
        let rate = Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0);
        let left = progress
            .total
            .zip(rate)
            .map(|(total, rate)| total.saturating_sub(progress.bytes) as f64 / rate);
        println!(
            "{}",
            serde_json::json!({
                "phase": name(progress.phase), "bytes": progress.bytes, "total": progress.total,
                "bytes_per_second": rate, "seconds_left": left,
            })
        );
    }

    fn begin(&self, progress: Progress) {
        let template = match progress.total {
            Some(_) => "{msg:<7} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
            None => "{msg:<7} {bytes}  {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.reset();
        if let Some(total) = progress.total {
            self.bar.set_length(total);
        }
        self.bar.set_message(name(progress.phase));
    }
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Write => "write",
        Phase::Sync => "sync",
        Phase::Verify => "verify",
    }
}
