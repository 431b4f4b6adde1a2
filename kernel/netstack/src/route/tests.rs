use super::*;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn v4(iface: u32, addr: &str, prefix: u8) -> IfAddr {
    let IpAddr::V4(a) = ip(addr) else { panic!() };
    let broadcast = Some(Ipv4Addr::from(u32::from(a) | !u32::from(netmask(prefix))));
    IfAddr {
        iface,
        addr: ip(addr),
        prefix,
        broadcast,
    }
}

fn table() -> RouteTable {
    let mut t = RouteTable::new();
    t.add_addr(IfAddr {
        broadcast: None,
        ..v4(LOOPBACK, "127.0.0.1", 8)
    })
    .unwrap();
    t.add_addr(v4(2, "10.0.2.15", 24)).unwrap();
    let default = Route {
        dst: ip("0.0.0.0"),
        prefix: 0,
        gateway: Some(ip("10.0.2.2")),
        iface: 2,
        metric: 0,
        source: None,
        protocol: 3,
    };
    t.add_route(default).unwrap();
    t
}

#[test]
fn the_longest_prefix_wins() {
    let t = table();
    let near = t.lookup(ip("10.0.2.3"), 0).unwrap();
    assert_eq!(
        (near.next, near.source, near.iface),
        (ip("10.0.2.3"), ip("10.0.2.15"), 2)
    );
    let far = t.lookup(ip("192.0.2.1"), 0).unwrap();
    assert_eq!((far.next, far.source), (ip("10.0.2.2"), ip("10.0.2.15")));
    assert!(t.lookup(ip("10.0.2.15"), 0).unwrap().is_local);
    assert!(t.lookup(ip("127.9.9.9"), 0).unwrap().is_local);
    assert_eq!(t.lookup(ip("fe80::1"), 0), None);
    assert_eq!(t.lookup(ip("10.0.2.3"), 3), None);
}

#[test]
fn broadcasts_leave_without_an_address() {
    let t = RouteTable::new();
    let hop = t.lookup(ip("255.255.255.255"), 2).unwrap();
    assert_eq!((hop.iface, hop.source), (2, ip("0.0.0.0")));
    assert!(table().is_broadcast(2, ip("10.0.2.255")));
    assert_eq!(table().lookup(ip("10.0.2.255"), 0).unwrap().next, ip("10.0.2.255"));
}

#[test]
fn an_address_takes_its_routes_with_it() {
    let mut t = table();
    t.remove_addr(2, ip("10.0.2.15")).unwrap();
    assert_eq!(t.routes(), &[]);
    assert_eq!(t.remove_addr(2, ip("10.0.2.15")), Err(ChangeError::Missing));
}

#[test]
fn wrong_routes_are_refused() {
    let mut t = table();
    let r = Route {
        dst: ip("192.168.0.0"),
        prefix: 16,
        gateway: Some(ip("172.16.0.1")),
        iface: 2,
        metric: 0,
        source: None,
        protocol: 3,
    };
    assert_eq!(t.add_route(r), Err(ChangeError::Gateway));
    assert_eq!(
        t.add_route(Route {
            dst: ip("192.168.1.0"),
            ..r
        }),
        Err(ChangeError::Invalid)
    );
    assert_eq!(
        t.add_route(Route {
            prefix: 33,
            gateway: None,
            ..r
        }),
        Err(ChangeError::Invalid)
    );
    let ok = Route {
        gateway: Some(ip("10.0.2.9")),
        ..r
    };
    t.add_route(ok).unwrap();
    assert_eq!(t.add_route(ok), Err(ChangeError::Exists));
    assert_eq!(t.remove_route(ok.dst, 16, None, 0, None), Ok(ok));
    assert_eq!(t.remove_route(ok.dst, 16, None, 0, None), Err(ChangeError::Missing));
}

#[test]
fn ipv6_prefers_the_source_of_the_same_scope() {
    let mut t = RouteTable::new();
    let a = |addr: &str| IfAddr {
        iface: 2,
        addr: ip(addr),
        prefix: 64,
        broadcast: None,
    };
    t.add_addr(a("fe80::5054:ff:fe12:3456")).unwrap();
    t.add_addr(a("fec0::5054:ff:fe12:3456")).unwrap();
    assert_eq!(
        t.lookup(ip("fe80::2"), 0).unwrap().source,
        ip("fe80::5054:ff:fe12:3456")
    );
    assert_eq!(
        t.lookup(ip("fec0::2"), 0).unwrap().source,
        ip("fec0::5054:ff:fe12:3456")
    );
    assert!(t.is_local(ip("fec0::5054:ff:fe12:3456")));
}

#[test]
fn masks_and_prefixes_agree() {
    for p in 0..=32 {
        assert_eq!(prefix_of(netmask(p)), Some(p));
    }
    assert_eq!(prefix_of(Ipv4Addr::new(255, 0, 255, 0)), None);
    assert_eq!(network(ip("ffff::1"), 0), ip("::"));
    assert_eq!(network(ip("ffff::1"), 128), ip("ffff::1"));
}
