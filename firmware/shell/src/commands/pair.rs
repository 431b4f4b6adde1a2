//! `pair`: asks the agent for a link that lets one client in.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::fail;

/// The agent's local socket; newline-delimited JSON, one answer a request.
pub(crate) const AGENT: &str = "/run/sis/agent.sock";
/// How long the agent may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const ROLES: [&str; 3] = ["viewer", "operator", "owner"];

/// Sends the agent one request and returns its answer.
pub(crate) fn ask_agent(request: &Value) -> Result<Value, String> {
    let hint = "is sis-agent running? see ps and dmesg";
    let mut stream =
        UnixStream::connect(AGENT).map_err(|e| format!("cannot reach the agent at {AGENT}: {e}; {hint}"))?;
    let limit = stream
        .set_read_timeout(Some(ANSWER_LIMIT))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_LIMIT)));
    limit
        .and_then(|()| stream.write_all(format!("{request}\n").as_bytes()))
        .map_err(|e| format!("{e}; {hint}"))?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .map_err(|e| format!("the agent does not answer: {e}; {hint}"))?;
    if line.is_empty() {
        return Err(format!("the agent closed the connection without an answer; {hint}"));
    }
    serde_json::from_str(&line).map_err(|e| format!("the agent's answer is no JSON: {e}: {}", line.trim_end()))
}

pub(super) fn command(arguments: &[&str]) -> ExitCode {
    let (mut role, mut is_json) = ("viewer", false);
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        match word {
            "--json" => is_json = true,
            "--role" => role = words.next().copied().unwrap_or(""),
            _ => role = word.strip_prefix("--role=").unwrap_or("?"),
        }
    }
    if !ROLES.contains(&role) {
        eprintln!("usage: pair [--role {}] [--json]", ROLES.join("|"));
        return ExitCode::from(2);
    }
    let answer = match ask_agent(&json!({"cmd": "pair", "role": role})) {
        Ok(answer) => answer,
        Err(error) => return fail("pair", &error),
    };
    if let Some(error) = answer.get("error") {
        let text = error
            .get("message")
            .or(Some(error))
            .and_then(Value::as_str)
            .map_or_else(|| error.to_string(), str::to_owned);
        return fail("pair", &text);
    }
    let Some(link) = answer.get("link").and_then(Value::as_str) else {
        return fail("pair", &format!("the agent answered without a link: {answer}"));
    };
    if is_json {
        println!("{answer}");
    } else {
        println!("{link}");
        println!("One client may use it once, as {role}. On the host: cargo sis pair '{link}'");
    }
    ExitCode::SUCCESS
}
