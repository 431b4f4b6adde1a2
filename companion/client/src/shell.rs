//! The session over quinn: does what the session says and tells it what happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use quinn::{ClientConfig, Connection, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use sis_protocol::wire::{CloseCode, Sample, Start, Topic};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::endpoint;
use crate::session::{Disconnect, LinkState, Output, Session, StreamId, SubscriptionId};
use crate::streams::{Deliveries, Delivery, Queue};

/// What handles and readers ask of the shell.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        topic: Topic,
        start: Start,
        queue: Deliveries,
    },
    Unsubscribe(Deliveries),
    AddMetrics(Arc<Queue<Sample>>),
    RemoveMetrics(Arc<Queue<Sample>>),
    Retry,
    /// End now; the sender is dropped when the board has been told.
    Close(oneshot::Sender<()>),
}

/// What the tasks around a connection tell; of an older connection than `generation` says, it is stale.
enum Input {
    Connected {
        generation: u64,
        endpoint: Endpoint,
        connection: Connection,
    },
    Disconnected {
        generation: u64,
        why: Disconnect,
    },
    Bytes {
        stream: StreamId,
        bytes: quinn::Chunk,
    },
    End {
        stream: StreamId,
    },
    Datagram {
        generation: u64,
        bytes: Vec<u8>,
    },
}

/// Inputs that wait; readers of streams wait with them.
const INPUTS: usize = 64;

pub(crate) struct Shell {
    session: Session,
    config: ClientConfig,
    addresses: Vec<SocketAddr>,
    state: watch::Sender<LinkState>,
    connection: watch::Sender<Option<Connection>>,
    started: Instant,
    generation: u64,
    live: Option<(Endpoint, Connection)>,
    tasks: Vec<AbortHandle>,
    streams: BTreeMap<StreamId, AbortHandle>,
    subscriptions: BTreeMap<SubscriptionId, Deliveries>,
    samples: Vec<Arc<Queue<Sample>>>,
    inputs: mpsc::Sender<Input>,
    input_queue: mpsc::Receiver<Input>,
}

impl Shell {
    pub(crate) fn new(
        session: Session,
        config: ClientConfig,
        addresses: Vec<SocketAddr>,
        state: watch::Sender<LinkState>,
        connection: watch::Sender<Option<Connection>>,
    ) -> Self {
        let (inputs, input_queue) = mpsc::channel(INPUTS);
        Self {
            session,
            config,
            addresses,
            state,
            connection,
            started: Instant::now(),
            generation: 0,
            live: None,
            tasks: Vec::new(),
            streams: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            samples: Vec::new(),
            inputs,
            input_queue,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Until the last handle is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        self.session.start();
        let mut told = None;
        loop {
            self.carry_out();
            let wait_ms = self
                .session
                .next_timeout_ms()
                .map(|at| at.saturating_sub(self.now_ms()));
            let timeout = async {
                match wait_ms {
                    Some(wait_ms) => tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Close(teller)) => {
                        told = Some(teller);
                        break;
                    }
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(input) = self.input_queue.recv() => self.input(input),
                () = timeout => {
                    let now_ms = self.now_ms();
                    self.session.on_timeout(now_ms);
                }
            }
        }
        if let Some((endpoint, _)) = self.drop_connection(CloseCode::Done) {
            // The close is sent when the endpoint is polled once more.
            endpoint::flush(&endpoint).await;
        }
        for queue in self.subscriptions.values() {
            queue.close();
        }
        for queue in &self.samples {
            queue.close();
        }
        drop(told);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { topic, start, queue } => {
                let id = self.session.subscribe(topic, start);
                self.subscriptions.insert(id, queue);
            }
            Command::Unsubscribe(queue) => {
                let found = self.subscriptions.iter().find(|(_, other)| Arc::ptr_eq(other, &queue));
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.subscriptions.remove(&id);
                    self.session.unsubscribe(id);
                }
            }
            Command::AddMetrics(queue) => {
                self.samples.push(queue);
                self.session.set_metrics(true);
            }
            Command::RemoveMetrics(queue) => {
                self.samples.retain(|other| !Arc::ptr_eq(other, &queue));
                self.session.set_metrics(!self.samples.is_empty());
            }
            Command::Retry => self.session.retry(),
            // Taken by the loop.
            Command::Close(_) => {}
        }
    }

    fn input(&mut self, input: Input) {
        let now_ms = self.now_ms();
        match input {
            Input::Connected {
                generation,
                endpoint,
                connection,
            } if generation == self.generation => {
                self.tasks.push(self.watch(connection.clone()));
                self.live = Some((endpoint, connection));
                self.session.on_connected(now_ms);
            }
            Input::Disconnected { generation, why } if generation == self.generation => {
                self.drop_connection(CloseCode::Done);
                self.session.on_disconnected(now_ms, &why);
            }
            Input::Datagram { generation, bytes } if generation == self.generation => self.session.on_datagram(&bytes),
            Input::Bytes { stream, bytes } if self.streams.contains_key(&stream) => {
                self.session.on_stream_bytes(now_ms, stream, &bytes.bytes);
            }
            Input::End { stream } if self.streams.remove(&stream).is_some() => {
                self.session.on_stream_end(now_ms, stream);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect => self.connect(),
                Output::Disconnect(code) => {
                    self.drop_connection(code);
                }
                Output::OpenStream {
                    stream,
                    subscription,
                    bytes,
                } => self.open(stream, subscription, bytes),
                Output::CloseStream(stream) => {
                    if let Some(task) = self.streams.remove(&stream) {
                        task.abort();
                    }
                }
                Output::State(state) => {
                    let online = matches!(state, LinkState::Online(_));
                    let connection = self
                        .live
                        .as_ref()
                        .filter(|_| online)
                        .map(|(_, connection)| connection.clone());
                    self.connection.send_replace(connection);
                    self.state.send_replace(state);
                }
                Output::Event {
                    subscription,
                    cursor,
                    event,
                } => {
                    self.deliver(subscription, Delivery::Event(event), Some(cursor));
                }
                Output::Started {
                    subscription,
                    cursor,
                    head_seq,
                } => {
                    self.deliver(subscription, Delivery::Started { head_seq }, Some(cursor));
                }
                Output::Bootstrap {
                    subscription,
                    missed,
                    cursor,
                } => {
                    self.deliver(subscription, Delivery::Bootstrap { missed }, Some(cursor));
                }
                Output::SubscriptionRefused { subscription, failure } => {
                    self.deliver(subscription, Delivery::Refused(failure), None);
                    if let Some(queue) = self.subscriptions.remove(&subscription) {
                        queue.close();
                    }
                }
                Output::Sample(sample) => {
                    for queue in &self.samples {
                        queue.push_sample((*sample).clone());
                    }
                }
            }
        }
    }

    fn deliver(&self, subscription: SubscriptionId, delivery: Delivery, cursor: Option<sis_protocol::wire::Cursor>) {
        if let Some(queue) = self.subscriptions.get(&subscription) {
            queue.push((delivery, cursor));
        }
    }

    fn connect(&mut self) {
        self.generation += 1;
        let (generation, inputs) = (self.generation, self.inputs.clone());
        let (config, addresses) = (self.config.clone(), self.addresses.clone());
        let task = tokio::spawn(async move {
            let input = match endpoint::connect(&config, &addresses).await {
                Ok((endpoint, connection)) => Input::Connected {
                    generation,
                    endpoint,
                    connection,
                },
                Err(why) => Input::Disconnected { generation, why },
            };
            // When the shell is gone there is nobody to tell.
            let _ = inputs.send(input).await;
        });
        self.tasks.push(task.abort_handle());
    }

    /// Tells of datagrams and of the connection's end.
    fn watch(&self, connection: Connection) -> AbortHandle {
        let (generation, inputs) = (self.generation, self.inputs.clone());
        let task = tokio::spawn(async move {
            let why = loop {
                match connection.read_datagram().await {
                    Ok(bytes) => {
                        // Samples may be lost; what holds the connection up may not.
                        let _ = inputs.try_send(Input::Datagram {
                            generation,
                            bytes: bytes.to_vec(),
                        });
                    }
                    Err(error) => break endpoint::disconnect(&error),
                }
            };
            let _ = inputs.send(Input::Disconnected { generation, why }).await;
        });
        task.abort_handle()
    }

    fn open(&mut self, stream: StreamId, subscription: Option<SubscriptionId>, bytes: Vec<u8>) {
        let Some((_, connection)) = &self.live else { return };
        let connection = connection.clone();
        let inputs = self.inputs.clone();
        let queue = subscription.and_then(|id| self.subscriptions.get(&id)).cloned();
        let task = tokio::spawn(async move {
            // A connection that is lost on the way is told of by its watcher.
            let Ok((send, receive)) = connection.open_bi().await else {
                return;
            };
            pump(stream, send, receive, bytes, queue, &inputs).await;
        });
        self.streams.insert(stream, task.abort_handle());
    }

    fn drop_connection(&mut self, code: CloseCode) -> Option<(Endpoint, Connection)> {
        self.generation += 1;
        for task in self
            .tasks
            .drain(..)
            .chain(std::mem::take(&mut self.streams).into_values())
        {
            task.abort();
        }
        self.connection.send_replace(None);
        let live = self.live.take();
        if let Some((_, connection)) = &live {
            connection.close(VarInt::from_u32(code.code()), b"");
        }
        live
    }
}

/// Writes the first bytes and passes on what comes, no faster than the reader takes it. Aborted, it resets the stream.
async fn pump(
    stream: StreamId,
    mut send: SendStream,
    mut receive: RecvStream,
    bytes: Vec<u8>,
    queue: Option<Deliveries>,
    inputs: &mpsc::Sender<Input>,
) {
    if send.write_all(&bytes).await.is_err() {
        return;
    }
    loop {
        if let Some(queue) = &queue {
            queue.wait_for_room().await;
        }
        let input = match receive.read_chunk(4096, true).await {
            Ok(Some(bytes)) => Input::Bytes { stream, bytes },
            Ok(None) | Err(ReadError::Reset(_)) => Input::End { stream },
            Err(_) => return,
        };
        let is_end = matches!(input, Input::End { .. });
        if inputs.send(input).await.is_err() || is_end {
            return;
        }
    }
}
