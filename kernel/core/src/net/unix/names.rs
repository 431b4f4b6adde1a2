//! Names of AF_UNIX sockets: paths, whose inode carries the socket, and abstract names.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use sis_machine::sync::{Rank, SpinLock};
use sis_netstack::sockaddr::UnixName;

use super::{Kind, Link, UnixSocket};
use crate::fs::inode::{FileType, NewKind};
use crate::fs::names;
use crate::fs::permission::{self, MAY_WRITE};
use crate::fs::walk::Base;
use crate::process::thread;
use crate::{Errno, Result};

/// The sockets with abstract names.
static ABSTRACT: SpinLock<BTreeMap<Vec<u8>, Weak<UnixSocket>>> = SpinLock::new(Rank::Leaf, BTreeMap::new());
/// Every bound socket, for /proc/net/unix.
static BOUND: SpinLock<BTreeMap<usize, Weak<UnixSocket>>> = SpinLock::new(Rank::Leaf, BTreeMap::new());

/// What a socket's inode carries.
struct Anchor(Weak<UnixSocket>);

fn key(s: &UnixSocket) -> usize {
    core::ptr::from_ref(s) as usize
}

impl UnixSocket {
    pub(super) fn bind_name(&self, name: UnixName) -> Result<()> {
        if self.name.lock().is_some() {
            return Err(Errno::EINVAL);
        }
        let name = match name {
            UnixName::Path(path) => {
                let thread = thread::current();
                let base = Base::of(&thread);
                let mode = 0o777 & !thread.fs().umask();
                let made = names::create(&base, &path, NewKind::Node(FileType::Socket, 0), mode);
                let made = made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
                let anchor = made.inode().attachment().ok_or(Errno::EOPNOTSUPP)?;
                *anchor.lock() = Some(Arc::new(Anchor(self.me.clone())));
                UnixName::Path(path)
            }
            UnixName::Abstract(name) => {
                let mut all = ABSTRACT.lock();
                if all.get(&name).is_some_and(|w| w.strong_count() > 0) {
                    return Err(Errno::EADDRINUSE);
                }
                all.insert(name.clone(), self.me.clone());
                UnixName::Abstract(name)
            }
            UnixName::Unnamed => self.choose_name()?,
        };
        *self.name.lock() = Some(name);
        BOUND.lock().insert(key(self), self.me.clone());
        Ok(())
    }

    /// An abstract name of five hexadecimal digits that is free (unix(7), "Autobind feature").
    fn choose_name(&self) -> Result<UnixName> {
        // Before the lock: the generator has one of the same rank.
        let start = super::super::random_u64() as u32;
        let mut all = ABSTRACT.lock();
        for i in 0..0x10_0000u32 {
            let name = format!("{:05x}", start.wrapping_add(i) & 0xf_ffff).into_bytes();
            if all.get(&name).is_none_or(|w| w.strong_count() == 0) {
                all.insert(name.clone(), self.me.clone());
                return Ok(UnixName::Abstract(name));
            }
        }
        Err(Errno::ENOSPC)
    }
}

/// The socket of that name; `ECONNREFUSED` when the name is a socket's but the socket is gone.
pub(super) fn find(name: &UnixName) -> Result<Arc<UnixSocket>> {
    match name {
        UnixName::Unnamed => Err(Errno::EINVAL),
        UnixName::Abstract(n) => {
            let all = ABSTRACT.lock();
            all.get(n).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
        }
        UnixName::Path(p) => {
            let thread = thread::current();
            let base = Base::of(&thread);
            let path = base.resolve(p, true)?;
            permission::check(path.inode(), &base.cred, MAY_WRITE)?;
            if path.inode().kind() != FileType::Socket {
                return Err(Errno::ECONNREFUSED);
            }
            let anchor = path.inode().attachment().ok_or(Errno::ECONNREFUSED)?.lock().clone();
            let anchor = anchor
                .and_then(|a| a.downcast::<Anchor>().ok())
                .ok_or(Errno::ECONNREFUSED)?;
            anchor.0.upgrade().ok_or(Errno::ECONNREFUSED)
        }
    }
}

/// The socket is closed: its name leads nowhere.
pub(super) fn forget(s: &UnixSocket) {
    let Some(name) = s.name.lock().clone() else { return };
    BOUND.lock().remove(&key(s));
    if let UnixName::Abstract(n) = name {
        let mut all = ABSTRACT.lock();
        if all.get(&n).is_some_and(|w| core::ptr::eq(w.as_ptr(), s)) {
            all.remove(&n);
        }
    }
}

/// Every bound socket: its name, type, and whether it listens.
pub(crate) fn list() -> Vec<(UnixName, Kind, bool)> {
    let all: Vec<_> = BOUND.lock().values().filter_map(Weak::upgrade).collect();
    all.iter()
        .map(|s| {
            (
                s.bound_name(),
                s.common.kind,
                matches!(&*s.link.lock(), Link::Listening { .. }),
            )
        })
        .collect()
}
