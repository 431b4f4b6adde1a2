use alloc::vec;

use super::*;

#[test]
fn inet_addresses_survive_a_round_trip() {
    let v4 = [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let a = SockAddr::parse(&v4).unwrap();
    assert_eq!(a, SockAddr::Inet("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(a.encode(), v4);
    let b = SockAddr::Inet("[fe80::1%2]:53".parse().unwrap());
    assert_eq!(SockAddr::parse(&b.encode()).unwrap(), b);
    assert_eq!(b.encode().len(), 28);
}

#[test]
fn short_addresses_are_refused() {
    assert_eq!(SockAddr::parse(&[]), Err(ParseError::Length));
    assert_eq!(SockAddr::parse(&[2]), Err(ParseError::Length));
    assert_eq!(SockAddr::parse(&[2, 0, 1, 2, 3, 4, 5, 6]), Err(ParseError::Length));
    assert_eq!(SockAddr::parse(&[10, 0, 0, 80, 0, 0, 0, 0, 1]), Err(ParseError::Length));
    assert_eq!(SockAddr::parse(&[99, 0]), Err(ParseError::Family));
    assert_eq!(SockAddr::parse(&[0; 129]), Err(ParseError::Length));
}

#[test]
fn unix_names_end_at_their_nul() {
    let mut b = vec![1, 0];
    b.extend_from_slice(b"/run/x\0garbage");
    assert_eq!(
        SockAddr::parse(&b).unwrap(),
        SockAddr::Unix(UnixName::Path(b"/run/x".to_vec()))
    );
    assert_eq!(SockAddr::parse(&[1, 0]).unwrap(), SockAddr::Unix(UnixName::Unnamed));
    let abs = SockAddr::parse(&[1, 0, 0, b'a', 0, b'b']).unwrap();
    assert_eq!(abs, SockAddr::Unix(UnixName::Abstract(b"a\0b".to_vec())));
    assert_eq!(abs.encode(), [1, 0, 0, b'a', 0, b'b']);
    let mut long = vec![1, 0];
    long.resize(2 + UNIX_PATH_MAX + 1, b'x');
    assert_eq!(SockAddr::parse(&long), Err(ParseError::Length));
}

#[test]
fn mapped_addresses_are_ipv4_inside() {
    let m: SocketAddr = "[::ffff:10.0.2.2]:7".parse().unwrap();
    assert_eq!(canonical(m), "10.0.2.2:7".parse().unwrap());
    assert_eq!(as_v6("10.0.2.2:7".parse().unwrap()), m);
}

#[test]
fn link_and_netlink_addresses_survive_a_round_trip() {
    let l = SockAddr::Packet(LinkAddr {
        protocol: 0x0800,
        index: 2,
        hardware_type: 1,
        packet_type: 0,
        address: [1, 2, 3, 4, 5, 6],
    });
    assert_eq!(l.encode().len(), 20);
    assert_eq!(SockAddr::parse(&l.encode()).unwrap(), l);
    let n = SockAddr::Netlink { pid: 7, groups: 1 };
    assert_eq!(SockAddr::parse(&n.encode()).unwrap(), n);
}
