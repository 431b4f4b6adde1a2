//! The network, brought up in the background: `init --network`.
//!
//! The loopback first, then `eth0`: an address that the kernel already gave it is left alone; otherwise BusyBox's
//! `udhcpc` asks for one and keeps the lease. Its script (`/etc/udhcpc.script`) puts answers into effect; when no
//! answer comes it is called with `leasefail` and takes the fall-back address of `/etc/network.conf`. A kernel on
//! which `udhcpc` cannot run at all gets the fall-back the same way.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::SigSet;

use crate::log;

const BUSYBOX: &str = "/bin/busybox";
const SCRIPT: &str = "/etc/udhcpc.script";
const INTERFACE: &str = "eth0";
/// How long to wait for the network card to appear.
const CARD_TRIES: u32 = 20;
const CARD_DELAY: Duration = Duration::from_millis(100);

fn busybox(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(BUSYBOX)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {BUSYBOX}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{}: {told}", arguments.join(" ")))
}

/// Brings the network up and becomes the lease keeper; comes back when there is nothing to keep.
pub(crate) fn run() -> ExitCode {
    log::open();
    if let Err(error) = SigSet::all().thread_unblock() {
        log::debug(&format!("cannot unblock signals: {error}"));
    }
    if let Err(error) = busybox(&["ifconfig", "lo", "127.0.0.1", "netmask", "255.0.0.0", "up"]) {
        log::debug(&format!("loopback: {error}"));
    }
    if !is_card_up() {
        log::debug(&format!("no {INTERFACE}: loopback only"));
        return ExitCode::SUCCESS;
    }
    if let Some(address) = busybox(&["ifconfig", INTERFACE]).ok().as_deref().and_then(inet_address) {
        log::debug(&format!("{INTERFACE} already has {address}"));
        return ExitCode::SUCCESS;
    }
    // One discovery a second for three seconds, then `leasefail`; after that a new round every 20 seconds.
    let udhcpc = [
        "udhcpc", "-f", "-i", INTERFACE, "-s", SCRIPT, "-t", "3", "-T", "1", "-A", "20",
    ];
    // What udhcpc says would reach the console as warnings; its script logs what matters.
    match Command::new(BUSYBOX)
        .args(udhcpc)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
    {
        Ok(status) => log::debug(&format!("udhcpc ended: {status}")),
        Err(error) => log::debug(&format!("cannot run udhcpc: {error}")),
    }
    // udhcpc with -f only comes back when it cannot work here.
    let error = Command::new(SCRIPT).arg("leasefail").env("interface", INTERFACE).exec();
    log::warn(&format!("cannot run {SCRIPT}: {error}"));
    ExitCode::FAILURE
}

fn is_card_up() -> bool {
    for _ in 0..CARD_TRIES {
        if busybox(&["ifconfig", INTERFACE, "up"]).is_ok() {
            return true;
        }
        std::thread::sleep(CARD_DELAY);
    }
    false
}

/// The IPv4 address in what `ifconfig` prints.
fn inet_address(text: &str) -> Option<&str> {
    text.split_once("inet addr:")
        .and_then(|(_, rest)| rest.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::inet_address;

    #[test]
    fn reads_the_address_that_busybox_prints() {
        let text = "eth0      Link encap:Ethernet  HWaddr 52:54:00:12:34:56\n          \
                    inet addr:10.0.2.15  Bcast:10.0.2.255  Mask:255.255.255.0\n";
        assert_eq!(inet_address(text), Some("10.0.2.15"));
        assert_eq!(inet_address("eth0  Link encap:Ethernet\n"), None);
        assert_eq!(inet_address("inet addr:"), None);
    }
}
