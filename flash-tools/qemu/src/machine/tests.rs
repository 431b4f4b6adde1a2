use super::*;

#[test]
fn a_missing_program_says_so() {
    let folder = std::env::temp_dir().join(format!("sis-qemu-test-{}", std::process::id()));
    let missing = Machine::start(&["no-such-qemu".into()], &folder).expect_err("is refused");
    assert!(matches!(missing, StartError::NoQemu(name) if name == "no-such-qemu"));
    let ended = Machine::start(&["false".into()], &folder).expect_err("ends at once");
    assert!(matches!(ended, StartError::Ended { .. }), "{ended}");
    std::fs::remove_dir_all(folder).expect("tidies");
}
