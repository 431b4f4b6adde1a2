//! A network that loses, rebinds and goes away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sis_client::{Client, Delivery, Identity, LinkState};
use sis_protocol::control::EventKind;
use sis_protocol::pairing::Role;
use sis_protocol::wire::Start;
use tokio::net::UdpSocket;

use crate::hostile::noise;
use crate::support::{Board, PATIENCE, numbered, within};

/// A relay for one client, as a NAT on a bad line would be.
struct Line {
    address: SocketAddr,
    /// Percent of packets lost.
    loss: Arc<AtomicU32>,
    is_down: Arc<AtomicBool>,
    /// The relay takes another port towards the board.
    rebinds: Arc<AtomicBool>,
    task: tokio::task::AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn towards(board: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(board).await.unwrap();
    socket
}

impl Line {
    async fn new(board: SocketAddr) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap();
        let loss = Arc::new(AtomicU32::new(0));
        let (is_down, rebinds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (loss_now, down_now, rebind_now) = (Arc::clone(&loss), Arc::clone(&is_down), Arc::clone(&rebinds));
        let relay = async move {
            let (mut far, mut client, mut seed) = (towards(board).await, None, 99);
            let (mut from_near, mut from_far) = (vec![0; 2048], vec![0; 2048]);
            loop {
                let is_outward;
                let len = tokio::select! {
                    Ok((len, from)) = near.recv_from(&mut from_near) => {
                        client = Some(from);
                        is_outward = true;
                        len
                    }
                    Ok(len) = far.recv(&mut from_far) => {
                        is_outward = false;
                        len
                    }
                };
                if rebind_now.swap(false, Ordering::Relaxed) {
                    far = towards(board).await;
                }
                let dice = u32::from(noise(&mut seed, 1)[0]) * 100 / 256;
                if down_now.load(Ordering::Relaxed) || dice < loss_now.load(Ordering::Relaxed) {
                    continue;
                }
                // A board that is not there: the packet is lost, nothing else.
                let _ = match client {
                    _ if is_outward => far.send(&from_near[..len]).await,
                    Some(client) => near.send_to(&from_far[..len], client).await,
                    None => Ok(0),
                };
            }
        };
        let task = tokio::spawn(relay).abort_handle();
        Self {
            address,
            loss,
            is_down,
            rebinds,
            task,
        }
    }
}

#[tokio::test]
async fn no_event_is_lost_on_a_line_that_loses_rebinds_and_goes_away() {
    let board = Board::start();
    let line = Line::new(board.agent.local_addr()).await;
    let identity = Identity::generate().unwrap();
    let mut paired = board.pair(&identity, Role::Viewer).await;
    paired.addresses = vec![line.address];
    let client = Client::connect(&paired, &identity).unwrap();
    client.wait_online(PATIENCE).await.unwrap();
    let mut events = client.events(Start::Newest(0));
    assert!(matches!(
        within("the start", events.next()).await,
        Some(Delivery::Started { .. })
    ));
    let mut next = 0;
    let mut expect = async |until: u64| {
        while next < until {
            match within("an event", events.next()).await.unwrap() {
                Delivery::Event(event) => {
                    assert_eq!(event.kind, EventKind::Lost { count: next });
                    next += 1;
                }
                Delivery::Started { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };

    line.loss.store(15, Ordering::Relaxed);
    for n in 0..200 {
        board.agent.record(numbered(n));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    expect(200).await;
    line.loss.store(0, Ordering::Relaxed);

    line.rebinds.store(true, Ordering::Relaxed);
    board.agent.record(numbered(200));
    expect(201).await;

    // Longer than the idle time-out: the connection is gone, what happens meanwhile is not.
    line.is_down.store(true, Ordering::Relaxed);
    let mut state = client.watch_state();
    for n in 201..300 {
        board.agent.record(numbered(n));
    }
    within(
        "the loss",
        state.wait_for(|state| !matches!(state, LinkState::Online(_))),
    )
    .await
    .unwrap();
    line.is_down.store(false, Ordering::Relaxed);
    expect(300).await;
    assert!(matches!(client.state(), LinkState::Online(_)));
}
