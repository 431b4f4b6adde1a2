//! Memory: what is written is what is read, in one thread and in many.

use std::thread;

use super::{Failed, during, ensure};

const PAGE_WORDS: usize = 4096 / size_of::<u64>();

/// A number that differs for each place and each round.
fn word(at: usize, salt: u64) -> u64 {
    (at as u64).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn round(words: usize, salt: u64) -> Result<(), Failed> {
    let mut memory = vec![0_u64; words];
    // Fresh memory is zero: nobody sees what another process left.
    let dirty = memory.iter().step_by(PAGE_WORDS / 8).position(|&w| w != 0);
    ensure(dirty.is_none(), || {
        format!("fresh memory is not zero near word {dirty:?}")
    })?;
    for (at, place) in memory.iter_mut().enumerate() {
        *place = word(at, salt);
    }
    let wrong = memory.iter().enumerate().position(|(at, &w)| w != word(at, salt));
    ensure(wrong.is_none(), || format!("word {wrong:?} of {words} changed"))
}

pub(super) fn pattern() -> Result<(), Failed> {
    // 8 MiB, twice: the second round gets pages that the first has dirtied.
    round(1 << 20, 1)?;
    round(1 << 20, 2)
}

pub(super) fn in_threads() -> Result<(), Failed> {
    let workers: Vec<_> = (0..4_u64)
        .map(|n| thread::spawn(move || round(1 << 17, n * 7919)))
        .collect();
    for worker in workers {
        during("thread", worker.join().map_err(|_| "broke off"))??;
    }
    Ok(())
}
