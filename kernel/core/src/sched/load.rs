//! The load average (proc(5), loadavg): exponentially damped counts of tasks that run or wait, sampled every 5 seconds.

use core::sync::atomic::{AtomicU64, Ordering};

/// Fraction bits.
const FSHIFT: u32 = 11;
const FIXED_1: u64 = 1 << FSHIFT;
/// exp(-5s/1min), exp(-5s/5min), exp(-5s/15min), in fixed point.
const DECAY: [u64; 3] = [1884, 2014, 2037];

static LOADS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Takes a sample; every 5 seconds.
pub(crate) fn sample(active: u64) {
    let active = active * FIXED_1;
    for (load, decay) in LOADS.iter().zip(DECAY) {
        let old = load.load(Ordering::Relaxed);
        let mut new = old * decay + active * (FIXED_1 - decay);
        if active >= old {
            new += FIXED_1 - 1;
        }
        load.store(new / FIXED_1, Ordering::Relaxed);
    }
}

/// The three averages over 1, 5 and 15 minutes, in hundredths.
pub fn averages_centi() -> [u64; 3] {
    core::array::from_fn(|i| {
        LOADS
            .get(i)
            .map_or(0, |l| (l.load(Ordering::Relaxed) * 100 + FIXED_1 / 2) >> FSHIFT)
    })
}

/// The three averages as sysinfo(2) gives them: 16 fraction bits.
pub fn averages_sysinfo() -> [u64; 3] {
    core::array::from_fn(|i| LOADS.get(i).map_or(0, |l| l.load(Ordering::Relaxed) << (16 - FSHIFT)))
}
