//! The device itself: requests, answers, events, and what must be refused.

use std::thread;
use std::time::Duration;

use sis_protocol::control::{
    ErrorCode, EventKind, MAX_MESSAGE_BYTES, Message, Metrics, Request, RequestBody, ResponseBody, Selection,
};
use sis_protocol::hello::Hello;

use super::client::Client;
use crate::sys::{Ended, Errno, Outcome, child, now_ns, open, poke, read, refused, wait, write};

pub(super) fn hello() -> Outcome {
    let mut client = Client::open()?;
    match client.ask(RequestBody::Hello(Hello::new("sis-guest")))? {
        ResponseBody::Hello(hello) => {
            check!(hello.software.starts_with("sis-kernel"), "{hello:?}");
        }
        other => return Err(format!("{other:?}")),
    }
    let mut stranger = Hello::new("sis-guest");
    stranger.protocol_major += 1;
    match client.ask(RequestBody::Hello(stranger))? {
        ResponseBody::Error(failure) if failure.code == ErrorCode::Unsupported => Ok(()),
        other => Err(format!("another major version: {other:?}")),
    }
}

fn snapshot(client: &mut Client) -> Result<Metrics, String> {
    match client.ask(RequestBody::Metrics)? {
        ResponseBody::Metrics(metrics) => Ok(*metrics),
        other => Err(format!("{other:?}")),
    }
}

pub(super) fn metrics() -> Outcome {
    let mut client = Client::open()?;
    let first = snapshot(&mut client)?;
    let end = now_ns(libc::CLOCK_MONOTONIC) + 1_200_000_000;
    while now_ns(libc::CLOCK_MONOTONIC) < end {
        thread::yield_now();
    }
    let second = snapshot(&mut client)?;
    println!("{second:?}");
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    same!(second.cpus.len(), cpus, "CPUs");
    let mut busy = 0;
    for (cpu, (a, b)) in first.cpus.iter().zip(&second.cpus).enumerate() {
        let sum = b.user_ns + b.system_ns + b.idle_ns + b.irq_ns;
        let up = second.uptime_ns.unwrap_or(0);
        check!(
            sum <= up + 20_000_000 && sum + 20_000_000 >= up,
            "CPU {cpu}: {sum} ns of {up}"
        );
        check!(
            b.user_ns >= a.user_ns && b.system_ns >= a.system_ns && b.idle_ns + 1_000_000 >= a.idle_ns,
            "CPU {cpu} runs backwards: {a:?} {b:?}"
        );
        busy += b.user_ns + b.system_ns - a.user_ns - a.system_ns;
    }
    check!(
        (1_000_000_000..3_000_000_000).contains(&busy),
        "a busy CPU for 1.2 s shows as {busy} ns"
    );
    let (total, free) = (second.mem_total_bytes.unwrap_or(0), second.mem_free_bytes.unwrap_or(0));
    check!(
        total > 100 << 20 && 0 < free && free < total,
        "{free} of {total} bytes free"
    );
    check!(
        second.mem_kernel_bytes.is_some_and(|b| b > 100_000 && b < total / 4),
        "kernel memory"
    );
    check!(second.mem_zero_pool_bytes.is_some_and(|b| b > 0), "no pre-zeroed page");
    for (name, a, b) in [
        ("uptime", first.uptime_ns, second.uptime_ns),
        ("context switches", first.context_switches, second.context_switches),
        ("interrupts", first.interrupts, second.interrupts),
        ("system calls", first.syscalls, second.syscalls),
    ] {
        check!(
            a.is_some_and(|a| b.is_some_and(|b| b > a)),
            "{name} stand still: {a:?}, {b:?}"
        );
    }
    for (name, value) in [
        ("faults", second.faults_minor),
        ("boot time", second.boot_time_ns),
        ("MMU time", second.mmu_enable_ns),
        ("counter frequency", second.cntfrq_hz),
        ("context switch time", second.ctx_switch_ns),
        ("interrupt latency", second.irq_latency_ns),
        ("processes", second.processes.map(u64::from)),
        ("threads", second.threads.map(u64::from)),
    ] {
        check!(value.is_some_and(|v| v > 0), "{name}: {value:?}");
    }
    check!(second.unknown_syscalls.is_some(), "{second:?}");
    check!(
        second.strategy.is_some() && second.pending_approvals == Some(0),
        "{second:?}"
    );
    Ok(())
}

/// Writes bytes; the error that answers them and the id.
fn error_to(client: &mut Client, bytes: &[u8]) -> Result<(u32, ErrorCode, String), String> {
    let written = write(&client.fd, bytes).map_err(|e| format!("write: {e}"))?;
    same!(written, bytes.len(), "bytes taken");
    match client.wait(5000)? {
        Some(Message::Response {
            id,
            body: ResponseBody::Error(failure),
        }) => Ok((id, failure.code, failure.message)),
        other => Err(format!("{bytes:x?} is answered by {other:?}")),
    }
}

pub(super) fn malformed() -> Outcome {
    let mut client = Client::open()?;
    let good = Request {
        id: 70_000,
        body: RequestBody::MemApprove {
            which: Selection::Ids(vec![1, 2, 3]),
            by: Some("nobody".to_owned()),
        },
    }
    .to_cbor();
    for length in 1..good.len() {
        let (id, code, _) = error_to(&mut client, &good[..length])?;
        same!(code, ErrorCode::InvalidRequest, "a request that is cut short");
        same!(
            id,
            if length >= 7 { 70_000 } else { 0 },
            format!("the id in {length} bytes")
        );
    }
    let longer = [good.as_slice(), &[0]].concat();
    same!(
        error_to(&mut client, &longer)?.1,
        ErrorCode::InvalidRequest,
        "bytes after the end"
    );
    let many = Request {
        id: 1,
        body: RequestBody::MemReject {
            which: Selection::Ids((0..101).collect()),
            by: None,
        },
    };
    same!(
        error_to(&mut client, &many.to_cbor())?.1,
        ErrorCode::InvalidRequest,
        "too long a list"
    );
    // {0: 9, 1: [200, {}]}
    let newer = [0xa2, 0x00, 0x09, 0x01, 0x82, 0x18, 200, 0xa0];
    let (id, code, _) = error_to(&mut client, &newer)?;
    same!((id, code), (9, ErrorCode::Unsupported), "a request of a newer version");
    for opening in [0x9f_u8, 0x81, 0xbf, 0xc1, 0x5f] {
        let deep = vec![opening; MAX_MESSAGE_BYTES];
        same!(
            error_to(&mut client, &deep)?.1,
            ErrorCode::InvalidRequest,
            "endless nesting"
        );
    }
    let newer_selection = [0xa2, 0x00, 0x0a, 0x01, 0x82, 0x08, 0xa1, 0x00, 0x82, 0x18, 77, 0xa0];
    same!(
        error_to(&mut client, &newer_selection)?.1,
        ErrorCode::Unsupported,
        "a selection of a newer version"
    );
    let future = RequestBody::Subscribe { after_seq: u64::MAX };
    let bytes = Request { id: 5, body: future }.to_cbor();
    same!(
        error_to(&mut client, &bytes)?.1,
        ErrorCode::NotFound,
        "a cursor ahead of everything"
    );
    match client.ask(RequestBody::MemSetStrategy {
        strategy: sis_protocol::control::Strategy::Unknown(9),
    })? {
        ResponseBody::Error(failure) if failure.code == ErrorCode::InvalidRequest => {}
        other => return Err(format!("an unknown strategy: {other:?}")),
    }
    snapshot(&mut client).map(drop)
}

/// Random bytes and damaged requests: each is answered, whatever it is.
pub(super) fn noise() -> Outcome {
    let mut client = Client::open()?;
    let mut state = 0x9e37_79b9_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let samples: Vec<Vec<u8>> = [
        RequestBody::Metrics,
        RequestBody::LogTail { max: 3 },
        RequestBody::MemApprovals,
        RequestBody::Hello(Hello::new("noise")),
        RequestBody::MemHistory { max: 2 },
    ]
    .into_iter()
    .map(|body| Request { id: 3, body }.to_cbor())
    .collect();
    for round in 0..5000 {
        let mut bytes = if round % 3 == 0 {
            (0..1 + random() % 200).map(|_| random() as u8).collect()
        } else {
            samples[random() as usize % samples.len()].clone()
        };
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        write(&client.fd, &bytes).map_err(|e| format!("{bytes:x?}: {e}"))?;
        loop {
            match client.wait(5000)? {
                Some(Message::Response { .. }) => break,
                Some(_) => {}
                None => return Err(format!("no answer to {bytes:x?}")),
            }
        }
    }
    // A damaged request may have set something.
    for body in [
        RequestBody::Unsubscribe,
        RequestBody::MemApprovalMode { on: Some(true) },
        RequestBody::MemQueryMode { on: Some(false) },
    ] {
        client.ask(body)?;
    }
    snapshot(&mut client).map(drop)
}

pub(super) fn sizes() -> Outcome {
    let client = Client::open()?;
    refused("nothing written", write(&client.fd, &[]), libc::EINVAL).or_else(|why| {
        // write(2) of no bytes may also end before it reaches the device.
        if write(&client.fd, &[]) == Ok(0) {
            Ok(())
        } else {
            Err(why)
        }
    })?;
    refused(
        "too long a request",
        write(&client.fd, &vec![0; MAX_MESSAGE_BYTES + 1]),
        libc::EMSGSIZE,
    )?;
    refused("nothing to read", read(&client.fd, 64), libc::EAGAIN)?;
    refused(
        "a request from nowhere",
        sys!(SYS_write, &client.fd, 8, 100),
        libc::EFAULT,
    )?;
    let mut client = client;
    client.send(RequestBody::Metrics).map_err(|e| e.to_string())?;
    for limit in [1, 10, 40] {
        refused("a part of a message", read(&client.fd, limit), libc::EMSGSIZE)?;
    }
    refused(
        "a message to nowhere",
        sys!(SYS_read, &client.fd, 8, MAX_MESSAGE_BYTES),
        libc::EFAULT,
    )?;
    match client.receive()? {
        Some(Message::Response {
            body: ResponseBody::Metrics(_),
            ..
        }) => Ok(()),
        other => Err(format!("after refused reads the message is {other:?}")),
    }
}

pub(super) fn answers_are_bounded() -> Outcome {
    let mut client = Client::open()?;
    let mut sent = Vec::new();
    let refusal = loop {
        match client.send(RequestBody::MemStatus) {
            Ok(id) if sent.len() < 1000 => sent.push(id),
            Ok(_) => return Err("a thousand answers wait".to_owned()),
            Err(e) => break e,
        }
    };
    same!(refusal, Errno(libc::EAGAIN), "one request too many");
    check!(sent.len() >= 4, "only {} answers may wait", sent.len());
    same!(
        client.poll(libc::POLLIN | libc::POLLOUT, 0)?,
        libc::POLLIN,
        "poll with answers that wait"
    );
    for id in sent {
        match client.receive()? {
            Some(Message::Response { id: of, .. }) if of == id => {}
            other => return Err(format!("instead of the answer to {id}: {other:?}")),
        }
    }
    same!(client.receive()?, None, "messages left");
    snapshot(&mut client).map(drop)
}

pub(super) fn poll() -> Outcome {
    let mut client = Client::open()?;
    same!(
        client.poll(libc::POLLIN | libc::POLLOUT, 0)?,
        libc::POLLOUT,
        "poll of an idle device"
    );
    client.send(RequestBody::Metrics).map_err(|e| e.to_string())?;
    same!(
        client.poll(libc::POLLIN | libc::POLLOUT, 1000)?,
        libc::POLLIN | libc::POLLOUT,
        "poll with an answer"
    );
    client.receive()?;
    // Epoll, and an event that comes while it waits.
    client.follow()?;
    let epoll = crate::sys::fd(sys!(SYS_epoll_create1, 0), "epoll_create1")?;
    let mut interest = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: 7,
    };
    sys!(
        SYS_epoll_ctl,
        &epoll,
        libc::EPOLL_CTL_ADD,
        &client.fd,
        &raw mut interest
    )
    .map_err(|e| e.to_string())?;
    while client.receive()?.is_some() {}
    let late = thread::spawn(|| {
        thread::sleep(Duration::from_millis(50));
        log("a line for epoll")
    });
    let found = client.event("line for epoll", 0, |_| None::<()>);
    check!(found.is_err(), "an event before it happened");
    let mut ready = libc::epoll_event { events: 0, u64: 0 };
    let count = sys!(SYS_epoll_pwait, &epoll, &raw mut ready, 1, 2000, 0, 0).map_err(|e| e.to_string())?;
    let data = ready.u64;
    same!((count, data), (1, 7), "epoll");
    late.join().map_err(|_| "the thread broke".to_owned())??;
    client
        .event("line for epoll", 1000, |kind| is_line(kind, "a line for epoll"))
        .map(drop)
}

/// Writes a line to the kernel log.
fn log(text: &str) -> Outcome {
    let kmsg = open("/dev/kmsg", libc::O_WRONLY, 0).map_err(|e| format!("/dev/kmsg: {e}"))?;
    write(&kmsg, format!("<7>{text}\n").as_bytes())
        .map(drop)
        .map_err(|e| format!("/dev/kmsg: {e}"))
}

fn is_line(kind: &EventKind, text: &str) -> Option<()> {
    matches!(kind, EventKind::LogLine(line) if line.text.contains(text)).then_some(())
}

pub(super) fn log_events() -> Outcome {
    let mut client = Client::open()?;
    client.follow()?;
    let mut latencies = Vec::new();
    let mut before = None;
    for n in 0..200 {
        let text = format!("line {n} of the test");
        let begin = now_ns(libc::CLOCK_MONOTONIC);
        log(&text)?;
        let (event, ()) = client.event(&text, 2000, |kind| is_line(kind, &text))?;
        latencies.push(now_ns(libc::CLOCK_MONOTONIC) - begin);
        check!(
            event.ts_ns >= begin && event.ts_ns <= now_ns(libc::CLOCK_MONOTONIC),
            "an event of {} ns, logged at {begin}",
            event.ts_ns
        );
        check!(
            before.is_none_or(|b| event.seq > b),
            "number {} after {before:?}",
            event.seq
        );
        before = Some(event.seq);
    }
    latencies.sort_unstable();
    println!(
        "log line to reader: median {} ns, p99 {} ns",
        latencies[100], latencies[197]
    );
    check!(latencies[197] < 100_000_000, "p99 is {} ns", latencies[197]);
    client.ask(RequestBody::Unsubscribe)?;
    log("nobody hears this")?;
    same!(client.wait(100)?, None, "an event after the end of the subscription");
    Ok(())
}

/// Two files see the same events, and a blocking read waits for one.
pub(super) fn two_readers() -> Outcome {
    let (mut one, mut two) = (Client::open()?, Client::open()?);
    one.follow()?;
    two.follow()?;
    sys!(SYS_fcntl, &two.fd, libc::F_SETFL, 0).map_err(|e| e.to_string())?;
    let reader = thread::spawn(move || {
        loop {
            match two.receive() {
                Ok(Some(Message::Event(event))) if is_line(&event.kind, "for both").is_some() => return Ok(event),
                Ok(Some(_)) => {}
                other => return Err(format!("a blocking read: {other:?}")),
            }
        }
    });
    thread::sleep(Duration::from_millis(50));
    log("for both")?;
    let (first, ()) = one.event("line", 2000, |kind| is_line(kind, "for both"))?;
    let second = reader.join().map_err(|_| "the thread broke".to_owned())??;
    same!(first, second, "the same event");
    Ok(())
}

pub(super) fn crash_event() -> Outcome {
    let mut client = Client::open()?;
    client.follow()?;
    let pid = child(|| {
        poke(0x18, 1);
        0
    })?;
    same!(
        wait(pid, 0).map_err(String::from)?,
        Ended::Signal(libc::SIGSEGV),
        "the child's end"
    );
    let (_, (crashed, signal, address, pc)) = client.event("crash", 2000, |kind| match kind {
        EventKind::ProcessCrash {
            pid,
            signal,
            fault_address,
            pc,
            ..
        } => Some((*pid, *signal, *fault_address, *pc)),
        _ => None,
    })?;
    same!(
        (crashed, signal, address),
        (pid as u32, 11, Some(0x18)),
        "who crashed, how and where"
    );
    check!(pc.is_some_and(|pc| pc > 0x1000), "the program counter is {pc:?}");
    Ok(())
}

/// Who does not read while thousands of events happen is told exactly how many he missed.
pub(super) fn slow_reader() -> Outcome {
    let mut client = Client::open()?;
    client.follow()?;
    let ResponseBody::Subscribed { head_cursor, .. } = client.ask(RequestBody::Subscribe { after_seq: 0 })? else {
        return Err("subscribe".to_owned());
    };
    let resumed = client.ask(RequestBody::Subscribe { after_seq: head_cursor })?;
    check!(matches!(resumed, ResponseBody::Subscribed { .. }), "{resumed:?}");
    for n in 0..6000 {
        log(&format!("flood {n}"))?;
    }
    let (mut cursor, mut lost, mut seen) = (head_cursor, 0, 0);
    let mut last = 0;
    while let Some(message) = client.wait(300)? {
        match message {
            Message::Lost { count } => {
                cursor += count;
                lost += count;
            }
            Message::Event(event) => {
                same!(event.seq, cursor + 1, "the number after what was lost");
                cursor = event.seq;
                seen += 1;
                if let EventKind::LogLine(line) = &event.kind
                    && let Some(n) = line.text.strip_prefix("flood ")
                {
                    let n: u64 = n.parse().map_err(|_| line.text.clone())?;
                    check!(n > last || n == 0 || last == 0, "flood {n} after {last}");
                    last = n;
                }
            }
            other => return Err(format!("{other:?}")),
        }
    }
    println!("slow reader: {lost} lost, {seen} seen");
    check!(lost > 1000 && seen > 1000, "{lost} lost and {seen} seen");
    same!(last, 5999, "the last line");
    Ok(())
}

pub(super) fn stale_cursor() -> Outcome {
    let mut client = Client::open()?;
    let ResponseBody::Subscribed { oldest_cursor, .. } = client.ask(RequestBody::Subscribe { after_seq: 1 })? else {
        return Err("subscribe".to_owned());
    };
    check!(oldest_cursor > 1, "all events are still kept");
    same!(
        client.receive()?,
        Some(Message::Lost {
            count: oldest_cursor - 1
        }),
        "what a stale cursor gets first"
    );
    match client.receive()? {
        Some(Message::Event(event)) => {
            same!(event.seq, oldest_cursor + 1, "the oldest event");
        }
        other => return Err(format!("{other:?}")),
    }
    Ok(())
}

pub(super) fn log_tail() -> Outcome {
    let mut client = Client::open()?;
    log("the end of the log")?;
    for max in [0, 1, 7, 100, u32::MAX] {
        let lines = match client.ask(RequestBody::LogTail { max })? {
            ResponseBody::LogTail(lines) => lines,
            other => return Err(format!("{other:?}")),
        };
        check!(lines.len() <= max as usize, "{} lines of {max}", lines.len());
        check!(max < 100 || lines.len() >= 100, "only {} lines of {max}", lines.len());
        if max > 0 {
            let last = lines.last().map(|line| line.text.as_str());
            same!(last, Some("the end of the log"), "the last line");
        }
        check!(lines.is_sorted_by_key(|line| line.ts_ns), "lines out of order");
    }
    Ok(())
}

pub(super) fn selfcheck() -> Outcome {
    let mut client = Client::open()?;
    let id = client.send(RequestBody::SelfCheck).map_err(|e| e.to_string())?;
    // The device answers others meanwhile; a second one at once is refused or comes after.
    snapshot(&mut Client::open()?)?;
    let results = match client.answer_to(id)? {
        ResponseBody::SelfCheck(results) => results,
        other => return Err(format!("{other:?}")),
    };
    check!(results.len() >= 10, "{} checks", results.len());
    for result in &results {
        println!(
            "kernel {}: {:?} in {:?} ns",
            result.name, result.failure, result.duration_ns
        );
    }
    let failed: Vec<_> = results.iter().filter(|r| r.failure.is_some()).collect();
    check!(failed.is_empty(), "{failed:?}");
    Ok(())
}
