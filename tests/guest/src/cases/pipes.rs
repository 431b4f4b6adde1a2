//! Pipes, poll(2), select(2), eventfd(2), timerfd_create(2).

use super::Case;
use crate::sys::{Ended, Outcome, What, child, fd, now_ns, pipe, read, refused, sleep_ms, wait, write};

pub(super) static CASES: &[Case] = &[
    ("pipes/order-and-end", order_and_end),
    ("pipes/capacity", capacity),
    ("pipes/blocks-until-read", blocks_until_read),
    ("pipes/atomic-writes", atomic_writes),
    ("pipes/nonblocking", nonblocking),
    ("pipes/large-transfer", large_transfer),
    ("pipes/pipeline-of-processes", pipeline_of_processes),
    ("pipes/pipe2-flags", pipe2_flags),
    ("pipes/poll", poll),
    ("pipes/poll-time-out", poll_time_out),
    ("pipes/poll-wakes", poll_wakes),
    ("pipes/select", select),
    ("pipes/eventfd", eventfd),
    ("pipes/eventfd-semaphore", eventfd_semaphore),
    ("pipes/timerfd", timerfd),
    ("pipes/timerfd-absolute", timerfd_absolute),
    ("pipes/fionread", fionread),
    ("pipes/splice-or-refuse", splice_or_refuse),
];

fn order_and_end() -> Outcome {
    let (reader, writer) = pipe(0)?;
    write(&writer, b"one").what("write")?;
    write(&writer, b"two").what("write")?;
    same!(read(&reader, 4).what("read")?, b"onet".to_vec(), "the first bytes");
    drop(writer);
    same!(read(&reader, 10).what("read")?, b"wo".to_vec(), "the rest");
    same!(read(&reader, 10).what("read")?, Vec::<u8>::new(), "the end");
    Ok(())
}

fn capacity() -> Outcome {
    let (reader, writer) = pipe(libc::O_NONBLOCK)?;
    let mut total = 0;
    while let Ok(n) = write(&writer, &[0; 4096]) {
        total += n;
    }
    same!(total, 65536, "what fits into a pipe");
    same!(sys!(SYS_fcntl, &writer, libc::F_GETPIPE_SZ), Ok(65536), "F_GETPIPE_SZ");
    read(&reader, 4096).what("read")?;
    same!(write(&writer, &[0; 4096]), Ok(4096), "after a page was read");
    Ok(())
}

fn blocks_until_read() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| i32::from(write(&writer, &[7; 200_000]) != Ok(200_000)))?;
    sleep_ms(30);
    same!(
        sys!(SYS_wait4, pid, 0, libc::WNOHANG, 0),
        Ok(0),
        "a writer of more than fits waits"
    );
    drop(writer);
    let mut total = 0;
    while let Ok(part) = read(&reader, 50_000) {
        if part.is_empty() {
            break;
        }
        total += part.len();
    }
    same!(
        (total, wait(pid, 0).what("wait4")?),
        (200_000, Ended::Exit(0)),
        "all of it"
    );
    Ok(())
}

fn atomic_writes() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pids = (0..4_u8)
        .map(|n| child(|| i32::from((0..100).any(|_| write(&writer, &[n; 4096]) != Ok(4096)))))
        .collect::<Result<Vec<_>, _>>()?;
    drop(writer);
    let mut all = Vec::new();
    while let Ok(part) = read(&reader, 65536) {
        if part.is_empty() {
            break;
        }
        all.extend(part);
    }
    same!(all.len(), 4 * 100 * 4096, "bytes");
    // Up to PIPE_BUF (4096) bytes are written whole, pipe(7).
    check!(
        all.chunks(4096).all(|c| c.iter().all(|b| *b == c[0])),
        "writes of 4096 bytes were mixed"
    );
    for pid in pids {
        same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "a writer");
    }
    Ok(())
}

fn nonblocking() -> Outcome {
    let (reader, writer) = pipe(libc::O_NONBLOCK)?;
    refused("read of an empty pipe", read(&reader, 1), libc::EAGAIN)?;
    while write(&writer, &[0; 65536]).is_ok() {}
    refused("write to a full pipe", write(&writer, b"x"), libc::EAGAIN)?;
    read(&reader, 100).what("read")?;
    refused("4096 bytes do not fit whole", write(&writer, &[0; 4096]), libc::EAGAIN)?;
    drop(writer);
    while !read(&reader, 65536).what("read")?.is_empty() {}
    Ok(())
}

fn large_transfer() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| {
        let block: Vec<u8> = (0..10_007_u32).map(|n| (n % 256) as u8).collect();
        i32::from((0..800).any(|_| write(&writer, &block) != Ok(block.len())))
    })?;
    drop(writer);
    let mut at = 0_usize;
    loop {
        let part = read(&reader, 8191).what("read")?;
        if part.is_empty() {
            break;
        }
        for byte in part {
            check!(usize::from(byte) == at % 10_007 % 256, "byte {at} is wrong");
            at += 1;
        }
    }
    same!(
        (at, wait(pid, 0).what("wait4")?),
        (800 * 10_007, Ended::Exit(0)),
        "8 MB"
    );
    Ok(())
}

fn pipeline_of_processes() -> Outcome {
    // Ten processes, each adds one to every byte.
    let (first_reader, first_writer) = pipe(0)?;
    let (mut input, mut pids) = (first_reader, Vec::new());
    for _ in 0..10 {
        let (reader, writer) = pipe(0)?;
        let (from, first) = (&input, first_writer.0);
        pids.push(child(|| {
            let _ = sys!(SYS_close, first);
            while let Ok(mut part) = read(from, 1000) {
                if part.is_empty() {
                    return 0;
                }
                part.iter_mut().for_each(|b| *b = b.wrapping_add(1));
                if write(&writer, &part).is_err() {
                    return 1;
                }
            }
            1
        })?);
        drop(writer);
        input = reader;
    }
    let sender = child(|| i32::from((0..50).any(|_| write(&first_writer, &[1; 1000]).is_err())))?;
    drop(first_writer);
    let mut total = 0;
    loop {
        let part = read(&input, 4096).what("read")?;
        if part.is_empty() {
            break;
        }
        check!(part.iter().all(|&b| b == 11), "a byte was not added to ten times");
        total += part.len();
    }
    same!(total, 50_000, "bytes");
    for pid in pids.into_iter().chain([sender]) {
        same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "a process of the pipeline");
    }
    Ok(())
}

fn pipe2_flags() -> Outcome {
    let (reader, writer) = pipe(libc::O_CLOEXEC | libc::O_NONBLOCK)?;
    same!(sys!(SYS_fcntl, &reader, libc::F_GETFD), Ok(1), "close on exec");
    same!(
        sys!(SYS_fcntl, &writer, libc::F_GETFL).what("F_GETFL")? as i32 & libc::O_NONBLOCK,
        libc::O_NONBLOCK,
        "O_NONBLOCK"
    );
    refused("write to the reading end", write(&reader, b"x"), libc::EBADF)?;
    refused("read of the writing end", read(&writer, 1), libc::EBADF)?;
    let mut ends = [0_i32; 2];
    refused("unknown flags", sys!(SYS_pipe2, ends.as_mut_ptr(), 0x1), libc::EINVAL)
}

fn polled(list: &mut [libc::pollfd], timeout_ms: i64) -> Result<i64, crate::sys::Errno> {
    let limit = libc::timespec {
        tv_sec: timeout_ms / 1000,
        tv_nsec: timeout_ms % 1000 * 1_000_000,
    };
    sys!(SYS_ppoll, list.as_mut_ptr(), list.len(), &raw const limit, 0, 8)
}

fn entry(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0x55,
    }
}

fn poll() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let mut list = [
        entry(reader.0, libc::POLLIN),
        entry(writer.0, libc::POLLOUT),
        entry(-1, libc::POLLIN),
        entry(999, libc::POLLIN),
    ];
    same!(polled(&mut list, 0), Ok(2), "ready: the writing end and the bad one");
    same!(list.map(|e| e.revents), [0, libc::POLLOUT, 0, libc::POLLNVAL], "events");
    write(&writer, b"x").what("write")?;
    polled(&mut list, 0).what("ppoll")?;
    same!(list[0].revents, libc::POLLIN, "data");
    drop(writer);
    list[1].fd = -1;
    polled(&mut list, 0).what("ppoll")?;
    same!(list[0].revents, libc::POLLIN | libc::POLLHUP, "data and hang-up");
    read(&reader, 1).what("read")?;
    polled(&mut list, 0).what("ppoll")?;
    same!(list[0].revents, libc::POLLHUP, "hang-up");
    let (reader, writer) = pipe(0)?;
    drop(reader);
    let mut list = [entry(writer.0, libc::POLLOUT)];
    polled(&mut list, 0).what("ppoll")?;
    same!(list[0].revents, libc::POLLOUT | libc::POLLERR, "a pipe nobody reads");
    Ok(())
}

fn poll_time_out() -> Outcome {
    let (reader, _writer) = pipe(0)?;
    let start = now_ns(libc::CLOCK_MONOTONIC);
    same!(polled(&mut [entry(reader.0, libc::POLLIN)], 50), Ok(0), "nothing");
    let took_ms = (now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!((50..2000).contains(&took_ms), "50 ms took {took_ms} ms");
    same!(polled(&mut [], 1), Ok(0), "an empty list");
    let bad = libc::timespec { tv_sec: 0, tv_nsec: -1 };
    refused(
        "a negative time",
        sys!(SYS_ppoll, 0, 0, &raw const bad, 0, 8),
        libc::EINVAL,
    )
}

fn poll_wakes() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let pid = child(|| {
        sleep_ms(30);
        i32::from(write(&writer, b"x").is_err())
    })?;
    let start = now_ns(libc::CLOCK_MONOTONIC);
    same!(polled(&mut [entry(reader.0, libc::POLLIN)], 10_000), Ok(1), "ready");
    let took_ms = (now_ns(libc::CLOCK_MONOTONIC) - start) / 1_000_000;
    check!(took_ms < 3000, "it took {took_ms} ms to wake");
    wait(pid, 0).what("wait4").map(|_| ())
}

fn select() -> Outcome {
    let (reader, writer) = pipe(0)?;
    write(&writer, b"x").what("write")?;
    let bits = |fd: i32| {
        let mut set = [0_u64; 16];
        set[fd as usize / 64] |= 1 << (fd % 64);
        set
    };
    let (mut reading, mut writing) = (bits(reader.0), bits(writer.0));
    let limit = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let most = reader.0.max(writer.0) + 1;
    same!(
        sys!(
            SYS_pselect6,
            most,
            reading.as_mut_ptr(),
            writing.as_mut_ptr(),
            0,
            &raw const limit,
            0
        ),
        Ok(2),
        "pselect6"
    );
    same!((reading, writing), (bits(reader.0), bits(writer.0)), "both ready");
    read(&reader, 1).what("read")?;
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    same!(
        sys!(SYS_pselect6, most, reading.as_mut_ptr(), 0, 0, &raw const none, 0),
        Ok(0),
        "nothing to read"
    );
    same!(reading, [0; 16], "the set is emptied");
    let closed = fd(sys!(SYS_dup, &reader), "dup")?.0;
    let mut bad = bits(closed);
    refused(
        "a closed descriptor",
        sys!(SYS_pselect6, closed + 1, bad.as_mut_ptr(), 0, 0, &raw const none, 0),
        libc::EBADF,
    )?;
    refused(
        "a negative count",
        sys!(SYS_pselect6, -1, 0, 0, 0, &raw const none, 0),
        libc::EINVAL,
    )
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

fn eventfd() -> Outcome {
    let event = fd(sys!(SYS_eventfd2, 3, libc::O_NONBLOCK | libc::O_CLOEXEC), "eventfd2")?;
    write(&event, &4_u64.to_ne_bytes()).what("write")?;
    same!(number(&read(&event, 8).what("read")?), 7, "the sum");
    refused("a read of nothing", read(&event, 8), libc::EAGAIN)?;
    refused("a read of 4 bytes", read(&event, 4), libc::EINVAL)?;
    refused(
        "a write of 2^64 - 1",
        write(&event, &u64::MAX.to_ne_bytes()),
        libc::EINVAL,
    )?;
    write(&event, &(u64::MAX - 1).to_ne_bytes()).what("write")?;
    refused("an overflow", write(&event, &1_u64.to_ne_bytes()), libc::EAGAIN)?;
    refused("unknown flags", sys!(SYS_eventfd2, 0, 0x10), libc::EINVAL)
}

fn eventfd_semaphore() -> Outcome {
    let event = fd(sys!(SYS_eventfd2, 2, libc::EFD_SEMAPHORE), "eventfd2")?;
    same!(
        (
            number(&read(&event, 8).what("read")?),
            number(&read(&event, 8).what("read")?)
        ),
        (1, 1),
        "one by one"
    );
    let pid = child(|| read(&event, 8).map_or(1, |b| i32::from(number(&b) != 1)))?;
    sleep_ms(20);
    write(&event, &1_u64.to_ne_bytes()).what("write")?;
    same!(wait(pid, 0).what("wait4")?, Ended::Exit(0), "a reader that waited");
    Ok(())
}

/// it_interval and it_value of timerfd_settime(2).
fn setting(interval_ns: u64, value_ns: u64) -> [u64; 4] {
    let split = |ns: u64| (ns / 1_000_000_000, ns % 1_000_000_000);
    let ((a, b), (c, d)) = (split(interval_ns), split(value_ns));
    [a, b, c, d]
}

fn timerfd() -> Outcome {
    let timer = fd(
        sys!(SYS_timerfd_create, libc::CLOCK_MONOTONIC, libc::O_NONBLOCK),
        "timerfd_create",
    )?;
    refused("before it is set", read(&timer, 8), libc::EAGAIN)?;
    sys!(
        SYS_timerfd_settime,
        &timer,
        0,
        setting(10_000_000, 10_000_000).as_ptr(),
        0
    )
    .what("timerfd_settime")?;
    same!(polled(&mut [entry(timer.0, libc::POLLIN)], 2000), Ok(1), "poll");
    sleep_ms(45);
    let ticks = number(&read(&timer, 8).what("read")?);
    check!((4..200).contains(&ticks), "{ticks} ticks of 10 ms in 55 ms");
    let mut left = [0_u64; 4];
    sys!(SYS_timerfd_gettime, &timer, left.as_mut_ptr()).what("timerfd_gettime")?;
    check!(left[1] == 10_000_000 && left[3] <= 10_000_000, "what is left: {left:?}");
    sys!(SYS_timerfd_settime, &timer, 0, setting(0, 0).as_ptr(), 0).what("disarm")?;
    let _ = read(&timer, 8);
    sleep_ms(20);
    refused("after it was disarmed", read(&timer, 8), libc::EAGAIN)?;
    refused("an unknown clock", sys!(SYS_timerfd_create, 99, 0), libc::EINVAL)?;
    refused(
        "too many nanoseconds",
        sys!(SYS_timerfd_settime, &timer, 0, [0_u64, 0, 0, 1_000_000_000].as_ptr(), 0),
        libc::EINVAL,
    )
}

fn timerfd_absolute() -> Outcome {
    let timer = fd(sys!(SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0), "timerfd_create")?;
    let due = now_ns(libc::CLOCK_MONOTONIC) + 30_000_000;
    sys!(
        SYS_timerfd_settime,
        &timer,
        libc::TFD_TIMER_ABSTIME,
        setting(0, due).as_ptr(),
        0
    )
    .what("timerfd_settime")?;
    same!(number(&read(&timer, 8).what("read")?), 1, "ticks");
    check!(now_ns(libc::CLOCK_MONOTONIC) >= due, "it came too early");
    sys!(
        SYS_timerfd_settime,
        &timer,
        libc::TFD_TIMER_ABSTIME,
        setting(0, 1).as_ptr(),
        0
    )
    .what("in the past")?;
    same!(
        number(&read(&timer, 8).what("read")?),
        1,
        "a time in the past is due at once"
    );
    Ok(())
}

fn fionread() -> Outcome {
    let (reader, writer) = pipe(0)?;
    write(&writer, b"12345").what("write")?;
    let mut count = 0_i32;
    sys!(SYS_ioctl, &reader, libc::FIONREAD, &raw mut count).what("FIONREAD")?;
    same!(count, 5, "bytes to read");
    let on = 1_i32;
    sys!(SYS_ioctl, &reader, libc::FIONBIO, &raw const on).what("FIONBIO")?;
    read(&reader, 5).what("read")?;
    refused("after FIONBIO", read(&reader, 1), libc::EAGAIN)
}

fn splice_or_refuse() -> Outcome {
    let (reader, writer) = pipe(0)?;
    let (out_reader, out_writer) = pipe(0)?;
    write(&writer, b"spliced").what("write")?;
    match sys!(SYS_splice, &reader, 0, &out_writer, 0, 100, 0) {
        Ok(n) => {
            same!(n, 7, "splice");
            same!(read(&out_reader, 10).what("read")?, b"spliced".to_vec(), "content");
            Ok(())
        }
        // A kernel without it says so, and programs fall back to read and write.
        Err(e) => refused("splice", Err::<i64, _>(e), libc::ENOSYS),
    }
}
