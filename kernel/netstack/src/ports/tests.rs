use super::*;

fn b(addr: &str, id: u64) -> Binding<u64> {
    Binding {
        addr: addr.parse().unwrap(),
        is_v6_only: false,
        iface: 0,
        reuse_addr: false,
        reuse_port: false,
        is_listening: false,
        uid: 0,
        remote: None,
        owner: id,
        id,
    }
}

fn src() -> SocketAddr {
    "10.0.2.2:5000".parse().unwrap()
}

#[test]
fn wildcards_conflict_with_what_they_include() {
    let mut t = PortTable::new();
    t.bind(80, b("127.0.0.1", 1)).unwrap();
    assert_eq!(t.bind(80, b("127.0.0.1", 2)), Err(BindError::InUse));
    assert_eq!(t.bind(80, b("0.0.0.0", 2)), Err(BindError::InUse));
    assert_eq!(t.bind(80, b("::", 2)), Err(BindError::InUse));
    t.bind(
        80,
        Binding {
            is_v6_only: true,
            ..b("::", 3)
        },
    )
    .unwrap();
    t.bind(80, b("10.0.2.15", 4)).unwrap();
    assert!(t.release(80, 1).is_some());
    t.bind(80, b("127.0.0.1", 5)).unwrap();
}

#[test]
fn sharing_needs_the_consent_of_both() {
    let mut t = PortTable::new();
    let rp = |id| Binding {
        reuse_port: true,
        ..b("0.0.0.0", id)
    };
    t.bind(53, rp(1)).unwrap();
    assert_eq!(t.bind(53, b("0.0.0.0", 2)), Err(BindError::InUse));
    assert_eq!(t.bind(53, Binding { uid: 7, ..rp(2) }), Err(BindError::InUse));
    t.bind(53, rp(3)).unwrap();
    let ra = |id| Binding {
        reuse_addr: true,
        ..b("0.0.0.0", id)
    };
    t.bind(54, ra(1)).unwrap();
    t.bind(54, ra(2)).unwrap();
    t.set_listening(54, 1).unwrap();
    assert_eq!(t.set_listening(54, 2), Err(BindError::InUse));
    assert_eq!(t.bind(54, ra(3)), Err(BindError::InUse));
}

#[test]
fn the_best_fit_gets_the_packet() {
    let mut t = PortTable::new();
    let dst: IpAddr = "10.0.2.15".parse().unwrap();
    t.bind(
        9,
        Binding {
            reuse_addr: true,
            ..b("0.0.0.0", 1)
        },
    )
    .unwrap();
    assert_eq!(t.find(9, dst, src(), 2, false), Some(&1));
    t.bind(
        9,
        Binding {
            reuse_addr: true,
            ..b("10.0.2.15", 2)
        },
    )
    .unwrap();
    assert_eq!(t.find(9, dst, src(), 2, false), Some(&2));
    t.bind(
        9,
        Binding {
            reuse_addr: true,
            remote: Some(src()),
            ..b("10.0.2.15", 3)
        },
    )
    .unwrap();
    assert_eq!(t.find(9, dst, src(), 2, false), Some(&3));
    let other = "10.0.2.3:5000".parse().unwrap();
    assert_eq!(t.find(9, dst, other, 2, false), Some(&2));
    assert_eq!(t.find(9, "::1".parse().unwrap(), other, 2, false), None);
    assert_eq!(t.find(10, dst, other, 2, false), None);
    assert_eq!(t.find_all(9, dst, other, 2).count(), 2);
}

#[test]
fn a_dual_stack_wildcard_gets_ipv4() {
    let mut t = PortTable::new();
    t.bind(9, b("::", 1)).unwrap();
    assert_eq!(t.find(9, "10.0.2.15".parse().unwrap(), src(), 2, false), Some(&1));
    t.get_mut(9, 1).unwrap().is_v6_only = true;
    assert_eq!(t.find(9, "10.0.2.15".parse().unwrap(), src(), 2, false), None);
}

#[test]
fn ephemeral_ports_run_out_and_come_back() {
    let mut t = PortTable::new();
    let n = u64::from(EPHEMERAL_LAST - EPHEMERAL_FIRST) + 1;
    let mut last = 0;
    for i in 0..n {
        last = t.bind_ephemeral(i as u16, b("127.0.0.1", i)).unwrap();
        assert!((EPHEMERAL_FIRST..=EPHEMERAL_LAST).contains(&last));
    }
    assert_eq!(t.bind_ephemeral(0, b("127.0.0.1", n)), Err(BindError::InUse));
    t.release(last, n - 1).unwrap();
    assert_eq!(t.bind_ephemeral(3, b("127.0.0.1", n)), Ok(last));
    assert_eq!(t.iter().count() as u64, n);
}

#[test]
fn reuseport_sticks_to_a_flow() {
    let mut t = PortTable::new();
    for i in 0..4 {
        t.bind(
            9,
            Binding {
                reuse_port: true,
                ..b("0.0.0.0", i)
            },
        )
        .unwrap();
    }
    let dst = "10.0.2.15".parse().unwrap();
    let mut seen = [false; 4];
    for p in 1..200 {
        let s = SocketAddr::new("10.0.2.2".parse().unwrap(), p);
        let a = *t.find(9, dst, s, 2, false).unwrap();
        assert_eq!(t.find(9, dst, s, 2, false), Some(&a));
        seen[a as usize] = true;
    }
    assert_eq!(seen, [true; 4]);
}
