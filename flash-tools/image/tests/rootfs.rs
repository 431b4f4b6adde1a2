//! The image's own description: sound before anything is built from it.

use sis_image::root::{RootSpec, Source};
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("the workspace").join("firmware/rootfs")
}

fn specification() -> RootSpec {
    let text = std::fs::read_to_string(folder().join("image.toml")).expect("image.toml is there");
    RootSpec::parse(&text).expect("image.toml parses")
}

#[test]
fn an_archive_can_be_made_of_it() {
    let list = std::fs::read(folder().join("busybox.links")).expect("the list of applets is there");
    let archive = specification().archive(|source| match source {
        Source::File(name) => std::fs::read(folder().join(name)).map_err(|error| error.to_string()),
        // Stands for BusyBox: a file that has every applet's name in it.
        Source::Package { .. } => {
            let names = String::from_utf8_lossy(&list).replace('\n', "\0");
            Ok(names
                .split('\0')
                .filter_map(|path| path.rsplit('/').next())
                .collect::<Vec<_>>()
                .join("\0")
                .into_bytes())
        }
        Source::Program(_) => Ok(b"program".to_vec()),
    });
    assert!(archive.expect("is made").starts_with(b"070701"));
}

#[test]
fn its_scripts_are_scripts() {
    let mut seen = 0;
    for file in specification().files {
        let Source::File(name) = &file.from else { continue };
        let path = folder().join(name);
        let text = std::fs::read_to_string(&path).expect("a text file");
        assert!(
            !text.contains("<<<<<<<") && !text.contains(">>>>>>>"),
            "{name} has a merge's marks in it"
        );
        if text.starts_with("#!") || name.ends_with(".script") || name.ends_with("profile") {
            let status = Command::new("sh").arg("-n").arg(&path).status().expect("sh runs");
            assert!(status.success(), "{name} is no sound shell script");
            seen += 1;
        }
    }
    assert!(seen >= 2, "the profile and udhcpc's script");
}
