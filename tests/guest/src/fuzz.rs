//! Random system calls with random arguments, as an unprivileged user: `sis-guest fuzz --seed S --count N`.
//!
//! The same seed makes the same calls. They are made in children, a batch in each, because a call may well kill the
//! child, unmap it or make it hang; the driver counts how the children end and goes on. What must hold is that the
//! driver comes to its end, and that the kernel still answers.

use std::process::ExitCode;

use crate::sys::{Ended, Errno, PAGE, child, ended, exit, map, now_ns, raw, sleep_ms};

/// Calls made in one child.
const BATCH: u64 = 50;
/// How long a child may take: a random call may wait for ever.
const BATCH_LIMIT_NS: u64 = 2_000_000_000;
/// The user that makes the calls.
const NOBODY: u32 = 65534;
/// Numbers up to here; Linux has about 460.
const NUMBERS: u64 = 470;

/// SplitMix64: small, good enough, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

fn options(words: &[&str]) -> Option<(u64, u64)> {
    let (mut seed, mut count) = (1, 10_000);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next()?.parse().ok()?;
        match *word {
            "--seed" => seed = value,
            "--count" => count = value,
            _ => return None,
        }
    }
    Some((seed, count))
}

pub(crate) fn command(words: &[&str]) -> ExitCode {
    let Some((seed, count)) = options(words) else {
        eprintln!("usage: sis-guest fuzz [--seed S] [--count N]");
        return ExitCode::from(2);
    };
    match drive(seed, count) {
        Ok(text) => {
            println!("fuzz: seed {seed}: {text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("fuzz: FAILED: seed {seed}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn drive(seed: u64, count: u64) -> Result<String, String> {
    let (mut done, mut by_signal, mut hung, mut step) = (0, 0, 0, 0);
    while done < count {
        let batch = BATCH.min(count - done);
        match one_batch(seed ^ (step << 32), batch)? {
            Some(Ended::Signal(_)) => by_signal += 1,
            None => hung += 1,
            Some(_) => {}
        }
        done += batch;
        step += 1;
        if done % 1000 == 0 || done == count {
            println!("fuzz: {done} of {count} calls, {by_signal} children ended by a signal, {hung} waited too long");
        }
    }
    Ok(format!("{done} calls in {step} children"))
}

/// One child's calls: how it ended, nothing when it took too long. It and all it has made are gone afterwards.
fn one_batch(seed: u64, calls: u64) -> Result<Option<Ended>, String> {
    let pid = child(|| {
        if let Err(why) = become_nobody() {
            println!("fuzz: {why}");
            return 3;
        }
        // The console is not for random bytes and modes.
        let null = sys!(SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), libc::O_RDWR, 0).unwrap_or(-1);
        for number in 0..3 {
            if sys!(SYS_dup3, null, number, 0).is_err() {
                return 3;
            }
        }
        make_calls(&mut Random(seed), calls);
        0
    })?;
    let end = now_ns(libc::CLOCK_MONOTONIC) + BATCH_LIMIT_NS;
    let how = loop {
        let mut status = 0_i32;
        match sys!(SYS_wait4, pid, &raw mut status, libc::WNOHANG, 0) {
            Ok(0) if now_ns(libc::CLOCK_MONOTONIC) > end => break None,
            Ok(0) | Err(Errno(libc::EINTR)) => sleep_ms(1),
            Ok(_) => break Some(ended(status)),
            Err(e) => return Err(format!("wait4: {e}")),
        }
    };
    // Everything that runs as this user is a child's child; the driver is root and is not met by a user's signals.
    end_all_of_nobody()?;
    let _ = sys!(SYS_wait4, pid, 0, 0, 0);
    if how == Some(Ended::Exit(3)) {
        return Err("a child could not become an unprivileged user; run as root".to_owned());
    }
    Ok(how)
}

fn become_nobody() -> Result<(), String> {
    let steps = [
        sys!(SYS_setsid),
        sys!(SYS_chdir, c"/tmp".as_ptr()),
        sys!(SYS_setgroups, 0, 0),
        sys!(SYS_setresgid, NOBODY, NOBODY, NOBODY),
        sys!(SYS_setresuid, NOBODY, NOBODY, NOBODY),
    ];
    for step in steps {
        step.map_err(|e| format!("cannot drop privileges: {e}"))?;
    }
    // Limits, so that a lucky fork or mmap does not make the board busy with itself.
    for (which, value) in [
        (libc::RLIMIT_NPROC, 40_u64),
        (libc::RLIMIT_AS, 256 << 20),
        (libc::RLIMIT_FSIZE, 1 << 20),
    ] {
        let _ = sys!(SYS_prlimit64, 0, which, [value, value].as_ptr(), 0);
    }
    Ok(())
}

/// A process of that user that kills all others of that user and itself.
fn end_all_of_nobody() -> Result<(), String> {
    let pid = child(|| {
        let _ = sys!(SYS_setresuid, NOBODY, NOBODY, NOBODY);
        let _ = sys!(SYS_kill, -1, libc::SIGKILL);
        0
    })?;
    let _ = crate::sys::wait(pid, 0);
    Ok(())
}

/// Places and numbers that arguments are taken from.
struct Arguments {
    memory: usize,
    descriptors: [i32; 6],
}

const PATHS: [&std::ffi::CStr; 8] = [
    c"/tmp",
    c"/proc/self/stat",
    c"/dev/null",
    c"/",
    c"x",
    c"",
    c"/tmp/../dev/zero",
    c"/proc",
];

impl Arguments {
    fn new() -> Self {
        let memory = map(8, libc::PROT_READ | libc::PROT_WRITE).unwrap_or(0);
        let open = |path: &std::ffi::CStr, flags: i32| {
            sys!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600).unwrap_or(-1) as i32
        };
        let event = sys!(SYS_eventfd2, 3, libc::O_NONBLOCK).unwrap_or(-1) as i32;
        let udp = sys!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0).unwrap_or(-1) as i32;
        let unix = sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).unwrap_or(-1) as i32;
        let scratch = open(c"/tmp", libc::O_TMPFILE | libc::O_RDWR);
        Self {
            memory,
            descriptors: [
                open(c"/dev/null", libc::O_RDWR),
                open(c"/proc", 0),
                scratch,
                event,
                udp,
                unix,
            ],
        }
    }

    fn one(&self, random: &mut Random) -> usize {
        match random.below(12) {
            0 => random.next() as usize,
            1 => random.below(16) as usize,
            2 => self.memory + random.below(8 * PAGE as u64) as usize,
            3 => self.memory + (random.below(64) * 8) as usize,
            4 => random.pick(&self.descriptors) as usize,
            5 => random.pick(&PATHS).as_ptr() as usize,
            6 => random.pick(&[0_i64, -1, i64::MIN, i64::MAX, 0x7fff_ffff, -4096, 4096, 1 << 32]) as usize,
            7 => 1_usize << random.below(64),
            8 => (0xffff_0000_0000_0000_u64 | random.next() >> 16) as usize,
            9 => random.below(8192) as usize,
            // The end of the memory: what begins well and runs over the edge.
            10 => self.memory + 8 * PAGE - random.below(32) as usize,
            _ => 0,
        }
    }
}

fn make_calls(random: &mut Random, calls: u64) {
    let arguments = Arguments::new();
    if arguments.memory != 0 {
        for word in 0..8 * PAGE / 8 {
            let value = if random.below(4) == 0 {
                arguments.one(random) as u64
            } else {
                random.next()
            };
            value
                .to_ne_bytes()
                .iter()
                .enumerate()
                .for_each(|(n, &b)| crate::sys::poke(arguments.memory + word * 8 + n, b));
        }
    }
    for _ in 0..calls {
        let number = random.below(NUMBERS) as i64;
        let values = [(); 6].map(|()| arguments.one(random));
        if would_only_end_this_child(number) {
            continue;
        }
        // SAFETY: none is needed: this process exists to be broken, and is thrown away afterwards.
        let _ = unsafe { raw(number, values) };
    }
    exit(0)
}

/// Calls that end or stop the child at once, every time, and so keep the calls after them from being made.
fn would_only_end_this_child(number: i64) -> bool {
    [
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigreturn,
    ]
    .contains(&number)
}
