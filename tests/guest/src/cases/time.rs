//! Clocks, sleeping, interval timers, the vDSO.

use super::Case;
use crate::sys::{Ended, Errno, Outcome, What, in_child, now_ns, refused, sleep_ms};

pub(super) static CASES: &[Case] = &[
    ("time/clocks-go-forward", clocks_go_forward),
    ("time/clock-getres", clock_getres),
    ("time/vdso-agrees", vdso_agrees),
    ("time/vdso-symbols", vdso_symbols),
    ("time/nanosleep", nanosleep),
    ("time/nanosleep-errors", nanosleep_errors),
    ("time/clock-nanosleep-absolute", clock_nanosleep_absolute),
    ("time/short-sleeps-add-up", short_sleeps_add_up),
    ("time/cpu-clocks", cpu_clocks),
    ("time/itimer-real", itimer_real),
    ("time/itimer-interval", itimer_interval),
    ("time/posix-timer-or-refuse", posix_timer_or_refuse),
    ("time/timer-of-a-nanosecond", timer_of_a_nanosecond),
    ("time/gettimeofday", gettimeofday),
    ("time/clock-settime", clock_settime),
    ("time/times-and-rusage", times_and_rusage),
    ("time/sysinfo", sysinfo),
    ("time/monotonic-on-all-cpus", monotonic_on_all_cpus),
];

const ALL: [i32; 6] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_REALTIME_COARSE,
    libc::CLOCK_MONOTONIC_COARSE,
    libc::CLOCK_BOOTTIME,
];

fn spec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

fn clocks_go_forward() -> Outcome {
    for clock in ALL {
        let start = now_ns(clock);
        let mut last = start;
        for _ in 0..2000 {
            let now = now_ns(clock);
            check!(now >= last, "clock {clock} went back from {last} to {now}");
            last = now;
        }
        sleep_ms(15);
        check!(now_ns(clock) > start, "clock {clock} stands still at {start}");
    }
    let mut time = spec(0);
    refused(
        "an unknown clock",
        sys!(SYS_clock_gettime, 77, &raw mut time),
        libc::EINVAL,
    )
}

fn clock_getres() -> Outcome {
    let mut resolution = spec(0);
    sys!(SYS_clock_getres, libc::CLOCK_MONOTONIC, &raw mut resolution).what("clock_getres")?;
    same!((resolution.tv_sec, resolution.tv_nsec), (0, 1), "resolution");
    same!(
        sys!(SYS_clock_getres, libc::CLOCK_REALTIME, 0),
        Ok(0),
        "without a place for it"
    );
    Ok(())
}

/// clock_gettime of the C library, which takes the vDSO where there is one.
fn by_library(clock: i32) -> u64 {
    let mut time = spec(0);
    // SAFETY: the place is this function's own.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn vdso_agrees() -> Outcome {
    for clock in ALL {
        for _ in 0..200 {
            let (before, middle, after) = (now_ns(clock), by_library(clock), now_ns(clock));
            check!(
                before <= middle && middle <= after,
                "clock {clock}: {before}, by the vDSO {middle}, {after}"
            );
        }
    }
    Ok(())
}

fn vdso_symbols() -> Outcome {
    // SAFETY: getauxval has no requirement.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    check!(base != 0, "there is no vDSO");
    // SAFETY: the kernel maps a whole ELF image there; its first page at least.
    let image = unsafe { std::slice::from_raw_parts(base as *const u8, 4096) };
    same!(&image[..5], b"\x7fELF\x02", "an ELF64 image");
    let name: &[u8] = if cfg!(target_arch = "aarch64") {
        b"__kernel_clock_gettime\0"
    } else {
        b"__vdso_clock_gettime\0"
    };
    check!(
        image.windows(name.len()).any(|w| w == name),
        "the vDSO does not name clock_gettime"
    );
    Ok(())
}

fn nanosleep() -> Outcome {
    for ns in [1, 1_000_000, 25_000_000] {
        let (start, asked) = (now_ns(libc::CLOCK_MONOTONIC), spec(ns));
        sys!(SYS_nanosleep, &raw const asked, 0).what("nanosleep")?;
        let took = now_ns(libc::CLOCK_MONOTONIC) - start;
        check!(took >= ns && took < ns + 1_500_000_000, "{ns} ns took {took} ns");
    }
    Ok(())
}

fn nanosleep_errors() -> Outcome {
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000_000,
    };
    refused(
        "too many nanoseconds",
        sys!(SYS_nanosleep, &raw const bad, 0),
        libc::EINVAL,
    )?;
    let negative = libc::timespec { tv_sec: -1, tv_nsec: 0 };
    refused("negative", sys!(SYS_nanosleep, &raw const negative, 0), libc::EINVAL)?;
    refused("nowhere", sys!(SYS_nanosleep, 8, 0), libc::EFAULT)?;
    refused(
        "an unknown clock",
        sys!(SYS_clock_nanosleep, 77, 0, &raw const bad, 0),
        libc::EINVAL,
    )
}

fn clock_nanosleep_absolute() -> Outcome {
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
        let due = spec(now_ns(clock) + 20_000_000);
        sys!(SYS_clock_nanosleep, clock, libc::TIMER_ABSTIME, &raw const due, 0).what("clock_nanosleep")?;
        let now = now_ns(clock);
        check!(
            now >= due.tv_sec as u64 * 1_000_000_000 + due.tv_nsec as u64,
            "clock {clock}: too early"
        );
        same!(
            sys!(SYS_clock_nanosleep, clock, libc::TIMER_ABSTIME, &raw const due, 0),
            Ok(0),
            "in the past"
        );
    }
    Ok(())
}

fn short_sleeps_add_up() -> Outcome {
    let start = now_ns(libc::CLOCK_MONOTONIC);
    for _ in 0..50 {
        let asked = spec(2_000_000);
        sys!(SYS_nanosleep, &raw const asked, 0).what("nanosleep")?;
    }
    let took_ms = (now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!((100..3000).contains(&took_ms), "fifty sleeps of 2 ms took {took_ms} ms");
    Ok(())
}

fn burn(ms: u64) {
    let end = now_ns(libc::CLOCK_MONOTONIC) + ms * 1_000_000;
    while now_ns(libc::CLOCK_MONOTONIC) < end {}
}

fn cpu_clocks() -> Outcome {
    let process = now_ns(libc::CLOCK_PROCESS_CPUTIME_ID);
    let thread = now_ns(libc::CLOCK_THREAD_CPUTIME_ID);
    sleep_ms(60);
    let slept = now_ns(libc::CLOCK_PROCESS_CPUTIME_ID) - process;
    check!(slept < 40_000_000, "60 ms of sleep cost {slept} ns");
    burn(60);
    // The thread's first: both go on while they are read.
    let thread = now_ns(libc::CLOCK_THREAD_CPUTIME_ID) - thread;
    let process = now_ns(libc::CLOCK_PROCESS_CPUTIME_ID) - process;
    check!(
        (5_000_000..500_000_000).contains(&process),
        "60 ms of work cost {process} ns of process time"
    );
    check!(
        thread <= process && thread > 5_000_000,
        "{thread} ns of thread time in {process} ns of process time"
    );
    Ok(())
}

static ALARMS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

extern "C" fn count_alarm(_: i32) {
    ALARMS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

fn alarms() -> u32 {
    ALARMS.load(std::sync::atomic::Ordering::SeqCst)
}

fn catch_alarms(signal: i32) {
    // SAFETY: the handler touches an atomic only.
    unsafe { libc::signal(signal, count_alarm as extern "C" fn(i32) as usize) };
}

/// it_interval, it_value of setitimer(2), in microseconds below a second.
fn itimer(interval_us: i64, value_us: i64) -> [i64; 4] {
    [0, interval_us, 0, value_us]
}

fn itimer_real() -> Outcome {
    let how = in_child(|| {
        let _ = sys!(SYS_setitimer, libc::ITIMER_REAL, itimer(0, 20_000).as_ptr(), 0);
        sleep_ms(5000);
        0
    })?;
    same!(how, Ended::Signal(libc::SIGALRM), "an alarm without a handler");
    catch_alarms(libc::SIGALRM);
    sys!(SYS_setitimer, libc::ITIMER_REAL, itimer(0, 500_000).as_ptr(), 0).what("setitimer")?;
    let mut left = [0_i64; 4];
    sys!(SYS_getitimer, libc::ITIMER_REAL, left.as_mut_ptr()).what("getitimer")?;
    check!(
        left[1] == 0 && left[2] == 0 && left[3] > 300_000,
        "what is left: {left:?}"
    );
    let mut old = [0_i64; 4];
    sys!(
        SYS_setitimer,
        libc::ITIMER_REAL,
        itimer(0, 0).as_ptr(),
        old.as_mut_ptr()
    )
    .what("setitimer")?;
    check!(old[3] > 300_000, "the setting before: {old:?}");
    same!(alarms(), 0, "alarms");
    let none = in_child(|| {
        let mut left = [0_i64; 4];
        let _ = sys!(SYS_getitimer, libc::ITIMER_REAL, left.as_mut_ptr());
        i32::from(left != [0; 4])
    })?;
    same!(none, Ended::Exit(0), "a child has no timer of its parent's");
    refused(
        "an unknown timer",
        sys!(SYS_getitimer, 9, left.as_mut_ptr()),
        libc::EINVAL,
    )
}

fn itimer_interval() -> Outcome {
    catch_alarms(libc::SIGALRM);
    sys!(SYS_setitimer, libc::ITIMER_REAL, itimer(10_000, 10_000).as_ptr(), 0).what("setitimer")?;
    sleep_ms(105);
    sys!(SYS_setitimer, libc::ITIMER_REAL, itimer(0, 0).as_ptr(), 0).what("setitimer")?;
    let count = alarms();
    check!((4..=15).contains(&count), "{count} alarms of 10 ms in 105 ms");
    sleep_ms(30);
    check!(alarms() <= count + 1, "alarms after the timer was stopped");
    Ok(())
}

fn posix_timer_or_refuse() -> Outcome {
    catch_alarms(libc::SIGUSR1);
    // sigevent: value 8, signo 4, notify 4 (SIGEV_SIGNAL is 0), and room.
    let mut event = [0_u32; 16];
    event[2] = libc::SIGUSR1 as u32;
    let mut id = -1_i32;
    match sys!(SYS_timer_create, libc::CLOCK_MONOTONIC, event.as_ptr(), &raw mut id) {
        Err(Errno(libc::ENOSYS)) => return Ok(()),
        other => other.what("timer_create")?,
    };
    let setting = [0_u64, 0, 0, 20_000_000];
    sys!(SYS_timer_settime, id, 0, setting.as_ptr(), 0).what("timer_settime")?;
    sleep_ms(60);
    same!(alarms(), 1, "signals");
    sys!(SYS_timer_delete, id).what("timer_delete")?;
    refused("deleted twice", sys!(SYS_timer_delete, id), libc::EINVAL)
}

/// Timers with the shortest period, many of them, leave the CPU to the program.
fn timer_of_a_nanosecond() -> Outcome {
    let mut event = [0_u32; 16];
    event[3] = libc::SIGEV_NONE as u32;
    for _ in 0..32 {
        let mut id = -1_i32;
        match sys!(SYS_timer_create, libc::CLOCK_MONOTONIC, event.as_ptr(), &raw mut id) {
            Err(Errno(libc::ENOSYS)) => return Ok(()),
            other => other.what("timer_create")?,
        };
        let setting = [0_u64, 1, 0, 1];
        sys!(SYS_timer_settime, id, 0, setting.as_ptr(), 0).what("timer_settime")?;
    }
    let end = now_ns(libc::CLOCK_MONOTONIC) + 200_000_000;
    let mut calls = 0;
    while now_ns(libc::CLOCK_MONOTONIC) < end {
        sys!(SYS_getppid).what("getppid")?;
        calls += 1;
    }
    check!(calls > 100, "only {calls} calls in 200 ms");
    Ok(())
}

fn gettimeofday() -> Outcome {
    let mut time = [0_i64; 2];
    sys!(SYS_gettimeofday, time.as_mut_ptr(), 0).what("gettimeofday")?;
    let of_clock = now_ns(libc::CLOCK_REALTIME) / 1000;
    let of_call = time[0] as u64 * 1_000_000 + time[1] as u64;
    check!(
        of_clock.abs_diff(of_call) < 1_000_000,
        "{of_call} us, and by the clock {of_clock} us"
    );
    Ok(())
}

fn clock_settime() -> Outcome {
    let before = now_ns(libc::CLOCK_REALTIME);
    let steady = now_ns(libc::CLOCK_MONOTONIC);
    // A machine without a clock begins in 1970, and nothing can be set to before its boot.
    let later = before.max(steady + 60_000_000_000) + 3_600_000_000_000;
    let set = spec(later);
    sys!(SYS_clock_settime, libc::CLOCK_REALTIME, &raw const set).what("clock_settime")?;
    let jumped = by_library(libc::CLOCK_REALTIME);
    let back = spec(now_ns(libc::CLOCK_REALTIME) - 3_600_000_000_000);
    sys!(SYS_clock_settime, libc::CLOCK_REALTIME, &raw const back).what("clock_settime")?;
    check!(jumped >= later, "the time of day did not jump");
    check!(
        now_ns(libc::CLOCK_MONOTONIC) - steady < 60_000_000_000,
        "the steady clock jumped too"
    );
    refused(
        "the monotonic clock",
        sys!(SYS_clock_settime, libc::CLOCK_MONOTONIC, &raw const set),
        libc::EINVAL,
    )?;
    let how = in_child(|| {
        let _ = sys!(SYS_setresuid, 1000, 1000, 1000);
        sys!(SYS_clock_settime, libc::CLOCK_REALTIME, &raw const back)
            .err()
            .map_or(0, |e| e.0)
    })?;
    same!(how, Ended::Exit(libc::EPERM), "by a user");
    Ok(())
}

fn times_and_rusage() -> Outcome {
    burn(80);
    let mut times = [0_i64; 4];
    sys!(SYS_times, times.as_mut_ptr()).what("times")?;
    check!(
        times[0] + times[1] >= 2,
        "80 ms of work are {} ticks of 10 ms",
        times[0] + times[1]
    );
    // SAFETY: plain data for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    sys!(SYS_getrusage, libc::RUSAGE_SELF, &raw mut usage).what("getrusage")?;
    let used_us =
        usage.ru_utime.tv_usec + usage.ru_stime.tv_usec + 1_000_000 * (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
    check!(
        used_us > 20_000 && usage.ru_maxrss > 0,
        "{used_us} us, {} KiB",
        usage.ru_maxrss
    );
    refused("an unknown whom", sys!(SYS_getrusage, 9, &raw mut usage), libc::EINVAL)
}

fn sysinfo() -> Outcome {
    // SAFETY: plain data for which all zeros is a value.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    sys!(SYS_sysinfo, &raw mut info).what("sysinfo")?;
    let total = info.totalram as u64 * u64::from(info.mem_unit);
    let free = info.freeram as u64 * u64::from(info.mem_unit);
    check!(
        free > 0 && free < total && info.procs > 0,
        "{free} of {total} bytes, {} processes",
        info.procs
    );
    let up = now_ns(libc::CLOCK_BOOTTIME) / 1_000_000_000;
    check!(
        (info.uptime as u64).abs_diff(up) <= 1,
        "up {} s, by the clock {up} s",
        info.uptime
    );
    Ok(())
}

fn monotonic_on_all_cpus() -> Outcome {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let workers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..5000 {
                    let seen = LATEST.load(Ordering::SeqCst);
                    let now = by_library(libc::CLOCK_MONOTONIC);
                    if now < seen {
                        return seen - now;
                    }
                    LATEST.fetch_max(now, Ordering::SeqCst);
                }
                0
            })
        })
        .collect();
    for worker in workers {
        let back = worker.join().map_err(|_| "a thread broke off")?;
        check!(back == 0, "one CPU's clock is {back} ns behind another's");
    }
    Ok(())
}
