//! execve(2): arguments, environment, auxiliary vector, scripts, what stays and what goes.

use std::process::ExitCode;

use super::Case;
use crate::sys::{Ended, Errno, Outcome, Scratch, What, c, child, in_child, open, pipe, read, refused, wait};

pub(super) static CASES: &[Case] = &[
    ("exec/arguments-and-environment", arguments_and_environment),
    ("exec/auxiliary-vector", auxiliary_vector),
    ("exec/close-on-exec", close_on_exec),
    ("exec/signals-reset", signals_reset),
    ("exec/script", script),
    ("exec/script-without-interpreter", script_without_interpreter),
    ("exec/errors", errors),
    ("exec/big-arguments", big_arguments),
    ("exec/too-big-arguments", too_big_arguments),
    ("exec/empty-arguments", empty_arguments),
    ("exec/new-address-space", new_address_space),
    ("exec/execveat-fd", execveat_fd),
    ("exec/text-busy", text_busy),
    ("exec/foreign-format", foreign_format),
];

const OWN: &str = "/proc/self/exe";

/// What the executed program does.
pub(super) fn helper(words: &[&str]) -> ExitCode {
    match words {
        ["args", rest @ ..] => {
            println!("{}", rest.join("|"));
            for (name, value) in std::env::vars() {
                println!("{name}={value}");
            }
        }
        ["length", rest @ ..] => println!("{} {}", rest.len(), rest.iter().map(|w| w.len()).sum::<usize>()),
        ["fd", number] => {
            let number: i32 = number.parse().unwrap_or(-1);
            return ExitCode::from(u8::from(sys!(SYS_fcntl, number, libc::F_GETFD).is_err()));
        }
        ["signals"] => {
            let (mut mask, mut action) = (0_u64, [0_u64; 4]);
            let _ = sys!(SYS_rt_sigprocmask, 0, 0, &raw mut mask, 8);
            let mut of = |signal: i32| {
                let _ = sys!(SYS_rt_sigaction, signal, 0, action.as_mut_ptr(), 8);
                action[0]
            };
            println!("{mask:x} {} {}", of(libc::SIGUSR1), of(libc::SIGUSR2));
        }
        ["auxv"] => println!("{}", auxv_text()),
        ["mapped", at] => {
            let at: usize = at.parse().unwrap_or(0);
            let mut there = 0_u8;
            let found = sys!(SYS_mincore, at, crate::sys::PAGE, &raw mut there);
            return ExitCode::from(u8::from(found != Err(Errno(libc::ENOMEM))));
        }
        _ => return ExitCode::from(99),
    }
    ExitCode::SUCCESS
}

/// A NULL-terminated list of strings.
fn pointers(list: &[std::ffi::CString]) -> Vec<*const libc::c_char> {
    list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

fn execve(path: &str, words: &[&str], environment: &[&str]) -> Errno {
    let (words, environment): (Vec<_>, Vec<_>) = (
        words.iter().map(|w| c(w)).collect(),
        environment.iter().map(|w| c(w)).collect(),
    );
    let path = c(path);
    let result = sys!(
        SYS_execve,
        path.as_ptr(),
        pointers(&words).as_ptr(),
        pointers(&environment).as_ptr()
    );
    result.err().unwrap_or(Errno(0))
}

/// Runs a program in a child: how it ended and what it printed.
fn ran(path: &str, words: &[&str], environment: &[&str]) -> Result<(Ended, String), String> {
    let (reader, writer) = pipe(libc::O_CLOEXEC)?;
    let pid = crate::sys::child(|| {
        let _ = sys!(SYS_dup3, &writer, 1, 0);
        let error = execve(path, words, environment);
        let _ = crate::sys::write(&writer, error.to_string().as_bytes());
        126
    })?;
    drop(writer);
    let mut text = Vec::new();
    loop {
        let part = read(&reader, 65536).what("read")?;
        if part.is_empty() {
            break;
        }
        text.extend(part);
    }
    Ok((wait(pid, 0).what("wait4")?, String::from_utf8_lossy(&text).into_owned()))
}

fn arguments_and_environment() -> Outcome {
    let words = ["sis-guest", "helper", "args", "one", "", "two words", "ü"];
    let (how, text) = ran(OWN, &words, &["A=1", "EMPTY=", "LONG=x=y"])?;
    same!(how, Ended::Exit(0), text);
    same!(text, "one||two words|ü\nA=1\nEMPTY=\nLONG=x=y\n", "what it was given");
    Ok(())
}

/// The auxiliary vector that programs look at, a word each.
fn auxv_text() -> String {
    // SAFETY: getauxval has no requirement.
    let of = |kind: u64| unsafe { libc::getauxval(kind as libc::c_ulong) };
    let string = |at: u64| {
        // SAFETY: the kernel put a NUL-terminated string there.
        unsafe { std::ffi::CStr::from_ptr(at as *const libc::c_char) }
            .to_string_lossy()
            .into_owned()
    };
    // SAFETY: AT_RANDOM names sixteen bytes.
    let random = unsafe { *(of(libc::AT_RANDOM) as *const [u8; 16]) };
    format!(
        "{} {} {} {} {:x} {} {} {:?}",
        of(libc::AT_PAGESZ),
        of(libc::AT_PHENT),
        of(libc::AT_CLKTCK),
        of(libc::AT_UID),
        of(libc::AT_HWCAP),
        of(libc::AT_SYSINFO_EHDR) != 0,
        string(of(libc::AT_EXECFN)),
        random
    )
}

fn auxiliary_vector() -> Outcome {
    let (how, one) = ran(OWN, &["x", "helper", "auxv"], &[])?;
    same!(how, Ended::Exit(0), one);
    let (_, two) = ran(OWN, &["x", "helper", "auxv"], &[])?;
    let fields: Vec<&str> = one.split(' ').collect();
    same!(
        fields[..4],
        ["4096", "56", "100", "0"],
        "AT_PAGESZ, AT_PHENT, AT_CLKTCK, AT_UID"
    );
    let capabilities = u64::from_str_radix(fields[4], 16).map_err(|e| e.to_string())?;
    // FP and ASIMD, arm64's HWCAP bits 0 and 1.
    check!(
        capabilities & 3 == 3 || !cfg!(target_arch = "aarch64"),
        "AT_HWCAP {capabilities:x} lacks FP or ASIMD"
    );
    same!(fields[5..7], ["true", OWN], "vDSO present, AT_EXECFN");
    check!(one != two, "AT_RANDOM came twice: {one}");
    Ok(())
}

fn close_on_exec() -> Outcome {
    let keep = open("/dev/null", libc::O_RDONLY, 0).what("open")?;
    let close = open("/dev/null", libc::O_RDONLY | libc::O_CLOEXEC, 0).what("open")?;
    let is_closed = |fd: i32| ran(OWN, &["x", "helper", "fd", &fd.to_string()], &[]).map(|(how, _)| how);
    same!(is_closed(keep.0)?, Ended::Exit(0), "an ordinary descriptor");
    same!(is_closed(close.0)?, Ended::Exit(1), "a close-on-exec descriptor");
    Ok(())
}

fn signals_reset() -> Outcome {
    // USR1 caught, USR2 ignored, TERM blocked: caught becomes default, ignored and blocked stay.
    extern "C" fn nothing(_: i32) {}
    let caught = [nothing as extern "C" fn(i32) as usize as u64, 0, 0, 0];
    let ignored = [libc::SIG_IGN as u64, 0, 0, 0];
    sys!(SYS_rt_sigaction, libc::SIGUSR1, caught.as_ptr(), 0, 8).what("rt_sigaction")?;
    sys!(SYS_rt_sigaction, libc::SIGUSR2, ignored.as_ptr(), 0, 8).what("rt_sigaction")?;
    let mask = 1_u64 << (libc::SIGTERM - 1);
    sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const mask, 0, 8).what("rt_sigprocmask")?;
    let (how, text) = ran(OWN, &["x", "helper", "signals"], &[])?;
    same!(how, Ended::Exit(0), text);
    same!(text, format!("{mask:x} 0 1\n"), "mask, action of USR1, action of USR2");
    Ok(())
}

fn write_script(scratch: &Scratch, name: &str, text: &str, mode: u32) -> Result<String, String> {
    let path = scratch.path(name);
    let file = open(&path, libc::O_CREAT | libc::O_WRONLY, mode).what("open")?;
    crate::sys::write(&file, text.as_bytes()).what("write")?;
    Ok(path)
}

fn script() -> Outcome {
    let scratch = Scratch::new()?;
    let path = write_script(&scratch, "s", &format!("#! {OWN} helper  \nrest\n"), 0o755)?;
    // The interpreter gets its one argument, the script's path, and the caller's arguments without the first.
    let (how, text) = ran(&path, &["ignored", "a", "b"], &[])?;
    same!(
        (how, text.as_str()),
        (Ended::Exit(99), ""),
        "a program of ours as interpreter"
    );
    let path = write_script(
        &scratch,
        "args",
        "#!/bin/busybox sh\necho \"$0|$1|$#\"\nexit 6\n",
        0o755,
    )?;
    let (how, text) = ran(&path, &["ignored", "one two", "b"], &["PATH=/bin"])?;
    same!(
        (how, text.as_str()),
        (Ended::Exit(6), format!("{path}|one two|2\n").as_str()),
        "a shell script"
    );
    // A script whose interpreter is a script.
    let outer = write_script(&scratch, "outer", &format!("#!{path}\n"), 0o755)?;
    let (how, text) = ran(&outer, &["x"], &["PATH=/bin"])?;
    same!(
        (how, text),
        (Ended::Exit(6), format!("{path}|{outer}|1\n")),
        "a script of a script"
    );
    Ok(())
}

fn script_without_interpreter() -> Outcome {
    let scratch = Scratch::new()?;
    let refused_with = |path: &str| {
        let how = in_child(|| execve(path, &["x"], &[]).0)?;
        Ok::<_, String>(how)
    };
    let gone = write_script(&scratch, "gone", "#!/no/such/interpreter\n", 0o755)?;
    same!(refused_with(&gone)?, Ended::Exit(libc::ENOENT), "no interpreter");
    let none = write_script(&scratch, "none", "#!\n", 0o755)?;
    same!(refused_with(&none)?, Ended::Exit(libc::ENOEXEC), "an empty #! line");
    let text = write_script(&scratch, "text", "echo hello\n", 0o755)?;
    same!(refused_with(&text)?, Ended::Exit(libc::ENOEXEC), "plain text");
    let round = scratch.path("round");
    write_script(&scratch, "round", &format!("#!{round}\n"), 0o755)?;
    same!(
        refused_with(&round)?,
        Ended::Exit(libc::ELOOP),
        "a script that interprets itself"
    );
    Ok(())
}

fn errors() -> Outcome {
    let scratch = Scratch::new()?;
    let plain = write_script(&scratch, "plain", "#!/bin/busybox sh\n", 0o644)?;
    same!(
        execve(&plain, &["x"], &[]).0,
        libc::EACCES,
        "not executable, even for root"
    );
    same!(execve(&scratch.0, &["x"], &[]).0, libc::EACCES, "a folder");
    same!(execve("/no/such", &["x"], &[]).0, libc::ENOENT, "missing");
    same!(execve("/bin/busybox/x", &["x"], &[]).0, libc::ENOTDIR, "below a file");
    same!(execve("", &["x"], &[]).0, libc::ENOENT, "the empty path");
    let empty = write_script(&scratch, "empty", "", 0o755)?;
    same!(execve(&empty, &["x"], &[]).0, libc::ENOEXEC, "an empty file");
    let bad = write_script(&scratch, "bad", "\x7fELF rubbish", 0o755)?;
    same!(execve(&bad, &["x"], &[]).0, libc::ENOEXEC, "a broken ELF file");
    refused("path nowhere", sys!(SYS_execve, 8, 0, 0), libc::EFAULT)?;
    refused(
        "arguments nowhere",
        sys!(SYS_execve, c"/bin/busybox".as_ptr(), 8, 0),
        libc::EFAULT,
    )
}

fn big_arguments() -> Outcome {
    let word = "x".repeat(1000);
    let words: Vec<&str> = ["x", "helper", "length"]
        .into_iter()
        .chain(std::iter::repeat_n(word.as_str(), 100))
        .collect();
    let (how, text) = ran(OWN, &words, &[])?;
    same!(
        (how, text.as_str()),
        (Ended::Exit(0), "100 100000\n"),
        "100 KB of arguments"
    );
    Ok(())
}

fn too_big_arguments() -> Outcome {
    // One string may be 32 pages long, execve(2).
    let word = "x".repeat(32 * 4096);
    same!(execve(OWN, &["x", &word], &[]).0, libc::E2BIG, "one string of 128 KiB");
    let word = "x".repeat(100_000);
    let words: Vec<&str> = std::iter::repeat_n(word.as_str(), 100).collect();
    same!(execve(OWN, &words, &[]).0, libc::E2BIG, "10 MB of arguments");
    Ok(())
}

fn empty_arguments() -> Outcome {
    // Since Linux 5.18 an empty list becomes one empty string.
    let how = in_child(|| {
        // It prints its help, which is of no interest here.
        let Ok(null) = open("/dev/null", libc::O_WRONLY, 0) else {
            return 99;
        };
        let _ = sys!(SYS_dup3, &null, 1, 0);
        let path = c(OWN);
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        let _ = sys!(SYS_execve, path.as_ptr(), none.as_ptr(), none.as_ptr());
        99
    })?;
    check!(
        how != Ended::Exit(99) && !matches!(how, Ended::Signal(_)),
        "without arguments: {how:?}"
    );
    Ok(())
}

fn new_address_space() -> Outcome {
    let at = crate::sys::map(4, libc::PROT_READ | libc::PROT_WRITE).what("mmap")?;
    crate::sys::poke(at, 1);
    let (how, _) = ran(OWN, &["x", "helper", "mapped", &at.to_string()], &[])?;
    check!(
        how == Ended::Exit(0) || how == Ended::Exit(1),
        "asking for memory: {how:?}"
    );
    // The old memory may be something else's now; what must hold is that the parent still has it.
    same!(crate::sys::peek(at), 1, "the parent's memory");
    Ok(())
}

fn execveat_fd() -> Outcome {
    let file = open(OWN, libc::O_RDONLY | libc::O_CLOEXEC, 0).what("open")?;
    let words = [c("x"), c("helper"), c("fd"), c("0")];
    let how = in_child(|| {
        let _ = sys!(
            SYS_execveat,
            &file,
            c"".as_ptr(),
            pointers(&words).as_ptr(),
            pointers(&[]).as_ptr(),
            libc::AT_EMPTY_PATH
        );
        99
    })?;
    same!(how, Ended::Exit(0), "a program by its descriptor");
    refused(
        "unknown flags",
        sys!(SYS_execveat, &file, c"x".as_ptr(), 0, 0, 0x4000_0000),
        libc::EINVAL,
    )
}

/// What execve(2) answers to a child.
fn exec_refused(what: &str, path: &str, words: &[&str], want: i32) -> Outcome {
    let (how, text) = ran(path, words, &[])?;
    same!((how, text), (Ended::Exit(126), Errno(want).to_string()), what);
    Ok(())
}

fn text_busy() -> Outcome {
    let scratch = Scratch::new()?;
    let path = scratch.path("busy");
    std::fs::copy("/bin/busybox", &path).map_err(|e| e.to_string())?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(|e| e.to_string())?;
    let writer = open(&path, libc::O_WRONLY | libc::O_CLOEXEC, 0).what("open")?;
    exec_refused("a program that is open for writing", &path, &["true"], libc::ETXTBSY)?;
    // A mapping of it is as good as the descriptor.
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let reader = open(&path, libc::O_RDWR | libc::O_CLOEXEC, 0).what("open")?;
    let at = sys!(SYS_mmap, 0, crate::sys::PAGE, both, libc::MAP_SHARED, &reader, 0).what("mmap")?;
    drop((writer, reader));
    exec_refused(
        "a program that is mapped by its writer",
        &path,
        &["true"],
        libc::ETXTBSY,
    )?;
    sys!(SYS_munmap, at, crate::sys::PAGE).what("munmap")?;
    let (how, text) = ran(&path, &["true"], &[])?;
    same!(how, Ended::Exit(0), text);

    // And the other way round.
    let (ready, started) = pipe(libc::O_CLOEXEC)?;
    let pid = child(|| {
        let words = [c("busybox"), c("sleep"), c("1000")];
        let name = c(&path);
        let _ = sys!(
            SYS_execve,
            name.as_ptr(),
            pointers(&words).as_ptr(),
            pointers(&[]).as_ptr()
        );
        99
    })?;
    drop(started);
    // The end of the pipe: the program has begun.
    let _ = read(&ready, 1).what("read")?;
    for (what, flags) in [
        ("writing", libc::O_WRONLY),
        ("reading and writing", libc::O_RDWR),
        ("cutting off", libc::O_RDONLY | libc::O_TRUNC),
    ] {
        refused(what, open(&path, flags, 0).map(|f| f.0), libc::ETXTBSY)?;
    }
    let name = c(&path);
    refused("truncate", sys!(SYS_truncate, name.as_ptr(), 0), libc::ETXTBSY)?;
    drop(open(&path, libc::O_RDONLY, 0).what("reading it")?);
    let moved = scratch.path("moved");
    std::fs::rename(&path, &moved).map_err(|e| e.to_string())?;
    refused(
        "by its new name",
        open(&moved, libc::O_RDWR, 0).map(|f| f.0),
        libc::ETXTBSY,
    )?;
    sys!(SYS_kill, pid, libc::SIGKILL).what("kill")?;
    same!(wait(pid, 0).what("wait4")?, Ended::Signal(libc::SIGKILL), "its end");
    drop(open(&moved, libc::O_RDWR | libc::O_TRUNC, 0).what("writing what ran")?);
    Ok(())
}

fn foreign_format() -> Outcome {
    let scratch = Scratch::new()?;
    let mut bytes = std::fs::read(OWN).map_err(|e| e.to_string())?;
    bytes.truncate(8192);
    // e_machine, ELF64: bytes 18 and 19; 3 is the i386.
    bytes[18..20].copy_from_slice(&3_u16.to_le_bytes());
    let path = scratch.path("foreign");
    std::fs::write(&path, &bytes).map_err(|e| e.to_string())?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(|e| e.to_string())?;
    exec_refused("another machine's program", &path, &["x"], libc::ENOEXEC)
}
