//! Random numbers: ChaCha20 with fast key erasure.
//!
//! A request makes a key stream from the present key; the stream's first 32 bytes become the next key before anything is
//! handed out, so what was given cannot be computed from what is kept. [`mix`] folds in whatever entropy there is: the
//! CPU's generator, a device's, the loader's seed, the timing of interrupts. Nothing is ever given before
//! [`is_seeded`] except to those who ask for it that way.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sis_machine::sync::{IrqLock, Rank};
use sis_machine::{cpu, percpu};

static KEY: IrqLock<[u8; 32]> = IrqLock::new(Rank::Leaf, [0; 32]);
static SEEDED: AtomicBool = AtomicBool::new(false);
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Whether enough entropy has come in (from a generator or the loader; timing alone does not count).
pub fn is_seeded() -> bool {
    SEEDED.load(Ordering::Acquire)
}

/// Folds `data` into the key. `is_entropy`: it is at least 32 unpredictable bytes.
pub fn mix(data: &[u8], is_entropy: bool) {
    for part in data.chunks(32) {
        let mut key = KEY.lock();
        for (k, d) in key.iter_mut().zip(part) {
            *k ^= d;
        }
        let stirred = stream::<32>(&key, &[0; 12]);
        *key = stirred;
    }
    if is_entropy && data.len() >= 32 {
        SEEDED.store(true, Ordering::Release);
    }
}

fn stream<const N: usize>(key: &[u8; 32], nonce: &[u8; 12]) -> [u8; N] {
    let mut out = [0u8; N];
    let mut cipher = ChaCha20::new(key.into(), nonce.into());
    cipher.apply_keystream(&mut out);
    out
}

/// Fills `out` with random bytes.
pub fn fill(out: &mut [u8]) {
    let mut own = [0u8; 32];
    {
        let mut key = KEY.lock();
        // Time and place make two requests differ even before anything has been mixed in.
        let salt = cpu::counter() ^ u64::from(percpu::get().id) << 56 ^ REQUESTS.fetch_add(1, Ordering::Relaxed) << 40;
        for (k, s) in key.iter_mut().zip(salt.to_le_bytes()) {
            *k ^= s;
        }
        if let Some(v) = cpu::random_u64() {
            for (k, s) in key.iter_mut().skip(8).zip(v.to_le_bytes()) {
                *k ^= s;
            }
        }
        let both = stream::<64>(&key, &[0; 12]);
        let (next, mine) = both.split_at(32);
        key.copy_from_slice(next);
        own.copy_from_slice(mine);
    }
    let mut cipher = ChaCha20::new((&own).into(), (&[1u8; 12]).into());
    out.fill(0);
    cipher.apply_keystream(out);
}

/// A random number.
pub fn next_u64() -> u64 {
    let mut b = [0; 8];
    fill(&mut b);
    u64::from_le_bytes(b)
}

/// A random number below `limit` (which is not 0), for address layouts: the bias is below 2^-32 for small limits.
pub fn below(limit: u64) -> u64 {
    ((u128::from(next_u64()) * u128::from(limit)) >> 64) as u64
}

/// Seeds from the CPU and the loader, at boot.
pub(crate) fn init(loader_seed: Option<&[u8]>) {
    if let Some(seed) = loader_seed {
        mix(seed, true);
    }
    let mut own = [0u8; 32];
    let mut whole = true;
    for part in own.chunks_mut(8) {
        match cpu::random_u64() {
            Some(v) => part.copy_from_slice(&v.to_le_bytes()),
            None => whole = false,
        }
    }
    mix(&own, whole);
    mix(&cpu::counter().to_le_bytes(), false);
}
