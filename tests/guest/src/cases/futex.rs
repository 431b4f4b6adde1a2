//! futex(2): wait, wake, bit sets, requeue, time-outs, robust lists, between processes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::Case;
use crate::sys::{Ended, Errno, Outcome, What, child, in_child, now_ns, refused, sleep_ms, wait};

pub(super) static CASES: &[Case] = &[
    ("futex/value-differs", value_differs),
    ("futex/wake-counts", wake_counts),
    ("futex/time-out-relative", time_out_relative),
    ("futex/time-out-absolute", time_out_absolute),
    ("futex/bitset", bitset),
    ("futex/requeue", requeue),
    ("futex/between-processes", between_processes),
    ("futex/private-is-private", private_is_private),
    ("futex/interrupted", interrupted),
    ("futex/errors", errors),
    ("futex/robust-list", robust_list),
    ("futex/wake-op", wake_op),
    ("futex/ping-pong", ping_pong),
];

const PRIVATE: i32 = libc::FUTEX_PRIVATE_FLAG;

fn waiting(
    word: &AtomicU32,
    operation: i32,
    value: u32,
    limit: Option<&libc::timespec>,
    bits: u32,
) -> Result<i64, Errno> {
    let limit = limit.map_or(std::ptr::null(), std::ptr::from_ref);
    sys!(SYS_futex, word.as_ptr(), operation, value, limit, 0, bits)
}

fn wake(word: &AtomicU32, count: i32) -> Result<i64, Errno> {
    sys!(SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | PRIVATE, count, 0, 0, 0)
}

fn spec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// Threads that wait on a word, once it is likely that they do.
fn sleepers(word: &'static AtomicU32, count: usize, bits: u32) -> Vec<thread::JoinHandle<Result<i64, Errno>>> {
    let all = (0..count)
        .map(|_| {
            thread::spawn(move || {
                let limit = spec(now_ns(libc::CLOCK_MONOTONIC) + 15_000_000_000);
                waiting(word, libc::FUTEX_WAIT_BITSET | PRIVATE, 0, Some(&limit), bits)
            })
        })
        .collect();
    sleep_ms(100);
    all
}

fn joined(threads: Vec<thread::JoinHandle<Result<i64, Errno>>>) -> Outcome {
    for thread in threads {
        same!(thread.join().map_err(|_| "a thread broke off")?, Ok(0), "a wait");
    }
    Ok(())
}

fn value_differs() -> Outcome {
    let word = AtomicU32::new(5);
    refused(
        "wait for 4",
        waiting(&word, libc::FUTEX_WAIT | PRIVATE, 4, None, 0),
        libc::EAGAIN,
    )?;
    same!(wake(&word, 1), Ok(0), "nobody to wake");
    Ok(())
}

fn wake_counts() -> Outcome {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let threads = sleepers(&WORD, 5, u32::MAX);
    same!(wake(&WORD, 2), Ok(2), "two of five");
    sleep_ms(20);
    same!(
        threads.iter().filter(|t| t.is_finished()).count(),
        2,
        "threads that went on"
    );
    same!(wake(&WORD, i32::MAX), Ok(3), "the rest");
    joined(threads)
}

fn time_out_relative() -> Outcome {
    let word = AtomicU32::new(0);
    let start = now_ns(libc::CLOCK_MONOTONIC);
    refused(
        "FUTEX_WAIT",
        waiting(&word, libc::FUTEX_WAIT | PRIVATE, 0, Some(&spec(40_000_000)), 0),
        libc::ETIMEDOUT,
    )?;
    let took_ms = (now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!((40..2000).contains(&took_ms), "40 ms took {took_ms} ms");
    Ok(())
}

fn time_out_absolute() -> Outcome {
    let word = AtomicU32::new(0);
    let operation = libc::FUTEX_WAIT_BITSET | PRIVATE;
    let due = now_ns(libc::CLOCK_MONOTONIC) + 40_000_000;
    refused(
        "until then",
        waiting(&word, operation, 0, Some(&spec(due)), u32::MAX),
        libc::ETIMEDOUT,
    )?;
    check!(now_ns(libc::CLOCK_MONOTONIC) >= due, "too early");
    refused(
        "until long ago",
        waiting(&word, operation, 0, Some(&spec(1)), u32::MAX),
        libc::ETIMEDOUT,
    )?;
    let due = now_ns(libc::CLOCK_REALTIME) + 20_000_000;
    let real = operation | libc::FUTEX_CLOCK_REALTIME;
    refused(
        "by the time of day",
        waiting(&word, real, 0, Some(&spec(due)), u32::MAX),
        libc::ETIMEDOUT,
    )?;
    check!(now_ns(libc::CLOCK_REALTIME) >= due, "too early");
    Ok(())
}

fn bitset() -> Outcome {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let (one, two) = (sleepers(&WORD, 2, 1), sleepers(&WORD, 1, 2));
    let wake_bits = |bits: u32| {
        sys!(
            SYS_futex,
            WORD.as_ptr(),
            libc::FUTEX_WAKE_BITSET | PRIVATE,
            10,
            0,
            0,
            bits
        )
    };
    same!(wake_bits(4), Ok(0), "nobody has bit 4");
    same!(wake_bits(2), Ok(1), "one has bit 2");
    joined(two)?;
    same!(wake_bits(1), Ok(2), "two have bit 1");
    joined(one)?;
    refused("no bits", wake_bits(0), libc::EINVAL)
}

fn requeue() -> Outcome {
    static FROM: AtomicU32 = AtomicU32::new(0);
    static TO: AtomicU32 = AtomicU32::new(0);
    let threads = sleepers(&FROM, 4, u32::MAX);
    let to = TO.as_ptr();
    let operation = libc::FUTEX_CMP_REQUEUE | PRIVATE;
    refused(
        "another value",
        sys!(SYS_futex, FROM.as_ptr(), operation, 1, 10, to, 99),
        libc::EAGAIN,
    )?;
    same!(
        sys!(SYS_futex, FROM.as_ptr(), operation, 1, 2, to, 0),
        Ok(3),
        "one woken and two moved"
    );
    same!(wake(&FROM, 10), Ok(1), "who was left");
    same!(wake(&TO, 10), Ok(2), "who was moved");
    joined(threads)
}

fn shared_word() -> Result<&'static AtomicU32, String> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let at = sys!(
        SYS_mmap,
        0,
        crate::sys::PAGE,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        -1,
        0
    )
    .what("mmap")?;
    // SAFETY: fresh shared memory, zero, never unmapped.
    Ok(unsafe { AtomicU32::from_ptr(at as *mut u32) })
}

fn between_processes() -> Outcome {
    let word = shared_word()?;
    let limit = spec(10_000_000_000);
    let pid = child(|| i32::from(waiting(word, libc::FUTEX_WAIT, 0, Some(&limit), 0) != Ok(0)))?;
    sleep_ms(50);
    word.store(1, Ordering::SeqCst);
    same!(
        sys!(SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1, 0, 0, 0),
        Ok(1),
        "a waiter of another process"
    );
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "the waiter");
    Ok(())
}

fn private_is_private() -> Outcome {
    // The same address in two processes is two words when the memory is private.
    static WORD: AtomicU32 = AtomicU32::new(0);
    let pid = child(|| {
        let result = waiting(&WORD, libc::FUTEX_WAIT | PRIVATE, 0, Some(&spec(150_000_000)), 0);
        i32::from(result != Err(Errno(libc::ETIMEDOUT)))
    })?;
    sleep_ms(50);
    same!(wake(&WORD, 1), Ok(0), "a wake meant for another process");
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "the waiter timed out");
    Ok(())
}

fn interrupted() -> Outcome {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing; without SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
    let parent = std::process::id();
    let pid = child(|| {
        sleep_ms(50);
        let _ = sys!(SYS_kill, parent, libc::SIGUSR1);
        0
    })?;
    let word = AtomicU32::new(0);
    refused(
        "a wait that a signal meets",
        waiting(&word, libc::FUTEX_WAIT | PRIVATE, 0, None, 0),
        libc::EINTR,
    )?;
    wait(pid, 0).what("wait4").map(|_| ())
}

fn errors() -> Outcome {
    let word = AtomicU32::new(0);
    let at = word.as_ptr() as usize;
    refused(
        "an odd address",
        sys!(SYS_futex, at + 1, libc::FUTEX_WAIT | PRIVATE, 0, 0, 0, 0),
        libc::EINVAL,
    )?;
    refused(
        "nowhere",
        sys!(SYS_futex, 8, libc::FUTEX_WAIT | PRIVATE, 0, 0, 0, 0),
        libc::EFAULT,
    )?;
    refused(
        "an unknown operation",
        sys!(SYS_futex, at, 99, 0, 0, 0, 0),
        libc::ENOSYS,
    )?;
    refused(
        "no bits to wait for",
        waiting(&word, libc::FUTEX_WAIT_BITSET | PRIVATE, 0, None, 0),
        libc::EINVAL,
    )?;
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    refused(
        "too many nanoseconds",
        waiting(&word, libc::FUTEX_WAIT | PRIVATE, 0, Some(&bad), 0),
        libc::EINVAL,
    )?;
    let operation = libc::FUTEX_WAIT | libc::FUTEX_CLOCK_REALTIME;
    let result = waiting(&word, operation, 1, None, 0);
    check!(
        matches!(result, Err(Errno(libc::ENOSYS | libc::EAGAIN))),
        "FUTEX_WAIT by the time of day: {result:?}"
    );
    Ok(())
}

fn robust_list() -> Outcome {
    // A process that ends with a lock held: the kernel marks the word (FUTEX_OWNER_DIED) and wakes one waiter.
    let word = shared_word()?;
    let entry = word.as_ptr() as usize + 64;
    let how = in_child(|| {
        word.store(sys!(SYS_gettid).unwrap_or(0) as u32, Ordering::SeqCst);
        // robust_list_head: first entry, offset from an entry to its word, pending entry.
        let head = [entry, (word.as_ptr() as usize).wrapping_sub(entry), 0];
        // SAFETY: the entry lies in the shared page; it ends the list.
        unsafe { (entry as *mut usize).write_volatile(head.as_ptr() as usize) };
        if sys!(SYS_set_robust_list, head.as_ptr(), 24).is_err() {
            return 1;
        }
        crate::sys::exit(0)
    })?;
    same!(how, Ended::Exit(0), "the owner");
    let left = word.load(Ordering::SeqCst);
    check!(
        left & libc::FUTEX_OWNER_DIED != 0,
        "the word is {left:x} after its owner died"
    );
    refused("another size", sys!(SYS_set_robust_list, 0, 23), libc::EINVAL)
}

fn wake_op() -> Outcome {
    static ONE: AtomicU32 = AtomicU32::new(0);
    static TWO: AtomicU32 = AtomicU32::new(0);
    let (one, two) = (sleepers(&ONE, 1, u32::MAX), sleepers(&TWO, 1, u32::MAX));
    // *TWO += 5; wake on ONE; wake on TWO when its old value was 0.
    let operation = (libc::FUTEX_OP_ADD << 28) | (libc::FUTEX_OP_CMP_EQ << 24) | (5 << 12);
    let result = sys!(
        SYS_futex,
        ONE.as_ptr(),
        libc::FUTEX_WAKE_OP | PRIVATE,
        1,
        1,
        TWO.as_ptr(),
        operation
    );
    match result {
        Err(Errno(libc::ENOSYS)) => {
            wake(&ONE, 1).what("wake")?;
            wake(&TWO, 1).what("wake")?;
        }
        other => same!(
            (other, TWO.load(Ordering::SeqCst)),
            (Ok(2), 5),
            "woken, and the new value"
        ),
    }
    joined(one)?;
    joined(two)
}

fn ping_pong() -> Outcome {
    static TURN: AtomicU32 = AtomicU32::new(0);
    const ROUNDS: u32 = 5000;
    let play = |own: u32| {
        for _ in 0..ROUNDS {
            while TURN.load(Ordering::Acquire) % 2 != own {
                let seen = TURN.load(Ordering::Acquire);
                if seen % 2 != own {
                    let _ = waiting(&TURN, libc::FUTEX_WAIT | PRIVATE, seen, None, 0);
                }
            }
            TURN.fetch_add(1, Ordering::Release);
            let _ = wake(&TURN, 1);
        }
    };
    let other = thread::spawn(move || play(1));
    play(0);
    other.join().map_err(|_| "a thread broke off")?;
    same!(TURN.load(Ordering::SeqCst), 2 * ROUNDS, "turns");
    Ok(())
}
