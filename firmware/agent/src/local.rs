//! The local socket: pairing and status for whoever is root on the board.
//!
//! A stream socket (unix(7)), mode 0600; one JSON object a line each way:
//!
//! | request | answer |
//! |---|---|
//! | `{"cmd":"pair","role":"owner"}` | `{"link":"sis-pair:v1?..","expiresInS":600}` |
//! | `{"cmd":"list"}` | `{"clients":[{"key","name","role","pairedMs"?,"connected"}]}` |
//! | `{"cmd":"unpair","client":"name or key"}` | `{"unpaired":"name"}` |
//! | `{"cmd":"status"}` | `{"name","listen","key","source","clients","paired","openPairings","uptimeMs","system"}` |
//!
//! What cannot be done answers `{"error":"a sentence"}`.

use std::io::{self, BufRead, BufReader as StdBufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sis_protocol::pairing::Role;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::state::State;
use crate::tokens::LIFETIME;

/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 8;
const MAX_LINE_BYTES: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "camelCase")]
enum Asked {
    Pair {
        #[serde(default = "owner")]
        role: Role,
    },
    List,
    Unpair {
        client: String,
    },
    Status,
}

const fn owner() -> Role {
    Role::Owner
}

/// Listens at `path`; a socket that nobody listens on any more is taken over.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        if StdUnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Answers for ever.
pub(crate) async fn run(listener: UnixListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others are freed in time.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, converse(stream, &state)).await;
        });
    }
}

async fn converse(stream: UnixStream, state: &State) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_LINE_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.get_mut().set_limit(MAX_LINE_BYTES);
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let mut reply = if is_whole {
            answer(state, &line)
        } else {
            json!({"error": "the line is too long or not ended"})
        }
        .to_string();
        reply.push('\n');
        write.write_all(reply.as_bytes()).await?;
        if !is_whole {
            return Ok(());
        }
    }
}

fn answer(state: &State, line: &[u8]) -> Value {
    let asked = match serde_json::from_slice(line) {
        Ok(asked) => asked,
        Err(error) => return json!({"error": format!("not a request: {error}")}),
    };
    match asked {
        Asked::Pair { role } => match state.new_pairing(role) {
            Ok(link) => json!({"link": link.to_string(), "expiresInS": LIFETIME.as_secs()}),
            Err(error) => json!({"error": error.to_string()}),
        },
        Asked::List => {
            let clients = state.clients().into_iter().map(|(client, connected)| {
                let mut value =
                    json!({"key": client.key, "name": client.name, "role": client.role, "connected": connected});
                if let Some(ms) = client.paired_ms {
                    value["pairedMs"] = ms.into();
                }
                value
            });
            json!({"clients": clients.collect::<Vec<_>>()})
        }
        Asked::Unpair { client } => unpair(state, &client),
        Asked::Status => json!({
            "name": state.name,
            "listen": state.listen.to_string(),
            "key": state.key,
            "source": state.source.kind().name(),
            "clients": state.connected(),
            "paired": state.clients().len(),
            "openPairings": state.open_tokens(),
            "uptimeMs": u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            // What runs, and what became of updates; null where there are no slots.
            "system": state.updates.status().ok(),
        }),
    }
}

fn unpair(state: &State, wanted: &str) -> Value {
    let mut matching = state
        .clients()
        .into_iter()
        .map(|(client, _)| client)
        .filter(|client| client.name == wanted || client.key.to_string() == wanted);
    let Some(client) = matching.next() else {
        return json!({"error": format!("no client called `{wanted}` is paired")});
    };
    if matching.next().is_some() {
        return json!({"error": format!("more than one client is called `{wanted}`: name it by its key")});
    }
    match state.unpair(client.key) {
        Ok(_) => json!({"unpaired": client.name}),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// Why the running agent did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Nobody listens there.
    #[error("no agent answers at {path}: {source}")]
    Unreachable {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The answer is no JSON object.
    #[error("the agent's answer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The agent says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the agent that listens at `path` one thing, as documented in this module, and waits for its answer.
///
/// # Errors
/// [`LocalError`].
pub fn ask_local(path: &Path, request: &Value) -> Result<Value, LocalError> {
    let ask = || {
        let mut stream = StdUnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        StdBufReader::new(stream.take(1 << 20)).read_line(&mut line)?;
        Ok(line)
    };
    let line: String = ask().map_err(|source| LocalError::Unreachable {
        path: path.display().to_string(),
        source,
    })?;
    let answer: Value = serde_json::from_str(&line)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(LocalError::Refused(error.to_owned())),
        None => Ok(answer),
    }
}
