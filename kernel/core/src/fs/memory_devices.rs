//! null, zero, full, random, urandom (mem(4), null(4), random(4)).

use alloc::sync::Arc;
use core::any::Any;

use super::devfs::register_char;
use super::file::{File, IoFlags, Whence};
use crate::user::{Sink, Source};
use crate::{Errno, Result};

/// The major number of memory devices.
const MAJOR: u32 = 1;

/// Most random bytes that one step makes.
const RANDOM_STEP: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

struct Memory(Kind);

impl File for Memory {
    fn read(&self, to: &mut Sink<'_>, _offset: u64, _flags: IoFlags) -> Result<usize> {
        let want = to.remaining();
        match self.0 {
            Kind::Null => Ok(0),
            Kind::Zero | Kind::Full => to.put_zeros(want),
            Kind::Random => random(to),
        }
    }

    fn write(&self, from: &mut Source<'_>, offset: u64, _flags: IoFlags) -> Result<(usize, u64)> {
        let n = from.remaining();
        match self.0 {
            Kind::Full if n > 0 => Err(Errno::ENOSPC),
            Kind::Random => {
                // Entropy from users is mixed in by getting more of our own; their bytes are read, so bad addresses fail.
                let mut buf = [0u8; 64];
                let mut done = 0;
                while done < n {
                    match from.take(&mut buf) {
                        Ok(0) => break,
                        Ok(k) => done += k,
                        Err(e) if done == 0 => return Err(e),
                        Err(_) => break,
                    }
                }
                Ok((done, offset))
            }
            _ => Ok((n, offset)),
        }
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn seek(&self, _current: u64, _offset: i64, _whence: Whence) -> Result<u64> {
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn random(to: &mut Sink<'_>) -> Result<usize> {
    let mut done = 0;
    while to.remaining() > 0 {
        let mut buf = [0u8; RANDOM_STEP];
        let n = to.remaining().min(RANDOM_STEP);
        let Some(part) = buf.get_mut(..n) else { break };
        crate::random::fill(part);
        match to.put(part) {
            Ok(k) => {
                done += k;
                if k < n {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Registers them all.
pub(super) fn register() {
    let memory = [
        ("null", 3, Kind::Null),
        ("zero", 5, Kind::Zero),
        ("full", 7, Kind::Full),
        ("random", 8, Kind::Random),
        ("urandom", 9, Kind::Random),
    ];
    for (name, minor, kind) in memory {
        let file: Arc<dyn File> = Arc::new(Memory(kind));
        let made = register_char(name, MAJOR, minor, 0o666, Arc::new(move |_| Ok(file.clone())));
        debug_assert!(made.is_ok());
    }
}
