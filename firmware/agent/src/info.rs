//! What this machine and this program are.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use sis_protocol::control::{Metrics, RequestBody, ResponseBody};
use sis_protocol::wire::Info;

use crate::clock;
use crate::state::State;

/// The machine's host name.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // What Linux says before anybody has set one.
    if name.is_empty() || name == "(none)" {
        "sis".to_owned()
    } else {
        name
    }
}

/// Set by the image's build.
pub(crate) fn agent_build_id() -> Option<String> {
    option_env!("SIS_BUILD_ID").map(str::to_owned)
}

pub(crate) async fn gather(state: &State) -> Info {
    let uname = rustix::system::uname();
    let metrics = match state.source.ask(RequestBody::Metrics).await {
        ResponseBody::Metrics(metrics) => *metrics,
        _ => Metrics::default(),
    };
    let kernel = match state.source.ask(RequestBody::Hello(state.hello())).await {
        ResponseBody::Hello(hello) => hello.build_id,
        _ => None,
    };
    Info {
        name: state.name.clone(),
        machine: machine(),
        sysname: uname.sysname().to_string_lossy().into_owned(),
        release: uname.release().to_string_lossy().into_owned(),
        version: uname.version().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_build_id: agent_build_id(),
        kernel_build_id: kernel,
        cpus: u32::try_from(metrics.cpus.len()).ok().filter(|cpus| *cpus > 0),
        mem_total_bytes: metrics.mem_total_bytes,
        source: state.source.kind().name().to_owned(),
        agent_uptime_ns: u64::try_from(state.started.elapsed().as_nanos()).ok(),
        clients: u32::try_from(state.connected()).ok(),
        wall_ms: clock::wall_ms(),
    }
}

/// As the device tree, or a PC's firmware, names it.
fn machine() -> Option<String> {
    let files = [
        "/proc/device-tree/model",
        "/sys/firmware/devicetree/base/model",
        "/sys/class/dmi/id/product_name",
    ];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok())?;
    Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()).filter(|text| !text.is_empty())
}

/// Where a client may reach `listen`; asked of the routing table where it listens everywhere.
pub(crate) fn addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    // Connecting a datagram socket sends nothing and shows the address that would be used. RFC 5737, RFC 3849: documentation addresses.
    let towards = |local: IpAddr, remote: IpAddr| {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
        socket.connect(SocketAddr::new(remote, 9)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then(|| SocketAddr::new(ip, listen.port()))
    };
    let v4 = towards(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = towards(
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    );
    let mut found: Vec<_> = v4.into_iter().chain(v6.filter(|_| listen.is_ipv6())).collect();
    if found.is_empty() {
        found.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listen.port()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_always_told() {
        let fixed: SocketAddr = "192.168.7.7:1".parse().unwrap();
        assert_eq!(addresses(fixed), [fixed]);
        let any = addresses("0.0.0.0:8870".parse().unwrap());
        assert!(!any.is_empty());
        assert!(
            any.iter()
                .all(|address| address.port() == 8870 && !address.ip().is_unspecified())
        );
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
