use super::*;

#[test]
fn what_is_built_is_read_back() {
    let mut b = Builder::new(256);
    b.push(1, 1, &[1, 2, 3, 4, 5]);
    b.push(0, 8, &[9; 12]);
    let (bytes, cut) = b.finish();
    assert!(!cut);
    assert_eq!(bytes.len(), space(5) + space(12));
    let all: Vec<_> = Messages::new(&bytes).map(|m| m.unwrap()).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(
        all[0],
        Message {
            level: 1,
            kind: 1,
            data: &[1, 2, 3, 4, 5]
        }
    );
    assert_eq!(all[1].data, &[9; 12]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let mut raw = [0u8; 24];
    raw[0] = 8; // shorter than a header
    assert_eq!(Messages::new(&raw).next(), Some(Err(Malformed)));
    raw[0] = 25; // longer than the buffer
    assert_eq!(Messages::new(&raw).next(), Some(Err(Malformed)));
    raw[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut m = Messages::new(&raw);
    assert_eq!(m.next(), Some(Err(Malformed)));
    assert_eq!(m.next(), None);
    assert_eq!(Messages::new(&raw[..15]).next(), None);
}

#[test]
fn a_small_buffer_truncates() {
    let mut b = Builder::new(18);
    b.push(1, 1, &[1, 2, 3, 4]);
    let (bytes, cut) = b.finish();
    assert!(cut);
    assert_eq!(bytes.len(), 18);
    let mut b = Builder::new(10);
    assert_eq!(b.room(), None);
    b.push(1, 1, &[]);
    assert_eq!(b.finish(), (Vec::new(), true));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_walked_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        assert!(Messages::new(&bytes).count() <= bytes.len() / HEADER + 1);
    }
}
