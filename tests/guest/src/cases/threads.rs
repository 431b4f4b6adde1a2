//! Threads: clone(2) and clone3(2), shared state, identities, robust futexes, exit.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::Case;
use crate::sys::{Ended, Errno, Outcome, What, checked_child, exit, in_child, open, refused, sleep_ms, wait};

pub(super) static CASES: &[Case] = &[
    ("threads/ids", ids),
    ("threads/share-memory-and-files", share_memory_and_files),
    ("threads/thread-local-storage", thread_local_storage),
    ("threads/exit-group-ends-all", exit_group_ends_all),
    ("threads/main-exits-first", main_exits_first),
    #[cfg(target_arch = "aarch64")]
    ("threads/child-cleartid", child_cleartid),
    ("threads/many", many),
    ("threads/counter-on-all-cpus", counter_on_all_cpus),
    ("threads/fork-from-thread", fork_from_thread),
    ("threads/exec-from-thread", exec_from_thread),
    ("threads/fp-state", fp_state),
    ("threads/affinity", affinity),
    ("threads/yield", yields),
    ("threads/clone3", clone3),
    ("threads/clone-flags-refused", clone_flags_refused),
    ("threads/parent-settid", parent_settid),
    ("threads/wait-by-another-thread", wait_by_another_thread),
    ("threads/fatal-signal-ends-all", fatal_signal_ends_all),
    ("threads/setuid-is-per-thread", setuid_is_per_thread),
];

fn joined<T>(handle: thread::JoinHandle<T>) -> Result<T, String> {
    handle.join().map_err(|_| "a thread broke off".to_owned())
}

fn ids() -> Outcome {
    let pid = sys!(SYS_getpid).what("getpid")?;
    same!(sys!(SYS_gettid), Ok(pid), "the first thread's id");
    let (of_pid, of_tid) = joined(thread::spawn(|| (sys!(SYS_getpid), sys!(SYS_gettid))))?;
    same!(of_pid, Ok(pid), "getpid in a thread");
    check!(of_tid.is_ok_and(|t| t != pid), "gettid in a thread is {of_tid:?}");
    same!(sys!(SYS_getppid).is_ok_and(|p| p > 0), true, "getppid");
    Ok(())
}

fn share_memory_and_files() -> Outcome {
    let value = Arc::new(AtomicI32::new(0));
    let fd = {
        let value = Arc::clone(&value);
        joined(thread::spawn(move || {
            value.store(7, Ordering::SeqCst);
            let fd = open("/dev/null", libc::O_RDONLY, 0);
            let _ = sys!(SYS_chdir, c"/proc".as_ptr());
            // Kept open past the thread.
            std::mem::ManuallyDrop::new(fd).as_ref().map(|fd| fd.0).map_err(|e| *e)
        }))?
        .what("open")?
    };
    same!(value.load(Ordering::SeqCst), 7, "memory");
    same!(
        sys!(SYS_fcntl, fd, libc::F_GETFD),
        Ok(0),
        "a descriptor opened by a thread"
    );
    same!(
        std::env::current_dir().ok().and_then(|d| d.to_str().map(str::to_owned)),
        Some("/proc".to_owned()),
        "directory"
    );
    Ok(())
}

fn thread_local_storage() -> Outcome {
    thread_local!(static OWN: std::cell::Cell<u64> = const { std::cell::Cell::new(1) });
    OWN.set(5);
    let workers: Vec<_> = (10..20)
        .map(|n| {
            thread::spawn(move || {
                let first = OWN.get();
                OWN.set(n);
                for _ in 0..50 {
                    thread::yield_now();
                    if OWN.get() != n {
                        return false;
                    }
                }
                first == 1
            })
        })
        .collect();
    for worker in workers {
        check!(joined(worker)?, "a thread saw another one's variable");
    }
    same!(OWN.get(), 5, "the first thread's");
    Ok(())
}

fn exit_group_ends_all() -> Outcome {
    let how = in_child(|| {
        for _ in 0..4 {
            thread::spawn(|| sleep_ms(20_000));
        }
        thread::spawn(|| exit(11));
        sleep_ms(20_000);
        0
    })?;
    same!(how, Ended::Exit(11), "exit_group by a thread");
    Ok(())
}

fn main_exits_first() -> Outcome {
    let how = in_child(|| {
        thread::spawn(|| {
            sleep_ms(60);
            exit(12)
        });
        // exit(2) ends this thread alone.
        let _ = sys!(SYS_exit, 0);
        0
    })?;
    same!(how, Ended::Exit(12), "the process lives on until its last thread ends");
    Ok(())
}

/// Flags with which C libraries make a thread, without the TLS register: the child uses none.
#[cfg(target_arch = "aarch64")]
const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

#[cfg(target_arch = "aarch64")]
static DONE: AtomicU32 = AtomicU32::new(0);

#[cfg(target_arch = "aarch64")]
extern "C" fn set_done() {
    sleep_ms(30);
    DONE.store(1, Ordering::SeqCst);
}

/// A thread that runs `entry` on a stack of its own and shares this thread's TLS; `tid` is set and cleared by the
/// kernel. By hand, because C libraries refuse to make threads by clone(3).
#[cfg(target_arch = "aarch64")]
fn bare_thread(entry: extern "C" fn(), tid: *mut i32, more: i32) -> Result<i32, String> {
    let stack = crate::sys::map(16, libc::PROT_READ | libc::PROT_WRITE).what("mmap")? + 16 * crate::sys::PAGE;
    let result: i64;
    // SAFETY: the child runs `entry` on fresh memory and ends there; the parent goes on behind the block with nothing
    // changed but the registers named.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "blr {entry}",
            "mov x0, #0",
            "mov x8, {exit}",
            "svc #0",
            "2:",
            entry = in(reg) entry,
            exit = const libc::SYS_exit,
            inout("x0") i64::from(THREAD | more) => result,
            in("x1") stack,
            in("x2") tid,
            in("x3") 0,
            in("x4") tid,
            in("x8") libc::SYS_clone,
            out("x30") _,
        );
    }
    if result < 0 {
        Err(format!("clone: {}", Errno(-result as i32)))
    } else {
        Ok(result as i32)
    }
}

#[cfg(target_arch = "aarch64")]
fn child_cleartid() -> Outcome {
    let mut tid = 0_i32;
    let at = &raw mut tid;
    let made = bare_thread(set_done, at, libc::CLONE_CHILD_CLEARTID | libc::CLONE_PARENT_SETTID)?;
    let end = crate::sys::now_ns(libc::CLOCK_MONOTONIC) + 5_000_000_000;
    loop {
        // SAFETY: `tid` lives; the kernel writes it.
        let seen = unsafe { at.read_volatile() };
        if seen == 0 {
            break;
        }
        same!(seen, made, "CLONE_PARENT_SETTID");
        check!(
            crate::sys::now_ns(libc::CLOCK_MONOTONIC) < end,
            "the word was never cleared"
        );
        // Not private: that is how the kernel wakes it.
        let limit = libc::timespec { tv_sec: 2, tv_nsec: 0 };
        let woken = sys!(SYS_futex, at, libc::FUTEX_WAIT, made, &raw const limit, 0, 0);
        check!(!matches!(woken, Err(Errno(libc::ETIMEDOUT))), "cleared without a wake");
    }
    same!(DONE.load(Ordering::SeqCst), 1, "the thread had run to its end");
    Ok(())
}

fn many() -> Outcome {
    for _ in 0..5 {
        let barrier = Arc::new(Barrier::new(65));
        let workers: Vec<_> = (0..64)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                thread::Builder::new()
                    .stack_size(64 * 1024)
                    .spawn(move || barrier.wait().is_leader())
            })
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        let mut leaders = u32::from(barrier.wait().is_leader());
        for worker in workers {
            leaders += u32::from(joined(worker)?);
        }
        same!(leaders, 1, "leaders of one barrier");
    }
    Ok(())
}

fn counter_on_all_cpus() -> Outcome {
    let count = Arc::new(AtomicU64::new(0));
    let locked = Arc::new(std::sync::Mutex::new(0_u64));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (count, locked) = (Arc::clone(&count), Arc::clone(&locked));
            thread::spawn(move || {
                for _ in 0..20_000 {
                    count.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut n) = locked.lock() {
                        *n += 1;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        joined(worker)?;
    }
    same!(count.load(Ordering::SeqCst), 160_000, "atomic counter");
    same!(locked.lock().map(|n| *n).unwrap_or(0), 160_000, "locked counter");
    Ok(())
}

fn fork_from_thread() -> Outcome {
    joined(thread::spawn(|| {
        checked_child(|| {
            same!(
                sys!(SYS_gettid),
                sys!(SYS_getpid),
                "the child has one thread, the one that forked"
            );
            let threads = std::fs::read_dir("/proc/self/task").map_err(|e| e.to_string())?.count();
            same!(threads, 1, "/proc/self/task");
            Ok(())
        })
    }))?
}

fn exec_from_thread() -> Outcome {
    let how = in_child(|| {
        thread::spawn(|| {
            let words = [
                c"x".as_ptr(),
                c"helper".as_ptr(),
                c"fd".as_ptr(),
                c"0".as_ptr(),
                std::ptr::null(),
            ];
            let _ = sys!(
                SYS_execve,
                c"/proc/self/exe".as_ptr(),
                words.as_ptr(),
                [0_usize].as_ptr()
            );
            exit(98)
        });
        sleep_ms(20_000);
        97
    })?;
    same!(
        how,
        Ended::Exit(0),
        "the new program ends the process, with the process id of the old one"
    );
    Ok(())
}

fn fp_state() -> Outcome {
    // Many threads, each with values of its own in the vector registers, over many context switches.
    let workers: Vec<_> = (1..=12)
        .map(|n| {
            thread::spawn(move || {
                let seed = f64::from(n) * 1.25;
                let mut values = [seed; 16];
                for round in 0..3000 {
                    for v in &mut values {
                        *v = v.mul_add(1.000_1, 0.5) / 1.000_1;
                    }
                    if round % 16 == 0 {
                        thread::yield_now();
                        let _ = sys!(SYS_getppid);
                    }
                }
                values.iter().all(|v| v.to_bits() == values[0].to_bits()) && values[0] > seed
            })
        })
        .collect();
    for worker in workers {
        check!(joined(worker)?, "a floating-point register changed under a thread");
    }
    Ok(())
}

fn affinity() -> Outcome {
    let mut mask = [0_u64; 16];
    let bytes = sys!(SYS_sched_getaffinity, 0, 128, mask.as_mut_ptr()).what("sched_getaffinity")?;
    let cpus: u32 = mask.iter().map(|w| w.count_ones()).sum();
    check!(cpus >= 1 && bytes >= 8, "{cpus} CPUs in {bytes} bytes");
    let last = 1_u64 << (63 - mask[0].leading_zeros());
    sys!(SYS_sched_setaffinity, 0, 8, &raw const last).what("sched_setaffinity")?;
    thread::yield_now();
    let mut cpu = 0_u32;
    sys!(SYS_getcpu, &raw mut cpu, 0, 0).what("getcpu")?;
    same!(1_u64 << cpu, last, "where it runs");
    sys!(SYS_sched_getaffinity, 0, 128, mask.as_mut_ptr()).what("sched_getaffinity")?;
    same!(mask[0], last, "the mask");
    let none = 0_u64;
    refused(
        "no CPU at all",
        sys!(SYS_sched_setaffinity, 0, 8, &raw const none),
        libc::EINVAL,
    )?;
    refused(
        "too short a mask",
        sys!(SYS_sched_getaffinity, 0, 1, mask.as_mut_ptr()),
        libc::EINVAL,
    )?;
    refused(
        "nobody",
        sys!(SYS_sched_getaffinity, 0x7fff_fff0, 128, mask.as_mut_ptr()),
        libc::ESRCH,
    )
}

fn yields() -> Outcome {
    for _ in 0..1000 {
        same!(sys!(SYS_sched_yield), Ok(0), "sched_yield");
    }
    Ok(())
}

fn clone3() -> Outcome {
    // struct clone_args, clone(2): flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, ...
    let mut tid = 0_i32;
    let mut arguments = [0_u64; 11];
    arguments[0] = libc::CLONE_PARENT_SETTID as u64;
    arguments[3] = &raw mut tid as u64;
    arguments[4] = libc::SIGCHLD as u64;
    let pid = sys!(SYS_clone3, arguments.as_ptr(), 88).what("clone3")?;
    if pid == 0 {
        exit(23);
    }
    same!(wait(pid as i32, 0).what("wait4")?, Ended::Exit(23), "a child by clone3");
    same!(i64::from(tid), pid, "parent_tid");
    refused("too small", sys!(SYS_clone3, arguments.as_ptr(), 8), libc::EINVAL)?;
    arguments[0] = 1 << 50;
    refused("unknown flags", sys!(SYS_clone3, arguments.as_ptr(), 88), libc::EINVAL)?;
    arguments[0] = 0;
    arguments[4] = 0xff;
    refused(
        "an exit signal that is none",
        sys!(SYS_clone3, arguments.as_ptr(), 88),
        libc::EINVAL,
    )
}

fn clone_flags_refused() -> Outcome {
    refused(
        "THREAD without SIGHAND",
        sys!(SYS_clone, libc::CLONE_THREAD | libc::CLONE_VM, 0, 0, 0, 0),
        libc::EINVAL,
    )?;
    refused(
        "SIGHAND without VM",
        sys!(SYS_clone, libc::CLONE_SIGHAND, 0, 0, 0, 0),
        libc::EINVAL,
    )?;
    refused(
        "FS with NEWNS",
        sys!(SYS_clone, libc::CLONE_FS | libc::CLONE_NEWNS, 0, 0, 0, 0),
        libc::EINVAL,
    )
}

fn parent_settid() -> Outcome {
    let (mut parent, mut inner) = (0_i32, 0_i32);
    let flags = libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_SETTID | libc::SIGCHLD;
    // aarch64 and x86-64 differ in the order of the last two arguments.
    let pid = if cfg!(target_arch = "aarch64") {
        sys!(SYS_clone, flags, 0, &raw mut parent, 0, &raw mut inner)
    } else {
        sys!(SYS_clone, flags, 0, &raw mut parent, &raw mut inner, 0)
    }
    .what("clone")?;
    // SAFETY: both live; the kernel writes them.
    let (seen_parent, seen_inner) =
        unsafe { ((&raw const parent).read_volatile(), (&raw const inner).read_volatile()) };
    if pid == 0 {
        exit(i32::from(Ok(i64::from(seen_inner)) != sys!(SYS_gettid)));
    }
    same!(wait(pid as i32, 0).what("wait4")?, Ended::Exit(0), "CLONE_CHILD_SETTID");
    same!(
        (i64::from(seen_parent), seen_inner),
        (pid, 0),
        "CLONE_PARENT_SETTID, and the parent's own copy"
    );
    Ok(())
}

fn wait_by_another_thread() -> Outcome {
    let pid = crate::sys::child(|| 31)?;
    same!(
        joined(thread::spawn(move || wait(pid, 0)))?.what("wait4")?,
        Ended::Exit(31),
        "a child of the process"
    );
    Ok(())
}

fn fatal_signal_ends_all() -> Outcome {
    let how = in_child(|| {
        thread::spawn(|| {
            sleep_ms(20);
            let _ = sys!(
                SYS_tgkill,
                sys!(SYS_getpid).unwrap_or(0),
                sys!(SYS_gettid).unwrap_or(0),
                libc::SIGKILL
            );
        });
        sleep_ms(20_000);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGKILL), "a thread killed");
    Ok(())
}

fn setuid_is_per_thread() -> Outcome {
    checked_child(|| {
        joined(thread::spawn(|| sys!(SYS_setresuid, 1000, 1000, 1000)))?.what("setresuid")?;
        same!(sys!(SYS_getuid), Ok(0), "the other thread's identity");
        Ok(())
    })
}
