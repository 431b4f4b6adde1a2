//! Setting up, accepting, shutting down.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use sis_identity::{Identity, IdentityError, TlsError, create_private_dir};
use sis_protocol::control::EventKind;
use sis_protocol::pairing::{KeyHash, PairLink, Role};
use sis_protocol::wire::CloseCode;
use sis_update::card::Places;
use tokio::task::{AbortHandle, JoinSet};

use crate::paired::{Paired, PairedError};
use crate::source::Source;
use crate::state::State;
use crate::update::{self, Updates};
use crate::{connection, info, local, sampler, stderr};

/// Connections at once, handshakes included.
const MAX_CONNECTIONS: usize = 48;
/// From so many on, a peer has to show first that it is where it says (RFC 9000 section 8.1.2).
const VALIDATE_FROM: usize = 16;
/// Without a packet for so long a client is gone.
const IDLE_TIMEOUT_MS: u32 = 12_000;
/// Bytes that a client may send ahead of being read: on a stream, and in all.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes that wait for a client to acknowledge.
const SEND_WINDOW: u64 = 256 * 1024;
const DATAGRAM_WINDOW: usize = 16 * 1024;

/// Where the agent listens and keeps its things.
#[derive(Debug, Clone)]
pub struct Config {
    /// For the key and the list of paired clients.
    pub state_dir: PathBuf,
    /// The UDP address; port 0 takes any.
    pub listen: SocketAddr,
    /// The local socket; `None`: there is none.
    pub socket: Option<PathBuf>,
    /// What the board is called; `None`: its host name.
    pub name: Option<String>,
    /// Where the card that the board was started from is looked at.
    pub places: Places,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state directory cannot be made.
    #[error("the state directory {path} cannot be made: {source}", path = path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The key is damaged or cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The list of clients is damaged.
    #[error(transparent)]
    Paired(#[from] PairedError),
    /// The library refused; not expected.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The library refused; not expected.
    #[error("QUIC cannot be set up: {0}")]
    Quic(String),
    /// The address cannot be had.
    #[error("cannot listen on UDP {address}: {source}; is another agent running?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The local socket cannot be had.
    #[error("cannot listen on {path}: {source}", path = path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running agent; ends when it is dropped, or with [`Agent::shut_down`].
pub struct Agent {
    endpoint: Endpoint,
    state: Arc<State>,
    tasks: Vec<AbortHandle>,
}

impl Agent {
    /// Makes or reads the key and starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config, mut source: Source) -> Result<Self, StartError> {
        create_private_dir(&config.state_dir).map_err(|source| StartError::StateDir {
            path: config.state_dir.clone(),
            source,
        })?;
        let identity = Identity::load_or_create(&config.state_dir.join("agent.pem"))?;
        let paired = Paired::load(&config.state_dir.join("paired.json"))?;
        let endpoint = listen(&identity, config.listen)?;
        let listen = endpoint.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let name = config.name.clone().unwrap_or_else(info::host_name);
        let told = source.take_told();
        let updates = Updates::new(config.state_dir.join(sis_update::record::FOLDER), config.places.clone());
        let state = Arc::new(State::new(name, identity.key_hash(), listen, source, paired, updates)?);
        state.record(EventKind::AgentStarted {
            software: state.hello().software,
        });
        let mut tasks = Vec::new();
        if let Some(mut told) = told {
            let state = Arc::clone(&state);
            let take = async move {
                while let Some(told) = told.recv().await {
                    state.take_told(told);
                }
            };
            tasks.push(tokio::spawn(take).abort_handle());
        }
        if let Some(path) = &config.socket {
            let socket_error = |source| StartError::Socket {
                path: path.clone(),
                source,
            };
            let listener = local::bind(path).map_err(socket_error)?;
            tasks.push(tokio::spawn(local::run(listener, Arc::clone(&state))).abort_handle());
        }
        tasks.push(tokio::spawn(update::resume(&state)).abort_handle());
        tasks.push(tokio::spawn(sampler::run(Arc::clone(&state))).abort_handle());
        tasks.push(tokio::spawn(accept(endpoint.clone(), Arc::clone(&state))).abort_handle());
        stderr::info(format_args!("listening on UDP {listen}, key {}", state.key));
        Ok(Self { endpoint, state, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.state.listen
    }

    /// Who it is.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        self.state.key
    }

    /// A link for one more client.
    ///
    /// # Errors
    /// [`TlsError`] when the system has no random bytes.
    pub fn new_pairing(&self, role: Role) -> Result<PairLink, TlsError> {
        self.state.new_pairing(role)
    }

    /// Puts an event into the log, as the source would.
    pub fn record(&self, kind: EventKind) {
        self.state.record(kind);
    }

    /// Tells every client, and waits (not long) until they have heard it.
    pub async fn shut_down(self) {
        let code = VarInt::from_u32(CloseCode::ShuttingDown.code());
        self.endpoint.close(code, b"The agent is shutting down.");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.endpoint
            .close(VarInt::from_u32(CloseCode::ShuttingDown.code()), b"");
    }
}

fn listen(identity: &Identity, address: SocketAddr) -> Result<Endpoint, StartError> {
    let tls = sis_identity::server_config(identity)?;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| StartError::Quic(error.to_string()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // Until the client's key is known, one stream: for pairing.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        // Clients send none, but without a buffer quinn sends none either.
        .datagram_receive_buffer_size(Some(1200))
        .datagram_send_buffer_size(DATAGRAM_WINDOW);
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(MAX_CONNECTIONS)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(128 * 1024);
    let listen_error = |source| StartError::Listen { address, source };
    let socket = UdpSocket::bind(address).map_err(listen_error)?;
    Endpoint::new(endpoint_config(identity), Some(config), socket, Arc::new(TokioRuntime)).map_err(listen_error)
}

/// With secrets that outlive a restart, so that clients of the last life are told at once that it is over (RFC 9000 section 10.3).
fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &identity.derived_secret("stateless reset"));
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = identity.derived_secret("connection ids");
    let id_key = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    config
}

async fn accept(endpoint: Endpoint, state: Arc<State>) {
    let open = Arc::new(AtomicUsize::new(0));
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while connections.try_join_next().is_some() {}
        let Some(incoming) = admit(incoming, open.load(Ordering::Relaxed)) else {
            continue;
        };
        let guard = Counted::new(&open);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            connection::serve(incoming, &state).await;
            drop(guard);
        });
    }
}

fn admit(incoming: Incoming, open: usize) -> Option<Incoming> {
    if open >= MAX_CONNECTIONS {
        incoming.refuse();
        return None;
    }
    if open >= VALIDATE_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
        // The peer comes back with a token or not at all.
        if let Err(error) = incoming.retry() {
            error.into_incoming().refuse();
        }
        return None;
    }
    Some(incoming)
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
