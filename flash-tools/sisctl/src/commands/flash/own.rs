//! What a card gets of its own when it is written: a name, a key for logging in, a client that may do everything.

use crate::arguments::Flash;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use sis_client::Store;
use sis_image::card::inject::{DataFile, inject};
use sis_protocol::pairing::KeyHash;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

/// The client that is meant by this word is the one of this host.
const THIS: &str = "this";
/// The longest name of a host (hostname(7): labels of 63, names of 253 bytes).
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 253;

/// The files that `wishes` come to; nothing is written yet.
pub(super) fn files(wishes: &Flash) -> Outcome<Vec<DataFile>> {
    let mut files = Vec::new();
    let mut add = |path: &str, text: String| {
        files.push(DataFile {
            path: path.into(),
            bytes: text.into_bytes(),
            permissions: 0o600,
        });
    };
    if let Some(name) = &wishes.hostname {
        if !is_host_name(name) {
            return Err(usage(format_args!(
                "{name:?} is no name of a host: letters, digits and hyphens, in parts joined by dots"
            )));
        }
        add("etc/hostname", format!("{name}\n"));
    }
    if !wishes.authorized_key.is_empty() {
        let mut text = String::new();
        for word in &wishes.authorized_key {
            text += &authorized_key(word)?;
            text.push('\n');
        }
        add("root/.ssh/authorized_keys", text);
    }
    if !wishes.pair_with.is_empty() {
        let mut clients = Vec::new();
        for (number, word) in wishes.pair_with.iter().enumerate() {
            let key = if word == THIS {
                let store = Store::open_default().or_fail("flash.pair")?;
                store.identity().or_fail("flash.pair")?.key_hash()
            } else {
                let no_key = || {
                    usage(format_args!(
                        "{word:?} is no key: 64 hexadecimal digits, or `{THIS}` for this host's"
                    ))
                };
                word.parse::<KeyHash>().map_err(|_| no_key())?
            };
            clients.push(serde_json::json!({
                "key": key, "name": format!("given at flashing {}", number + 1), "role": "owner",
            }));
        }
        let list = serde_json::json!({ "version": 1, "clients": clients });
        add("sis/paired.json", format!("{list}\n"));
    }
    Ok(files)
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new("flash.own", message).exit(Exit::Usage)
}

fn is_host_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// A line of authorized_keys(5): the key itself, or the first line of the file that is named.
fn authorized_key(word: &str) -> Outcome<String> {
    let path = Path::new(word);
    let text = if path.is_file() {
        std::fs::read_to_string(path).or_fail("flash.own")?
    } else {
        word.to_owned()
    };
    let line = text.trim();
    let mut parts = line.split_ascii_whitespace();
    let is_kind = |kind: &str| {
        ["ssh-", "ecdsa-sha2-", "sk-"]
            .iter()
            .any(|start| kind.starts_with(start))
    };
    let is_key = parts.next().is_some_and(is_kind) && parts.next().is_some_and(|key| key.starts_with("AAAA"));
    if is_key && !line.contains(char::is_control) {
        return Ok(line.to_owned());
    }
    Err(usage(format_args!(
        "{word:?} is neither the public key of an SSH client nor a file with one"
    )))
}

/// Puts `files` onto the card that was written, open still, and so nobody else's.
pub(super) fn give(mut card: &File, path: &Path, files: &[DataFile]) -> Outcome<()> {
    let code = "flash.own";
    let bytes = card.seek(SeekFrom::End(0)).or_fail(code)?;
    inject(card, bytes, files).map_err(|error| {
        Failure::new(code, format_args!("{}: {error}", path.display()))
            .fix("the image is on the card, without what was to be its own")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_checked() {
        for good in ["a", "board-7", "b.example.org", "0"] {
            assert!(is_host_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "a..b", "a b", "a\n", "ä", "a_b", &long] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_lines_or_files_with_one() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx me@desk";
        assert_eq!(authorized_key(line).expect("a key"), line);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{line}\n")).expect("is written");
        assert_eq!(authorized_key(&file.path().to_string_lossy()).expect("a key"), line);
        std::fs::write(file.path(), format!("{line}\n{line}\n")).expect("is written");
        for bad in [
            "",
            "ssh-ed25519",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &*file.path().to_string_lossy(),
        ] {
            assert!(authorized_key(bad).is_err(), "{bad}");
        }
    }
}
