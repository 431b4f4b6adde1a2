use alloc::collections::VecDeque;
use core::net::SocketAddr;

use super::*;
use crate::packet::{parse_ip, ports};

const MS: u64 = 1_000_000;

struct Wire {
    now: u64,
    a: Connection,
    b: Option<Connection>,
    to_a: VecDeque<Vec<u8>>,
    to_b: VecDeque<Vec<u8>>,
    lose_every: usize,
    count: usize,
}

fn setup(local: &str, remote: &str, seed: u64) -> Setup {
    Setup {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        receive_bytes: 65536,
        send_bytes: 65536,
        mtu: 1500,
        seed,
    }
}

impl Wire {
    fn new(a: &str, b: &str) -> Self {
        let a = Connection::connect(&setup(a, b, 1), 0).unwrap();
        Self {
            now: 0,
            a,
            b: None,
            to_a: VecDeque::new(),
            to_b: VecDeque::new(),
            lose_every: 0,
            count: 0,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.count += 1;
        self.lose_every != 0 && self.count.is_multiple_of(self.lose_every)
    }

    /// Lets time pass until nothing moves or `ms` are over.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        while self.now < end {
            self.now += MS;
            let mut out = Packets::new();
            self.a.poll(self.now, &mut out);
            self.to_b.extend(out);
            if let Some(b) = &mut self.b {
                let mut out = Packets::new();
                b.poll(self.now, &mut out);
                self.to_a.extend(out);
            }
            while let Some(p) = self.to_b.pop_front() {
                if self.is_lost() {
                    continue;
                }
                let ip = &p[ETHERNET..];
                let (h, seg) = parse_ip(ip).unwrap();
                let (sp, dp) = ports(seg).unwrap();
                let s = Setup {
                    local: SocketAddr::new(h.dst, dp),
                    remote: SocketAddr::new(h.src, sp),
                    ..setup("0.0.0.0:1", "0.0.0.0:1", 2)
                };
                let now = self.now;
                let b = self.b.get_or_insert_with(|| Connection::accept(&s, now).unwrap());
                let mut out = Packets::new();
                b.process(now, ip, &mut out);
                b.poll(now, &mut out);
                self.to_a.extend(out);
            }
            while let Some(p) = self.to_a.pop_front() {
                if self.is_lost() {
                    continue;
                }
                let mut out = Packets::new();
                self.a.process(self.now, &p[ETHERNET..], &mut out);
                self.a.poll(self.now, &mut out);
                self.to_b.extend(out);
            }
        }
    }
}

fn transfer(a: &str, b: &str, lose_every: usize, total: usize) {
    let mut w = Wire::new(a, b);
    w.run(20);
    assert_eq!(w.a.state(), State::Established);
    assert_eq!(w.b.as_ref().unwrap().state(), State::Established);
    w.lose_every = lose_every;
    let mut sent = 0;
    let mut got = 0;
    while got < total {
        let room = w.a.writable().min(total - sent);
        let data: Vec<u8> = (sent..sent + room).map(|i| (i % 251) as u8).collect();
        assert_eq!(w.a.send(&data), room);
        sent += room;
        w.run(5);
        let b = w.b.as_mut().unwrap();
        let mut buf = vec![0; 70_000];
        let n = b.peek(&mut buf);
        assert!(buf[..n].iter().enumerate().all(|(i, v)| *v == ((got + i) % 251) as u8));
        b.consume(n);
        got += n;
        assert!(w.now < 600_000 * MS, "no progress: {got} of {total}");
    }
    w.lose_every = 0;
    w.a.close();
    w.run(2000);
    let b = w.b.as_mut().unwrap();
    assert!(!b.may_receive());
    b.close();
    w.run(50);
    assert!(w.b.as_ref().unwrap().is_over());
    assert_eq!(w.a.state(), State::TimeWait);
}

#[test]
fn data_arrives_whole_and_in_order() {
    transfer("10.0.2.15:40000", "10.0.2.2:80", 0, 500_000);
    transfer("[fe80::1]:40000", "[fe80::2]:80", 0, 200_000);
}

#[test]
fn losses_are_mended() {
    transfer("10.0.2.15:40000", "10.0.2.2:80", 37, 300_000);
}

#[test]
fn a_reset_ends_both() {
    let mut w = Wire::new("10.0.2.15:40000", "10.0.2.2:80");
    w.run(20);
    w.a.abort();
    w.run(20);
    assert!(w.a.is_over());
    assert!(w.b.as_ref().unwrap().is_over());
    assert!(!w.b.as_ref().unwrap().may_receive());
}

#[test]
fn an_idle_connection_asks_for_no_time() {
    let mut w = Wire::new("10.0.2.15:40000", "10.0.2.2:80");
    w.run(500);
    let now = w.now;
    assert_eq!(w.a.next_ns(now), None);
    assert_eq!(w.b.as_mut().unwrap().next_ns(now), None);
}

#[test]
fn impossible_addresses_are_refused() {
    assert!(Connection::connect(&setup("10.0.2.15:0", "10.0.2.2:80", 1), 0).is_none());
    assert!(Connection::connect(&setup("10.0.2.15:1", "10.0.2.2:0", 1), 0).is_none());
    assert!(Connection::connect(&setup("10.0.2.15:1", "0.0.0.0:80", 1), 0).is_none());
    assert!(Connection::connect(&setup("10.0.2.15:1", "[::1]:80", 1), 0).is_none());
}

/// A segment with a right checksum and anything else as given.
fn segment(from: &str, to: &str, fields: (u32, u32, u8, u16), options: &[u8], data: &[u8]) -> Vec<u8> {
    use crate::packet::{IpOut, TCP, fold, pseudo_header, sum};
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let head = IpOut {
        src: from.ip(),
        dst: to.ip(),
        protocol: TCP,
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        id: 0,
    };
    let mut s = Vec::new();
    s.extend_from_slice(&from.port().to_be_bytes());
    s.extend_from_slice(&to.port().to_be_bytes());
    s.extend_from_slice(&fields.0.to_be_bytes());
    s.extend_from_slice(&fields.1.to_be_bytes());
    let len = 20 + options.len().next_multiple_of(4);
    s.extend_from_slice(&[((len / 4) as u8) << 4, fields.2]);
    s.extend_from_slice(&fields.3.to_be_bytes());
    s.extend_from_slice(&[0; 4]);
    s.extend_from_slice(options);
    s.resize(len, 0);
    s.extend_from_slice(data);
    let check = fold(sum(pseudo_header(from.ip(), to.ip(), TCP, s.len()), &s));
    s[16..18].copy_from_slice(&check.to_be_bytes());
    head.packet(&s)[ETHERNET..].to_vec()
}

proptest::proptest! {
    #[test]
    fn hostile_segments_do_no_harm(
        steps in proptest::collection::vec(
            (
                proptest::num::u8::ANY,
                proptest::num::i16::ANY,
                proptest::num::i16::ANY,
                proptest::num::u16::ANY,
                proptest::collection::vec(proptest::num::u8::ANY, 0..40),
                0usize..1460,
                0u64..3_000,
            ),
            1..40,
        ),
        connected: bool,
    ) {
        let (us, them) = ("10.0.2.15:80", "10.0.2.2:4000");
        let mut now = MS;
        let mut c = Connection::accept(&setup(us, them, 3), now).unwrap();
        let mut out = Packets::new();
        let mut ours = 0;
        let mut theirs = 1000u32;
        if connected {
            c.process(now, &segment(them, us, (theirs, 0, 2, 4096), &[], &[]), &mut out);
            c.poll(now, &mut out);
            let (_, answer) = parse_ip(&out[0][ETHERNET..]).unwrap();
            ours = u32::from_be_bytes(answer[4..8].try_into().unwrap()).wrapping_add(1);
            theirs += 1;
            c.process(now, &segment(them, us, (theirs, ours, 16, 4096), &[], &[]), &mut out);
            assert_eq!(c.state(), State::Established);
            c.send(&[7; 5000]);
        }
        for (flags, seq, ack, window, options, len, wait) in steps {
            now += wait * MS;
            // Half of the numbers are nearly right, which reaches deeper than wild ones.
            let seq = theirs.wrapping_add_signed(i32::from(seq) >> (window % 16));
            let ack = ours.wrapping_add_signed(i32::from(ack) >> (window % 16));
            out.clear();
            let data = [5u8; 1460];
            c.process(now, &segment(them, us, (seq, ack, flags, window), &options, &data[..len]), &mut out);
            c.poll(now, &mut out);
            assert!(out.len() <= BURST + 1);
            let mut buf = [0; 1000];
            let n = c.peek(&mut buf);
            c.consume(n);
            let _ = (c.next_ns(now), c.writable(), c.readable(), c.is_over());
            c.send(&[1; 100]);
        }
        c.close();
        c.poll(now + 1000 * MS, &mut out);
    }
}
