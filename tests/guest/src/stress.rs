//! Load: processes, memory, and whether all of it comes back. Also single simple things for the suites.

use std::process::ExitCode;

use crate::sys::{Ended, Errno, PAGE, child, exit, map, now_ns, peek, poke, sleep_ms, wait};

pub(crate) fn command(name: &str, words: &[&str]) -> ExitCode {
    let number = |default: u64| words.first().map_or(Some(default), |w| w.parse().ok());
    let result = match name {
        "stress-fork" => number(10).map(stress_fork),
        "stress-mem" => number(64).map(stress_mem),
        "leak-check" => number(3).map(leak_check),
        "spin" => number(1).map(|s| {
            let end = now_ns(libc::CLOCK_MONOTONIC) + s * 1_000_000_000;
            while now_ns(libc::CLOCK_MONOTONIC) < end {}
            Ok("done".to_owned())
        }),
        "sleep" => number(1).map(|s| {
            sleep_ms(s * 1000);
            Ok("done".to_owned())
        }),
        "touch" => number(16).map(touch),
        _ => {
            poke(8, 1);
            None
        }
    };
    match result {
        None => {
            eprintln!("sis-guest {name}: not a number: {words:?}");
            ExitCode::from(2)
        }
        Some(Ok(text)) => {
            println!("{name}: {text}");
            ExitCode::SUCCESS
        }
        Some(Err(why)) => {
            println!("{name}: FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

type Told = Result<String, String>;

/// Number of CPUs this process may use.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Twice as many drivers as CPUs, each of which forks, executes and collects without a pause.
fn stress_fork(seconds: u64) -> Told {
    let end = now_ns(libc::CLOCK_MONOTONIC) + seconds * 1_000_000_000;
    let drivers = (0..2 * cpus())
        .map(|n| child(|| drive(n, end)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut failed = 0;
    for pid in drivers {
        failed += i32::from(wait(pid, 0).map_err(String::from)? != Ended::Exit(0));
    }
    if failed == 0 {
        Ok(format!("{seconds} s on {} CPUs", cpus()))
    } else {
        Err(format!("{failed} drivers failed"))
    }
}

fn drive(driver: usize, end: u64) -> i32 {
    let mut round = 0_usize;
    while now_ns(libc::CLOCK_MONOTONIC) < end {
        let status = (round % 200) as i32;
        let Ok(pid) = child(|| {
            if round.is_multiple_of(3) {
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
                return 250;
            }
            // A grandchild for process 1 now and then.
            if round.is_multiple_of(7) {
                let _ = child(|| 0);
            }
            status
        }) else {
            println!("driver {driver}: fork failed in round {round}");
            return 1;
        };
        let want = if round.is_multiple_of(3) { 0 } else { status };
        match wait(pid, 0) {
            Ok(Ended::Exit(got)) if got == want => {}
            other => {
                println!("driver {driver}: {other:?} and not {want} in round {round}");
                return 1;
            }
        }
        round += 1;
    }
    0
}

/// Maps, touches, copies on write in children, checks and frees `mib`, on all CPUs together.
fn stress_mem(mib: u64) -> Told {
    let pages = (mib as usize) * 256 / cpus();
    let workers = (0..cpus())
        .map(|n| child(|| memory_round(pages, n as u8 + 1)))
        .collect::<Result<Vec<_>, _>>()?;
    for pid in workers {
        let how = wait(pid, 0).map_err(String::from)?;
        if how != Ended::Exit(0) {
            return Err(format!("a worker ended with {how:?}"));
        }
    }
    Ok(format!("{mib} MiB on {} CPUs", cpus()))
}

fn memory_round(pages: usize, value: u8) -> i32 {
    for _ in 0..3 {
        let Ok(at) = map(pages, libc::PROT_READ | libc::PROT_WRITE) else {
            return 1;
        };
        (0..pages).for_each(|n| poke(at + n * PAGE, value));
        let Ok(pid) = child(|| {
            (0..pages).step_by(3).for_each(|n| poke(at + n * PAGE, !value));
            i32::from(!(0..pages).all(|n| peek(at + n * PAGE) == if n % 3 == 0 { !value } else { value }))
        }) else {
            return 2;
        };
        if wait(pid, 0) != Ok(Ended::Exit(0)) || !(0..pages).all(|n| peek(at + n * PAGE) == value) {
            return 3;
        }
        if sys!(SYS_munmap, at, pages * PAGE).is_err() {
            return 4;
        }
    }
    0
}

fn free_kib() -> Result<i64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|e| e.to_string())?;
    let of = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse::<i64>().ok())
    };
    of("MemFree:").ok_or_else(|| "no MemFree".to_owned())
}

/// Free memory after a warm-up, then after each round of load: it must come back.
fn leak_check(rounds: u64) -> Told {
    /// Caches may grow a little; a leak of a page a process would be far more than this.
    const SLACK_KIB: i64 = 2048;
    let load = || -> Result<(), String> {
        stress_fork(2)?;
        stress_mem(32).map(|_| ())
    };
    load()?;
    sleep_ms(500);
    let before = free_kib()?;
    for _ in 0..rounds {
        load()?;
    }
    sleep_ms(1000);
    let after = free_kib()?;
    let lost = before - after;
    if lost > SLACK_KIB {
        return Err(format!(
            "{lost} KiB of {before} KiB did not come back in {rounds} rounds"
        ));
    }
    Ok(format!("{before} KiB free before, {after} KiB after {rounds} rounds"))
}

/// Takes memory page by page, for the suites that make it scarce. Says how far it came.
fn touch(mib: u64) -> Told {
    for n in 0..mib {
        let at = match map(256, libc::PROT_READ | libc::PROT_WRITE) {
            Ok(at) => at,
            Err(Errno(libc::ENOMEM)) => exit(12),
            Err(e) => return Err(e.to_string()),
        };
        (0..256).for_each(|page| poke(at + page * PAGE, 1));
        if n % 16 == 15 {
            println!("touched {} MiB", n + 1);
        }
    }
    Ok(format!("{mib} MiB"))
}
