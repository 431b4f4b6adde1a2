use alloc::vec;

use super::*;

const REPLY: Reply = Reply {
    seq: 9,
    port: 4,
    is_multi: true,
};

#[test]
fn answers_have_the_layout_of_linux() {
    let a = IfAddr {
        iface: 2,
        addr: "10.0.2.15".parse().unwrap(),
        prefix: 24,
        broadcast: Some("10.0.2.255".parse().unwrap()),
    };
    let m = REPLY.addr(&a, "eth0");
    let r = requests(&m).next().unwrap();
    assert_eq!((r.kind, r.flags, r.seq), (kind::NEW_ADDR, F_MULTI, 9));
    assert_eq!(&r.body[..8], &[2, 24, 0x80, 0, 2, 0, 0, 0]);
    assert_eq!(attribute(r.body, 8, 1), Some(&[10, 0, 2, 15][..]));
    assert_eq!(attribute(r.body, 8, 3), Some(&b"eth0\0"[..]));
    assert_eq!(attribute(r.body, 8, 99), None);
}

#[test]
fn routes_name_their_gateway() {
    let r = Route {
        dst: "0.0.0.0".parse().unwrap(),
        prefix: 0,
        gateway: Some("10.0.2.2".parse().unwrap()),
        iface: 2,
        metric: 0,
        source: None,
        protocol: 3,
    };
    let m = REPLY.route(&r);
    let q = requests(&m).next().unwrap();
    assert_eq!(attribute(q.body, 12, 5).and_then(address), r.gateway);
    assert_eq!(attribute(q.body, 12, 4).and_then(number), Some(2));
    assert_eq!(attribute(q.body, 12, 1), None);
}

#[test]
fn several_requests_are_walked() {
    let mut both = REPLY.done();
    both.extend_from_slice(&REPLY.done());
    assert_eq!(requests(&both).count(), 2);
    both.truncate(30);
    assert_eq!(requests(&both).count(), 1);
    assert_eq!(requests(&[]).count(), 0);
    let mut zero = vec![0u8; 64];
    assert_eq!(requests(&zero).count(), 0, "a length of 0 does not loop");
    zero[0] = 16;
    assert_eq!(requests(&zero).count(), 1);
}

#[test]
fn errors_repeat_the_request() {
    let ask = REPLY.done();
    let r = requests(&ask).next().unwrap();
    let m = REPLY.error(22, &r);
    let e = requests(&m).next().unwrap();
    assert_eq!(e.kind, kind::ERROR);
    assert_eq!(&e.body[..4], &(-22i32).to_le_bytes());
    assert_eq!(&e.body[4..20], r.header);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_walked_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        assert!(requests(&bytes).count() <= bytes.len());
        assert!(attributes(&bytes, 8).count() <= bytes.len());
    }
}
