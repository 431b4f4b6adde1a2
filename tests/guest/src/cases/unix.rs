//! AF_UNIX: streams, datagrams, pairs, passing descriptors and credentials.

use super::Case;
use crate::sys::{Ended, Errno, Fd, Outcome, Scratch, What, child, fd, pipe, read, refused, wait, write};

pub(super) static CASES: &[Case] = &[
    ("unix/pair-stream", pair_stream),
    ("unix/pair-datagram", pair_datagram),
    ("unix/listen-and-connect", listen_and_connect),
    ("unix/abstract-name", abstract_name),
    ("unix/connect-errors", connect_errors),
    ("unix/passes-descriptors", passes_descriptors),
    ("unix/passed-descriptor-dropped", passed_descriptor_dropped),
    ("unix/passes-credentials", passes_credentials),
    ("unix/peer-credentials", peer_credentials),
    ("unix/shutdown", shutdown),
    ("unix/large-transfer", large_transfer),
    ("unix/seqpacket-or-refuse", seqpacket_or_refuse),
    ("unix/broken", broken),
];

fn pair(kind: i32) -> Result<(Fd, Fd), String> {
    let mut ends = [0_i32; 2];
    sys!(SYS_socketpair, libc::AF_UNIX, kind, 0, ends.as_mut_ptr()).what("socketpair")?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// sockaddr_un: family, then the path.
fn address(path: &[u8]) -> ([u8; 110], u32) {
    let mut bytes = [0; 110];
    bytes[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    bytes[2..2 + path.len()].copy_from_slice(path);
    let terminator = u32::from(path.first().is_some_and(|&b| b != 0));
    (bytes, 2 + path.len() as u32 + terminator)
}

fn socket(kind: i32) -> Result<Fd, String> {
    fd(sys!(SYS_socket, libc::AF_UNIX, kind, 0), "socket")
}

fn bind(socket: &Fd, path: &[u8]) -> Result<i64, Errno> {
    let (bytes, length) = address(path);
    sys!(SYS_bind, socket, bytes.as_ptr(), length)
}

fn connect(socket: &Fd, path: &[u8]) -> Result<i64, Errno> {
    let (bytes, length) = address(path);
    sys!(SYS_connect, socket, bytes.as_ptr(), length)
}

fn pair_stream() -> Outcome {
    let (one, two) = pair(libc::SOCK_STREAM)?;
    write(&one, b"ab").what("write")?;
    write(&one, b"cd").what("write")?;
    same!(read(&two, 3).what("read")?, b"abc".to_vec(), "a stream has no borders");
    write(&two, b"back").what("write")?;
    same!(read(&one, 10).what("read")?, b"back".to_vec(), "the other way");
    drop(one);
    same!(read(&two, 10).what("read")?, b"d".to_vec(), "what was left");
    same!(read(&two, 10).what("read")?, Vec::<u8>::new(), "the end");
    Ok(())
}

fn pair_datagram() -> Outcome {
    let (one, two) = pair(libc::SOCK_DGRAM | libc::SOCK_NONBLOCK)?;
    write(&one, b"first").what("write")?;
    write(&one, b"second").what("write")?;
    same!(
        read(&two, 3).what("read")?,
        b"fir".to_vec(),
        "the rest of a datagram is lost"
    );
    same!(read(&two, 10).what("read")?, b"second".to_vec(), "the next");
    refused("nothing more", read(&two, 10), libc::EAGAIN)
}

fn listen_and_connect() -> Outcome {
    let scratch = Scratch::new()?;
    let path = scratch.path("socket");
    let listener = socket(libc::SOCK_STREAM)?;
    bind(&listener, path.as_bytes()).what("bind")?;
    let kind = std::fs::symlink_metadata(&path).map_err(|e| e.to_string())?;
    check!(
        std::os::unix::fs::FileTypeExt::is_socket(&kind.file_type()),
        "the path is no socket"
    );
    refused(
        "bind to a path that is there",
        bind(&socket(libc::SOCK_STREAM)?, path.as_bytes()),
        libc::EADDRINUSE,
    )?;
    sys!(SYS_listen, &listener, 5).what("listen")?;
    let pid = child(|| {
        let Ok(one) = socket(libc::SOCK_STREAM) else { return 1 };
        if connect(&one, path.as_bytes()).is_err() || write(&one, b"hello").is_err() {
            return 2;
        }
        i32::from(read(&one, 10) != Ok(b"bye".to_vec()))
    })?;
    let two = fd(sys!(SYS_accept4, &listener, 0, 0, libc::SOCK_CLOEXEC), "accept4")?;
    same!(read(&two, 10).what("read")?, b"hello".to_vec(), "what the client says");
    let (mut bytes, mut length) = ([0_u8; 110], 110_u32);
    sys!(SYS_getsockname, &two, bytes.as_mut_ptr(), &raw mut length).what("getsockname")?;
    same!(
        &bytes[2..length as usize - 1],
        path.as_bytes(),
        "the name of the accepted end"
    );
    write(&two, b"bye").what("write")?;
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "the client");
    Ok(())
}

fn abstract_name() -> Outcome {
    let name = format!("\0guest-{}", std::process::id());
    let receiver = socket(libc::SOCK_DGRAM)?;
    bind(&receiver, name.as_bytes()).what("bind")?;
    let sender = socket(libc::SOCK_DGRAM)?;
    connect(&sender, name.as_bytes()).what("connect")?;
    write(&sender, b"x").what("write")?;
    same!(read(&receiver, 10).what("read")?, b"x".to_vec(), "content");
    drop(receiver);
    refused("after the receiver is gone", write(&sender, b"x"), libc::ECONNREFUSED)
}

fn connect_errors() -> Outcome {
    let scratch = Scratch::new()?;
    refused(
        "no such path",
        connect(&socket(libc::SOCK_STREAM)?, scratch.path("no").as_bytes()),
        libc::ENOENT,
    )?;
    std::fs::write(scratch.path("file"), "").map_err(|e| e.to_string())?;
    refused(
        "a file",
        connect(&socket(libc::SOCK_STREAM)?, scratch.path("file").as_bytes()),
        libc::ECONNREFUSED,
    )?;
    let datagrams = socket(libc::SOCK_DGRAM)?;
    bind(&datagrams, scratch.path("d").as_bytes()).what("bind")?;
    refused(
        "another kind",
        connect(&socket(libc::SOCK_STREAM)?, scratch.path("d").as_bytes()),
        libc::EPROTOTYPE,
    )?;
    let quiet = socket(libc::SOCK_STREAM)?;
    bind(&quiet, scratch.path("quiet").as_bytes()).what("bind")?;
    refused(
        "nobody listens",
        connect(&socket(libc::SOCK_STREAM)?, scratch.path("quiet").as_bytes()),
        libc::ECONNREFUSED,
    )
}

/// Sends `number` (a descriptor) along with one byte.
fn send_descriptor(over: &Fd, number: i32) -> Result<i64, Errno> {
    let data = [7_u8];
    let vector = libc::iovec {
        iov_base: data.as_ptr() as *mut libc::c_void,
        iov_len: 1,
    };
    // cmsghdr of 16 bytes and one descriptor.
    let control = [20_u64, 1 | (1 << 32), u64::from(number as u32)];
    // SAFETY: plain data for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = (&raw const vector).cast_mut();
    header.msg_iovlen = 1;
    header.msg_control = control.as_ptr() as *mut libc::c_void;
    header.msg_controllen = 24;
    sys!(SYS_sendmsg, over, &raw const header, 0)
}

/// Receives one byte and the control words that come with it.
fn receive_control(from: &Fd, flags: i32) -> Result<([u64; 8], usize, i32), Errno> {
    let (mut data, mut control) = ([0_u8; 8], [0_u64; 8]);
    let mut vector = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: 8,
    };
    // SAFETY: plain data for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = 64;
    sys!(SYS_recvmsg, from, &raw mut header, flags)?;
    Ok((control, header.msg_controllen as usize, header.msg_flags))
}

fn passes_descriptors() -> Outcome {
    let (one, two) = pair(libc::SOCK_STREAM)?;
    let (reader, writer) = pipe(0)?;
    let pid = child(|| i32::from(send_descriptor(&one, writer.0).is_err()))?;
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "the sender");
    drop(writer);
    let (control, length, _) = receive_control(&two, libc::MSG_CMSG_CLOEXEC).what("recvmsg")?;
    same!(
        (length >= 20, control[0], control[1]),
        (true, 20, 1 | (1 << 32)),
        "SCM_RIGHTS"
    );
    let passed = Fd(control[2] as i32);
    same!(sys!(SYS_fcntl, &passed, libc::F_GETFD), Ok(1), "MSG_CMSG_CLOEXEC");
    write(&passed, b"through").what("write")?;
    same!(
        read(&reader, 10).what("read")?,
        b"through".to_vec(),
        "the passed end works"
    );
    refused("a bad descriptor", send_descriptor(&one, 999), libc::EBADF)
}

fn passed_descriptor_dropped() -> Outcome {
    // A descriptor that is in flight when its socket is closed is closed too.
    let (one, two) = pair(libc::SOCK_STREAM)?;
    let (reader, writer) = pipe(0)?;
    send_descriptor(&one, writer.0).what("sendmsg")?;
    drop(writer);
    drop(one);
    drop(two);
    crate::sys::sleep_ms(50);
    sys!(SYS_fcntl, &reader, libc::F_SETFL, libc::O_NONBLOCK).what("F_SETFL")?;
    same!(
        read(&reader, 1).what("read")?,
        Vec::<u8>::new(),
        "the pipe has no writer left"
    );
    Ok(())
}

fn passes_credentials() -> Outcome {
    let (one, two) = pair(libc::SOCK_STREAM)?;
    let on = 1_i32;
    sys!(
        SYS_setsockopt,
        &two,
        libc::SOL_SOCKET,
        libc::SO_PASSCRED,
        &raw const on,
        4
    )
    .what("SO_PASSCRED")?;
    let pid = child(|| i32::from(write(&one, b"x").is_err()))?;
    wait(pid, 0).what("wait4")?;
    let (control, ..) = receive_control(&two, 0).what("recvmsg")?;
    // SCM_CREDENTIALS is 2: pid, uid, gid.
    same!((control[0], control[1]), (28, 1 | (2 << 32)), "SCM_CREDENTIALS");
    same!(
        (control[2] as i32, control[2] >> 32, control[3] as u32),
        (pid, 0, 0),
        "the writer"
    );
    Ok(())
}

fn peer_credentials() -> Outcome {
    let (one, _two) = pair(libc::SOCK_STREAM)?;
    let (mut who, mut length) = ([0_u32; 3], 12_u32);
    sys!(
        SYS_getsockopt,
        &one,
        libc::SOL_SOCKET,
        libc::SO_PEERCRED,
        who.as_mut_ptr(),
        &raw mut length
    )
    .what("SO_PEERCRED")?;
    same!((who, length), ([std::process::id(), 0, 0], 12), "process, user, group");
    Ok(())
}

fn shutdown() -> Outcome {
    let (one, two) = pair(libc::SOCK_STREAM)?;
    write(&one, b"x").what("write")?;
    sys!(SYS_shutdown, &one, libc::SHUT_WR).what("shutdown")?;
    same!(
        (read(&two, 10), read(&two, 10)),
        (Ok(b"x".to_vec()), Ok(vec![])),
        "what was sent, and the end"
    );
    write(&two, b"y").what("write the other way")?;
    same!(read(&one, 10).what("read")?, b"y".to_vec(), "the other way");
    Ok(())
}

fn large_transfer() -> Outcome {
    let (one, two) = pair(libc::SOCK_STREAM)?;
    let pid = child(|| {
        let block: Vec<u8> = (0..9973_u32).map(|n| (n % 256) as u8).collect();
        (0..300).map(|_| send_all(&one, &block)).max().unwrap_or(1)
    })?;
    drop(one);
    let mut at = 0_usize;
    loop {
        let part = read(&two, 10_000).what("read")?;
        if part.is_empty() {
            break;
        }
        for byte in part {
            check!(usize::from(byte) == at % 9973 % 256, "byte {at} is wrong");
            at += 1;
        }
    }
    same!((at, wait(pid, 0).what("wait4")?), (300 * 9973, Ended::Exit(0)), "3 MB");
    Ok(())
}

fn send_all(to: &Fd, mut bytes: &[u8]) -> i32 {
    while !bytes.is_empty() {
        let Ok(n) = write(to, bytes) else { return 1 };
        bytes = &bytes[n..];
    }
    0
}

fn seqpacket_or_refuse() -> Outcome {
    let mut ends = [0_i32; 2];
    match sys!(
        SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_SEQPACKET,
        0,
        ends.as_mut_ptr()
    ) {
        Err(Errno(libc::ESOCKTNOSUPPORT | libc::EPROTONOSUPPORT)) => Ok(()),
        other => {
            other.what("socketpair")?;
            let (one, two) = (Fd(ends[0]), Fd(ends[1]));
            write(&one, b"first").what("write")?;
            write(&one, b"second").what("write")?;
            drop(one);
            same!(
                (read(&two, 100), read(&two, 100), read(&two, 100)),
                (Ok(b"first".to_vec()), Ok(b"second".to_vec()), Ok(vec![])),
                "records"
            );
            Ok(())
        }
    }
}

fn broken() -> Outcome {
    // SAFETY: SIGPIPE is ignored from here on.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let (one, two) = pair(libc::SOCK_STREAM)?;
    drop(two);
    refused("write to a closed end", write(&one, b"x"), libc::EPIPE)?;
    let (one, two) = pair(libc::SOCK_STREAM)?;
    let byte = b"x";
    drop(two);
    refused(
        "MSG_NOSIGNAL",
        sys!(SYS_sendto, &one, byte.as_ptr(), 1, libc::MSG_NOSIGNAL, 0, 0),
        libc::EPIPE,
    )
}
