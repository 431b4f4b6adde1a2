//! What an unmodified BusyBox must be able to do, on every board: one list, run at the `sis>` prompt.

use sis_harness::{Board, Result, SECOND};

/// A line, its exit status, and a check of what it says.
type Line = (&'static str, i32, fn(&str) -> bool);

/// Of 2,048,000 zero bytes.
const ZEROS_SHA256: &str = "e09534d59390e996d03db62710722cd319f787613231ec0ab6b4d53b0837c94f";

const LINES: &[Line] = &[
    ("ls -l /", 0, |t| {
        ["bin", "dev", "etc", "proc", "tmp"]
            .iter()
            .all(|n| t.lines().any(|l| l.ends_with(&format!(" {n}"))))
    }),
    ("ps", 0, |t| {
        t.contains("/init") && t.contains("sis-shell") && t.contains("ps")
    }),
    ("cat /proc/cpuinfo", 0, |t| {
        t.contains("processor\t: 0") && t.contains("Features")
    }),
    ("dmesg | tail", 0, |t| !t.trim().is_empty()),
    ("sh -c 'exit 42'; echo $?", 0, |t| t.trim() == "42"),
    ("sh -c 'exit 42'", 42, str::is_empty),
    ("yes | head -n 10000 | wc -l", 0, |t| t.trim() == "10000"),
    ("sleep 10 & kill -TERM %1; wait %1; echo $?", 0, |t| {
        t.lines().any(|l| l.trim() == "143")
    }),
    ("find / -xdev -type f | xargs md5sum | wc -l", 0, |t| {
        t.trim().parse::<u32>().is_ok_and(|n| n > 10)
    }),
    ("find /etc -type f | xargs md5sum", 0, |t| {
        t.lines().filter(|l| l.len() > 34 && l.contains("  /etc/")).count() > 4
    }),
    (
        "cd /tmp; mkdir -p t/a; echo hello >t/a/f; ln -s a t/l; tar cf t.tar t; rm -r t; tar xf t.tar; cat t/l/f",
        0,
        |t| t == "hello\n",
    ),
    (
        "seq 20000 >/tmp/s; md5sum </tmp/s; gzip -f /tmp/s; gunzip -c /tmp/s.gz | md5sum",
        0,
        |t| {
            let sums: Vec<&str> = t.lines().collect();
            sums.len() == 2 && sums.first() == sums.last()
        },
    ),
    (
        "seq 100 | awk '{ s += $1 } END { printf \"%d %.2f\\n\", s, s / 7 }'",
        0,
        |t| t == "5050 721.43\n",
    ),
    (
        "printf 'one\\ntwo\\nthree\\n' | sed -n -e '/t/s/\\(t.\\)/<\\1>/gp'",
        0,
        |t| t == "<tw>o\n<th>ree\n",
    ),
    ("top -b -n1 | head -n 6", 0, |t| {
        t.contains("Mem:") && t.contains("CPU:") && t.contains("Load average:")
    }),
    ("free", 0, |t| t.contains("Mem:")),
    ("mount", 0, |t| t.contains(" on /proc type proc")),
    ("uptime", 0, |t| t.contains("load average")),
    ("df /tmp", 0, |t| t.contains("/tmp")),
    ("uname -sm", 0, |t| t == "Linux aarch64\n"),
    ("id -u; whoami", 0, |t| t == "0\nroot\n"),
    ("date +%Y", 0, |t| t.trim().parse::<u32>().is_ok_and(|y| y >= 1970)),
    ("echo a b c | { read x y; echo \"$y\"; }", 0, |t| t == "b c\n"),
    ("for i in 1 2 3; do echo $i; done | sort -r | tr '\\n' ' '", 0, |t| {
        t == "3 2 1 "
    }),
    ("x=7; f() { echo $((x * 6)); }; f; y=$(f); echo $y", 0, |t| {
        t == "42\n42\n"
    }),
    ("dd if=/dev/zero bs=4096 count=500 2>/dev/null | sha256sum", 0, |t| {
        t.starts_with(ZEROS_SHA256)
    }),
    (
        "head -c 100000 /dev/urandom >/tmp/r; cp /tmp/r /tmp/r2; cmp /tmp/r /tmp/r2 && echo same",
        0,
        |t| t == "same\n",
    ),
    ("nosuchcommand", 127, |t| t.contains("not found")),
    ("echo still here", 0, |t| t == "still here\n"),
];

/// Every file there is: on Linux some of /proc wait for ever.
const OURS: &[Line] = &[(
    "find / -type f 2>/dev/null | xargs md5sum 2>/dev/null | wc -l",
    0,
    |t| t.trim().parse::<u32>().is_ok_and(|n| n > 100),
)];

/// The lines that need a network: the loopback.
const NETWORK_LINES: &[Line] = &[
    ("ip addr show lo", 0, |t| t.contains("127.0.0.1")),
    ("ifconfig lo", 0, |t| {
        t.contains("inet addr:127.0.0.1") && t.contains("UP")
    }),
    ("ping -c 2 127.0.0.1", 0, |t| t.contains("2 packets received")),
    (
        "(echo over the wire | nc -l -p 4321 >/tmp/got) & sleep 1; echo question | nc 127.0.0.1 4321; wait; cat /tmp/got",
        0,
        |t| t.contains("over the wire") && t.contains("question"),
    ),
    (
        "mkdir -p /tmp/www; echo page >/tmp/www/p; httpd -p 8081 -h /tmp/www; wget -q -O - http://127.0.0.1:8081/p",
        0,
        |t| t.contains("page"),
    ),
];

/// Runs the list.
///
/// # Errors
/// All lines that went wrong, with what they said.
pub fn run(board: &mut Board) -> Result<()> {
    lines(board, LINES)?;
    if !crate::is_reference() {
        lines(board, OURS)?;
    }
    interrupted_pipeline(board)?;
    stopped_job(board)?;
    vi(board)?;
    parallel_forks(board)
}

/// Runs the list of what needs a network.
///
/// # Errors
/// All lines that went wrong, with what they said.
pub fn run_network(board: &mut Board) -> Result<()> {
    lines(board, NETWORK_LINES)
}

/// Shell script for a minute, a worker for each of `cpus`: free memory returns to where it was.
///
/// # Errors
/// When it does not.
pub fn run_minute(board: &mut Board, cpus: u32) -> Result<()> {
    let free = |board: &mut Board| -> Result<i64> {
        let text = board.run_ok("sync; sleep 1; awk '/MemFree/ { print $2 }' /proc/meminfo", 30 * SECOND)?;
        text.trim()
            .parse()
            .map_err(|_| board.failure(format_args!("MemFree is {text:?}")))
    };
    let work = "work() { end=$(($(date +%s) + $1)); while [ $(date +%s) -lt $end ]; do \
                seq 200 | awk '{ s += $1 } END { print s }' | md5sum >/dev/null; done; }";
    board.run_ok(work, 20 * SECOND)?;
    let workers = |seconds: u32| format!("for n in $(seq {cpus}); do work {seconds} & done; wait");
    board.run_ok(&workers(3), 60 * SECOND)?;
    let before = free(board)?;
    board.run_ok(&workers(60), 180 * SECOND)?;
    let after = free(board)?;
    if before - after >= 2048 {
        return Err(board.failure(format_args!("{before} KiB free before, {after} KiB after")));
    }
    Ok(())
}

fn lines(board: &mut Board, list: &[Line]) -> Result<()> {
    let mut wrong = Vec::new();
    for (command, status, is_right) in list {
        let output = board.run(command, 60 * SECOND)?;
        if output.status != *status || !is_right(&output.text) {
            wrong.push(format!(
                "{command}\n  status {} (wanted {status}), said: {}",
                output.status,
                output.text.trim_end()
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(board.failure(wrong.join("\n")))
    }
}

/// ^C of a foreground pipeline ends all of it, and the prompt comes back.
fn interrupted_pipeline(board: &mut Board) -> Result<()> {
    board.type_text("yes | cat | cat >/dev/null; echo not reached\n")?;
    std::thread::sleep(SECOND);
    board.ctrl('c')?;
    board.wait_prompt(20 * SECOND)?;
    let left = board.run("ps | grep -c '[y]es'", 20 * SECOND)?;
    if left.text.trim() != "0" {
        return Err(board.failure("^C left a part of the pipeline running"));
    }
    Ok(())
}

/// ^Z stops a job, `jobs` shows it, `kill` and `wait` end it.
fn stopped_job(board: &mut Board) -> Result<()> {
    board.type_text("sleep 300\n")?;
    std::thread::sleep(SECOND);
    board.ctrl('z')?;
    board.wait_prompt(20 * SECOND)?;
    let jobs = board.run_ok("jobs", 20 * SECOND)?;
    if !jobs.contains("Stopped") || !jobs.contains("sleep 300") {
        return Err(board.failure(format_args!("after ^Z jobs says {jobs:?}")));
    }
    let output = board.run("kill %1; fg; echo status $?", 20 * SECOND)?;
    if !output.text.contains("status 143") {
        return Err(board.failure(format_args!("ending a stopped job: {:?}", output.text)));
    }
    Ok(())
}

/// `vi` edits a file and leaves the terminal as it was.
fn vi(board: &mut Board) -> Result<()> {
    board.run_ok("rm -f /tmp/vi", 20 * SECOND)?;
    board.type_text("vi /tmp/vi\n")?;
    board.expect("~", 20 * SECOND)?;
    for keys in ["ihello\nworld", "\x1b", "1Gdd", "p", ":wq\n"] {
        board.type_text(keys)?;
        // BusyBox's vi takes an Escape for the start of a sequence when something follows at once.
        std::thread::sleep(SECOND / 3);
    }
    board.wait_prompt(20 * SECOND)?;
    let text = board.run_ok("cat /tmp/vi", 20 * SECOND)?;
    if text != "world\nhello\n" {
        return Err(board.failure(format_args!("vi wrote {text:?}")));
    }
    Ok(())
}

/// Many processes at a time, all collected.
fn parallel_forks(board: &mut Board) -> Result<()> {
    let script = "i=0; while [ $i -lt 300 ]; do (echo $i >/dev/null; true) & i=$((i+1)); done; wait; echo all";
    let output = board.run_ok(script, 120 * SECOND)?;
    if !output.lines().any(|l| l == "all") {
        return Err(board.failure(format_args!("parallel forks: {output:?}")));
    }
    let left = board.run_ok("ps | wc -l", 30 * SECOND)?;
    if left.trim().parse::<u32>().unwrap_or(u32::MAX) > 400 {
        return Err(board.failure(format_args!("{left} processes are left")));
    }
    Ok(())
}
