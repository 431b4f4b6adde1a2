//! Names: rename, links, folders, permissions, the working directory.

use std::os::unix::fs::MetadataExt;

use super::Case;
use crate::sys::{Errno, Outcome, Scratch, What, c, checked_child, open, refused, write};

pub(super) static CASES: &[Case] = &[
    ("paths/rename", rename),
    ("paths/rename-errors", rename_errors),
    ("paths/rename-flags", rename_flags),
    ("paths/hard-links", hard_links),
    ("paths/symlinks", symlinks),
    ("paths/symlink-loops", symlink_loops),
    ("paths/dot-and-dot-dot", dot_and_dot_dot),
    ("paths/make-and-remove-folders", make_and_remove_folders),
    ("paths/unlink-errors", unlink_errors),
    ("paths/permissions", permissions),
    ("paths/sticky-folder", sticky_folder),
    ("paths/chmod-chown", chmod_chown),
    ("paths/access", access),
    ("paths/working-directory", working_directory),
    ("paths/removed-working-directory", removed_working_directory),
    ("paths/chroot", chroot),
    ("paths/mount-and-unmount", mount_and_unmount),
    ("paths/mknod-fifo", mknod_fifo),
    ("paths/many-files", many_files),
];

fn put(scratch: &Scratch, name: &str, text: &str) -> Outcome {
    let file = open(
        &scratch.path(name),
        libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC,
        0o644,
    )
    .what("open")?;
    write(&file, text.as_bytes()).what("write").map(|_| ())
}

fn text(scratch: &Scratch, name: &str) -> Option<String> {
    std::fs::read_to_string(scratch.path(name)).ok()
}

fn folder(scratch: &Scratch, name: &str) -> Outcome {
    mkdir(&scratch.path(name), 0o755).what("mkdirat").map(|_| ())
}

fn mkdir(path: &str, mode: u32) -> Result<i64, Errno> {
    let path = c(path);
    sys!(SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), mode)
}

fn unlink(path: &str, flags: i32) -> Result<i64, Errno> {
    let path = c(path);
    sys!(SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), flags)
}

fn renamed(from: &str, to: &str, flags: u32) -> Result<i64, Errno> {
    let (from, to) = (c(from), c(to));
    sys!(
        SYS_renameat2,
        libc::AT_FDCWD,
        from.as_ptr(),
        libc::AT_FDCWD,
        to.as_ptr(),
        flags
    )
}

fn symlink(target: &str, path: &str) -> Result<i64, Errno> {
    let (target, path) = (c(target), c(path));
    sys!(SYS_symlinkat, target.as_ptr(), libc::AT_FDCWD, path.as_ptr())
}

fn rename() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "a", "A")?;
    put(&s, "b", "B")?;
    renamed(&s.path("a"), &s.path("b"), 0).what("over a file")?;
    same!((text(&s, "a"), text(&s, "b").as_deref()), (None, Some("A")), "content");
    folder(&s, "d")?;
    folder(&s, "e")?;
    put(&s, "d/x", "X")?;
    renamed(&s.path("d"), &s.path("e"), 0).what("a folder over an empty one")?;
    same!(text(&s, "e/x").as_deref(), Some("X"), "content of the folder");
    renamed(&s.path("e/x"), &s.path("y"), 0).what("to another folder")?;
    same!(text(&s, "y").as_deref(), Some("X"), "content");
    same!(renamed(&s.path("y"), &s.path("y"), 0), Ok(0), "to itself");
    Ok(())
}

fn rename_errors() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "f", "F")?;
    folder(&s, "d")?;
    folder(&s, "d/inner")?;
    refused("missing", renamed(&s.path("no"), &s.path("x"), 0), libc::ENOENT)?;
    refused(
        "a folder over a file",
        renamed(&s.path("d"), &s.path("f"), 0),
        libc::ENOTDIR,
    )?;
    refused(
        "a file over a folder",
        renamed(&s.path("f"), &s.path("d/inner"), 0),
        libc::EISDIR,
    )?;
    refused(
        "a folder into itself",
        renamed(&s.path("d"), &s.path("d/inner/x"), 0),
        libc::EINVAL,
    )?;
    folder(&s, "full")?;
    put(&s, "full/x", "")?;
    refused(
        "a folder over a full one",
        renamed(&s.path("d"), &s.path("full"), 0),
        libc::ENOTEMPTY,
    )?;
    refused(
        "to another file system",
        renamed(&s.path("f"), "/dev/f", 0),
        libc::EXDEV,
    )?;
    same!(text(&s, "f").as_deref(), Some("F"), "nothing moved");
    Ok(())
}

fn rename_flags() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "a", "A")?;
    put(&s, "b", "B")?;
    refused(
        "NOREPLACE over a file",
        renamed(&s.path("a"), &s.path("b"), libc::RENAME_NOREPLACE),
        libc::EEXIST,
    )?;
    renamed(&s.path("a"), &s.path("b"), libc::RENAME_EXCHANGE).what("EXCHANGE")?;
    same!(
        (text(&s, "a").as_deref(), text(&s, "b").as_deref()),
        (Some("B"), Some("A")),
        "content"
    );
    refused(
        "unknown flags",
        renamed(&s.path("a"), &s.path("b"), 0x100),
        libc::EINVAL,
    )
}

fn hard_links() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "a", "one")?;
    let link = |from: &str, to: &str| {
        let (from, to) = (c(&s.path(from)), c(&s.path(to)));
        sys!(
            SYS_linkat,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            0
        )
    };
    link("a", "b").what("linkat")?;
    let meta = |name: &str| std::fs::metadata(s.path(name)).map_err(|e| e.to_string());
    same!(
        (meta("a")?.ino(), meta("a")?.nlink()),
        (meta("b")?.ino(), 2),
        "one file with two names"
    );
    put(&s, "b", "two")?;
    same!(text(&s, "a").as_deref(), Some("two"), "content by the other name");
    unlink(&s.path("a"), 0).what("unlink")?;
    same!(meta("b")?.nlink(), 1, "links");
    refused(
        "to an old name",
        {
            put(&s, "c", "")?;
            link("b", "c")
        },
        libc::EEXIST,
    )?;
    refused("missing", link("no", "x"), libc::ENOENT)?;
    folder(&s, "d")?;
    refused("a folder", link("d", "x"), libc::EPERM)
}

fn symlinks() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "target", "T")?;
    folder(&s, "d")?;
    symlink("target", &s.path("relative")).what("symlinkat")?;
    symlink("../target", &s.path("d/up")).what("symlinkat")?;
    symlink(&s.path("d"), &s.path("folder")).what("symlinkat")?;
    for name in ["relative", "d/up", "folder/up", "folder/../target"] {
        same!(text(&s, name).as_deref(), Some("T"), name);
    }
    let mut buffer = [0_u8; 4];
    let path = c(&s.path("relative"));
    same!(
        sys!(SYS_readlinkat, libc::AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), 4),
        Ok(4),
        "readlinkat cuts"
    );
    same!(&buffer, b"targ", "what it reads");
    let path = c(&s.path("target"));
    refused(
        "readlinkat of a file",
        sys!(SYS_readlinkat, libc::AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), 4),
        libc::EINVAL,
    )?;
    symlink("nowhere", &s.path("dangling")).what("symlinkat")?;
    refused(
        "opening a dangling link",
        open(&s.path("dangling"), 0, 0).map(|_| ()),
        libc::ENOENT,
    )?;
    open(&s.path("dangling"), libc::O_CREAT | libc::O_WRONLY, 0o600).what("creating through a dangling link")?;
    same!(text(&s, "nowhere").as_deref(), Some(""), "the file it made");
    refused(
        "O_NOFOLLOW",
        open(&s.path("relative"), libc::O_NOFOLLOW, 0).map(|_| ()),
        libc::ELOOP,
    )?;
    refused(
        "O_EXCL on a link",
        open(&s.path("dangling"), libc::O_CREAT | libc::O_EXCL, 0o600).map(|_| ()),
        libc::EEXIST,
    )?;
    unlink(&s.path("relative"), 0).what("unlink of a link")?;
    same!(text(&s, "target").as_deref(), Some("T"), "its target");
    refused("an empty target", symlink("", &s.path("e")), libc::ENOENT)
}

fn symlink_loops() -> Outcome {
    let s = Scratch::new()?;
    symlink("b", &s.path("a")).what("symlinkat")?;
    symlink("a", &s.path("b")).what("symlinkat")?;
    refused("a loop", open(&s.path("a"), 0, 0).map(|_| ()), libc::ELOOP)?;
    refused(
        "a loop in the middle",
        open(&s.path("a/x"), 0, 0).map(|_| ()),
        libc::ELOOP,
    )?;
    put(&s, "end", "E")?;
    symlink("end", &s.path("l0")).what("symlinkat")?;
    for n in 1..=41 {
        symlink(&format!("l{}", n - 1), &s.path(&format!("l{n}"))).what("symlinkat")?;
    }
    // Forty are followed, path_resolution(7).
    same!(text(&s, "l39").as_deref(), Some("E"), "forty links");
    refused("forty-one links", open(&s.path("l40"), 0, 0).map(|_| ()), libc::ELOOP)
}

fn dot_and_dot_dot() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "f", "F")?;
    folder(&s, "d")?;
    for name in [
        "./f",
        "d/../f",
        ".//.///f",
        "d/./../d/../f",
        "../../../../../..".to_owned().as_str(),
    ] {
        check!(std::fs::metadata(s.path(name)).is_ok(), "{name} is not found");
    }
    check!(std::fs::metadata("/../../tmp/..").is_ok(), "above the root");
    refused("mkdir .", mkdir(&s.path("."), 0o755), libc::EEXIST)?;
    refused("rmdir .", unlink(&s.path("d/."), libc::AT_REMOVEDIR), libc::EINVAL)?;
    refused("rmdir ..", unlink(&s.path("d/.."), libc::AT_REMOVEDIR), libc::ENOTEMPTY)?;
    refused(
        "a file as a folder",
        std::fs::metadata(s.path("f/.."))
            .map(|_| ())
            .map_err(|e| Errno(e.raw_os_error().unwrap_or(0))),
        libc::ENOTDIR,
    )
}

fn make_and_remove_folders() -> Outcome {
    let s = Scratch::new()?;
    folder(&s, "d")?;
    let nlink = |name: &str| std::fs::metadata(s.path(name)).map(|m| m.nlink()).unwrap_or(0);
    same!(nlink("d"), 2, "links of a new folder");
    folder(&s, "d/e")?;
    same!(nlink("d"), 3, "links of a folder with a folder");
    refused("again", mkdir(&s.path("d"), 0o755), libc::EEXIST)?;
    refused("below nothing", mkdir(&s.path("no/x"), 0o755), libc::ENOENT)?;
    refused(
        "rmdir of a full one",
        unlink(&s.path("d"), libc::AT_REMOVEDIR),
        libc::ENOTEMPTY,
    )?;
    unlink(&s.path("d/e/"), libc::AT_REMOVEDIR).what("rmdir with a slash")?;
    same!(nlink("d"), 2, "links afterwards");
    unlink(&s.path("d"), libc::AT_REMOVEDIR).what("rmdir")?;
    refused(
        "rmdir of nothing",
        unlink(&s.path("d"), libc::AT_REMOVEDIR),
        libc::ENOENT,
    )
}

fn unlink_errors() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "f", "")?;
    folder(&s, "d")?;
    refused("unlink of a folder", unlink(&s.path("d"), 0), libc::EISDIR)?;
    refused(
        "rmdir of a file",
        unlink(&s.path("f"), libc::AT_REMOVEDIR),
        libc::ENOTDIR,
    )?;
    refused("missing", unlink(&s.path("no"), 0), libc::ENOENT)?;
    refused("unlink with a slash", unlink(&s.path("f/"), 0), libc::ENOTDIR)?;
    refused("unknown flags", unlink(&s.path("f"), 0x1), libc::EINVAL)?;
    refused("a mount point", unlink("/proc", libc::AT_REMOVEDIR), libc::EBUSY)
}

fn drop_root() -> Outcome {
    sys!(SYS_setgroups, 0, 0).what("setgroups")?;
    sys!(SYS_setresgid, 1000, 1000, 1000).what("setresgid")?;
    sys!(SYS_setresuid, 1000, 1000, 1000).what("setresuid").map(|_| ())
}

fn chmod(path: &str, mode: u32) -> Result<i64, Errno> {
    let path = c(path);
    sys!(SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), mode)
}

fn permissions() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "secret", "x")?;
    put(&s, "open", "x")?;
    folder(&s, "closed")?;
    put(&s, "closed/f", "x")?;
    folder(&s, "read-only")?;
    for (name, mode) in [
        ("secret", 0o600),
        ("open", 0o644),
        ("closed", 0o700),
        ("read-only", 0o755),
    ] {
        chmod(&s.path(name), mode).what("fchmodat")?;
    }
    chmod(&s.0, 0o755).what("fchmodat")?;
    checked_child(|| {
        drop_root()?;
        let opened = |name: &str, flags: i32| open(&s.path(name), flags, 0o600).map(|_| ());
        same!(opened("open", libc::O_RDONLY), Ok(()), "a file that all may read");
        refused("writing it", opened("open", libc::O_WRONLY), libc::EACCES)?;
        refused("a file of root's", opened("secret", libc::O_RDONLY), libc::EACCES)?;
        refused(
            "in a folder of root's",
            opened("closed/f", libc::O_RDONLY),
            libc::EACCES,
        )?;
        refused(
            "making a file",
            opened("read-only/new", libc::O_CREAT | libc::O_WRONLY),
            libc::EACCES,
        )?;
        refused("mkdir", mkdir(&s.path("read-only/new"), 0o755), libc::EACCES)?;
        refused("unlink", unlink(&s.path("open"), 0), libc::EACCES)?;
        refused("chmod", chmod(&s.path("open"), 0o777), libc::EPERM)
    })
}

fn sticky_folder() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "roots", "x")?;
    chmod(&s.0, 0o1777).what("fchmodat")?;
    checked_child(|| {
        drop_root()?;
        put(&s, "mine", "x")?;
        refused("unlink of another's file", unlink(&s.path("roots"), 0), libc::EPERM)?;
        unlink(&s.path("mine"), 0).what("unlink of one's own").map(|_| ())
    })
}

fn chmod_chown() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "f", "x")?;
    let path = c(&s.path("f"));
    chmod(&s.path("f"), 0o6755).what("fchmodat")?;
    let meta = || std::fs::metadata(s.path("f")).map_err(|e| e.to_string());
    same!(meta()?.mode() & 0o7777, 0o6755, "mode");
    sys!(SYS_fchownat, libc::AT_FDCWD, path.as_ptr(), 1000, 2000, 0).what("fchownat")?;
    same!((meta()?.uid(), meta()?.gid()), (1000, 2000), "owner");
    same!(meta()?.mode() & 0o7777, 0o755, "chown takes the set-id bits away");
    sys!(SYS_fchownat, libc::AT_FDCWD, path.as_ptr(), -1, 3000, 0).what("fchownat")?;
    same!((meta()?.uid(), meta()?.gid()), (1000, 3000), "-1 leaves the owner");
    checked_child(|| {
        drop_root()?;
        same!(chmod(&s.path("f"), 0o600), Ok(0), "chmod by the owner");
        refused(
            "chown by a user",
            sys!(SYS_fchownat, libc::AT_FDCWD, path.as_ptr(), 0, -1, 0),
            libc::EPERM,
        )
    })
}

fn access() -> Outcome {
    let s = Scratch::new()?;
    put(&s, "f", "x")?;
    chmod(&s.path("f"), 0o600).what("fchmodat")?;
    chmod(&s.0, 0o755).what("fchmodat")?;
    let path = c(&s.path("f"));
    let may = |mode: i32| sys!(SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), mode);
    same!(
        (may(libc::F_OK), may(libc::R_OK | libc::W_OK)),
        (Ok(0), Ok(0)),
        "root reads and writes"
    );
    refused("root does not execute what nobody may", may(libc::X_OK), libc::EACCES)?;
    refused("an unknown mode", may(16), libc::EINVAL)?;
    checked_child(|| {
        drop_root()?;
        same!(may(libc::F_OK), Ok(0), "it is there");
        refused("reading", may(libc::R_OK), libc::EACCES)
    })
}

fn cwd() -> Result<String, Errno> {
    let mut buffer = [0_u8; 4096];
    let length = sys!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len())? as usize;
    Ok(String::from_utf8_lossy(&buffer[..length.saturating_sub(1)]).into_owned())
}

fn chdir(path: &str) -> Result<i64, Errno> {
    let path = c(path);
    sys!(SYS_chdir, path.as_ptr())
}

fn working_directory() -> Outcome {
    let s = Scratch::new()?;
    folder(&s, "d")?;
    put(&s, "d/f", "F")?;
    symlink("d", &s.path("link")).what("symlinkat")?;
    chdir(&s.path("link")).what("chdir")?;
    same!(cwd(), Ok(s.path("d")), "getcwd without links");
    check!(open("f", 0, 0).is_ok(), "a relative path");
    chdir("..").what("chdir")?;
    same!(cwd(), Ok(s.0.clone()), "getcwd after ..");
    let handle = open("d", libc::O_RDONLY, 0).what("open")?;
    sys!(SYS_fchdir, &handle).what("fchdir")?;
    same!(cwd(), Ok(s.path("d")), "getcwd after fchdir");
    refused("chdir to a file", chdir("f"), libc::ENOTDIR)?;
    refused("chdir to nothing", chdir("no"), libc::ENOENT)?;
    let mut small = [0_u8; 4];
    refused(
        "getcwd into too little",
        sys!(SYS_getcwd, small.as_mut_ptr(), 4),
        libc::ERANGE,
    )
}

fn removed_working_directory() -> Outcome {
    let s = Scratch::new()?;
    folder(&s, "d")?;
    chdir(&s.path("d")).what("chdir")?;
    unlink(&s.path("d"), libc::AT_REMOVEDIR).what("rmdir")?;
    refused("getcwd", cwd(), libc::ENOENT)?;
    refused(
        "creating there",
        open("x", libc::O_CREAT | libc::O_WRONLY, 0o600).map(|_| ()),
        libc::ENOENT,
    )?;
    chdir("/").what("chdir").map(|_| ())
}

fn chroot() -> Outcome {
    let s = Scratch::new()?;
    folder(&s, "d")?;
    put(&s, "d/f", "F")?;
    checked_child(|| {
        let path = c(&s.path("d"));
        sys!(SYS_chroot, path.as_ptr()).what("chroot")?;
        chdir("/").what("chdir")?;
        same!(cwd(), Ok("/".to_owned()), "getcwd in the new root");
        check!(
            open("/f", 0, 0).is_ok() && open("/../../f", 0, 0).is_ok(),
            "the new root's file"
        );
        refused("outside of it", open(&s.path("d/f"), 0, 0).map(|_| ()), libc::ENOENT)?;
        drop_root()?;
        refused("chroot by a user", sys!(SYS_chroot, c"/".as_ptr()), libc::EPERM)
    })
}

fn mount_and_unmount() -> Outcome {
    let s = Scratch::new()?;
    folder(&s, "m")?;
    put(&s, "m/below", "B")?;
    let at = c(&s.path("m"));
    sys!(
        SYS_mount,
        c"none".as_ptr(),
        at.as_ptr(),
        c"tmpfs".as_ptr(),
        0,
        c"size=1m".as_ptr()
    )
    .what("mount")?;
    same!(text(&s, "m/below"), None, "what the mount hides");
    put(&s, "m/above", "A")?;
    let dev = |name: &str| std::fs::metadata(s.path(name)).map(|m| m.dev()).unwrap_or(0);
    check!(dev("m") != dev(""), "the mount has its own device number");
    same!(dev("m/.."), dev(""), ".. leads out of the mount");
    let table = std::fs::read_to_string("/proc/mounts").map_err(|e| e.to_string())?;
    check!(
        table.contains(&format!(" {} tmpfs ", s.path("m"))),
        "/proc/mounts does not name it"
    );
    let full = (0..600)
        .map(|n| put(&s, &format!("m/{n}"), &"x".repeat(4096)))
        .find(Result::is_err);
    check!(
        full.is_some_and(|e| e.is_err_and(|e| e.contains("errno 28"))),
        "a tmpfs of 1 MiB holds 2.4 MB"
    );
    let held = open(&s.path("m/above"), 0, 0).what("open")?;
    refused(
        "umount2 while it is used",
        sys!(SYS_umount2, at.as_ptr(), 0),
        libc::EBUSY,
    )?;
    drop(held);
    sys!(SYS_umount2, at.as_ptr(), 0).what("umount2")?;
    same!(
        (text(&s, "m/above"), text(&s, "m/below").as_deref()),
        (None, Some("B")),
        "after it"
    );
    refused("umount2 of no mount", sys!(SYS_umount2, at.as_ptr(), 0), libc::EINVAL)?;
    refused(
        "an unknown file system",
        sys!(SYS_mount, c"x".as_ptr(), at.as_ptr(), c"nosuchfs".as_ptr(), 0, 0),
        libc::ENODEV,
    )
}

fn mknod_fifo() -> Outcome {
    let s = Scratch::new()?;
    let path = c(&s.path("fifo"));
    sys!(SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), libc::S_IFIFO | 0o600, 0).what("mknodat")?;
    refused(
        "a writer without a reader",
        open(&s.path("fifo"), libc::O_WRONLY | libc::O_NONBLOCK, 0).map(|_| ()),
        libc::ENXIO,
    )?;
    let pid = crate::sys::child(|| {
        open(&s.path("fifo"), libc::O_WRONLY, 0).map_or(1, |f| i32::from(write(&f, b"through").is_err()))
    })?;
    let reader = open(&s.path("fifo"), libc::O_RDONLY, 0).what("open")?;
    same!(
        crate::sys::read(&reader, 20).what("read")?,
        b"through".to_vec(),
        "content"
    );
    same!(
        crate::sys::wait(pid, 0).what("wait4")?,
        crate::sys::Ended::Exit(0),
        "the writer"
    );
    same!(
        crate::sys::read(&reader, 20).what("read")?,
        Vec::<u8>::new(),
        "after the last writer"
    );
    Ok(())
}

fn many_files() -> Outcome {
    let s = Scratch::new()?;
    for n in 0..2000 {
        put(&s, &format!("f{n}"), &n.to_string())?;
    }
    for n in (0..2000).step_by(97) {
        same!(text(&s, &format!("f{n}")), Some(n.to_string()), "content");
    }
    for n in 0..2000 {
        unlink(&s.path(&format!("f{n}")), 0).what("unlink")?;
    }
    same!(
        std::fs::read_dir(&s.0).map(Iterator::count).unwrap_or(9),
        0,
        "entries left"
    );
    Ok(())
}
