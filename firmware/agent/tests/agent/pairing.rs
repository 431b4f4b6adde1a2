//! Who gets in: pairing, tokens, roles, and what a stranger gets, which is nothing.

use crate::support::{Board, PATIENCE, within};
use sis_agent::ask_local;
use sis_client::{Client, Identity, PairError, RequestError, WaitError, pair};
use sis_protocol::control::{ErrorCode, RequestBody, ResponseBody, Selection};
use sis_protocol::pairing::{PairLink, Role};
use sis_protocol::wire::{AgentBody, AgentResponseBody, ExecCommand, PowerAction};

#[tokio::test]
async fn a_token_is_good_once() {
    let board = Board::start();
    let link = board.agent.new_pairing(Role::Operator).unwrap();
    let (first, second) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let paired = pair(&link, &[], &first, "first").await.unwrap();
    assert_eq!((paired.role, paired.name.as_str()), (Role::Operator, "test-board"));
    assert_eq!(paired.key, board.agent.key_hash());
    let again = pair(&link, &[], &second, "second").await;
    assert!(
        matches!(&again, Err(PairError::Refused(why)) if why.contains("used before")),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_client_that_is_paired_pairs_anew_with_another_role() {
    let board = Board::start();
    let identity = Identity::generate().unwrap();
    let first = board.agent.new_pairing(Role::Viewer).unwrap();
    pair(&first, &[], &identity, "first").await.unwrap();
    let second = board.agent.new_pairing(Role::Owner).unwrap();
    let paired = pair(&second, &[], &identity, "second").await.unwrap();
    assert_eq!(paired.role, Role::Owner);
    let client = Client::connect(&paired, &identity).unwrap();
    let welcome = client.wait_online(PATIENCE).await.unwrap();
    assert_eq!((welcome.role, welcome.client_name.as_str()), (Role::Owner, "second"));
    // A token is for one pairing, whoever shows it; the role stays.
    let again = pair(&second, &[], &identity, "third").await;
    assert!(
        matches!(&again, Err(PairError::Refused(why)) if why.contains("used before")),
        "{again:?}"
    );
    assert_eq!(client.wait_online(PATIENCE).await.unwrap().client_name, "second");
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_guessing_is_slowed() {
    let board = Board::start();
    let good = board.agent.new_pairing(Role::Owner).unwrap();
    let wrong = PairLink {
        token: [0; 16],
        ..good.clone()
    };
    let identity = Identity::generate().unwrap();
    for _ in 0..5 {
        let refused = pair(&wrong, &[], &identity, "x").await;
        assert!(matches!(refused, Err(PairError::Refused(_))), "{refused:?}");
    }
    let slowed = pair(&good, &[], &identity, "x").await.unwrap_err();
    assert!(slowed.to_string().contains("too many wrong pairing codes"), "{slowed}");
}

#[tokio::test]
async fn a_board_with_another_key_is_not_paired_with() {
    let board = Board::start();
    let mut link = board.agent.new_pairing(Role::Owner).unwrap();
    link.key.0[0] ^= 1;
    let error = pair(&link, &[], &Identity::generate().unwrap(), "x").await.unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    // The token was never shown to it.
    link.key = board.agent.key_hash();
    pair(&link, &[], &Identity::generate().unwrap(), "x").await.unwrap();
}

#[tokio::test]
async fn a_stranger_is_refused_for_good() {
    let board = Board::start();
    let known = board.pair(&Identity::generate().unwrap(), Role::Owner).await;
    let stranger = Client::connect(&known, &Identity::generate().unwrap()).unwrap();
    let refused = stranger.wait_online(PATIENCE).await.unwrap_err();
    assert!(
        matches!(&refused, WaitError::Refused(why) if why.contains("not paired")),
        "{refused:?}"
    );
    let asked = stranger.control(RequestBody::Metrics).await;
    assert!(
        matches!(asked, Err(RequestError::Offline(WaitError::Refused(_)))),
        "{asked:?}"
    );
}

async fn code_of(client: &Client, body: AgentBody) -> Option<ErrorCode> {
    match within("a request", client.request(body)).await {
        Err(RequestError::Failed(failure)) => Some(failure.code),
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says() {
    let board = Board::start();
    let approve = || RequestBody::MemApprove {
        which: Selection::All,
        by: Some("somebody else".to_owned()),
    };
    let forbidden = Some(ErrorCode::Forbidden);
    let command = || ExecCommand {
        argv: vec!["true".to_owned()],
        has_stdin: false,
        timeout_ms: None,
    };

    let viewer = board.client(Role::Viewer).await;
    assert_eq!(code_of(&viewer, AgentBody::Control(RequestBody::Metrics)).await, None);
    assert_eq!(code_of(&viewer, AgentBody::Info).await, None);
    assert_eq!(code_of(&viewer, AgentBody::Control(approve())).await, forbidden);
    assert_eq!(
        code_of(&viewer, AgentBody::Power(PowerAction::PowerOff)).await,
        forbidden
    );
    assert!(viewer.exec(command()).await.is_err());
    assert!(
        board
            .kernel
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|body| matches!(body, RequestBody::Hello(_)))
    );

    let operator = board.client(Role::Operator).await;
    let decided = operator.control(approve()).await.unwrap();
    assert!(matches!(decided, ResponseBody::Decided(counts) if counts.executed == 1));
    assert_eq!(
        operator
            .exec(command())
            .await
            .unwrap()
            .collect(100)
            .await
            .unwrap()
            .2
            .code,
        Some(0)
    );
    assert_eq!(code_of(&operator, AgentBody::PairedClients).await, forbidden);
    assert_eq!(code_of(&operator, AgentBody::NewPairing(Role::Owner)).await, forbidden);
    // Who decided is who the key says.
    let asked = board.kernel.asked.lock().unwrap().clone();
    let by = asked.iter().find_map(|body| match body {
        RequestBody::MemApprove { by, .. } => by.clone(),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("tester (operator)"));

    let owner = board.client(Role::Owner).await;
    let AgentResponseBody::PairedClients(clients) = owner.request(AgentBody::PairedClients).await.unwrap() else {
        panic!("no list")
    };
    assert_eq!(clients.len(), 3);
    assert!(clients.iter().all(|client| client.connected));
    let viewer_key = clients.iter().find(|client| client.role == Role::Viewer).unwrap().key;
    assert_eq!(code_of(&owner, AgentBody::Unpair(viewer_key)).await, None);
    let mut state = viewer.watch_state();
    let refused = state.wait_for(|state| matches!(state, sis_client::LinkState::Refused { .. }));
    within("the unpaired viewer's end", refused).await.unwrap();
    let AgentResponseBody::PairingLink(link) = owner.request(AgentBody::NewPairing(Role::Viewer)).await.unwrap() else {
        panic!("no link")
    };
    assert_eq!(link.parse::<PairLink>().unwrap().role, Role::Viewer);
}

#[tokio::test]
async fn the_local_socket_pairs_lists_and_unpairs() {
    let board = Board::start();
    let socket = board.directory.path().join("agent.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let ask = async |request: serde_json::Value| {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || ask_local(&socket, &request))
            .await
            .unwrap()
    };
    let answer = ask(serde_json::json!({"cmd": "pair", "role": "viewer"})).await.unwrap();
    let link: PairLink = answer["link"].as_str().unwrap().parse().unwrap();
    pair(&link, &[], &Identity::generate().unwrap(), "desk").await.unwrap();
    let list = ask(serde_json::json!({"cmd": "list"})).await.unwrap();
    assert_eq!(list["clients"][0]["name"], "desk");
    assert_eq!(list["clients"][0]["role"], "viewer");
    assert_eq!(ask(serde_json::json!({"cmd": "status"})).await.unwrap()["paired"], 1);
    assert_eq!(
        ask(serde_json::json!({"cmd": "unpair", "client": "desk"}))
            .await
            .unwrap()["unpaired"],
        "desk"
    );
    for junk in [
        serde_json::json!({"cmd": "unpair", "client": "desk"}),
        serde_json::json!({"cmd": "no"}),
        serde_json::json!(1),
    ] {
        assert!(ask(junk).await.is_err());
    }
    let long = serde_json::json!({"cmd": "unpair", "client": "x".repeat(10_000)});
    assert!(ask(long).await.is_err());
    assert!(ask(serde_json::json!({"cmd": "status"})).await.is_ok());
}
