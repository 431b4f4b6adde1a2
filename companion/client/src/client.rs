//! A handle on a board that stays connected by itself.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::Connection;
use sis_identity::{Identity, TlsError};
use sis_protocol::control::{self, RequestBody, ResponseBody};
use sis_protocol::hello::Hello;
use sis_protocol::wire::{AgentBody, AgentResponseBody, ExecCommand, Start, Topic, UpdateStatus, Welcome};
use tokio::sync::{mpsc, oneshot, watch};

use crate::endpoint;
use crate::exec::{Exec, ExecError};
use crate::request::{self, RequestError};
use crate::session::{LinkState, Session};
use crate::shell::{self, Command};
use crate::store::PairedBoard;
use crate::streams::{MetricsStream, Subscription};
use crate::update::{self, UpdateError};

/// How long a request waits for a connection before it gives up.
const ONLINE_PATIENCE: Duration = Duration::from_secs(15);

/// Why no client could be set up; connecting itself is tried for ever, see [`Client::state`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The TLS library refused; not expected.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The QUIC library refused; not expected.
    #[error("QUIC cannot be set up: {0}")]
    Setup(String),
}

/// Why a client is not online.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The board does not want this client.
    #[error("the board refuses: {0}")]
    Refused(String),
    /// It took too long; the last reason is told.
    #[error("the board is not reached: {0}")]
    TimedOut(String),
}

/// A handle on one board; clones share one connection. The connection ends with the last handle or stream made from it.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    state: watch::Receiver<LinkState>,
    connection: watch::Receiver<Option<Connection>>,
}

impl Client {
    /// Begins to connect, in the background and again after every loss. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(board: &PairedBoard, identity: &Identity) -> Result<Self, ConnectError> {
        let config = endpoint::client_config(identity, board.key)?;
        let hello = Hello::new(concat!("sis-client ", env!("CARGO_PKG_VERSION")));
        let seed = u64::from_be_bytes(sis_identity::random_bytes()?);
        let addresses: Vec<SocketAddr> = board.addresses.clone();
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(LinkState::Connecting { attempt: 1 });
        let (connection_sender, connection) = watch::channel(None);
        let shell = shell::Shell::new(
            Session::new(hello, seed),
            config,
            addresses,
            state_sender,
            connection_sender,
        );
        tokio::spawn(shell.run(command_queue));
        Ok(Self {
            commands,
            state,
            connection,
        })
    }

    /// The link's state now; `watch` it to see changes.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// The link's state as it changes.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Waits until the board has greeted.
    ///
    /// # Errors
    /// [`WaitError`] when it refuses or `patience` is over.
    pub async fn wait_online(&self, patience: Duration) -> Result<Welcome, WaitError> {
        let mut state = self.state.clone();
        let is_decided = |state: &LinkState| matches!(state, LinkState::Online(_) | LinkState::Refused { .. });
        let last = match tokio::time::timeout(patience, state.wait_for(is_decided)).await {
            Ok(Ok(decided)) => decided.clone(),
            Ok(Err(_)) | Err(_) => self.state(),
        };
        match last {
            LinkState::Online(welcome) => Ok(*welcome),
            LinkState::Refused { reason } => Err(WaitError::Refused(reason)),
            LinkState::Waiting { reason, .. } => Err(WaitError::TimedOut(reason)),
            LinkState::Connecting { .. } => Err(WaitError::TimedOut(format!(
                "no answer within {} s",
                patience.as_secs_f32()
            ))),
        }
    }

    /// Connects again at once after a refusal (a person has paired anew) or in the middle of a wait.
    pub fn retry(&self) {
        let _ = self.commands.send(Command::Retry);
    }

    /// Ends the connection for every handle and stream, and waits (not long) until the board has been told. A program that exits without
    /// this leaves the board to find out by silence.
    pub async fn close(self) {
        let (teller, told) = oneshot::channel();
        if self.commands.send(Command::Close(teller)).is_ok() {
            let _ = told.await;
        }
    }

    /// Samples, ten a second; the newest are kept for a reader that lags.
    #[must_use]
    pub fn metrics(&self) -> MetricsStream {
        MetricsStream::new(&self.commands)
    }

    /// Events without a gap, across reconnects; `start` says from where on ([`Start::After`] a cursor kept from before).
    #[must_use]
    pub fn events(&self, start: Start) -> Subscription {
        Subscription::new(&self.commands, Topic::Events, start)
    }

    /// Log lines without a gap, across reconnects.
    #[must_use]
    pub fn logs(&self, start: Start) -> Subscription {
        Subscription::new(&self.commands, Topic::Logs, start)
    }

    /// Asks the agent.
    ///
    /// # Errors
    /// [`RequestError`]; a request that was interrupted is not repeated, because it may have been carried out.
    pub async fn request(&self, body: AgentBody) -> Result<AgentResponseBody, RequestError> {
        let connection = self.online_connection().await?;
        request::ask(&connection, body).await
    }

    /// Asks the kernel, through the agent.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn control(&self, body: RequestBody) -> Result<ResponseBody, RequestError> {
        match self.request(AgentBody::Control(body)).await? {
            AgentResponseBody::Control(ResponseBody::Error(failure)) => Err(RequestError::Failed(failure)),
            AgentResponseBody::Control(body) => Ok(body),
            _ => Err(RequestError::UnexpectedAnswer),
        }
    }

    /// One metrics snapshot, on request.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn metrics_once(&self) -> Result<control::Metrics, RequestError> {
        match self.control(RequestBody::Metrics).await? {
            ResponseBody::Metrics(metrics) => Ok(*metrics),
            _ => Err(RequestError::UnexpectedAnswer),
        }
    }

    /// Runs a command on the board.
    ///
    /// # Errors
    /// [`ExecError`] when it could not be started.
    pub async fn exec(&self, command: ExecCommand) -> Result<Exec, ExecError> {
        let connection = self.online_connection().await?;
        Exec::start(&connection, command).await
    }

    /// Begins to send an update; `may_downgrade` takes a version that is older than what runs.
    ///
    /// # Errors
    /// [`UpdateError`] when the board takes none now.
    pub async fn update(&self, may_downgrade: bool) -> Result<(update::Sender, update::Reports), UpdateError> {
        let connection = self.online_connection().await?;
        update::start(&connection, may_downgrade).await
    }

    /// What system the board runs, and what became of updates.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn update_status(&self) -> Result<UpdateStatus, RequestError> {
        match self.request(AgentBody::UpdateStatus).await? {
            AgentResponseBody::UpdateStatus(status) => Ok(*status),
            _ => Err(RequestError::UnexpectedAnswer),
        }
    }

    async fn online_connection(&self) -> Result<Connection, RequestError> {
        let mut connection = self.connection.clone();
        let mut state = self.state.clone();
        let online = async {
            tokio::select! {
                found = connection.wait_for(Option::is_some) => {
                    found.ok().and_then(|found| found.clone()).ok_or_else(|| RequestError::Offline(WaitError::TimedOut("the client has ended".to_owned())))
                }
                refused = state.wait_for(|state| matches!(state, LinkState::Refused { .. })) => {
                    match refused.as_deref() {
                        Ok(LinkState::Refused { reason }) => Err(RequestError::Offline(WaitError::Refused(reason.clone()))),
                        _ => Err(RequestError::Offline(WaitError::TimedOut("the client has ended".to_owned()))),
                    }
                }
            }
        };
        match tokio::time::timeout(ONLINE_PATIENCE, online).await {
            Ok(found) => found,
            Err(_) => {
                let reason = match self.state() {
                    LinkState::Waiting { reason, .. } => reason,
                    _ => format!("no answer within {} s", ONLINE_PATIENCE.as_secs()),
                };
                Err(RequestError::Offline(WaitError::TimedOut(reason)))
            }
        }
    }
}
