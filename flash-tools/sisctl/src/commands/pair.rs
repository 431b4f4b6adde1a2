//! `pair`: makes this host's key one of the board's.

use super::{Context, print_json};
use crate::arguments::Pair;
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::link;
use crate::run_state::RunState;
use crate::serial::Serial;
use sis_client::{Client, PairError, PairedBoard, Store};
use sis_protocol::pairing::{KeyHash, PairLink, Role};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the board's `pair` command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a board that knows this host may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context, wishes: &Pair) -> Outcome {
    if let (Some(key), Some(address)) = (wishes.key, wishes.address) {
        return known(context, key, address, wishes.board.as_deref());
    }
    let state = link::running(context, wishes.board.as_deref());
    let text = match &wishes.link {
        Some(text) => text.clone(),
        None => {
            let state = RunState::find(&context.workspace, wishes.board.as_deref())?;
            let mut serial = Serial::attach(&context.workspace.run_folder(&state.board))?;
            ask(&mut serial, wishes.role.name())?
        }
    };
    // A board of this host is reached through its forwarded port, whatever address it knows of itself.
    let forwarded = state
        .as_ref()
        .and_then(link::forwarded)
        .filter(|_| wishes.link.is_none() || is_behind(&text));
    let instead: Vec<SocketAddr> = wishes.address.or(forwarded).into_iter().collect();
    let name = state.filter(|_| forwarded.is_some()).map(|state| state.board);
    let board = link::block_on(with_link(&text, &instead, name.as_deref()))?;
    if context.is_json {
        return print_json(&board);
    }
    println!("paired with {} as {}", board.name, board.role);
    Ok(ExitCode::SUCCESS)
}

/// A board that has this host's key already: its own key is all that was missing.
fn known(context: &Context, key: KeyHash, address: SocketAddr, name: Option<&str>) -> Outcome {
    let store = Store::open_default().or_fail("pair.store")?;
    let identity = store.identity().or_fail("pair.store")?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut board = PairedBoard {
        name: "board".into(),
        key,
        addresses: vec![address],
        role: Role::Viewer,
        paired_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
    };
    let welcome = link::block_on(async {
        let client = Client::connect(&board, &identity).or_fail("pair.setup")?;
        client
            .wait_online(PATIENCE)
            .await
            .map_err(|error| link::wait_failure(&error))
    })?;
    board.role = welcome.role;
    if let Some(name) = name.map(str::to_owned).or(welcome.hello.name) {
        board.name = name;
    }
    store.save(&board).or_fail("pair.store")?;
    if context.is_json {
        return print_json(&board);
    }
    println!("{} knows this host as {}", board.name, board.role);
    Ok(ExitCode::SUCCESS)
}

/// Whether the link's address is that of a guest behind QEMU's user network.
fn is_behind(text: &str) -> bool {
    text.parse::<PairLink>()
        .is_ok_and(|link| link.addresses.iter().all(|address| is_guest(*address)))
}

/// QEMU's user network is 10.0.2.0/24 and fec0::/64 unless told otherwise.
fn is_guest(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[..3] == [10, 0, 2] || address.ip().is_loopback(),
        SocketAddr::V6(address) => address.ip().segments()[0] == 0xfec0 || address.ip().is_unicast_link_local(),
    }
}

/// Asks the board's own shell for a link.
pub(crate) fn ask(serial: &mut Serial, role: &str) -> Outcome<String> {
    let output = serial.run(&format!("pair --role {role} --json"), COMMAND_TIMEOUT)?;
    let refused = || {
        Failure::new(
            "pair.serial",
            format_args!("the board's pair command said: {}", output.text.trim()),
        )
        .fix("the agent may not be up yet: try again in a moment")
    };
    if output.status != 0 {
        return Err(refused());
    }
    let answers = output
        .text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.trim()).ok());
    answers
        .filter_map(|answer| Some(answer.get("link")?.as_str()?.to_owned()))
        .next()
        .ok_or_else(refused)
}

/// Pairs with the board that made the link and keeps it, under `name` if there is one.
pub(crate) async fn with_link(text: &str, instead: &[SocketAddr], name: Option<&str>) -> Outcome<PairedBoard> {
    let link: PairLink = text
        .parse()
        .map_err(|error| Failure::new("pair.link", error).exit(Exit::Usage))?;
    let store = Store::open_default().or_fail("pair.store")?;
    let identity = store.identity().or_fail("pair.store")?;
    let mut board = sis_client::pair(&link, instead, &identity, &host_name())
        .await
        .map_err(|error| match &error {
            PairError::Unreachable(_) => Failure::new("pair.unreachable", error).exit(Exit::Timeout),
            PairError::Refused(_) => Failure::new("pair.refused", error)
                .exit(Exit::NotPaired)
                .fix("a link is good for one pairing and a short time: ask the board for a new one"),
            _ => Failure::new("pair.failed", error),
        })?;
    if let Some(name) = name {
        name.clone_into(&mut board.name);
    }
    store.save(&board).or_fail("pair.store")?;
    Ok(board)
}

/// What the board shall call this host.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    format!("sisctl on {}", name.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_behind_qemu_are_known() {
        for guest in [
            "10.0.2.15:8870",
            "[fec0::5054:ff:fe12:3456]:8870",
            "[fe80::1]:8870",
            "127.0.0.1:8870",
        ] {
            assert!(is_guest(guest.parse().expect("an address")), "{guest}");
        }
        for other in ["10.0.3.15:8870", "192.168.1.5:8870", "[2001:db8::1]:8870"] {
            assert!(!is_guest(other.parse().expect("an address")), "{other}");
        }
    }
}
