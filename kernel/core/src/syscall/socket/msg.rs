//! sendmsg(2), recvmsg(2) and their plural forms.

use alloc::vec::Vec;

use sis_netstack::cmsg::{Builder, Messages};
use sis_netstack::sockaddr::SockAddr;

use super::{Open, msg_flags, read_addr};
use crate::net::inet::options::{SOL_IP, SOL_IPV6, read_control};
use crate::net::inet::udp::{SOL_UDP, UDP_SEGMENT};
use crate::net::message::{Ancillary, Control, Incoming, MsgFlags, Outgoing, Ucred};
use crate::net::options::SOL_SOCKET;
use crate::net::unix::MAX_FILES;
use crate::process::cred::Capability;
use crate::process::thread::Thread;
use crate::syscall::Call;
use crate::time::Deadline;
use crate::user::{Sink, Source, UserPtr, UserSlice};
use crate::{Errno, Result};

const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// UIO_MAXIOV.
const MOST_IOVECS: usize = 1024;
/// Most bytes of control messages (`net.core.optmem_max`).
const MOST_CONTROL: usize = 20480;
/// Bytes of `struct msghdr`.
const MSGHDR: usize = 56;
/// Bytes of `struct mmsghdr`.
const MMSGHDR: usize = 64;
/// Where `struct mmsghdr` has msg_len.
const MMSG_LEN: usize = 56;

/// `struct msghdr`.
struct Header {
    at: usize,
    name: usize,
    name_len: u32,
    iovecs: Vec<UserSlice>,
    control: usize,
    control_len: usize,
}

impl Header {
    fn read(at: usize) -> Result<Self> {
        let mut raw = [0u8; MSGHDR];
        sis_machine::mm::usercopy::copy_in(at, &mut raw).map_err(|_| Errno::EFAULT)?;
        let word = |i: usize| {
            raw.get(i..i + 8)
                .and_then(|b| b.try_into().ok())
                .map_or(0, usize::from_le_bytes)
        };
        let (iov, count) = (word(16), word(24));
        if count > MOST_IOVECS {
            return Err(Errno::EMSGSIZE);
        }
        let mut iovecs = Vec::with_capacity(count);
        let mut total = 0usize;
        let ptr = UserPtr::<usize>::new(iov);
        for i in 0..count {
            let (base, len) = (ptr.nth(2 * i)?.read()?, ptr.nth(2 * i + 1)?.read()?);
            if len > isize::MAX as usize {
                return Err(Errno::EINVAL);
            }
            let len = len.min(i32::MAX as usize - total);
            total += len;
            iovecs.push(UserSlice::new(base, len));
        }
        Ok(Self {
            at,
            name: word(0),
            name_len: word(8) as u32,
            iovecs,
            control: word(32),
            control_len: word(40),
        })
    }
}

fn parse_control(thread: &Thread, at: usize, len: usize) -> Result<Control> {
    let mut control = Control::default();
    if at == 0 || len == 0 {
        return Ok(control);
    }
    if len > MOST_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let bytes = UserSlice::new(at, len).read_to_vec(MOST_CONTROL)?;
    for m in Messages::new(&bytes) {
        let m = m.map_err(|_| Errno::EINVAL)?;
        match (m.level, m.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                let files = thread.files();
                for fd in m.data.chunks_exact(4) {
                    if control.files.len() >= MAX_FILES {
                        return Err(Errno::EINVAL);
                    }
                    let fd = i32::from_le_bytes(fd.try_into().map_err(|_| Errno::EINVAL)?);
                    control.files.push(files.get(fd)?);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => control.cred = Some(claimed(thread, m.data)?),
            (SOL_UDP, UDP_SEGMENT) => {
                let v = m.data.get(..2).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
                control.segment = Some(u16::from_le_bytes(v));
            }
            (SOL_IP | SOL_IPV6, _) => read_control(&mut control, m.level, m.kind, m.data)?,
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(control)
}

/// The credentials that a program claims; only a privileged one may claim others' (unix(7)).
fn claimed(thread: &Thread, data: &[u8]) -> Result<Ucred> {
    let word = |i: usize| {
        data.get(i..i + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
    };
    let (Some(pid), Some(uid), Some(gid)) = (word(0), word(4), word(8)) else {
        return Err(Errno::EINVAL);
    };
    let c = thread.cred();
    let pid_ok = pid == thread.process.pid || c.has(Capability::SysAdmin);
    let uid_ok = [c.uid, c.euid, c.suid].contains(&uid) || c.has(Capability::Setuid);
    let gid_ok = [c.gid, c.egid, c.sgid].contains(&gid) || c.has(Capability::Setgid);
    if pid_ok && uid_ok && gid_ok {
        Ok(Ucred { pid, uid, gid })
    } else {
        Err(Errno::EPERM)
    }
}

fn send_one(thread: &Thread, open: &Open, header: usize, flags: MsgFlags) -> Result<usize> {
    let h = Header::read(header)?;
    let to = match (h.name, h.name_len) {
        (0, _) | (_, 0) => None,
        (at, len) => Some(read_addr(at, len as usize)?),
    };
    let control = parse_control(thread, h.control, h.control_len)?;
    let mut data = Source::iovecs(h.iovecs);
    let nonblock = open.is_nonblocking(flags);
    open.socket()?.send(&mut Outgoing {
        data: &mut data,
        to,
        control,
        flags,
        nonblock,
    })
}

pub(super) fn sendmsg(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    send_one(call.thread, &open, call.usize(1), msg_flags(call.uint(2)))
}

pub(super) fn sendmmsg(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let flags = msg_flags(call.uint(3));
    let count = (call.uint(2) as usize).min(MOST_IOVECS);
    let base = call.usize(1);
    for i in 0..count {
        let at = base.checked_add(i * MMSGHDR).ok_or(Errno::EFAULT)?;
        match send_one(call.thread, &open, at, flags) {
            Ok(n) => {
                if let Err(e) = UserPtr::<u32>::new(at + MMSG_LEN).write(&(n as u32)) {
                    return if i > 0 { Ok(i) } else { Err(e) };
                }
            }
            // What was sent counts; the error comes again with the next call.
            Err(_) if i > 0 => return Ok(i),
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// Installs received files as descriptors; gives their numbers, and whether some were left out.
fn install(
    thread: &Thread,
    files: Vec<alloc::sync::Arc<crate::fs::file::OpenFile>>,
    room: usize,
    cloexec: bool,
) -> (Vec<u8>, bool) {
    let most = room / 4;
    let mut out = Vec::new();
    let table = thread.files();
    let count = files.len();
    for f in files.into_iter().take(most) {
        match table.insert(f, cloexec, 0, thread.process.nofile_limit()) {
            Ok(fd) => out.extend_from_slice(&fd.to_le_bytes()),
            Err(_) => break,
        }
    }
    let is_cut = out.len() / 4 < count;
    (out, is_cut)
}

fn receive_one(thread: &Thread, open: &Open, header: usize, flags: MsgFlags, nonblock: bool) -> Result<usize> {
    let h = Header::read(header)?;
    let mut data = Sink::iovecs(h.iovecs);
    let mut m = Incoming::new(&mut data, flags, nonblock);
    m.wants_control = h.control != 0 && h.control_len > 0;
    m.wants_from = h.name != 0;
    let n = open.protocol()?.receive(&mut m)?;
    let mut builder = Builder::new(if h.control != 0 {
        h.control_len.min(MOST_CONTROL)
    } else {
        0
    });
    for a in core::mem::take(&mut m.ancillary) {
        match a {
            Ancillary::Bytes { level, kind, data } => builder.push(level, kind, &data),
            Ancillary::Files(files) => match builder.room() {
                Some(room) if room >= 4 => {
                    let (fds, is_cut) = install(thread, files, room, flags.contains(MsgFlags::CMSG_CLOEXEC));
                    if !fds.is_empty() {
                        builder.push(SOL_SOCKET, SCM_RIGHTS, &fds);
                    }
                    if is_cut {
                        builder.truncate();
                    }
                }
                _ => builder.truncate(),
            },
        }
    }
    let (control, is_cut) = builder.finish();
    if is_cut {
        m.out_flags |= MsgFlags::CTRUNC;
    }
    let out_flags = m.out_flags | (flags & MsgFlags::CMSG_CLOEXEC);
    if h.name != 0 {
        let addr = m.from.as_ref().map(SockAddr::encode).unwrap_or_default();
        UserSlice::new(h.name, h.name_len as usize).write_prefix(&addr)?;
        UserPtr::<u32>::new(h.at + 8).write(&(addr.len() as u32))?;
    }
    if !control.is_empty() {
        UserSlice::new(h.control, h.control_len).write_prefix(&control)?;
    }
    UserPtr::<usize>::new(h.at + 40).write(&control.len())?;
    UserPtr::<u32>::new(h.at + 48).write(&out_flags.bits())?;
    Ok(n)
}

pub(super) fn recvmsg(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let flags = msg_flags(call.uint(2));
    let nonblock = open.is_nonblocking(flags);
    receive_one(call.thread, &open, call.usize(1), flags, nonblock)
}

pub(super) fn recvmmsg(call: &mut Call<'_>) -> Result<usize> {
    let open = Open::get(call.thread, call.int(0))?;
    let flags = msg_flags(call.uint(3));
    let count = (call.uint(2) as usize).min(MOST_IOVECS);
    let deadline = match call.usize(4) {
        0 => Deadline::NEVER,
        at => {
            let p = UserPtr::<i64>::new(at);
            let (s, ns) = (p.read()?, p.nth(1)?.read()?);
            if s < 0 || !(0..1_000_000_000).contains(&ns) {
                return Err(Errno::EINVAL);
            }
            Deadline::after_ns((s as u64).saturating_mul(1_000_000_000).saturating_add(ns as u64))
        }
    };
    let base = call.usize(1);
    let mut nonblock = open.is_nonblocking(flags);
    for i in 0..count {
        let at = base.checked_add(i * MMSGHDR).ok_or(Errno::EFAULT)?;
        match receive_one(call.thread, &open, at, flags, nonblock) {
            Ok(n) => UserPtr::<u32>::new(at + MMSG_LEN).write(&(n as u32))?,
            Err(_) if i > 0 => return Ok(i),
            Err(e) => return Err(e),
        }
        nonblock |= flags.contains(MsgFlags::WAITFORONE);
        // As on Linux, the timeout is looked at between messages only.
        if deadline.has_passed() {
            return Ok(i + 1);
        }
    }
    Ok(count)
}
