use super::sealed::InitialKeys;
use super::{Datagrams, MAX_BYTES};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits"))
        .collect()
}

#[test]
fn keys_and_packet_are_those_of_rfc_9001() {
    // Appendix A.1.
    let keys = InitialKeys::of_client(&hex("8394c8f03e515708")).expect("keys");
    assert_eq!(keys.key.to_vec(), hex("1f369613dd76d5467730efcbe3b1a22d"));
    assert_eq!(keys.iv.to_vec(), hex("fa044b2f42a3fd3b46fb255c"));
    assert_eq!(keys.header.to_vec(), hex("9f50449e04a0e810283a1e9933adedd2"));
    // Appendix A.2: the client's first packet.
    let mut payload = hex(concat!(
        "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c",
        "00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006",
        "001d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa4",
        "7fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305",
        "0306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ff",
        "ff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff"
    ));
    payload.resize(1162, 0);
    let packet = keys.seal(hex("c300000001088394c8f03e5157080000449e"), 2, payload);
    assert_eq!(packet.len(), 1200);
    assert_eq!(packet[..22], hex("c000000001088394c8f03e5157080000449e7b9aec34"));
    assert_eq!(packet[packet.len() - 16..], hex("e221af44860018ab0856972e194cd934"));
}

#[test]
fn a_seed_means_the_same_datagrams_and_another_seed_others() {
    let first: Vec<_> = Datagrams::new(7).take(500).collect();
    assert_eq!(first, Datagrams::new(7).take(500).collect::<Vec<_>>());
    assert_ne!(first, Datagrams::new(8).take(500).collect::<Vec<_>>());
    assert!(first.iter().all(|bytes| !bytes.is_empty() && bytes.len() <= MAX_BYTES));
}

#[test]
fn many_are_long_enough_to_be_read() {
    let long = Datagrams::new(1).take(1000).filter(|bytes| bytes.len() >= 1200).count();
    assert!(long > 350, "only {long} of 1000 pass the first length check");
}
