use super::*;

fn pair() -> (Console, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (Console::new(ours, None).expect("attaches"), theirs)
}

fn find(needle: &'static [u8]) -> impl FnMut(&[u8]) -> Option<(usize, ())> {
    move |text| {
        text.windows(needle.len())
            .position(|window| window == needle)
            .map(|at| (at + needle.len(), ()))
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn waiting_consumes_and_goes_on_behind() {
    let (mut console, mut guest) = pair();
    guest.write_all(b"one two one").expect("writes");
    console.wait(LONG, find(b"one")).expect("the first");
    console.wait(LONG, find(b"one")).expect("the second");
    let third = console.wait(Duration::from_millis(30), find(b"one"));
    assert!(matches!(third, Err(ConsoleError::Timeout { .. })));
    console.write(b"x").expect("types");
    let mut typed = [0];
    guest.read_exact(&mut typed).expect("arrives");
    assert_eq!(&typed, b"x");
}

#[test]
fn a_crash_ends_every_wait_at_once() {
    let (mut console, mut guest) = pair();
    guest.write_all(b"fine\nkernel panic: out of luck\n").expect("writes");
    assert!(matches!(
        console.wait(LONG, find(b"never")),
        Err(ConsoleError::Panicked)
    ));
    console
        .wait(LONG, find(b"fine"))
        .expect("what came before it is still there");
    assert!(console.has_panicked());
}

#[test]
fn the_machines_end_ends_every_wait() {
    let (mut console, guest) = pair();
    drop(guest);
    assert!(matches!(console.wait(LONG, find(b"never")), Err(ConsoleError::Ended)));
}
