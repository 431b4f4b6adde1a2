//! The workspace as `cargo metadata` sees it: which crate depends on which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One crate of this workspace.
#[derive(Debug)]
pub struct Member {
    /// Package name, such as `sis-core`.
    pub name: String,
    /// Folder relative to the workspace root, such as `kernel/core`.
    pub folder: String,
    /// Names of all packages named in its dependency tables (normal, build and development), ours and others'.
    pub dependencies: BTreeSet<String>,
    /// Root source file of each target (library, binaries, tests, build script).
    pub roots: Vec<(String, PathBuf)>,
}

/// The crates of this workspace, by package name.
#[derive(Debug)]
pub struct Workspace {
    /// Folder that holds the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Its members by package name.
    pub members: BTreeMap<String, Member>,
}

/// The folder of the workspace that this crate was built in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

impl Workspace {
    /// Asks cargo for the workspace.
    ///
    /// # Errors
    /// A sentence that says what cargo answered when it cannot be run or its answer cannot be read.
    pub fn load() -> Result<Self, String> {
        let root = workspace_root();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(&root)
            .output()
            .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let value: Value =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata printed no JSON: {e}"))?;
        Ok(Self {
            members: members(&value, &root),
            root,
        })
    }

    /// Names of the workspace's crates that `name` reaches through its dependency tables, itself not counted.
    #[must_use]
    pub fn reachable(&self, name: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![name];
        while let Some(current) = queue.pop() {
            let Some(member) = self.members.get(current) else {
                continue;
            };
            for next in member.dependencies.iter().filter(|d| self.members.contains_key(*d)) {
                if seen.insert(next.clone()) {
                    queue.push(next);
                }
            }
        }
        seen
    }
}

fn members(value: &Value, root: &Path) -> BTreeMap<String, Member> {
    let packages = value["packages"].as_array().map_or(&[][..], Vec::as_slice);
    packages
        .iter()
        .filter_map(|p| member(p, root))
        .map(|m| (m.name.clone(), m))
        .collect()
}

fn member(package: &Value, root: &Path) -> Option<Member> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let folder = manifest.parent()?.strip_prefix(root).ok()?.to_str()?.to_owned();
    let names = package["dependencies"]
        .as_array()?
        .iter()
        .filter_map(|d| d["name"].as_str());
    let roots = package["targets"].as_array()?.iter().filter_map(|t| {
        let kind = t["kind"].as_array()?.first()?.as_str()?;
        Some((kind.to_owned(), PathBuf::from(t["src_path"].as_str()?)))
    });
    Some(Member {
        name: package["name"].as_str()?.to_owned(),
        folder,
        dependencies: names.map(str::to_owned).collect(),
        roots: roots.collect(),
    })
}
