//! Files of Debian's packages: fetched by the machine's own apt, which checks their signatures, and kept.

use crate::apt;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::needs;
use crate::report::Step;
use sis_image::manifest::{PackageRecord, sha256_hex};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ARCHITECTURE: &str = "arm64";

/// The packages that a build draws on.
#[derive(Debug)]
pub(super) struct Packages {
    cache: PathBuf,
    refresh: bool,
    origin: Origin,
    used: BTreeMap<String, PackageRecord>,
}

/// Where packages come from.
#[derive(Debug)]
enum Origin {
    /// What the machine's apt knows, for arm64.
    Arm64,
    /// A component of the machine's release that its apt need not know: apt gets lists of our own. For packages of all
    /// architectures.
    Component(String),
}

impl Origin {
    const fn architecture(&self) -> &'static str {
        match self {
            Self::Arm64 => ARCHITECTURE,
            Self::Component(_) => "all",
        }
    }
}

/// A package in the cache.
#[derive(Debug)]
struct PackageFile {
    path: PathBuf,
    sha256: String,
}

impl Packages {
    pub(super) fn new(cache: PathBuf, refresh: bool) -> Self {
        Self {
            cache,
            refresh,
            origin: Origin::Arm64,
            used: BTreeMap::new(),
        }
    }

    /// Packages of all architectures in a component of Debian, such as `non-free-firmware`.
    pub(super) fn of_component(cache: PathBuf, refresh: bool, component: &str) -> Self {
        Self {
            origin: Origin::Component(component.into()),
            ..Self::new(cache, refresh)
        }
    }

    /// What was drawn on, by name.
    pub(super) fn used(&self) -> Vec<PackageRecord> {
        self.used.values().cloned().collect()
    }

    /// The bytes of `member` (a path in the package; `*` as tar's wildcard) of `package`, or of the first package that
    /// it depends on: `linux-image-arm64` is an empty package that names the current kernel's.
    pub(super) fn member(&mut self, package: &str, member: &str, step: &Step) -> Outcome<Vec<u8>> {
        let outer = self.package(package, step)?;
        if let Some(bytes) = extract(&outer.path, member)? {
            self.record(outer)?;
            return Ok(bytes);
        }
        let depends = field(&outer.path, "Depends")?;
        let inner = depends.split([',', '|', ' ', '(']).find(|name| !name.is_empty());
        let inner = inner.ok_or_else(|| missing_member(package, member))?;
        let inner = self.package(inner, step)?;
        let bytes = extract(&inner.path, member)?.ok_or_else(|| missing_member(package, member))?;
        self.record(inner)?;
        Ok(bytes)
    }

    /// The bytes of `member` of `package` itself; `None` when it has none.
    pub(super) fn optional_member(&mut self, package: &str, member: &str, step: &Step) -> Outcome<Option<Vec<u8>>> {
        let file = self.package(package, step)?;
        let bytes = extract(&file.path, member)?;
        self.record(file)?;
        Ok(bytes)
    }

    fn record(&mut self, package: PackageFile) -> Outcome<()> {
        let file = &package.path;
        let name = field(file, "Package")?;
        let record = PackageRecord {
            name: name.clone(),
            version: field(file, "Version")?,
            architecture: field(file, "Architecture")?,
            sha256: package.sha256,
        };
        self.used.insert(name, record);
        Ok(())
    }

    /// The package's file, from the cache when its digest is still what it was when it came.
    fn package(&self, name: &str, step: &Step) -> Outcome<PackageFile> {
        let architecture = self.origin.architecture();
        let folder = self.cache.join(format!("{name}_{architecture}"));
        if !self.refresh
            && let Some(file) = cached(&folder)
        {
            return Ok(file);
        }
        step.now(format!("fetching {name}:{architecture}"));
        // apt writes into the current folder; a fresh one, so that what appears is what was fetched.
        let fresh = self.cache.join(format!(".{name}.{}", std::process::id()));
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).or_fail("build.package")?;
        let result = match &self.origin {
            Origin::Arm64 => download(&format!("{name}:{ARCHITECTURE}"), &[], &fresh),
            Origin::Component(component) => {
                lists(&self.cache, component).and_then(|options| download(name, &options, &fresh))
            }
        };
        let moved = result.and_then(|file| {
            let digest = sha256_hex(&fs::read(&file).or_fail("build.package")?);
            fs::write(file.with_extension("deb.sha256"), digest).or_fail("build.package")?;
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&fresh, &folder).or_fail("build.package")
        });
        let _ = fs::remove_dir_all(&fresh);
        moved?;
        cached(&folder).ok_or_else(|| Failure::new("build.package", format_args!("{name} vanished from the cache")))
    }
}

fn missing_member(package: &str, member: &str) -> Failure {
    Failure::new(
        "build.package",
        format_args!("neither {package} nor what it depends on has {member}"),
    )
}

/// The one package file in `folder`, if its digest holds.
fn cached(folder: &Path) -> Option<PackageFile> {
    let path = only_package(folder)?;
    let recorded = fs::read_to_string(path.with_extension("deb.sha256")).ok()?;
    let sha256 = sha256_hex(&fs::read(&path).ok()?);
    (sha256 == recorded.trim()).then_some(PackageFile { path, sha256 })
}

fn only_package(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
}

/// What apt is told always: as root it would fetch as `_apt`, who may not write here.
const AS_OURSELVES: [&str; 3] = ["-q", "-o", "APT::Sandbox::User=root"];

/// Has apt fetch lists of a component into a folder of ours, and answers the options that make it use them. Neither the
/// machine's lists nor its sources are touched, and no rights are needed.
fn lists(cache: &Path, component: &str) -> Outcome<Vec<String>> {
    let codename = needs::os_release("VERSION_CODENAME").unwrap_or_default();
    let sources = apt::sources();
    let Some(source) = apt::of_release(&sources, &codename) else {
        return Err(Failure::new(
            "build.package",
            "apt has no source of Debian's release to derive another from",
        )
        .exit(Exit::Missing));
    };
    let folder = std::path::absolute(cache.join(format!("apt-{component}"))).or_fail("build.package")?;
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part)).or_fail("build.package")?;
    }
    let stanza = format!("{}Architectures: {ARCHITECTURE}\n", source.stanza(&codename, component));
    let list = folder.join("component.sources");
    fs::write(&list, stanza).or_fail("build.package")?;
    let mut options = Vec::new();
    for (name, value) in [
        ("Dir::Etc::sourcelist", list.display().to_string()),
        ("Dir::Etc::sourceparts", "/dev/null".into()),
        ("Dir::State::lists", folder.join("lists").display().to_string()),
        ("Dir::Cache", folder.join("cache").display().to_string()),
        ("Acquire::Languages", "none".into()),
    ] {
        options.extend(["-o".into(), format!("{name}={value}")]);
    }
    // A failed update leaves the old lists, and says so in warnings alone.
    let strict = ["-o", "APT::Update::Error-Mode=any", "update"];
    let output = run(Command::new("apt-get").args(AS_OURSELVES).args(&options).args(strict))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(
            "build.package",
            format_args!("apt could not fetch the list of {component}: {}", said.trim()),
        )
        .exit(Exit::Missing));
    }
    Ok(options)
}

fn download(package: &str, options: &[String], into: &Path) -> Outcome<PathBuf> {
    let mut command = Command::new("apt-get");
    command.args(AS_OURSELVES).args(options).args(["download", package]);
    let output = run(command.current_dir(into))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(
            "build.package",
            format_args!("apt could not fetch {package}: {}", said.trim()),
        )
        .exit(Exit::Missing)
        .fix("cargo sis setup (it makes arm64 packages known to apt)"));
    }
    only_package(into).ok_or_else(|| Failure::new("build.package", format_args!("apt fetched nothing for {package}")))
}

fn field(file: &Path, name: &str) -> Outcome<String> {
    let output = run(Command::new("dpkg-deb").arg("-f").arg(file).arg(name))?;
    if !output.status.success() {
        return Err(Failure::new(
            "build.package",
            format_args!("{} is no sound package", file.display()),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The member's bytes; `None` when the package has none of that name.
fn extract(file: &Path, member: &str) -> Outcome<Option<Vec<u8>>> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(file)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .map_err(|error| no_tool("dpkg-deb", &error))?;
    let mut tar = Command::new("tar");
    tar.args(["-xO", "--wildcards", &format!("./{member}")]);
    if let Some(pipe) = unpack.stdout.take() {
        tar.stdin(pipe);
    }
    let output = run(&mut tar);
    let _ = unpack.wait();
    let output = output?;
    Ok((output.status.success() && !output.stdout.is_empty()).then_some(output.stdout))
}

fn run(command: &mut Command) -> Outcome<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().map_err(|error| no_tool(&name, &error))
}

fn no_tool(name: &str, error: &std::io::Error) -> Failure {
    Failure::new("build.tool", format_args!("{name} could not be started: {error}"))
        .exit(Exit::Missing)
        .fix("cargo sis setup; foreign packages come from Debian, so the build needs a Debian system")
}
