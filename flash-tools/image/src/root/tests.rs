use super::*;

const SPEC: &str = r#"
[[directory]]
path = "/bin"
[[directory]]
path = "/tmp"
mode = "1777"
[[file]]
path = "/bin/busybox"
mode = "0755"
from = { package = { package = "busybox-static", member = "bin/busybox" } }
[[file]]
path = "/hello"
from = { file = "hello" }
[[link]]
path = "/bin/me"
to = "busybox"
[[node]]
path = "/console"
character = [5, 1]
[[applets]]
program = "/bin/busybox"
list = "links"
"#;

fn fetch(source: &Source) -> Result<Vec<u8>, String> {
    match source {
        Source::Package { .. } => Ok(b"\x7fELF..\0sh\0ls\0..".to_vec()),
        Source::File(name) if name == "links" => Ok(b"# applets\n/bin/sh\n/bin/ls\n".to_vec()),
        Source::File(name) => Ok(name.clone().into_bytes()),
        Source::Program(name) => Err(format!("{name} was not built")),
    }
}

/// Path, mode, size and data of each entry.
fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut entries = Vec::new();
    loop {
        let mut reader = cpio::NewcReader::new(archive).expect("an entry");
        if reader.entry().is_trailer() {
            return entries;
        }
        let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut data).expect("data");
        archive = reader.finish().expect("the rest");
        entries.push((name, mode, data));
    }
}

#[test]
fn every_kind_of_entry_comes_out_sorted_with_its_type() {
    let archive = RootSpec::parse(SPEC).expect("parses").archive(fetch).expect("is made");
    let entries = read(&archive);
    let seen: Vec<_> = entries.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    assert_eq!(
        seen,
        [
            ("bin", 0o040_755),
            ("bin/busybox", 0o100_755),
            ("bin/ls", 0o120_777),
            ("bin/me", 0o120_777),
            ("bin/sh", 0o120_777),
            ("console", 0o020_600),
            ("hello", 0o100_644),
            ("tmp", 0o041_777),
        ]
    );
    assert_eq!(entries[4].2, b"/bin/busybox");
    assert_eq!(entries[6].2, b"hello");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let spec = RootSpec::parse(SPEC).expect("parses");
    assert_eq!(spec.archive(fetch).expect("once"), spec.archive(fetch).expect("twice"));
}

fn failure(extra: &str) -> RootError {
    RootSpec::parse(&format!("{SPEC}{extra}"))
        .and_then(|spec| spec.archive(fetch))
        .expect_err("must be refused")
}

#[test]
fn what_cannot_be_right_is_refused() {
    assert!(matches!(
        failure("[[directory]]\npath = \"bin2\""),
        RootError::BadPath(_)
    ));
    assert!(matches!(
        failure("[[directory]]\npath = \"/a/../b\""),
        RootError::BadPath(_)
    ));
    assert!(matches!(failure("[[directory]]\npath = \"/bin\""), RootError::Twice(_)));
    assert!(matches!(
        failure("[[directory]]\npath = \"/a/b\""),
        RootError::NoParent(_)
    ));
    assert!(matches!(
        failure("[[directory]]\npath = \"/a\"\nmode = \"rwx\""),
        RootError::BadMode { .. }
    ));
    assert!(matches!(
        failure("[[directory]]\npath = \"/a\"\ncolour = \"red\""),
        RootError::Syntax(_)
    ));
    assert!(matches!(
        failure("[[file]]\npath = \"/a\"\nfrom = { program = \"x\" }"),
        RootError::Source { .. }
    ));
    assert!(matches!(
        failure("[[applets]]\nprogram = \"/bin/none\"\nlist = \"links\""),
        RootError::NoAppletProgram(_)
    ));
}

#[test]
fn a_link_to_an_applet_that_is_not_there_is_refused() {
    let spec = RootSpec::parse(SPEC).expect("parses");
    let refused = spec.archive(|source| match source {
        Source::File(name) if name == "links" => Ok(b"/bin/emacs\n".to_vec()),
        other => fetch(other),
    });
    assert!(matches!(refused, Err(RootError::NoApplet { applet, .. }) if applet == "emacs"));
}

#[test]
fn an_archive_that_is_read_again_is_the_same() {
    let bytes = RootSpec::parse(SPEC).expect("parses").archive(fetch).expect("is made");
    let archive = Archive::parse(&bytes).expect("is read");
    assert!(
        archive
            .entries()
            .any(|(path, node, mode)| { path == "console" && *node == Node::Character([5, 1]) && mode == 0o600 })
    );
    assert_eq!(archive.to_bytes().expect("is made"), bytes);
}

#[test]
fn what_is_no_archive_of_ours_is_refused() {
    let bytes = RootSpec::parse(SPEC).expect("parses").archive(fetch).expect("is made");
    for end in [0, 50, 200, bytes.len() / 2] {
        assert!(
            matches!(Archive::parse(&bytes[..end]), Err(RootError::Read(_))),
            "cut at {end}"
        );
    }
    let other = |mode: u32, name: &str| {
        let mut out = Vec::new();
        let writer = cpio::newc::Builder::new(name).mode(mode).uid(7).write(&mut out, 0);
        writer.finish().expect("ends");
        cpio::newc::trailer(&mut out).expect("ends");
        Archive::parse(&out)
    };
    assert!(matches!(other(0o100_644, "x"), Err(RootError::Read(_))));
}

#[test]
fn what_replaces_a_folder_takes_all_of_it_and_nothing_beside() {
    let mut archive = Archive::default();
    for path in ["/a", "/a/b", "/ab"] {
        archive.add(path, Node::Directory, 0o755).expect("a good entry");
    }
    archive
        .replace("/a", Node::Link("ab".into()), 0o777)
        .expect("a good entry");
    let left: Vec<_> = archive.entries().map(|(path, _, _)| path.to_owned()).collect();
    assert_eq!(left, ["a", "ab"]);
    assert!(archive.replace("a", Node::Directory, 0o755).is_err());
}
