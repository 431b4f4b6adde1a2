//! At most as many boards at a time as the host has CPUs, over all test processes: a starved board times out.

use crate::failure::{Failure, Result};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// A place to run a board in; free again when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: File,
}

pub(crate) fn take(folder: &Path) -> Result<Slot> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    take_one_of(folder, count)
}

fn take_one_of(folder: &Path, count: usize) -> Result<Slot> {
    std::fs::create_dir_all(folder).map_err(Failure::new)?;
    loop {
        for number in 0..count {
            let lock = File::create(folder.join(format!(".slot-{number}"))).map_err(Failure::new)?;
            match lock.try_lock() {
                Ok(()) => return Ok(Slot { _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Failure::new(error)),
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_holders_until_it_is_dropped() {
        let folder = std::env::temp_dir().join(format!("sis-slots-{}", std::process::id()));
        let first = take_one_of(&folder, 2).expect("first");
        let _second = take_one_of(&folder, 2).expect("second");
        let (sender, receiver) = std::sync::mpsc::channel();
        let theirs = folder.clone();
        std::thread::spawn(move || {
            let third = take_one_of(&theirs, 2);
            let _ = sender.send(third.is_ok());
        });
        assert!(
            receiver.recv_timeout(Duration::from_millis(200)).is_err(),
            "both are taken"
        );
        drop(first);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(true));
        std::fs::remove_dir_all(folder).expect("tidies");
    }
}
