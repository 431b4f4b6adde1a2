use super::*;

fn out(src: &str, dst: &str) -> IpOut {
    IpOut {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: UDP,
        tos: 2,
        ttl: 64,
        dont_fragment: true,
        id: 7,
    }
}

#[test]
fn datagrams_are_read_as_they_were_built() {
    for (src, dst) in [("10.0.2.15", "10.0.2.2"), ("fe80::1", "fe80::2")] {
        for len in [0, 1, 2, 3, 5, 1400] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let frame = out(src, dst).udp(1234, 53, &data);
            let (ip, payload) = parse_ip(&frame[ETHERNET..]).unwrap();
            assert_eq!((ip.src, ip.dst), (src.parse().unwrap(), dst.parse().unwrap()));
            assert_eq!((ip.tos, ip.ttl, ip.fragment), (2, 64, None));
            let udp = parse_udp(&ip, payload).unwrap();
            assert_eq!(
                udp,
                Udp {
                    src_port: 1234,
                    dst_port: 53,
                    data: &data
                }
            );
        }
    }
}

#[test]
fn damage_is_seen() {
    let frame = out("10.0.2.15", "10.0.2.2").udp(1, 2, b"hello");
    for at in 0..frame.len() - ETHERNET {
        let mut bad = frame[ETHERNET..].to_vec();
        bad[at] ^= 0x10;
        let ok = parse_ip(&bad).and_then(|(ip, p)| parse_udp(&ip, p).map(|_| ()));
        assert!(ok.is_none(), "byte {at} flipped and not noticed");
    }
    for cut in 0..frame.len() - ETHERNET {
        assert!(parse_ip(&frame[ETHERNET..ETHERNET + cut]).is_none());
    }
}

#[test]
fn fragments_cover_the_payload_once() {
    for (src, dst) in [("10.0.2.15", "10.0.2.2"), ("fe80::1", "fe80::2")] {
        let h = out(src, dst);
        let data: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        let whole = h.udp(9, 10, &data);
        let payload = whole[ETHERNET + h.header_len()..].to_vec();
        let mut seen = vec![0u8; payload.len()];
        let pieces = h.fragments(whole, 1500);
        assert_eq!(pieces.len(), 4);
        for (i, p) in pieces.iter().enumerate() {
            assert!(p.len() <= ETHERNET + 1500);
            let (ip, bytes) = parse_ip(&p[ETHERNET..]).unwrap();
            let f = ip.fragment.unwrap();
            assert_eq!(f.more, i < 3);
            assert_eq!(ip.protocol, UDP);
            seen[f.offset..f.offset + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(seen, payload);
    }
}

#[test]
fn resets_answer_what_linux_answers() {
    // A SYN to a closed port: RST|ACK acknowledging the SYN.
    let mut syn = [0u8; 20];
    syn[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
    syn[4..8].copy_from_slice(&1000u32.to_be_bytes());
    syn[12] = 5 << 4;
    syn[13] = tcp_flags::SYN;
    let h = IpOut {
        protocol: TCP,
        ..out("10.0.2.2", "10.0.2.15")
    };
    let check = fold(sum(pseudo_header(h.src, h.dst, TCP, 20), &syn));
    syn[16..18].copy_from_slice(&check.to_be_bytes());
    let frame = h.packet(&syn);
    let (ip, segment) = parse_ip(&frame[ETHERNET..]).unwrap();
    let rst = tcp_reset(&ip, segment).unwrap();
    let (ip2, r) = parse_ip(&rst[ETHERNET..]).unwrap();
    assert_eq!((ip2.src, ip2.dst), (ip.dst, ip.src));
    assert_eq!(ports(r), Some((80, 12345)));
    assert_eq!(r[13], tcp_flags::RST | tcp_flags::ACK);
    assert_eq!(be32(r, 8), Some(1001));
    assert!(tcp_reset(&ip2, r).is_none(), "a reset is never answered");
}

#[test]
fn arp_survives_a_round_trip() {
    let a = Arp {
        is_request: true,
        sender_mac: [1, 2, 3, 4, 5, 6],
        sender: Ipv4Addr::new(10, 0, 2, 15),
        target_mac: [0; 6],
        target: Ipv4Addr::new(10, 0, 2, 2),
    };
    let f = a.frame(BROADCAST);
    assert_eq!(&f[..6], &BROADCAST);
    assert_eq!(Arp::parse(&f[ETHERNET..]), Some(a));
    assert_eq!(Arp::parse(&f[ETHERNET..f.len() - 1]), None);
}

#[test]
fn neighbour_discovery_survives_a_round_trip() {
    let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    let us = link_local(mac);
    assert_eq!(us, "fe80::5054:ff:fe12:3456".parse::<Ipv6Addr>().unwrap());
    let target: Ipv6Addr = "fe80::2".parse().unwrap();
    let f = Ndp::solicit(us, target, mac);
    let (ip, m) = parse_ip(&f[ETHERNET..]).unwrap();
    assert!(icmpv6_is_sound(&ip, m));
    assert_eq!(ip.dst, IpAddr::from(solicited_node(target)));
    assert_eq!(Ndp::parse(ip.ttl, m), Some(Ndp::Solicit { target, mac: Some(mac) }));
    assert_eq!(Ndp::parse(64, m), None, "not from this link");
    let f = Ndp::advert(us, target, [9; 6], mac);
    let (ip, m) = parse_ip(&f[ETHERNET..]).unwrap();
    assert!(icmpv6_is_sound(&ip, m));
    assert_eq!(
        Ndp::parse(ip.ttl, m),
        Some(Ndp::Advert {
            target: us,
            mac: Some(mac),
            overrides: true
        })
    );
}

#[test]
fn unreachable_quotes_the_packet() {
    for (src, dst) in [("10.0.2.15", "10.0.2.2"), ("fe80::1", "fe80::2")] {
        let f = out(src, dst).udp(1, 2, b"x");
        let (ip, _) = parse_ip(&f[ETHERNET..]).unwrap();
        let e = unreachable(&ip, &f[ETHERNET..], 3, ip.dst).unwrap();
        let (eip, m) = parse_ip(&e[ETHERNET..]).unwrap();
        assert_eq!(eip.dst, ip.src);
        assert_eq!(&m[8..], &f[ETHERNET..]);
        assert!(if eip.dst.is_ipv4() {
            icmp_is_sound(m)
        } else {
            icmpv6_is_sound(&eip, m)
        });
    }
}

#[test]
fn the_tos_of_a_built_packet_can_be_set() {
    for (src, dst) in [("10.0.2.15", "10.0.2.2"), ("fe80::1", "fe80::2")] {
        let mut f = out(src, dst).udp(1, 2, b"x");
        set_tos(&mut f, 0xb9);
        assert_eq!(parse_ip(&f[ETHERNET..]).unwrap().0.tos, 0xb9);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
        if let Some((ip, p)) = parse_ip(&bytes) {
            let _ = parse_udp(&ip, p);
            let _ = tcp_reset(&ip, p);
            let _ = Ndp::parse(ip.ttl, p);
            let _ = unreachable(&ip, &bytes, 3, ip.dst);
        }
        let _ = Arp::parse(&bytes);
        let _ = Ndp::parse(255, &bytes);
    }
}
