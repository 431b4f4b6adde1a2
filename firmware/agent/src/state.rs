//! What all connections share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn::{Connection, VarInt};
use sis_identity::{TlsError, random_bytes};
use sis_protocol::control::EventKind;
use sis_protocol::hello::Hello;
use sis_protocol::pairing::{KeyHash, PairLink, Role};
use sis_protocol::wire::{CloseCode, Topic, Welcome};

use crate::clock;
use crate::info;
use crate::log::Log;
use crate::paired::{Client, Paired, PairedError};
use crate::sampler::Sampler;
use crate::source::{Source, SourceKind, Told};
use crate::tokens::{LIFETIME, RedeemError, Tokens};
use crate::update::Updates;

/// Events kept for clients that come back.
const EVENTS: usize = 20_000;
const EVENT_BYTES: usize = 2 << 20;
/// Log lines kept.
const LOG_LINES: usize = 20_000;
const LOG_BYTES: usize = 1 << 20;
/// Connections of one client at once, and of clients that are not paired: neither can take all that there are.
const MAX_CONNECTIONS_PER_CLIENT: usize = 16;
const MAX_STRANGERS: u32 = 12;

/// See the module's documentation.
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) key: KeyHash,
    pub(crate) listen: SocketAddr,
    /// Told to clients so that cursors of another life of the logs are known.
    pub(crate) epoch: u64,
    pub(crate) started: Instant,
    pub(crate) source: Source,
    pub(crate) sampler: Sampler,
    pub(crate) running_commands: AtomicU32,
    pub(crate) updates: Updates,
    events: Log,
    lines: Log,
    paired: Mutex<Paired>,
    tokens: Mutex<Tokens>,
    connections: Mutex<BTreeMap<u64, (KeyHash, Connection)>>,
    next_connection: AtomicU64,
    strangers: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a client was not paired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    #[error(transparent)]
    Token(#[from] RedeemError),
    #[error(transparent)]
    List(#[from] PairedError),
}

impl State {
    pub(crate) fn new(
        name: String,
        key: KeyHash,
        listen: SocketAddr,
        source: Source,
        paired: Paired,
        updates: Updates,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            name,
            key,
            listen,
            epoch: u64::from_be_bytes(random_bytes()?) >> 1,
            started: Instant::now(),
            source,
            sampler: Sampler::new(),
            running_commands: AtomicU32::new(0),
            updates,
            events: Log::new(EVENTS, EVENT_BYTES),
            lines: Log::new(LOG_LINES, LOG_BYTES),
            paired: Mutex::new(paired),
            tokens: Mutex::new(Tokens::default()),
            connections: Mutex::new(BTreeMap::new()),
            next_connection: AtomicU64::new(1),
            strangers: AtomicU32::new(0),
        })
    }

    pub(crate) fn hello(&self) -> Hello {
        let mut hello = Hello::new(concat!("sis-agent ", env!("CARGO_PKG_VERSION")));
        hello.name = Some(self.name.clone());
        hello.build_id = info::agent_build_id();
        hello
    }

    pub(crate) fn welcome(&self, client: &Client) -> Welcome {
        Welcome {
            hello: self.hello(),
            role: client.role,
            client_name: client.name.clone(),
            epoch: self.epoch,
            has_control: self.source.kind() == SourceKind::Control,
        }
    }

    pub(crate) const fn log(&self, topic: Topic) -> Option<&Log> {
        match topic {
            Topic::Events => Some(&self.events),
            Topic::Logs => Some(&self.lines),
            Topic::Unknown(_) => None,
        }
    }

    /// Puts something of the agent's own into the event log.
    pub(crate) fn record(&self, kind: EventKind) {
        self.events.append(clock::monotonic_ns(), clock::wall_ms(), kind, None);
    }

    /// Puts what the source tells into the log where it belongs.
    pub(crate) fn take_told(&self, told: Told) {
        match told {
            Told::Event(event) => {
                let log = if matches!(event.kind, EventKind::LogLine(_)) {
                    &self.lines
                } else {
                    &self.events
                };
                let wall_ms = event.wall_ms.or_else(|| clock::wall_ms_of(event.ts_ns));
                log.append(event.ts_ns, wall_ms, event.kind, Some(event.seq));
            }
            Told::Unnumbered { ts_ns, kind } => {
                let log = if matches!(kind, EventKind::LogLine(_)) {
                    &self.lines
                } else {
                    &self.events
                };
                log.append(ts_ns, clock::wall_ms_of(ts_ns), kind, None);
            }
            Told::Lost(count) => self.record(EventKind::Lost { count }),
        }
    }

    /// A link for one more client.
    pub(crate) fn new_pairing(&self, role: Role) -> Result<PairLink, TlsError> {
        let token = random_bytes()?;
        lock(&self.tokens).add(token, role, Instant::now());
        Ok(PairLink {
            addresses: info::addresses(self.listen),
            key: self.key,
            token,
            role,
            expires: clock::wall_ms().map(|ms| ms / 1000 + LIFETIME.as_secs()),
            name: Some(self.name.clone()),
        })
    }

    pub(crate) fn open_tokens(&self) -> usize {
        lock(&self.tokens).count(Instant::now())
    }

    /// Takes a token and adds the client.
    pub(crate) fn pair(&self, token: &[u8], from: SocketAddr, key: KeyHash, name: &str) -> Result<Client, PairError> {
        let role = lock(&self.tokens).redeem(token, from.ip().to_canonical(), Instant::now())?;
        let client = lock(&self.paired).add(key, name, role, clock::wall_ms())?;
        self.record(EventKind::Paired {
            name: client.name.clone(),
            role: role.number(),
        });
        Ok(client)
    }

    /// Forgets a client and ends its connections; `None` when it was not paired.
    pub(crate) fn unpair(&self, key: KeyHash) -> Result<Option<Client>, PairedError> {
        let Some(client) = lock(&self.paired).remove(key)? else {
            return Ok(None);
        };
        self.record(EventKind::Unpaired {
            name: client.name.clone(),
        });
        for (_, connection) in lock(&self.connections).values().filter(|(of, _)| *of == key) {
            connection.close(
                VarInt::from_u32(CloseCode::NotPaired.code()),
                b"This key was unpaired from the board.",
            );
        }
        Ok(Some(client))
    }

    pub(crate) fn find_client(&self, key: KeyHash) -> Option<Client> {
        lock(&self.paired).find(key).cloned()
    }

    /// All clients, and whether each is connected.
    pub(crate) fn clients(&self) -> Vec<(Client, bool)> {
        let connections = lock(&self.connections);
        let is_connected = |key| connections.values().any(|(of, _)| *of == key);
        lock(&self.paired)
            .clients()
            .iter()
            .map(|client| (client.clone(), is_connected(client.key)))
            .collect()
    }

    pub(crate) fn connected(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Counts a paired client's connection until the guard is dropped; `None` when this client has too many.
    pub(crate) fn enter(&self, key: KeyHash, connection: Connection) -> Option<Entered<'_>> {
        let mut connections = lock(&self.connections);
        if connections.values().filter(|(of, _)| *of == key).count() >= MAX_CONNECTIONS_PER_CLIENT {
            return None;
        }
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        connections.insert(id, (key, connection));
        Some(Entered { state: self, id })
    }

    /// Counts a connection whose key is not paired until the guard is dropped; `None` when there are too many.
    pub(crate) fn enter_stranger(&self) -> Option<Stranger<'_>> {
        let more = |count| (count < MAX_STRANGERS).then_some(count + 1);
        let counted = self.strangers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.ok().map(|_| Stranger(&self.strangers))
    }
}

/// See [`State::enter_stranger`].
pub(crate) struct Stranger<'a>(&'a AtomicU32);

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`State::enter`].
pub(crate) struct Entered<'a> {
    state: &'a State,
    id: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        lock(&self.state.connections).remove(&self.id);
    }
}
