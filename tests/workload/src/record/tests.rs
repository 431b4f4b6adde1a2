use super::{Kind, RECORD_BYTES, Record};

fn record() -> Record {
    Record {
        seed: 77,
        worker: 3,
        kind: Kind::Failed,
        number: 1 << 40,
        text: "no space".into(),
    }
}

#[test]
fn a_record_comes_back() {
    assert_eq!(Record::from_bytes(&record().to_bytes()), Some(record()));
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let mut long = record();
    long.text = "ü".repeat(400);
    let back = Record::from_bytes(&long.to_bytes()).expect("is a record");
    assert!(back.text.len() > 400 && back.text.chars().all(|c| c == 'ü'));
}

#[test]
fn a_sector_with_one_wrong_bit_is_none() {
    let bytes = record().to_bytes();
    for at in 0..RECORD_BYTES * 8 {
        let mut bytes = bytes;
        bytes[at / 8] ^= 1 << (at % 8);
        assert_eq!(Record::from_bytes(&bytes), None, "bit {at}");
    }
    assert_eq!(Record::from_bytes(&[0; RECORD_BYTES]), None);
    assert_eq!(Record::from_bytes(&bytes[1..]), None);
}
