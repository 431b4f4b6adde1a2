use super::{Backoff, LONGEST_DELAY, Service, State};
use std::time::{Duration, Instant};

#[test]
fn waits_longer_while_it_keeps_failing_and_no_longer_than_the_limit() {
    let mut backoff = Backoff::default();
    let delays: Vec<_> = (0..40).map(|_| backoff.after(Duration::from_millis(10))).collect();
    assert_eq!(delays.first(), Some(&Duration::from_millis(250)));
    assert_eq!(delays.get(1), Some(&Duration::from_millis(500)));
    assert!(delays.windows(2).all(|w| w[0] <= w[1]));
    assert_eq!(delays.last(), Some(&LONGEST_DELAY));
}

#[test]
fn a_long_run_forgets_the_failures() {
    let mut backoff = Backoff::default();
    backoff.after(Duration::ZERO);
    backoff.after(Duration::ZERO);
    assert_eq!(backoff.after(Duration::from_secs(60)), Duration::ZERO);
    assert_eq!(backoff.after(Duration::ZERO), Duration::from_millis(250));
}

#[test]
fn a_one_shot_that_ended_well_stays_off_and_one_that_failed_comes_back() {
    let now = Instant::now();
    let mut service = Service::new("once", &["/bin/true"]);
    service.is_kept = false;
    service.state = State::Running { pid: 7, since: now };
    assert_eq!(service.pid(), Some(7));
    assert!(service.ended(now, false) > Duration::ZERO);
    assert!(matches!(service.state, State::Due(_)));
    service.state = State::Running { pid: 8, since: now };
    service.ended(now, true);
    assert!(matches!(service.state, State::Off));
}

#[test]
fn the_console_shell_comes_back_at_once_after_exit() {
    let now = Instant::now();
    let mut service = Service::new("shell", &["/bin/sh"]);
    service.is_on_console = true;
    for pid in 0..20 {
        service.state = State::Running { pid, since: now };
        assert_eq!(service.ended(now, true), Duration::ZERO);
        service.state = State::Running { pid, since: now };
        assert!(service.ended(now, false) <= Duration::from_secs(2));
    }
}
