use super::*;

#[test]
fn numbers_are_bounded() {
    assert_eq!(Signal::new(0), None);
    assert_eq!(Signal::new(65), None);
    assert_eq!(Signal::new(-9), None);
    assert_eq!(Signal::new(64).map(Signal::index), Some(63));
    assert_eq!(SIGKILL.name(), "SIGKILL");
    assert_eq!(Signal::new(40).map(Signal::name), Some("SIGRT"));
}

#[test]
fn kill_and_stop_cannot_be_blocked() {
    let all = SigSet(u64::MAX).blockable();
    assert!(!all.has(SIGKILL) && !all.has(SIGSTOP) && all.has(SIGTERM));
    let bytes = SigAction {
        mask: SigSet(u64::MAX),
        ..SigAction::default()
    }
    .to_bytes();
    assert!(!SigAction::from_bytes(&bytes).mask.has(SIGKILL));
}

#[test]
fn synchronous_signals_come_first() {
    assert_eq!(SigSet::of(&[SIGHUP, SIGSEGV]).next_to_deliver(), Some(SIGSEGV));
    assert_eq!(SigSet::of(&[SIGTERM, SIGUSR1]).next_to_deliver(), Some(SIGUSR1));
    assert_eq!(SigSet::EMPTY.next_to_deliver(), None);
}

#[test]
fn an_action_survives_the_round_trip() {
    let a = SigAction {
        handler: 0x4000_1000,
        flags: SaFlags::SIGINFO | SaFlags::RESTART | SaFlags::RESTORER,
        restorer: 0x4000_2000,
        mask: SigSet::of(&[SIGUSR1]),
    };
    assert_eq!(SigAction::from_bytes(&a.to_bytes()), a);
    let mut unknown = a.to_bytes();
    unknown[9] |= 0x40;
    assert_eq!(SigAction::from_bytes(&unknown), a);
}

#[test]
fn default_actions_follow_the_manual() {
    assert_eq!(SIGCHLD.default_action(), DefaultAction::Ignore);
    assert_eq!(SIGWINCH.default_action(), DefaultAction::Ignore);
    assert_eq!(SIGURG.default_action(), DefaultAction::Ignore);
    assert_eq!(SIGCONT.default_action(), DefaultAction::Continue);
    assert_eq!(SIGTSTP.default_action(), DefaultAction::Stop);
    for s in [
        SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS,
    ] {
        assert_eq!(s.default_action(), DefaultAction::Dump);
    }
    for s in [
        SIGHUP, SIGINT, SIGKILL, SIGUSR1, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGIO, SIGPWR,
    ] {
        assert_eq!(s.default_action(), DefaultAction::Terminate);
    }
}

#[test]
fn siginfo_has_the_layout_of_the_headers() {
    let i = SigInfo {
        signal: SIGCHLD,
        errno: 0,
        code: code::CLD_EXITED,
        detail: Detail::Child {
            pid: 7,
            uid: 1000,
            status: 42,
            utime: 3,
            stime: 4,
        },
    };
    let b = i.to_bytes();
    assert_eq!(b[0..4], 17i32.to_le_bytes());
    assert_eq!(b[8..12], 1i32.to_le_bytes());
    assert_eq!(b[16..20], 7u32.to_le_bytes());
    assert_eq!(b[24..28], 42i32.to_le_bytes());
    assert_eq!(b[32..40], 3i64.to_le_bytes());
    let raw = SigInfo::from_bytes(&b).expect("signal 17 exists");
    assert_eq!(raw.to_bytes(), b);
    assert_eq!(SigInfo::from_bytes(&[0; 128]), None);
}
