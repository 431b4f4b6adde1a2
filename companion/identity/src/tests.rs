use super::*;

#[test]
fn a_key_is_made_once_and_kept_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let first = Identity::load_or_create(&path).unwrap();
    let second = Identity::load_or_create(&path).unwrap();
    assert_eq!(first.key_hash(), second.key_hash());
    assert_eq!(key_hash_of(second.certificate()), Some(first.key_hash()));
    assert_eq!(first.derived_secret("a"), second.derived_secret("a"));
    assert_ne!(first.derived_secret("a"), first.derived_secret("b"));
    assert_ne!(
        first.derived_secret("a"),
        Identity::generate().unwrap().derived_secret("a")
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_file_that_is_no_key_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    for content in [&b"precious"[..], &[0xff, 0xfe]] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(
            Identity::load_or_create(&path),
            Err(IdentityError::NotAKey { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn junk_has_no_key_hash() {
    assert_eq!(
        key_hash_of(&CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x00])),
        None
    );
    assert_eq!(key_hash_of(&CertificateDer::from(Vec::new())), None);
}
