//! `image.toml` and the root archive made from it: a newc cpio, the same bytes for the same inputs.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What goes where in the root, as `firmware/rootfs/image.toml` says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSpec {
    /// Directories; parents of everything else must be among them.
    #[serde(default, rename = "directory")]
    pub directories: Vec<DirectorySpec>,
    /// Regular files.
    #[serde(default, rename = "file")]
    pub files: Vec<FileSpec>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkSpec>,
    /// Many links to one program (a multi-call binary's applets).
    #[serde(default)]
    pub applets: Vec<AppletsSpec>,
    /// Device nodes.
    #[serde(default, rename = "node")]
    pub nodes: Vec<NodeSpec>,
}

/// A directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySpec {
    /// Absolute path.
    pub path: String,
    /// Permission bits, octal; 0755 unless told.
    #[serde(default)]
    pub mode: Option<String>,
}

/// A regular file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Absolute path.
    pub path: String,
    /// Permission bits, octal; 0644 unless told.
    #[serde(default)]
    pub mode: Option<String>,
    /// Where its bytes come from.
    pub from: Source,
}

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A program of this workspace, by package name.
    Program(String),
    /// A file beside `image.toml`.
    File(String),
    /// A file of a foreign package: `{ package = "busybox-static", member = "bin/busybox" }`.
    Package {
        /// The package's name.
        package: String,
        /// Path in the package, without a leading slash.
        member: String,
    },
}

/// A symbolic link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Absolute path.
    pub path: String,
    /// What it says.
    pub to: String,
}

/// One link a line of a list file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppletsSpec {
    /// Absolute path of the program, which must be one of the files.
    pub program: String,
    /// List file beside `image.toml`: an absolute path a line.
    pub list: String,
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Absolute path.
    pub path: String,
    /// Permission bits, octal; 0600 unless told.
    #[serde(default)]
    pub mode: Option<String>,
    /// Major and minor number of a character device.
    pub character: [u32; 2],
}

/// Why no archive was made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// `image.toml` does not parse.
    #[error("image.toml: {0}")]
    Syntax(#[from] Box<toml::de::Error>),
    /// A path that is not absolute and normal.
    #[error("image.toml: {0:?} is not an absolute path without '.', '..' or '//'")]
    BadPath(String),
    /// Permission bits that are not octal.
    #[error("image.toml: {path}: mode {mode:?} is not octal permission bits")]
    BadMode {
        /// Whose.
        path: String,
        /// The text.
        mode: String,
    },
    /// Two entries for one path.
    #[error("image.toml: {0} is named twice")]
    Twice(String),
    /// A parent that is not a directory of the image.
    #[error("image.toml: the folder of {0} is not one of the image's directories")]
    NoParent(String),
    /// An applet that its program does not have.
    #[error("{list}: {program} has no applet named {applet}")]
    NoApplet {
        /// The list.
        list: String,
        /// The multi-call program.
        program: String,
        /// What was looked for.
        applet: String,
    },
    /// An applet list for a program that is not in the image.
    #[error("image.toml: applets of {0}, which is not one of the files")]
    NoAppletProgram(String),
    /// The source could not be had.
    #[error("{path}: {reason}")]
    Source {
        /// Path in the image.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// More than 4 GiB, which newc cannot say.
    #[error("{0} is larger than the 4 GiB that a newc archive can hold")]
    TooLarge(String),
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Write(#[from] std::io::Error),
    /// Bytes that are no archive as [`Archive::to_bytes`] makes it.
    #[error("reading the archive: {0}")]
    Read(String),
}

impl RootSpec {
    /// Reads `image.toml`.
    ///
    /// # Errors
    /// [`RootError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, RootError> {
        toml::from_str(text).map_err(|error| RootError::Syntax(Box::new(error)))
    }

    /// The archive; `fetch` brings the bytes of a source or says in a sentence why not.
    ///
    /// # Errors
    /// [`RootError`] names the line of thought that failed.
    pub fn archive(&self, mut fetch: impl FnMut(&Source) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, RootError> {
        let mut archive = Archive::default();
        for directory in &self.directories {
            archive.add(
                &directory.path,
                Node::Directory,
                mode(&directory.path, directory.mode.as_deref(), 0o755)?,
            )?;
        }
        for file in &self.files {
            let data = fetch(&file.from).map_err(|reason| RootError::Source {
                path: file.path.clone(),
                reason,
            })?;
            archive.add(
                &file.path,
                Node::File(data),
                mode(&file.path, file.mode.as_deref(), 0o644)?,
            )?;
        }
        for node in &self.nodes {
            archive.add(
                &node.path,
                Node::Character(node.character),
                mode(&node.path, node.mode.as_deref(), 0o600)?,
            )?;
        }
        for link in &self.links {
            archive.add(&link.path, Node::Link(link.to.clone()), 0o777)?;
        }
        for applets in &self.applets {
            let list = fetch(&Source::File(applets.list.clone())).map_err(|reason| RootError::Source {
                path: applets.list.clone(),
                reason,
            })?;
            archive.add_applets(applets, &String::from_utf8_lossy(&list))?;
        }
        archive.check_parents()?;
        archive.to_bytes()
    }
}

fn mode(path: &str, text: Option<&str>, default: u32) -> Result<u32, RootError> {
    let Some(text) = text else { return Ok(default) };
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| RootError::BadMode {
            path: path.into(),
            mode: text.into(),
        })
}

/// What an entry of an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link that says this.
    Link(String),
    /// A character device: major, minor.
    Character([u32; 2]),
}

#[derive(Debug)]
struct Entry {
    node: Node,
    mode: u32,
}

/// A newc archive in the making: sorted by path, so that a directory comes before what is in it and the order never
/// varies.
#[derive(Debug, Default)]
pub struct Archive(BTreeMap<String, Entry>);

impl Archive {
    /// Adds what is at the absolute `path`, with its permission bits.
    ///
    /// # Errors
    /// A path that is not normal, or that is taken.
    pub fn add(&mut self, path: &str, node: Node, mode: u32) -> Result<(), RootError> {
        let relative = path.strip_prefix('/').ok_or_else(|| RootError::BadPath(path.into()))?;
        if relative
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
            || relative.contains('\0')
        {
            return Err(RootError::BadPath(path.into()));
        }
        match self.0.insert(relative.into(), Entry { node, mode }) {
            None => Ok(()),
            Some(_) => Err(RootError::Twice(path.into())),
        }
    }

    /// As [`Self::add`], in the place of what is there, which goes with everything below it.
    ///
    /// # Errors
    /// A path that is not normal.
    pub fn replace(&mut self, path: &str, node: Node, mode: u32) -> Result<(), RootError> {
        if let Some(relative) = path.strip_prefix('/') {
            let below = format!("{relative}/");
            self.0.retain(|have, _| have != relative && !have.starts_with(&below));
        }
        self.add(path, node, mode)
    }

    /// What is in it, sorted by path (without its leading slash): a directory comes before what is in it. With the
    /// permission bits.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node, u16)> {
        let permissions = |entry: &Entry| (entry.mode & 0o7777) as u16;
        self.0
            .iter()
            .map(move |(path, entry)| (path.as_str(), &entry.node, permissions(entry)))
    }

    fn add_applets(&mut self, applets: &AppletsSpec, list: &str) -> Result<(), RootError> {
        let missing = || RootError::NoAppletProgram(applets.program.clone());
        let program = applets.program.strip_prefix('/').ok_or_else(missing)?;
        // The applet table of a multi-call binary is its names in a row, each ended by a zero byte.
        let names: std::collections::HashSet<Vec<u8>> = match self.0.get(program) {
            Some(Entry {
                node: Node::File(data), ..
            }) => data
                .split(|byte| *byte == 0)
                .filter(|name| name.len() < 32)
                .map(<[u8]>::to_vec)
                .collect(),
            _ => return Err(missing()),
        };
        for path in list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let applet = path.rsplit('/').next().unwrap_or(path);
            if !names.contains(applet.as_bytes()) {
                return Err(RootError::NoApplet {
                    list: applets.list.clone(),
                    program: applets.program.clone(),
                    applet: applet.into(),
                });
            }
            if !self.0.contains_key(path.trim_start_matches('/')) {
                self.add(path, Node::Link(applets.program.clone()), 0o777)?;
            }
        }
        Ok(())
    }

    fn check_parents(&self) -> Result<(), RootError> {
        for path in self.0.keys() {
            if let Some((parent, _)) = path.rsplit_once('/')
                && !matches!(
                    self.0.get(parent),
                    Some(Entry {
                        node: Node::Directory,
                        ..
                    })
                )
            {
                return Err(RootError::NoParent(format!("/{path}")));
            }
        }
        Ok(())
    }

    /// The archive's bytes: owners, times and devices zero.
    ///
    /// # Errors
    /// A file that newc cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RootError> {
        let mut archive = Vec::new();
        for (index, (path, entry)) in self.0.iter().enumerate() {
            let (kind, data, links): (u32, &[u8], u32) = match &entry.node {
                Node::Directory => (0o040_000, &[], 2),
                Node::File(data) => (0o100_000, data, 1),
                Node::Link(to) => (0o120_000, to.as_bytes(), 1),
                Node::Character(_) => (0o020_000, &[], 1),
            };
            let size = u32::try_from(data.len()).map_err(|_| RootError::TooLarge(format!("/{path}")))?;
            // Inode numbers from 1: readers tie hard links together by them. Times, owners and devices are zero.
            let mut builder = cpio::newc::Builder::new(path)
                .ino(index as u32 + 1)
                .mode(kind | entry.mode)
                .nlink(links)
                .mtime(0);
            if let Node::Character([major, minor]) = entry.node {
                builder = builder.rdev_major(major).rdev_minor(minor);
            }
            let mut writer = builder.write(&mut archive, size);
            std::io::Write::write_all(&mut writer, data)?;
            writer.finish()?;
        }
        cpio::newc::trailer(&mut archive)?;
        Ok(archive)
    }
}

mod read;
#[cfg(test)]
mod tests;
