//! What a peer can do that means harm: nothing that others would feel.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use sis_client::Identity;
use sis_protocol::control::RequestBody;
use sis_protocol::pairing::Role;
use sis_protocol::wire::{AgentBody, AgentRequest, CloseCode, Open, frame};

use crate::support::{Board, within};

/// A connection without the client library, which would keep to the protocol.
async fn raw(board: &Board, identity: &Identity) -> (Endpoint, Connection) {
    let tls = sis_identity::client_config(identity, board.agent.key_hash()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connection = endpoint
        .connect_with(config, board.agent.local_addr(), "sis")
        .unwrap()
        .await
        .unwrap();
    (endpoint, connection)
}

async fn closed_with(connection: &Connection) -> (Option<CloseCode>, String) {
    match within("the close", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            let sentence = String::from_utf8(close.reason.to_vec()).unwrap();
            (CloseCode::from_code(close.error_code.into_inner()), sentence)
        }
        other => panic!("{other}"),
    }
}

/// Deterministic noise (Marsaglia's xorshift).
pub(crate) fn noise(seed: &mut u64, len: usize) -> Vec<u8> {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        seed.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(next());
    }
    bytes.truncate(len);
    bytes
}

#[tokio::test]
async fn ten_thousand_malformed_datagrams_change_nothing() {
    let board = Board::start();
    let client = board.client(Role::Viewer).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut seed = 0x5eed;
    for n in 0..10_000usize {
        let len = noise(&mut seed, 2)
            .iter()
            .fold(0, |sum, byte| sum * 5 + usize::from(*byte))
            % 1472;
        let mut bytes = noise(&mut seed, len);
        match n % 4 {
            // Noise; a short header; an Initial of version 1, padded or not (RFC 9000 section 17.2); an unknown version.
            0 => {}
            1 => bytes.splice(..0, [0x40]).for_each(drop),
            2 => {
                bytes
                    .splice(..0, [0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0])
                    .for_each(drop);
                bytes.resize(1200, 0);
            }
            _ => bytes.splice(..0, [0xc0, 0xfa, 0xfa, 0xfa, 0xfa, 20]).for_each(drop),
        }
        bytes.truncate(1472);
        socket.send_to(&bytes, board.agent.local_addr()).unwrap();
        if n % 100 == 0 {
            // Lets the agent take them: what the socket's buffer drops tests nothing.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    within("an answer", client.control(RequestBody::Metrics)).await.unwrap();
    let other = board.client(Role::Viewer).await;
    within("an answer", other.control(RequestBody::Metrics)).await.unwrap();
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_a_sentence_and_nothing_else() {
    let board = Board::start();
    let mut tls = sis_identity::client_config(&Identity::generate().unwrap(), board.agent.key_hash()).unwrap();
    tls.client_auth_cert_resolver = Arc::new(NoCertificate);
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connection = endpoint
        .connect_with(config, board.agent.local_addr(), "sis")
        .unwrap()
        .await
        .unwrap();
    let (code, sentence) = closed_with(&connection).await;
    assert_eq!(code, Some(CloseCode::NoCertificate));
    assert!(sentence.contains("certificate"), "{sentence}");
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_stranger_may_open_one_stream_and_only_to_pair() {
    let board = Board::start();
    let pair = |token: Vec<u8>| {
        let hello = sis_protocol::hello::Hello::new("stranger");
        frame::encode(&Open::Pair {
            token,
            name: "x".repeat(100),
            hello,
        })
    };
    let greeting = frame::encode(&Open::Hello(sis_protocol::hello::Hello::new("stranger")));
    let cases = [
        (greeting, CloseCode::NotPaired),
        (frame::encode(&Open::Metrics), CloseCode::NotPaired),
        (vec![0xff; 64], CloseCode::NotPaired),
        (vec![0, 0, 0, 3, 1, 2, 3], CloseCode::NotPaired),
        (pair(Vec::new()), CloseCode::PairingRefused),
        (pair(vec![1; 16]), CloseCode::PairingRefused),
        (pair(vec![1; 900]), CloseCode::NotPaired),
    ];
    for (bytes, expected) in cases {
        let (_endpoint, connection) = raw(&board, &Identity::generate().unwrap()).await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        // A second one is not to be had.
        let second = tokio::time::timeout(Duration::from_millis(50), connection.open_bi()).await;
        assert!(second.is_err(), "a stranger has two streams");
        send.write_all(&bytes).await.unwrap();
        let (code, sentence) = closed_with(&connection).await;
        assert_eq!(code, Some(expected), "{sentence}");
        assert!(receive.read_to_end(100).await.is_err(), "a stranger was told something");
    }
}

#[tokio::test]
async fn nonsense_from_a_paired_client_ends_its_connection_only() {
    let board = Board::start();
    let bystander = board.client(Role::Viewer).await;
    let identity = Identity::generate().unwrap();
    board.pair(&identity, Role::Owner).await;
    let mut requests = frame::encode(&Open::Requests);
    requests.extend([0, 0, 0, 1, 0xff]);
    let mut exec = frame::encode(&Open::Requests);
    frame::push(
        &mut exec,
        &AgentRequest {
            id: 1,
            body: AgentBody::Info,
        },
    );
    exec.extend([0x7f, 0xff, 0xff, 0xff]);
    let mut seed = 7;
    let mut cases = vec![vec![0xff; 8], vec![0, 0, 0, 2, 0x82, 0x01], requests, exec];
    cases.extend((0..20).map(|len| {
        let mut bytes = vec![0, 0, 0, len];
        bytes.extend(noise(&mut seed, usize::from(len)));
        bytes
    }));
    for bytes in cases {
        let (_endpoint, connection) = raw(&board, &identity).await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let _ = send.finish();
        // Closed, refused, or passed over when the noise happens to be something; never silence.
        let _ = within("an end", receive.read_to_end(1 << 20)).await;
        within("an answer to the bystander", bystander.control(RequestBody::Metrics))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn half_open_streams_and_many_connections_are_bounded() {
    let board = Board::start();
    let bystander = board.client(Role::Viewer).await;
    let identity = Identity::generate().unwrap();
    board.pair(&identity, Role::Owner).await;
    let (_endpoint, connection) = raw(&board, &identity).await;
    // As many streams as there may be, each with half a frame.
    let mut streams = Vec::new();
    while let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_millis(200), connection.open_bi()).await {
        stream.0.write_all(&[0, 0, 0x10, 0, 1, 2]).await.unwrap();
        streams.push(stream);
        assert!(streams.len() <= 64, "streams are not bounded");
    }
    assert_eq!(streams.len(), 64);
    // As many connections as one client, or all strangers together, may have; then no more, until one goes.
    for (who, most) in [(&identity, 16), (&Identity::generate().unwrap(), 12)] {
        let mut connections = Vec::new();
        let sentence = loop {
            let (endpoint, connection) = raw(&board, who).await;
            let closed = tokio::time::timeout(Duration::from_millis(100), connection.closed()).await;
            if closed.is_ok() {
                let (code, sentence) = closed_with(&connection).await;
                assert_eq!(code, Some(CloseCode::Busy), "{sentence}");
                break sentence;
            }
            connections.push((endpoint, connection));
            assert!(connections.len() <= most, "connections are not bounded");
        };
        assert!(
            sentence.contains("too many") || sentence.contains("Too many"),
            "{sentence}"
        );
        // Others are not touched by that.
        within("an answer", bystander.control(RequestBody::Metrics))
            .await
            .unwrap();
    }
    drop(streams);
    let other = board.client(Role::Viewer).await;
    within("an answer", other.control(RequestBody::Metrics)).await.unwrap();
}
