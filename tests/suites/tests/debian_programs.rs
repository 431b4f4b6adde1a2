//! Debian's own fio, sqlite3 and git, unmodified dynamic programs, do their work and find what they wrote.

use sis_harness::{Archive, Board, Failure, Node, Result, SECOND, Wanted, archive_of, debian_tree};
use sis_suites::{run_checks, to_shell, virt};

const PROGRAMS: Wanted<'_> = Wanted {
    packages: &["fio", "git", "sqlite3"],
    programs: &["usr/bin/fio", "usr/bin/git", "usr/bin/sqlite3"],
    files: &["usr/bin/git-upload-pack", "usr/share/git-core/templates"],
};

/// As many things the scripts check.
const DONE: usize = 10;
const VERIFIED: usize = 4;

fn scripts(archive: &mut Archive) -> Result<()> {
    let mut add = |path: &str, text: &str| {
        archive
            .add(path, Node::File(text.as_bytes().to_vec()), 0o755)
            .map_err(Failure::new)
    };
    add("/work.sh", include_str!("debian_programs/work.sh"))?;
    add("/verify.sh", include_str!("debian_programs/verify.sh"))
}

fn work(board: &mut Board, run: &str, folder: &str) -> Result<()> {
    run_checks(board, &format!("{run} sh /work.sh {folder}"), DONE, 300 * SECOND)
}

fn verify(board: &mut Board, run: &str, folder: &str) -> Result<()> {
    run_checks(board, &format!("{run} sh /verify.sh {folder}"), VERIFIED, 120 * SECOND)
}

#[test]
fn debians_programs_work_in_memory() -> Result<()> {
    let mut archive = archive_of(&debian_tree("programs", &PROGRAMS)?)?;
    scripts(&mut archive)?;
    let mut board = to_shell(virt()?.smp(2).memory("1G").overlay(archive))?;
    board.run_ok("mkdir /tmp/work", 20 * SECOND)?;
    work(&mut board, "", "/tmp/work")?;
    verify(&mut board, "", "/tmp/work")
}
