use alloc::vec;

use super::*;
use crate::packet::{ETHERNET, IpOut, UDP, parse_ip, parse_udp};

fn pieces(id: u16, len: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let h = IpOut {
        src: "10.0.2.2".parse().unwrap(),
        dst: "10.0.2.15".parse().unwrap(),
        protocol: UDP,
        tos: 0,
        ttl: 64,
        dont_fragment: false,
        id,
    };
    let data: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
    let whole = h.udp(1, 2, &data);
    (data, h.fragments(whole, 1500))
}

fn feed(r: &mut Reassembly, now: u64, frame: &[u8]) -> Option<Vec<u8>> {
    let (ip, p) = parse_ip(&frame[ETHERNET..]).unwrap();
    r.add(now, &ip, ip.fragment.unwrap(), p)
}

#[test]
fn pieces_in_any_order_make_the_datagram() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let mut r = Reassembly::new();
        let (data, p) = pieces(1, 5000);
        let mut got = None;
        for i in order {
            assert!(got.is_none());
            got = feed(&mut r, 0, &p[i]);
            if got.is_none() {
                assert!(feed(&mut r, 0, &p[i]).is_none(), "a repeated piece changes nothing");
            }
        }
        let payload = got.unwrap();
        let (ip, _) = parse_ip(&p[0][ETHERNET..]).unwrap();
        assert_eq!(parse_udp(&ip, &payload).unwrap().data, &data);
        assert!(r.partials.is_empty());
    }
}

#[test]
fn late_pieces_start_again() {
    let mut r = Reassembly::new();
    let (_, p) = pieces(1, 2000);
    assert!(feed(&mut r, 0, &p[0]).is_none());
    assert!(feed(&mut r, TIMEOUT_NS, &p[1]).is_none());
}

#[test]
fn overlaps_void_the_datagram() {
    let mut r = Reassembly::new();
    let (ip, _) = {
        let (_, p) = pieces(1, 2000);
        let (ip, d) = parse_ip(&p[0][ETHERNET..]).unwrap();
        (ip, d.to_vec())
    };
    let f = |offset, more| Fragment { id: 5, offset, more };
    assert!(r.add(0, &ip, f(0, true), &[1; 16]).is_none());
    assert!(r.add(0, &ip, f(8, true), &[2; 16]).is_none());
    assert!(r.partials.is_empty());
    assert!(r.add(0, &ip, f(65_528, false), &[1; 100]).is_none());
    assert!(r.add(0, &ip, f(0, true), &[1; 9]).is_none());
    assert!(r.partials.is_empty());
}

#[test]
fn memory_is_bounded() {
    let mut r = Reassembly::new();
    for id in 0..1000 {
        let (_, p) = pieces(id, 2000);
        assert!(feed(&mut r, 0, &p[0]).is_none());
        assert!(r.partials.len() <= DATAGRAMS);
    }
    let (data, p) = pieces(999, 2000);
    let got = feed(&mut r, 0, &p[1]).unwrap();
    assert_eq!(got.len(), data.len() + 8);
    let _ = vec![0u8];
}
