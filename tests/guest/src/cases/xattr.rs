//! Extended attributes. Run on ext4 (SIS_GUEST_DIR) they are tried whole; tmpfs has no `user.` ones, and says so.

use super::Case;
use crate::sys::{Errno, Outcome, Scratch, What, c, checked_child, open, refused};

pub(super) static CASES: &[Case] = &[
    ("xattr/set-get-remove", set_get_remove),
    ("xattr/user", user),
    ("xattr/list", list),
    ("xattr/names-and-sizes", names_and_sizes),
    ("xattr/links-and-descriptors", links_and_descriptors),
    ("xattr/who-may", who_may),
    ("xattr/large-and-many", large_and_many),
];

const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;
/// EXT4_SUPER_MAGIC (statfs(2)).
const EXT4: i64 = 0xef53;

fn set(path: &str, name: &str, value: &[u8], flags: i32) -> Result<i64, Errno> {
    let (path, name) = (c(path), c(name));
    sys!(
        SYS_setxattr,
        path.as_ptr(),
        name.as_ptr(),
        value.as_ptr(),
        value.len(),
        flags
    )
}

fn get(path: &str, name: &str, room: usize) -> Result<Vec<u8>, Errno> {
    let (path, name) = (c(path), c(name));
    let mut value = vec![0; room];
    let len = sys!(SYS_getxattr, path.as_ptr(), name.as_ptr(), value.as_mut_ptr(), room)?;
    value.truncate(len as usize);
    Ok(value)
}

fn remove(path: &str, name: &str) -> Result<i64, Errno> {
    let (path, name) = (c(path), c(name));
    sys!(SYS_removexattr, path.as_ptr(), name.as_ptr())
}

/// The names, sorted; those that a security module adds are left out.
fn names(path: &str) -> Result<Vec<String>, Errno> {
    let path = c(path);
    let mut list = vec![0u8; 4096];
    let len = sys!(SYS_listxattr, path.as_ptr(), list.as_mut_ptr(), list.len())?;
    list.truncate(len as usize);
    let mut names: Vec<String> = list
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| name != "security.selinux")
        .collect();
    names.sort();
    Ok(names)
}

fn file(scratch: &Scratch, name: &str) -> Result<String, String> {
    let path = scratch.path(name);
    drop(open(&path, libc::O_CREAT | libc::O_WRONLY, 0o644).what("open")?);
    Ok(path)
}

fn is_ext4(path: &str) -> Result<bool, String> {
    let path = c(path);
    let mut words = [0i64; 15];
    sys!(SYS_statfs, path.as_ptr(), words.as_mut_ptr()).what("statfs")?;
    Ok(words[0] == EXT4)
}

fn set_get_remove() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    let name = "trusted.sis";
    refused("one that is not there", get(&path, name, 10), libc::ENODATA)?;
    refused("removing it", remove(&path, name), libc::ENODATA)?;
    refused("replacing it", set(&path, name, b"x", XATTR_REPLACE), libc::ENODATA)?;
    set(&path, name, b"one", XATTR_CREATE).what("create")?;
    same!(get(&path, name, 10), Ok(b"one".to_vec()), "the value");
    refused("creating it again", set(&path, name, b"x", XATTR_CREATE), libc::EEXIST)?;
    set(&path, name, b"longer than before", XATTR_REPLACE).what("replace")?;
    set(&path, name, b"", 0).what("an empty value")?;
    same!(get(&path, name, 10), Ok(Vec::new()), "the empty value");
    set(&path, name, b"one\0two", 0).what("set")?;
    let (p, n) = (c(&path), c(name));
    same!(
        sys!(SYS_getxattr, p.as_ptr(), n.as_ptr(), 0, 0),
        Ok(7),
        "the length, when there is no room"
    );
    refused("room that is too small", get(&path, name, 6), libc::ERANGE)?;
    same!(get(&path, name, 7), Ok(b"one\0two".to_vec()), "room that just fits");
    refused(
        "a bad address",
        sys!(SYS_getxattr, p.as_ptr(), n.as_ptr(), 1, 7),
        libc::EFAULT,
    )?;
    let flags = XATTR_CREATE | XATTR_REPLACE;
    refused("both flags, there", set(&path, name, b"x", flags), libc::EEXIST)?;
    remove(&path, name).what("remove")?;
    refused("both flags, not there", set(&path, name, b"x", flags), libc::ENODATA)?;
    refused("afterwards", get(&path, name, 10), libc::ENODATA)?;
    refused("no such file", get(&scratch.path("none"), name, 10), libc::ENOENT)
}

fn user() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    if !is_ext4(&path)? {
        refused("on tmpfs", set(&path, "user.x", b"1", 0), libc::EOPNOTSUPP)?;
        return refused("reading on tmpfs", get(&path, "user.x", 1), libc::EOPNOTSUPP);
    }
    set(&path, "user.x", b"1", 0).what("set")?;
    set(&scratch.0, "user.folder", b"2", 0).what("of a folder")?;
    same!(get(&path, "user.x", 1), Ok(b"1".to_vec()), "of a file");
    same!(get(&scratch.0, "user.folder", 1), Ok(b"2".to_vec()), "of a folder");
    // Another name of the file has them too, and a copy by rename keeps them.
    let moved = scratch.path("moved");
    std::fs::rename(&path, &moved).map_err(|e| e.to_string())?;
    same!(get(&moved, "user.x", 1), Ok(b"1".to_vec()), "after rename");
    let before = std::fs::metadata(&moved).map_err(|e| e.to_string())?;
    crate::sys::sleep_ms(20);
    set(&moved, "user.x", b"3", 0).what("set")?;
    let after = std::fs::metadata(&moved).map_err(|e| e.to_string())?;
    use std::os::unix::fs::MetadataExt;
    check!(
        (after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()),
        "the change time stays"
    );
    same!(after.mtime_nsec(), before.mtime_nsec(), "the modification time");
    Ok(())
}

fn list() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    same!(names(&path), Ok(Vec::new()), "of a new file");
    for name in ["trusted.a", "security.b", "trusted.ccc"] {
        set(&path, name, name.as_bytes(), 0).what(name)?;
    }
    let all = ["security.b", "trusted.a", "trusted.ccc"].map(str::to_owned).to_vec();
    same!(names(&path), Ok(all), "the names");
    let p = c(&path);
    let length = sys!(SYS_listxattr, p.as_ptr(), 0, 0).what("the length")?;
    check!(length >= 11 + 10 + 12, "{length} bytes");
    let mut small = [0u8; 8];
    refused(
        "room that is too small",
        sys!(SYS_listxattr, p.as_ptr(), small.as_mut_ptr(), small.len()),
        libc::ERANGE,
    )?;
    remove(&path, "trusted.a").what("remove")?;
    let rest = ["security.b", "trusted.ccc"].map(str::to_owned).to_vec();
    same!(names(&path), Ok(rest), "the rest");
    Ok(())
}

fn names_and_sizes() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    refused("no name", set(&path, "", b"x", 0), libc::ERANGE)?;
    refused("no name to read", get(&path, "", 1), libc::ERANGE)?;
    refused("a prefix alone", set(&path, "trusted.", b"x", 0), libc::EINVAL)?;
    refused("no prefix", set(&path, "sis", b"x", 0), libc::EOPNOTSUPP)?;
    refused("another prefix", set(&path, "sis.x", b"x", 0), libc::EOPNOTSUPP)?;
    refused("reading another prefix", get(&path, "sis.x", 1), libc::EOPNOTSUPP)?;
    refused("unknown flags", set(&path, "trusted.x", b"x", 4), libc::EINVAL)?;
    let long = format!("trusted.{}", "n".repeat(247));
    set(&path, &long, b"x", 0).what("a name of 255 bytes")?;
    same!(get(&path, &long, 1), Ok(b"x".to_vec()), "its value");
    let longer = format!("{long}n");
    refused("a name of 256 bytes", set(&path, &longer, b"x", 0), libc::ERANGE)?;
    let too_large = vec![7u8; 65537];
    refused(
        "a value of 64 KiB + 1",
        set(&path, "trusted.x", &too_large, 0),
        libc::E2BIG,
    )?;
    let (p, n) = (c(&path), c("trusted.x"));
    refused(
        "a value at a bad address",
        sys!(SYS_setxattr, p.as_ptr(), n.as_ptr(), 1, 10, 0),
        libc::EFAULT,
    )
}

fn links_and_descriptors() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    let link = scratch.path("link");
    std::os::unix::fs::symlink(&path, &link).map_err(|e| e.to_string())?;
    set(&link, "trusted.x", b"file", 0).what("through the link")?;
    let (l, n, value) = (c(&link), c("trusted.x"), b"link");
    sys!(SYS_lsetxattr, l.as_ptr(), n.as_ptr(), value.as_ptr(), 4, 0).what("of the link itself")?;
    let mut out = [0u8; 4];
    same!(
        sys!(SYS_lgetxattr, l.as_ptr(), n.as_ptr(), out.as_mut_ptr(), 4),
        Ok(4),
        "of the link"
    );
    same!(
        (&out, get(&path, "trusted.x", 4)),
        (value, Ok(b"file".to_vec())),
        "each its own"
    );
    let u = c("user.x");
    refused(
        "user. of a link",
        sys!(SYS_lsetxattr, l.as_ptr(), u.as_ptr(), value.as_ptr(), 4, 0),
        libc::EPERM,
    )?;
    refused(
        "user. of a link, read",
        sys!(SYS_lgetxattr, l.as_ptr(), u.as_ptr(), out.as_mut_ptr(), 4),
        libc::ENODATA,
    )?;
    sys!(SYS_lremovexattr, l.as_ptr(), n.as_ptr()).what("lremovexattr")?;
    same!(
        get(&path, "trusted.x", 4),
        Ok(b"file".to_vec()),
        "the file's is still there"
    );

    let fd = open(&path, libc::O_RDONLY, 0).what("open")?;
    sys!(SYS_fsetxattr, &fd, n.as_ptr(), b"via".as_ptr(), 3, 0).what("fsetxattr")?;
    same!(
        sys!(SYS_fgetxattr, &fd, n.as_ptr(), out.as_mut_ptr(), 4),
        Ok(3),
        "fgetxattr"
    );
    same!(&out[..3], b"via", "its value");
    let mut list = [0u8; 64];
    let length = sys!(SYS_flistxattr, &fd, list.as_mut_ptr(), list.len()).what("flistxattr")?;
    check!(length >= 10, "{length} bytes of names");
    sys!(SYS_fremovexattr, &fd, n.as_ptr()).what("fremovexattr")?;
    let place = open(&path, libc::O_PATH, 0).what("O_PATH")?;
    refused(
        "by a descriptor that is only a place",
        sys!(SYS_fgetxattr, &place, n.as_ptr(), out.as_mut_ptr(), 4),
        libc::EBADF,
    )?;
    refused(
        "by no descriptor",
        sys!(SYS_fgetxattr, -1, n.as_ptr(), out.as_mut_ptr(), 4),
        libc::EBADF,
    )
}

fn who_may() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    let is_ext4 = is_ext4(&path)?;
    set(&path, "trusted.x", b"1", 0).what("trusted.")?;
    set(&path, "security.x", b"2", 0).what("security.")?;
    std::fs::set_permissions(&scratch.0, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .map_err(|e| e.to_string())?;
    checked_child(|| {
        sys!(SYS_setresgid, 1000, 1000, 1000).what("setresgid")?;
        sys!(SYS_setresuid, 1000, 1000, 1000).what("setresuid")?;
        refused("reading trusted.", get(&path, "trusted.x", 1), libc::ENODATA)?;
        refused("setting trusted.", set(&path, "trusted.y", b"1", 0), libc::EPERM)?;
        refused("removing trusted.", remove(&path, "trusted.x"), libc::EPERM)?;
        // A Linux with the BPF security module lets anybody set them, against xattr(7).
        if std::fs::read_to_string("/proc/version").is_ok_and(|v| v.contains("(sis)")) {
            refused("setting security.", set(&path, "security.y", b"1", 0), libc::EPERM)?;
        }
        same!(
            get(&path, "security.x", 1),
            Ok(b"2".to_vec()),
            "security. is read by all"
        );
        same!(names(&path), Ok(vec!["security.x".to_owned()]), "trusted. is not shown");
        if is_ext4 {
            refused("another's file", set(&path, "user.x", b"1", 0), libc::EACCES)?;
            refused("read, and none there", get(&path, "user.x", 1), libc::ENODATA)?;
            let own = file(&scratch, "own")?;
            set(&own, "user.x", b"1", 0).what("one's own")?;
            std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o200))
                .map_err(|e| e.to_string())?;
            refused("not readable", get(&own, "user.x", 1), libc::EACCES)?;
        }
        Ok(())
    })
}

fn large_and_many() -> Outcome {
    let scratch = Scratch::new()?;
    let path = file(&scratch, "f")?;
    // Nearly as much as an inode and a block of 1 KiB hold.
    for n in 0..10 {
        let name = format!("trusted.number-{n}");
        set(&path, &name, &[n; 60], 0).what(&name)?;
    }
    for n in (0..10).step_by(3) {
        remove(&path, &format!("trusted.number-{n}")).what("remove")?;
    }
    for n in 0..10u8 {
        let value = get(&path, &format!("trusted.number-{n}"), 100);
        let wanted = if n % 3 == 0 {
            Err(Errno(libc::ENODATA))
        } else {
            Ok(vec![n; 60])
        };
        same!(value, wanted, n);
    }
    let other = file(&scratch, "g")?;
    set(&other, "trusted.large", &[9; 700], 0).what("700 bytes")?;
    same!(get(&other, "trusted.large", 4096), Ok(vec![9; 700]), "700 bytes");
    if is_ext4(&path)? {
        refused(
            "more than a block",
            set(&other, "trusted.larger", &[9; 5000], 0),
            libc::ENOSPC,
        )?;
        same!(get(&other, "trusted.large", 4096), Ok(vec![9; 700]), "what was there");
    }
    Ok(())
}
