use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::role::Guarded;
use super::*;
use crate::control::{RequestBody, Selection, Strategy};
use crate::hello::Hello;
use crate::wire::{AgentBody, ExecCommand, Open, PowerAction, Start, Topic};

proptest! {
    #[test]
    fn links_round_trip(
        addresses in prop::collection::vec(any::<(IpAddr, u16)>(), 1..=8),
        key: KeyHash, token: [u8; TOKEN_BYTES], role: Role, expires: Option<u64>, name in prop::option::of("\\PC{0,60}"),
    ) {
        let addresses: Vec<_> = addresses.into_iter().map(|(ip, port)| SocketAddr::new(ip, port)).collect();
        let link = PairLink { addresses, key, token, role, expires, name };
        let text = link.to_string();
        prop_assert!(text.is_ascii() && !text.contains(char::is_whitespace));
        if text.len() <= 1024 {
            prop_assert_eq!(text.parse::<PairLink>(), Ok(link));
        }
    }

    #[test]
    fn noise_is_no_link(text in "\\PC{0,200}") {
        prop_assert!(text.parse::<PairLink>().is_err());
    }

    #[test]
    fn damaged_links_never_panic(text in "sis-pair:v1\\?(addr|key|token|role|expires|name|x)=[0-9a-f%:.&=]{0,100}") {
        let _ = text.parse::<PairLink>();
    }
}

#[test]
fn a_link_says_what_is_wrong_with_it() {
    let key = "ab".repeat(32);
    let good = alloc::format!(
        "sis-pair:v1?addr=10.0.2.15:8870&key={key}&token={}&role=owner&new=1",
        "0f".repeat(16)
    );
    assert_eq!(good.parse::<PairLink>().unwrap().to_string() + "&new=1", good);
    let error = |text: &str| text.parse::<PairLink>().unwrap_err();
    assert_eq!(error("https://example.org"), ParseLinkError::NotALink);
    assert_eq!(error("sis-pair:v2?x"), ParseLinkError::Version);
    assert_eq!(error(&good.replace("addr", "adr")), ParseLinkError::Missing("addr"));
    assert_eq!(error(&good.replace("&role=owner", "")), ParseLinkError::Missing("role"));
    assert_eq!(error(&good.replace("owner", "king")), ParseLinkError::Invalid("role"));
    assert_eq!(error(&good.replace("0f0f", "0g0f")), ParseLinkError::Invalid("token"));
    assert_eq!(error(&good.replace("abab", "ab")), ParseLinkError::Invalid("key"));
    assert_eq!(
        error(&alloc::format!("{good}{}", "x".repeat(2000))),
        ParseLinkError::NotALink
    );
}

/// The table of `role.rs`, written down once more by hand: what is asked, and the least role that may.
fn table() -> Vec<(AgentBody, Role)> {
    let control = |body, role| (AgentBody::Control(body), role);
    let which = Selection::All;
    alloc::vec![
        control(RequestBody::Metrics, Role::Viewer),
        control(RequestBody::Hello(Hello::new("x")), Role::Viewer),
        control(RequestBody::LogTail { max: 1 }, Role::Viewer),
        control(RequestBody::MemStatus, Role::Viewer),
        control(RequestBody::MemApprovals, Role::Viewer),
        control(RequestBody::MemHistory { max: 1 }, Role::Viewer),
        control(RequestBody::MemApprovalMode { on: None }, Role::Viewer),
        control(RequestBody::MemQueryMode { on: None }, Role::Viewer),
        control(RequestBody::AutonomyStatus, Role::Viewer),
        (AgentBody::Info, Role::Viewer),
        (AgentBody::UpdateStatus, Role::Viewer),
        control(RequestBody::MemApprovalMode { on: Some(false) }, Role::Operator),
        control(RequestBody::MemQueryMode { on: Some(true) }, Role::Operator),
        control(
            RequestBody::MemApprove {
                which: which.clone(),
                by: None
            },
            Role::Operator
        ),
        control(RequestBody::MemReject { which, by: None }, Role::Operator),
        control(
            RequestBody::MemSetStrategy {
                strategy: Strategy::Balanced
            },
            Role::Operator
        ),
        control(RequestBody::SelfCheck, Role::Operator),
        control(
            RequestBody::RestartArgument {
                argument: String::new(),
            },
            Role::Owner,
        ),
        (AgentBody::Power(PowerAction::PowerOff), Role::Owner),
        (AgentBody::PairedClients, Role::Owner),
        (AgentBody::Unpair(KeyHash([0; 32])), Role::Owner),
        (AgentBody::NewPairing(Role::Viewer), Role::Owner),
    ]
}

#[test]
fn each_role_may_what_the_table_says() {
    for (body, least) in table() {
        for role in Role::ALL {
            assert_eq!(required(role, &body).is_ok(), role >= least, "{role} {body:?}");
        }
    }
}

#[test]
fn streams_need_roles_too() {
    let exec = Open::Exec(ExecCommand {
        argv: Vec::new(),
        has_stdin: false,
        timeout_ms: None,
    });
    assert_eq!(required(Role::Viewer, &exec), Err(Permission::Execute));
    assert_eq!(required(Role::Operator, &exec), Ok(()));
    for open in [
        Open::Subscribe {
            topic: Topic::Events,
            start: Start::Oldest,
        },
        Open::Metrics,
        Open::Requests,
    ] {
        assert_eq!(required(Role::Viewer, &open), Ok(()));
    }
    let update = Open::Update { may_downgrade: false };
    assert_eq!(required(Role::Operator, &update), Err(Permission::Administer));
    assert_eq!(required(Role::Owner, &update), Ok(()));
    assert_eq!(Open::Unknown.needs(), None);
}

#[test]
fn roles_have_names() {
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert!("root".parse::<Role>().is_err());
    assert_eq!(String::from(Role::Owner.name()), "owner");
}
