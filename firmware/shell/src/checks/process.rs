//! Processes, pipes, signals, threads.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use nix::sys::signal::{SigSet, Signal, raise};

use super::{Failed, during, ensure};

/// This program again, as a child that ends with `status`.
fn child(status: u8) -> Result<Command, Failed> {
    let own = during("own program", std::env::current_exe())?;
    let mut command = Command::new(own);
    command.args(["selfcheck", "--exit-with", &status.to_string()]);
    Ok(command)
}

pub(super) fn exit_status() -> Result<(), Failed> {
    for expected in [0, 1, 42, 255] {
        let status = during("run a child", child(expected)?.status())?;
        ensure(status.code() == Some(i32::from(expected)), || {
            format!("a child ended with {status}, not {expected}")
        })?;
    }
    let missing = Command::new("/no/such/program").status().err().map(|e| e.kind());
    ensure(missing == Some(std::io::ErrorKind::NotFound), || {
        format!("a missing program gives {missing:?}")
    })
}

pub(super) fn killed() -> Result<(), Failed> {
    // cat waits for its input, which never comes.
    let mut cat = during(
        "run cat",
        Command::new("/bin/busybox")
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn(),
    )?;
    during("kill", cat.kill())?;
    let status = during("wait", cat.wait())?;
    ensure(status.signal() == Some(9), || {
        format!("a killed child ended with {status}")
    })
}

pub(super) fn pipeline() -> Result<(), Failed> {
    let script = "yes sis | head -n 10000 | md5sum";
    let output = during(
        "run sh",
        Command::new("/bin/busybox").args(["sh", "-c", script]).output(),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    // md5 of 10,000 times "sis\n".
    ensure(text.starts_with("0d1fd30853e42c1b6632c6ef5b538585"), || {
        format!("{script}: {}", text.trim_end())
    })
}

pub(super) fn pipe() -> Result<(), Failed> {
    const BYTES: usize = 1 << 20;
    let (mut reader, mut writer) = during("pipe", std::io::pipe())?;
    let sender = thread::spawn(move || {
        let data: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        data.chunks(10_007).try_for_each(|part| writer.write_all(part))
    });
    let mut received = Vec::new();
    during("read", reader.read_to_end(&mut received))?;
    during("write", sender.join().map_err(|_| "broke off")?)?;
    ensure(received.len() == BYTES, || {
        format!("{} of {BYTES} bytes arrived", received.len())
    })?;
    let wrong = received.iter().enumerate().position(|(n, &b)| b != (n % 251) as u8);
    ensure(wrong.is_none(), || format!("byte {wrong:?} is wrong"))?;
    let (reader, mut writer) = during("pipe", std::io::pipe())?;
    drop(reader);
    let broken = writer.write(b"x").err().map(|e| e.kind());
    ensure(broken == Some(std::io::ErrorKind::BrokenPipe), || {
        format!("a pipe nobody reads gives {broken:?}")
    })
}

pub(super) fn signal() -> Result<(), Failed> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR1);
    during("block", set.thread_block())?;
    during("raise", raise(Signal::SIGUSR1))?;
    let came = during("wait", set.wait())?;
    ensure(came == Signal::SIGUSR1, || format!("{came} came"))
}

pub(super) fn threads() -> Result<(), Failed> {
    const THREADS: u64 = 8;
    const STEPS: u64 = 2000;
    let shared = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let workers: Vec<_> = (0..THREADS)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..STEPS {
                    if let Ok(mut count) = shared.0.lock() {
                        *count += 1;
                    }
                }
                shared.1.notify_all();
            })
        })
        .collect();
    let count = shared.0.lock().map_err(|_| "a thread broke off")?;
    let count = shared
        .1
        .wait_while(count, |count| *count < THREADS * STEPS)
        .map_err(|_| "a thread broke off")?;
    ensure(*count == THREADS * STEPS, || {
        format!("counted {} of {}", *count, THREADS * STEPS)
    })?;
    drop(count);
    for worker in workers {
        worker.join().map_err(|_| "a thread broke off")?;
    }
    Ok(())
}
