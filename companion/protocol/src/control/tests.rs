use alloc::boxed::Box;
use alloc::vec;

use super::*;
use crate::hello::Hello;

#[test]
fn a_request_of_a_newer_version_is_unknown_and_keeps_its_id() {
    // {0: 7, 1: [200, {0: "from the future"}]}
    let mut bytes = vec![0xa2, 0x00, 0x07, 0x01, 0x82, 0x18, 200, 0xa1, 0x00, 0x6f];
    bytes.extend_from_slice(b"from the future");
    assert_eq!(
        Request::from_cbor(&bytes).unwrap(),
        Request {
            id: 7,
            body: RequestBody::Unknown
        }
    );
}

#[test]
fn a_malformed_request_still_has_its_id() {
    let good = Request {
        id: 70_000,
        body: RequestBody::LogTail { max: 3 },
    }
    .to_cbor();
    for length in 0..good.len() {
        let cut = &good[..length];
        assert!(Request::from_cbor(cut).is_err());
        assert_eq!(
            Request::id_of_malformed(cut),
            (length >= 7).then_some(70_000),
            "{length} of {good:x?}"
        );
    }
    assert_eq!(Request::id_of_malformed(b"not CBOR"), None);
}

#[test]
fn nesting_is_bounded() {
    // {0: 1, 1: [2, {}], 9: [[[..
    let mut bytes = vec![0xa3, 0x00, 0x01, 0x01, 0x82, 0x02, 0xa0, 0x09];
    bytes.extend([0x9f; 60_000]);
    assert!(matches!(Request::from_cbor(&bytes), Err(DecodeError::TooDeep)));
}

#[test]
fn unknown_fields_are_passed_over() {
    // {0: 7, 1: [2, {}], 99: [1, {2: 3}]}
    let bytes = [
        0xa3, 0x00, 0x07, 0x01, 0x82, 0x02, 0xa0, 0x18, 99, 0x82, 0x01, 0xa1, 0x02, 0x03,
    ];
    assert_eq!(
        Request::from_cbor(&bytes).unwrap(),
        Request {
            id: 7,
            body: RequestBody::Metrics
        }
    );
}

#[test]
fn a_message_of_a_newer_version_is_unknown() {
    assert_eq!(
        Message::from_cbor(&[0x82, 0x18, 77, 0xa1, 0x00, 0x01]).unwrap(),
        Message::Unknown
    );
}

#[test]
fn an_unknown_number_is_kept() {
    assert_eq!(Strategy::from_number(42), Strategy::Unknown(42));
    assert_eq!(Strategy::Unknown(42).number(), 42);
}

#[test]
fn bytes_after_the_message_are_refused() {
    let mut bytes = Request {
        id: 1,
        body: RequestBody::Metrics,
    }
    .to_cbor();
    bytes.push(0);
    assert!(matches!(
        Request::from_cbor(&bytes),
        Err(DecodeError::TrailingBytes { count: 1 })
    ));
}

#[test]
fn a_list_over_its_limit_is_refused() {
    let which = Selection::Ids((0..101).collect());
    let bytes = Request {
        id: 1,
        body: RequestBody::MemReject { which, by: None },
    }
    .to_cbor();
    assert!(matches!(Request::from_cbor(&bytes), Err(DecodeError::Malformed(_))));
}

#[test]
fn another_major_version_is_refused_with_a_sentence() {
    let mut peer = Hello::new("sis-agent 9.9");
    assert_eq!(crate::hello::check(&peer), Ok(()));
    peer.protocol_minor += 1;
    assert_eq!(crate::hello::check(&peer), Ok(()));
    peer.protocol_major += 1;
    let sentence = crate::hello::check(&peer).unwrap_err();
    assert!(sentence.contains("sis-agent 9.9 speaks protocol 2.1"), "{sentence}");
}

#[test]
fn round_trip() {
    let message = Message::Response {
        id: 3,
        body: ResponseBody::Metrics(Box::new(Metrics {
            uptime_ns: Some(5),
            cpus: vec![CpuTimes {
                user_ns: 1,
                ..CpuTimes::default()
            }],
            ..Metrics::default()
        })),
    };
    assert_eq!(Message::from_cbor(&message.to_cbor()).unwrap(), message);
}
