//! The clients that may connect: `paired.json` in the state directory.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sis_identity::write_private;
use sis_protocol::pairing::{KeyHash, Role};

/// So many clients can be paired.
const MAX_CLIENTS: usize = 256;
/// A client's name is cut to so many bytes.
const MAX_NAME_BYTES: usize = 64;

/// Why the list cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum PairedError {
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged; it is left as it is.
    #[error("{path} is damaged ({source}): correct it, or remove it and pair every client again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// The list is full.
    #[error("{MAX_CLIENTS} clients are paired: unpair one first")]
    Full,
}

/// A client that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Client {
    pub(crate) key: KeyHash,
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paired_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    clients: Vec<Client>,
}

/// The list, in memory and on disk; a change that could not be written did not happen.
pub(crate) struct Paired {
    path: PathBuf,
    clients: Vec<Client>,
}

impl Paired {
    pub(crate) fn load(path: &Path) -> Result<Self, PairedError> {
        let clients = match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice::<Document>(&bytes) {
                Ok(document) => document.clients,
                Err(source) => {
                    return Err(PairedError::Damaged {
                        path: path.into(),
                        source,
                    });
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(PairedError::File {
                    path: path.into(),
                    source,
                });
            }
        };
        Ok(Self {
            path: path.into(),
            clients,
        })
    }

    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    pub(crate) fn find(&self, key: KeyHash) -> Option<&Client> {
        self.clients.iter().find(|client| client.key == key)
    }

    /// Adds a client, or gives one that is there its new name and role.
    pub(crate) fn add(
        &mut self,
        key: KeyHash,
        name: &str,
        role: Role,
        paired_ms: Option<u64>,
    ) -> Result<Client, PairedError> {
        let mut clients = self.clients.clone();
        clients.retain(|client| client.key != key);
        if clients.len() >= MAX_CLIENTS {
            return Err(PairedError::Full);
        }
        let client = Client {
            key,
            name: clean_name(name),
            role,
            paired_ms,
        };
        clients.push(client.clone());
        self.replace(clients)?;
        Ok(client)
    }

    /// Forgets a client; `None` when it was not there.
    pub(crate) fn remove(&mut self, key: KeyHash) -> Result<Option<Client>, PairedError> {
        let mut clients = self.clients.clone();
        let Some(index) = clients.iter().position(|client| client.key == key) else {
            return Ok(None);
        };
        let client = clients.remove(index);
        self.replace(clients)?;
        Ok(Some(client))
    }

    fn replace(&mut self, clients: Vec<Client>) -> Result<(), PairedError> {
        let document = Document { version: 1, clients };
        let mut bytes = match serde_json::to_vec_pretty(&document) {
            Ok(bytes) => bytes,
            Err(source) => {
                return Err(PairedError::Damaged {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        bytes.push(b'\n');
        write_private(&self.path, &bytes).map_err(|source| PairedError::File {
            path: self.path.clone(),
            source,
        })?;
        self.clients = document.clients;
        Ok(())
    }
}

/// A name fit for lists and consoles.
fn clean_name(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if clean.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        clean.push(c);
    }
    let clean = clean.trim();
    if clean.is_empty() {
        "unnamed".to_owned()
    } else {
        clean.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kept_across_starts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paired.json");
        let mut paired = Paired::load(&path).unwrap();
        paired.add(KeyHash([1; 32]), "desk\x1b[2J", Role::Viewer, None).unwrap();
        paired.add(KeyHash([2; 32]), "phone", Role::Owner, Some(5)).unwrap();
        paired.add(KeyHash([1; 32]), "desk", Role::Operator, None).unwrap();
        let mut again = Paired::load(&path).unwrap();
        assert_eq!(again.clients().len(), 2);
        assert_eq!(again.find(KeyHash([1; 32])).unwrap().role, Role::Operator);
        assert_eq!(again.remove(KeyHash([2; 32])).unwrap().unwrap().name, "phone");
        assert!(again.remove(KeyHash([2; 32])).unwrap().is_none());
        assert!(Paired::load(&path).unwrap().find(KeyHash([2; 32])).is_none());
    }

    #[test]
    fn a_damaged_list_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("paired.json");
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Paired::load(&path), Err(PairedError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(clean_name("  a\n\u{7}b "), "ab");
        assert_eq!(clean_name("\n"), "unnamed");
        assert!(clean_name(&"ü".repeat(100)).len() <= MAX_NAME_BYTES);
    }

    #[test]
    fn is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let mut paired = Paired::load(&directory.path().join("p")).unwrap();
        paired.clients = (0..=255)
            .map(|n| Client {
                key: KeyHash([n; 32]),
                name: String::new(),
                role: Role::Viewer,
                paired_ms: None,
            })
            .collect();
        let mut key = [0; 32];
        key[0] = 1;
        assert!(matches!(
            paired.add(KeyHash(key), "x", Role::Viewer, None),
            Err(PairedError::Full)
        ));
    }
}
