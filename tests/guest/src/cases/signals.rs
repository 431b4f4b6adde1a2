//! Signals: sending, handlers, masks, the alternate stack, restart, faults, waiting for them.

use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use super::Case;
use crate::sys::{
    Ended, Errno, Outcome, PAGE, What, child, in_child, map, now_ns, peek, pipe, poke, read, refused, sleep_ms, wait,
    write,
};

pub(super) static CASES: &[Case] = &[
    ("signals/default-actions", default_actions),
    ("signals/ignored", ignored),
    ("signals/handler-runs", handler_runs),
    ("signals/siginfo-of-kill", siginfo_of_kill),
    ("signals/sigqueue-value", sigqueue_value),
    ("signals/registers-survive", registers_survive),
    ("signals/mask-holds-back", mask_holds_back),
    ("signals/standard-signals-merge", standard_signals_merge),
    ("signals/realtime-signals-queue", realtime_signals_queue),
    ("signals/mask-during-handler", mask_during_handler),
    ("signals/nodefer", nodefer),
    ("signals/resethand", resethand),
    ("signals/restart", restart),
    ("signals/interrupted", interrupted),
    ("signals/nanosleep-remaining", nanosleep_remaining),
    ("signals/alternate-stack", alternate_stack),
    ("signals/segv-siginfo", segv_siginfo),
    ("signals/segv-repaired", segv_repaired),
    ("signals/segv-blocked-kills", segv_blocked_kills),
    ("signals/bus-beyond-file", bus_beyond_file),
    ("signals/illegal-instruction", illegal_instruction),
    ("signals/sigpipe", sigpipe),
    ("signals/sigchld", sigchld),
    ("signals/sigchld-ignored-reaps", sigchld_ignored_reaps),
    ("signals/sigsuspend", sigsuspend),
    ("signals/sigtimedwait", sigtimedwait),
    ("signals/pending", pending),
    ("signals/fork-clears-pending", fork_clears_pending),
    ("signals/kill-cannot-be-caught", kill_cannot_be_caught),
    ("signals/bad-arguments", bad_arguments),
    ("signals/stop-discards-continue", stop_discards_continue),
    ("signals/tgkill-to-thread", tgkill_to_thread),
    ("signals/ppoll-mask", ppoll_mask),
    ("signals/signalfd", signalfd),
];

/// struct sigaction of the kernel, sigaction(2).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Action {
    handler: usize,
    flags: u64,
    #[cfg(target_arch = "x86_64")]
    restorer: usize,
    mask: u64,
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Sets an action through the C library, which knows how to come back from a handler on each machine.
fn act(signal: i32, handler: usize, flags: i32, mask: u64) -> Outcome {
    // SAFETY: plain data for which all zeros is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    for signal in (1..=64).filter(|s| mask & bit(*s) != 0) {
        // SAFETY: the set is this function's own.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
    }
    // SAFETY: the handlers of this file touch atomics and make system calls only.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    check!(result == 0, "sigaction: {}", std::io::Error::last_os_error());
    Ok(())
}

fn catch(signal: i32, handler: Handler, flags: i32) -> Outcome {
    act(signal, handler as usize, flags | libc::SA_SIGINFO, 0)
}

fn block(signals: u64) -> Result<i64, Errno> {
    sys!(SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const signals, 0, 8)
}

fn unblock(signals: u64) -> Result<i64, Errno> {
    sys!(SYS_rt_sigprocmask, libc::SIG_UNBLOCK, &raw const signals, 0, 8)
}

fn blocked() -> u64 {
    let mut mask = 0_u64;
    let _ = sys!(SYS_rt_sigprocmask, 0, 0, &raw mut mask, 8);
    mask
}

fn raise(signal: i32) {
    let _ = sys!(SYS_kill, std::process::id(), signal);
}

static COUNT: AtomicI32 = AtomicI32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static SENDER: AtomicI32 = AtomicI32::new(0);
static VALUE: AtomicUsize = AtomicUsize::new(0);
static MASK: AtomicU64 = AtomicU64::new(0);
static PLACE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo that lives through the handler; its fields are read as plain words.
    let (code, sender, value, address) = unsafe {
        (
            (*info).si_code,
            (*info).si_pid(),
            (*info).si_value().sival_ptr,
            (*info).si_addr(),
        )
    };
    COUNT.fetch_add(1, Ordering::SeqCst);
    LAST.store(signal, Ordering::SeqCst);
    CODE.store(code, Ordering::SeqCst);
    SENDER.store(sender, Ordering::SeqCst);
    let is_fault = matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL);
    VALUE.store(if is_fault { address } else { value } as usize, Ordering::SeqCst);
    MASK.store(blocked(), Ordering::SeqCst);
    let here = 0_u8;
    PLACE.store(&raw const here as usize, Ordering::SeqCst);
}

extern "C" fn leave(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    note(signal, info, context);
    let right = VALUE.load(Ordering::SeqCst) == PLACE_WANTED.load(Ordering::SeqCst);
    crate::sys::exit(if right { 50 + CODE.load(Ordering::SeqCst) } else { 49 })
}

static PLACE_WANTED: AtomicUsize = AtomicUsize::new(0);

fn count() -> i32 {
    COUNT.load(Ordering::SeqCst)
}

fn default_actions() -> Outcome {
    let end = |signal: i32| {
        in_child(|| {
            raise(signal);
            sleep_ms(20);
            0
        })
    };
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGALRM,
        libc::SIGUSR1,
        libc::SIGPIPE,
        libc::SIGABRT,
        34,
        64,
    ] {
        same!(end(signal)?, Ended::Signal(signal), "a signal that ends");
    }
    for signal in [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT] {
        same!(end(signal)?, Ended::Exit(0), "a signal that does nothing");
    }
    Ok(())
}

fn ignored() -> Outcome {
    act(libc::SIGTERM, libc::SIG_IGN, 0, 0)?;
    raise(libc::SIGTERM);
    let mut pending = 0_u64;
    sys!(SYS_rt_sigpending, &raw mut pending, 8).what("rt_sigpending")?;
    same!(pending, 0, "an ignored signal does not wait");
    same!(
        in_child(|| {
            raise(libc::SIGTERM);
            5
        })?,
        Ended::Exit(5),
        "a child ignores it too"
    );
    Ok(())
}

fn handler_runs() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    for n in 1..=100 {
        raise(libc::SIGUSR1);
        same!(count(), n, "handled before kill returns to the sender itself");
    }
    Ok(())
}

fn siginfo_of_kill() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    raise(libc::SIGUSR1);
    let seen = (
        LAST.load(Ordering::SeqCst),
        CODE.load(Ordering::SeqCst),
        SENDER.load(Ordering::SeqCst),
    );
    same!(
        seen,
        (libc::SIGUSR1, libc::SI_USER, std::process::id() as i32),
        "signal, code, sender"
    );
    sys!(SYS_tgkill, std::process::id(), std::process::id(), libc::SIGUSR1).what("tgkill")?;
    same!(CODE.load(Ordering::SeqCst), libc::SI_TKILL, "code of tgkill");
    Ok(())
}

/// siginfo of sigqueue(3) as the kernel lays it out: signo, errno, code, pad, pid, uid, value.
fn queue(signal: i32, value: usize) -> Result<i64, Errno> {
    let mut info = [0_u32; 32];
    info[0] = signal as u32;
    info[2] = libc::SI_QUEUE as u32;
    info[4] = std::process::id();
    info[6] = value as u32;
    info[7] = (value >> 32) as u32;
    sys!(SYS_rt_sigqueueinfo, std::process::id(), signal, info.as_ptr())
}

fn sigqueue_value() -> Outcome {
    catch(libc::SIGUSR2, note, 0)?;
    queue(libc::SIGUSR2, 0x1234_5678_9abc_def0).what("rt_sigqueueinfo")?;
    same!(
        (CODE.load(Ordering::SeqCst), VALUE.load(Ordering::SeqCst)),
        (libc::SI_QUEUE, 0x1234_5678_9abc_def0),
        "value"
    );
    Ok(())
}

fn registers_survive() -> Outcome {
    // A child fires signals while the parent computes in integer and floating-point registers.
    catch(libc::SIGUSR1, clobber, libc::SA_RESTART)?;
    let parent = std::process::id();
    let pid = child(|| {
        for _ in 0..300 {
            let _ = sys!(SYS_kill, parent, libc::SIGUSR1);
            sleep_ms(1);
        }
        0
    })?;
    let run = || {
        let (mut a, mut x) = (1_u64, 1.0_f64);
        for n in 0..20_000_u64 {
            a = a.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
            x = (x * 1.01 + 3.5) % 1000.0;
        }
        (a, x.to_bits())
    };
    let first = run();
    let mut rounds = 0;
    loop {
        same!(run(), first, "the result of a computation under signals");
        rounds += 1;
        if sys!(SYS_wait4, pid, 0, libc::WNOHANG, 0) == Ok(i64::from(pid)) {
            break;
        }
    }
    check!(count() > 20, "{} signals in {rounds} rounds", count());
    Ok(())
}

extern "C" fn clobber(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let mut x = f64::from(count());
    for n in 0..50 {
        x = (x + f64::from(n)) * 1.5 % 77.0;
    }
    VALUE.store(x as usize, Ordering::SeqCst);
    note(signal, info, context);
}

fn mask_holds_back() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    block(bit(libc::SIGUSR1)).what("block")?;
    raise(libc::SIGUSR1);
    same!(count(), 0, "handled while blocked");
    unblock(bit(libc::SIGUSR1)).what("unblock")?;
    same!(count(), 1, "handled when unblocked");
    let all = u64::MAX;
    sys!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, 8).what("block all")?;
    same!(
        blocked() & (bit(libc::SIGKILL) | bit(libc::SIGSTOP)),
        0,
        "KILL and STOP cannot be blocked"
    );
    Ok(())
}

fn standard_signals_merge() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    block(bit(libc::SIGUSR1)).what("block")?;
    (0..5).for_each(|_| raise(libc::SIGUSR1));
    unblock(bit(libc::SIGUSR1)).what("unblock")?;
    same!(count(), 1, "five of one signal while blocked");
    Ok(())
}

fn realtime_signals_queue() -> Outcome {
    catch(40, note, 0)?;
    catch(41, note, 0)?;
    block(bit(40) | bit(41)).what("block")?;
    for n in 1..=5 {
        queue(41, n).what("queue")?;
        queue(40, n).what("queue")?;
    }
    unblock(bit(40) | bit(41)).what("unblock")?;
    same!(count(), 10, "ten real-time signals");
    // The lowest number is taken first, so its handler's frame is under the other's, which runs first.
    Ok(())
}

fn mask_during_handler() -> Outcome {
    act(
        libc::SIGUSR1,
        note as Handler as usize,
        libc::SA_SIGINFO,
        bit(libc::SIGUSR2),
    )?;
    raise(libc::SIGUSR1);
    let mask = MASK.load(Ordering::SeqCst);
    same!(
        mask & (bit(libc::SIGUSR1) | bit(libc::SIGUSR2)),
        bit(libc::SIGUSR1) | bit(libc::SIGUSR2),
        "mask in the handler"
    );
    same!(blocked(), 0, "mask afterwards");
    Ok(())
}

fn nodefer() -> Outcome {
    catch(libc::SIGUSR1, note, libc::SA_NODEFER)?;
    raise(libc::SIGUSR1);
    same!(
        MASK.load(Ordering::SeqCst) & bit(libc::SIGUSR1),
        0,
        "SA_NODEFER leaves the signal open"
    );
    Ok(())
}

fn resethand() -> Outcome {
    let how = in_child(|| {
        let _ = catch(libc::SIGUSR1, note, libc::SA_RESETHAND);
        raise(libc::SIGUSR1);
        raise(libc::SIGUSR1);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGUSR1), "the second after SA_RESETHAND");
    Ok(())
}

/// A read that a signal meets: what it came to, with the flags of the handler.
fn read_under_signal(flags: i32) -> Result<Result<Vec<u8>, Errno>, String> {
    catch(libc::SIGUSR1, note, flags)?;
    let (reader, writer) = pipe(0)?;
    let parent = std::process::id();
    let pid = child(|| {
        sleep_ms(50);
        let _ = sys!(SYS_kill, parent, libc::SIGUSR1);
        sleep_ms(50);
        let _ = write(&writer, b"late");
        0
    })?;
    let result = read(&reader, 10);
    wait(pid, 0).what("wait4")?;
    same!(count(), 1, "signals handled");
    Ok(result)
}

fn restart() -> Outcome {
    same!(
        read_under_signal(libc::SA_RESTART)?,
        Ok(b"late".to_vec()),
        "a read with SA_RESTART"
    );
    Ok(())
}

fn interrupted() -> Outcome {
    same!(
        read_under_signal(0)?,
        Err(Errno(libc::EINTR)),
        "a read without SA_RESTART"
    );
    Ok(())
}

fn nanosleep_remaining() -> Outcome {
    // Interrupted even with SA_RESTART, with what is left, signal(7).
    catch(libc::SIGUSR1, note, libc::SA_RESTART)?;
    let parent = std::process::id();
    let pid = child(|| {
        sleep_ms(50);
        let _ = sys!(SYS_kill, parent, libc::SIGUSR1);
        0
    })?;
    let asked = libc::timespec { tv_sec: 5, tv_nsec: 0 };
    let mut left = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let result = sys!(
        SYS_clock_nanosleep,
        libc::CLOCK_MONOTONIC,
        0,
        &raw const asked,
        &raw mut left
    );
    refused("clock_nanosleep", result, libc::EINTR)?;
    check!(
        left.tv_sec == 4 && left.tv_nsec > 0,
        "left: {} s {} ns",
        left.tv_sec,
        left.tv_nsec
    );
    wait(pid, 0).what("wait4").map(|_| ())
}

fn alternate_stack() -> Outcome {
    let at = map(8, libc::PROT_READ | libc::PROT_WRITE).what("mmap")?;
    let stack = libc::stack_t {
        ss_sp: at as *mut libc::c_void,
        ss_flags: 0,
        ss_size: 8 * PAGE,
    };
    sys!(SYS_sigaltstack, &raw const stack, 0).what("sigaltstack")?;
    catch(libc::SIGUSR1, note, libc::SA_ONSTACK)?;
    raise(libc::SIGUSR1);
    let place = PLACE.load(Ordering::SeqCst);
    check!(
        (at..at + 8 * PAGE).contains(&place),
        "the handler ran at {place:x}, the stack is at {at:x}"
    );
    catch(libc::SIGUSR1, note, 0)?;
    raise(libc::SIGUSR1);
    let place = PLACE.load(Ordering::SeqCst);
    check!(
        !(at..at + 8 * PAGE).contains(&place),
        "without SA_ONSTACK it ran there too"
    );
    let small = libc::stack_t { ss_size: 100, ..stack };
    refused(
        "too small a stack",
        sys!(SYS_sigaltstack, &raw const small, 0),
        libc::ENOMEM,
    )?;
    let flags = libc::stack_t {
        ss_flags: 0x100,
        ..stack
    };
    refused(
        "unknown flags",
        sys!(SYS_sigaltstack, &raw const flags, 0),
        libc::EINVAL,
    )
}

/// How a child ends that touches `at`: 50 + si_code when the fault was told with the right address.
fn fault_at(signal: i32, at: usize, touch: fn(usize)) -> Result<Ended, String> {
    in_child(|| {
        PLACE_WANTED.store(at, Ordering::SeqCst);
        let _ = catch(signal, leave, 0);
        touch(at);
        0
    })
}

fn segv_siginfo() -> Outcome {
    let write_one = |at: usize| poke(at, 1);
    let read_one = |at: usize| {
        let _ = peek(at);
    };
    // SEGV_MAPERR is 1, SEGV_ACCERR is 2, sigaction(2).
    same!(
        fault_at(libc::SIGSEGV, 0x10, read_one)?,
        Ended::Exit(51),
        "reading near zero"
    );
    let hole = map(3, libc::PROT_READ).what("mmap")? + PAGE;
    sys!(SYS_munmap, hole, PAGE).what("munmap")?;
    same!(
        fault_at(libc::SIGSEGV, hole + 8, write_one)?,
        Ended::Exit(51),
        "writing where nothing is mapped"
    );
    let read_only = map(1, libc::PROT_READ).what("mmap")?;
    same!(
        fault_at(libc::SIGSEGV, read_only + 100, write_one)?,
        Ended::Exit(52),
        "writing to read-only memory"
    );
    let none = map(1, libc::PROT_NONE).what("mmap")?;
    same!(
        fault_at(libc::SIGSEGV, none, read_one)?,
        Ended::Exit(52),
        "reading PROT_NONE"
    );
    let kernel = 0xffff_8000_0000_0000_usize;
    let how = fault_at(libc::SIGSEGV, kernel, read_one)?;
    check!(
        matches!(how, Ended::Exit(49 | 51 | 52 | 178)),
        "reading the kernel's memory: {how:?}"
    );
    let how = in_child(|| {
        peek(8);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGSEGV), "without a handler");
    Ok(())
}

extern "C" fn repair(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    note(signal, info, context);
    let at = VALUE.load(Ordering::SeqCst) & !(PAGE - 1);
    let _ = sys!(SYS_mprotect, at, PAGE, libc::PROT_READ | libc::PROT_WRITE);
}

fn segv_repaired() -> Outcome {
    catch(libc::SIGSEGV, repair, 0)?;
    let at = map(10, libc::PROT_NONE).what("mmap")?;
    for n in 0..10 {
        poke(at + n * PAGE + 7, n as u8);
    }
    same!(count(), 10, "faults repaired by the handler");
    check!(
        (0..10).all(|n| peek(at + n * PAGE + 7) == n as u8),
        "the writes went through"
    );
    Ok(())
}

fn segv_blocked_kills() -> Outcome {
    let how = in_child(|| {
        let _ = catch(libc::SIGSEGV, note, 0);
        let _ = block(bit(libc::SIGSEGV));
        peek(8);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGSEGV), "a fault while SIGSEGV is blocked");
    Ok(())
}

fn bus_beyond_file() -> Outcome {
    let scratch = crate::sys::Scratch::new()?;
    let file = crate::sys::open(&scratch.path("f"), libc::O_RDWR | libc::O_CREAT, 0o600).what("open")?;
    write(&file, b"short").what("write")?;
    let at = sys!(SYS_mmap, 0, 2 * PAGE, libc::PROT_READ, libc::MAP_SHARED, &file, 0).what("mmap")? as usize;
    same!(
        (peek(at), peek(at + 5), peek(at + PAGE - 1)),
        (b's', 0, 0),
        "the file's page"
    );
    let how = fault_at(libc::SIGBUS, at + PAGE, |at| {
        let _ = peek(at);
    })?;
    // BUS_ADRERR is 2.
    same!(how, Ended::Exit(52), "reading beyond the end of the file");
    Ok(())
}

fn illegal_instruction() -> Outcome {
    let how = in_child(|| {
        let Ok(at) = map(1, libc::PROT_READ | libc::PROT_WRITE) else {
            return 1;
        };
        // UDF #0 on arm64 is zero; on x86 0f 0b.
        for (n, byte) in [0x0f_u8, 0x0b, 0, 0].iter().enumerate() {
            poke(at + n, if cfg!(target_arch = "aarch64") { 0 } else { *byte });
        }
        let _ = sys!(SYS_mprotect, at, PAGE, libc::PROT_READ | libc::PROT_EXEC);
        // SAFETY: the page holds an instruction that traps.
        let code: extern "C" fn() = unsafe { std::mem::transmute(at) };
        code();
        0
    })?;
    same!(how, Ended::Signal(libc::SIGILL), "an undefined instruction");
    Ok(())
}

fn sigpipe() -> Outcome {
    let broken = |handler: usize| {
        in_child(|| {
            let _ = act(libc::SIGPIPE, handler, 0, 0);
            let Ok((reader, writer)) = pipe(0) else { return 1 };
            drop(reader);
            write(&writer, b"x").err().map_or(0, |e| e.0)
        })
    };
    same!(broken(libc::SIG_DFL)?, Ended::Signal(libc::SIGPIPE), "by default");
    same!(broken(libc::SIG_IGN)?, Ended::Exit(libc::EPIPE), "ignored");
    Ok(())
}

fn sigchld() -> Outcome {
    catch(libc::SIGCHLD, note, libc::SA_RESTART)?;
    let pid = child(|| 3)?;
    wait(pid, 0).what("wait4")?;
    let end = now_ns(libc::CLOCK_MONOTONIC) + 2_000_000_000;
    while count() == 0 && now_ns(libc::CLOCK_MONOTONIC) < end {
        sleep_ms(1);
    }
    let seen = (count(), CODE.load(Ordering::SeqCst), SENDER.load(Ordering::SeqCst));
    same!(seen, (1, libc::CLD_EXITED, pid), "count, code, child");
    let pid = child(|| {
        sleep_ms(10_000);
        0
    })?;
    sys!(SYS_kill, pid, libc::SIGSTOP).what("stop")?;
    wait(pid, libc::WUNTRACED).what("wait4")?;
    sleep_ms(10);
    same!(
        (count(), CODE.load(Ordering::SeqCst)),
        (2, libc::CLD_STOPPED),
        "a child that stops"
    );
    catch(libc::SIGCHLD, note, libc::SA_RESTART | libc::SA_NOCLDSTOP)?;
    sys!(SYS_kill, pid, libc::SIGCONT).what("continue")?;
    sleep_ms(30);
    same!(count(), 2, "SA_NOCLDSTOP");
    sys!(SYS_kill, pid, libc::SIGKILL).what("kill")?;
    wait(pid, 0).what("wait4")?;
    sleep_ms(10);
    same!(
        (count(), CODE.load(Ordering::SeqCst)),
        (3, libc::CLD_KILLED),
        "a child that is killed"
    );
    Ok(())
}

fn sigchld_ignored_reaps() -> Outcome {
    act(libc::SIGCHLD, libc::SIG_IGN, 0, 0)?;
    let pid = child(|| 0)?;
    refused(
        "wait4 with SIGCHLD ignored",
        sys!(SYS_wait4, pid, 0, 0, 0),
        libc::ECHILD,
    )
}

fn sigsuspend() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    block(bit(libc::SIGUSR1)).what("block")?;
    raise(libc::SIGUSR1);
    let none = 0_u64;
    refused(
        "rt_sigsuspend",
        sys!(SYS_rt_sigsuspend, &raw const none, 8),
        libc::EINTR,
    )?;
    same!(
        (count(), blocked()),
        (1, bit(libc::SIGUSR1)),
        "handled once, the mask is back"
    );
    Ok(())
}

fn sigtimedwait() -> Outcome {
    let set = bit(libc::SIGUSR1) | bit(40);
    block(set).what("block")?;
    let none = libc::timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let mut info = [0_u32; 32];
    let start = now_ns(libc::CLOCK_MONOTONIC);
    let take = |info: &mut [u32; 32]| {
        sys!(
            SYS_rt_sigtimedwait,
            &raw const set,
            info.as_mut_ptr(),
            &raw const none,
            8
        )
    };
    refused("nothing pending", take(&mut info), libc::EAGAIN)?;
    check!(now_ns(libc::CLOCK_MONOTONIC) - start >= 20_000_000, "it did not wait");
    queue(40, 99).what("queue")?;
    raise(libc::SIGUSR1);
    same!(take(&mut info), Ok(i64::from(libc::SIGUSR1)), "the lower number first");
    same!(take(&mut info), Ok(40), "then the other");
    same!((info[0], info[6]), (40, 99), "its siginfo");
    Ok(())
}

fn pending() -> Outcome {
    block(bit(libc::SIGUSR1) | bit(libc::SIGTERM)).what("block")?;
    raise(libc::SIGUSR1);
    sys!(SYS_tgkill, std::process::id(), std::process::id(), libc::SIGTERM).what("tgkill")?;
    let mut mask = 0_u64;
    sys!(SYS_rt_sigpending, &raw mut mask, 8).what("rt_sigpending")?;
    same!(
        mask,
        bit(libc::SIGUSR1) | bit(libc::SIGTERM),
        "pending for the process and the thread"
    );
    Ok(())
}

fn fork_clears_pending() -> Outcome {
    block(bit(libc::SIGUSR1)).what("block")?;
    raise(libc::SIGUSR1);
    let how = in_child(|| {
        let mut mask = 0_u64;
        let _ = sys!(SYS_rt_sigpending, &raw mut mask, 8);
        i32::from(mask != 0 || blocked() != bit(libc::SIGUSR1))
    })?;
    same!(how, Ended::Exit(0), "a child has the mask and nothing pending");
    Ok(())
}

fn kill_cannot_be_caught() -> Outcome {
    let action = Action {
        handler: libc::SIG_IGN,
        ..Action::default()
    };
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        refused(
            "rt_sigaction",
            sys!(SYS_rt_sigaction, signal, &raw const action, 0, 8),
            libc::EINVAL,
        )?;
    }
    Ok(())
}

fn bad_arguments() -> Outcome {
    let (action, set) = (Action::default(), 0_u64);
    refused(
        "signal 0",
        sys!(SYS_rt_sigaction, 0, &raw const action, 0, 8),
        libc::EINVAL,
    )?;
    refused(
        "signal 65",
        sys!(SYS_rt_sigaction, 65, &raw const action, 0, 8),
        libc::EINVAL,
    )?;
    refused(
        "a set of 4 bytes",
        sys!(SYS_rt_sigaction, 1, &raw const action, 0, 4),
        libc::EINVAL,
    )?;
    refused(
        "a mask of 4 bytes",
        sys!(SYS_rt_sigprocmask, 0, &raw const set, 0, 4),
        libc::EINVAL,
    )?;
    refused(
        "an unknown how",
        sys!(SYS_rt_sigprocmask, 9, &raw const set, 0, 8),
        libc::EINVAL,
    )?;
    refused("a mask nowhere", sys!(SYS_rt_sigprocmask, 0, 8, 0, 8), libc::EFAULT)?;
    refused("an action nowhere", sys!(SYS_rt_sigaction, 1, 8, 0, 8), libc::EFAULT)
}

fn stop_discards_continue() -> Outcome {
    // A blocked SIGCONT still continues, and discards pending stops.
    block(bit(libc::SIGTSTP)).what("block")?;
    raise(libc::SIGTSTP);
    raise(libc::SIGCONT);
    let mut mask = 0_u64;
    sys!(SYS_rt_sigpending, &raw mut mask, 8).what("rt_sigpending")?;
    same!(mask, 0, "SIGCONT discards a pending stop");
    Ok(())
}

fn tgkill_to_thread() -> Outcome {
    catch(libc::SIGUSR1, note_thread, 0)?;
    let (tell, told) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let tid = sys!(SYS_gettid).unwrap_or(0);
        let _ = tell.send(tid);
        for _ in 0..2000 {
            sleep_ms(1);
            if COUNT.load(Ordering::SeqCst) > 0 {
                break;
            }
        }
        i64::from(LAST.load(Ordering::SeqCst)) == tid
    });
    let tid = told.recv().map_err(|e| e.to_string())?;
    sys!(SYS_tgkill, std::process::id(), tid, libc::SIGUSR1).what("tgkill")?;
    check!(
        worker.join().unwrap_or(false),
        "the handler ran in thread {}, not {tid}",
        LAST.load(Ordering::SeqCst)
    );
    Ok(())
}

extern "C" fn note_thread(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    LAST.store(sys!(SYS_gettid).unwrap_or(0) as i32, Ordering::SeqCst);
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn ppoll_mask() -> Outcome {
    catch(libc::SIGUSR1, note, 0)?;
    block(bit(libc::SIGUSR1)).what("block")?;
    raise(libc::SIGUSR1);
    let (none, limit) = (0_u64, libc::timespec { tv_sec: 5, tv_nsec: 0 });
    refused(
        "ppoll that opens the mask",
        sys!(SYS_ppoll, 0, 0, &raw const limit, &raw const none, 8),
        libc::EINTR,
    )?;
    same!(
        (count(), blocked()),
        (1, bit(libc::SIGUSR1)),
        "handled, and the mask is back"
    );
    Ok(())
}

fn signalfd() -> Outcome {
    let set = bit(libc::SIGUSR1) | bit(40);
    block(set).what("block")?;
    let fd = crate::sys::fd(
        sys!(SYS_signalfd4, -1, &raw const set, 8, libc::O_NONBLOCK | libc::O_CLOEXEC),
        "signalfd4",
    )?;
    refused("nothing yet", read(&fd, 128), libc::EAGAIN)?;
    raise(libc::SIGUSR1);
    queue(40, 77).what("queue")?;
    let mut poll = [libc::pollfd {
        fd: fd.0,
        events: libc::POLLIN,
        revents: 0,
    }];
    same!(
        sys!(SYS_ppoll, poll.as_mut_ptr(), 1, 0, 0, 8),
        Ok(1),
        "ppoll of a signalfd"
    );
    let bytes = read(&fd, 256).what("read")?;
    same!(bytes.len(), 256, "two records of 128 bytes");
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    same!(
        (word(0), word(12)),
        (libc::SIGUSR1 as u32, std::process::id()),
        "signal and sender"
    );
    // signalfd_siginfo: ssi_int is at 44.
    same!((word(128), word(128 + 44)), (40, 77), "real-time signal and value");
    refused("too small a buffer", read(&fd, 100), libc::EINVAL)
}
