use std::os::unix::fs::PermissionsExt;

use super::*;

fn board(name: &str, key: u8) -> PairedBoard {
    let addresses = vec!["127.0.0.1:8870".parse().unwrap()];
    PairedBoard {
        name: name.to_owned(),
        key: KeyHash([key; 32]),
        addresses,
        role: Role::Owner,
        paired_ms: 5,
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("sis")).unwrap();
    (directory, store)
}

#[test]
fn boards_are_kept_found_and_forgotten() {
    let (_directory, store) = store();
    assert!(matches!(store.board(None), Err(StoreError::NoBoards)));
    store.save(&board("b", 1)).unwrap();
    assert_eq!(store.board(None).unwrap(), board("b", 1));
    store.save(&board("a", 2)).unwrap();
    assert!(matches!(store.board(None), Err(StoreError::Ambiguous { known }) if known == "a, b"));
    assert_eq!(store.board(Some("b")).unwrap().key, KeyHash([1; 32]));
    assert!(matches!(store.board(Some("c")), Err(StoreError::UnknownBoard { .. })));
    // The same key under another name, and the same name with another key: one board each.
    store.save(&board("c", 2)).unwrap();
    store.save(&board("b", 3)).unwrap();
    let names: Vec<_> = store
        .boards()
        .unwrap()
        .into_iter()
        .map(|board| (board.name, board.key.0[0]))
        .collect();
    assert_eq!(names, [("b".to_owned(), 3), ("c".to_owned(), 2)]);
    assert!(store.remove("b").unwrap());
    assert!(!store.remove("b").unwrap());
}

#[test]
fn nobody_else_may_read_it() {
    let (_directory, store) = store();
    store.identity().unwrap();
    store.save(&board("b", 1)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.directory()), 0o700);
    assert_eq!(mode(&store.directory().join("client.pem")), 0o600);
    assert_eq!(mode(&store.directory().join("boards.json")), 0o600);
}

#[test]
fn a_damaged_list_is_not_written_over() {
    let (_directory, store) = store();
    let path = store.directory().join("boards.json");
    std::fs::write(&path, "{\"version\":1,").unwrap();
    assert!(matches!(store.boards(), Err(StoreError::Damaged { .. })));
    assert!(matches!(store.save(&board("b", 1)), Err(StoreError::Damaged { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"version\":1,");
}

#[test]
fn writers_at_once_lose_nothing() {
    let (_directory, store) = store();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let store = store.clone();
            scope.spawn(move || store.save(&board(&format!("board {n}"), n)).unwrap());
        }
    });
    assert_eq!(store.boards().unwrap().len(), 8);
    let keys: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| store.identity().unwrap().key_hash()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
}
