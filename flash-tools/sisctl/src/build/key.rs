//! The key that images and updates are signed with.

use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::workspace::Workspace;
use sis_bundle::sign::Signer;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A key, and where it is.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) signer: Signer,
    pub(crate) path: PathBuf,
    /// Made here, for development: whoever has the workspace has it.
    pub(crate) is_development: bool,
}

impl Key {
    /// The key that was named, or the workspace's own, which is made on first use.
    pub(crate) fn find(workspace: &Workspace, named: Option<&Path>) -> Outcome<Self> {
        let path = named.map_or_else(|| workspace.keys_folder().join("development.pem"), Path::to_path_buf);
        if named.is_none() && !path.exists() {
            make_key(&path)?;
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::new("image.key", format_args!("{}: {error}", path.display())))?;
        let signer = Signer::from_pem(&text).map_err(|error| {
            Failure::new("image.key", format_args!("{}: {error}", path.display()))
                .exit(Exit::Usage)
                .fix("openssl genpkey -algorithm ed25519 -out key.pem makes one")
        })?;
        Ok(Self {
            signer,
            path,
            is_development: named.is_none(),
        })
    }
}

/// Makes a key that only its owner reads, and its public half beside it.
fn make_key(path: &Path) -> Outcome<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).or_fail("image.key")?;
    let text = Signer::generate().or_fail("image.key")?;
    let public = Signer::from_pem(&text).or_fail("image.key")?.public_pem();
    fs::write(path.with_extension("pub.pem"), public).or_fail("image.key")?;
    // Whole or not at all: two that make one at once must not mix theirs.
    let part = folder.join(format!(".key.{}", std::process::id()));
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .or_fail("image.key")?;
    file.write_all(text.as_bytes())
        .and_then(|()| fs::rename(&part, path))
        .or_fail("image.key")
}
