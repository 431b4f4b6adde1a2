//! `sis-agent`: see the library's documentation.
#![forbid(unsafe_code)]

mod arguments;

use std::path::Path;
use std::process::ExitCode;

use arguments::{Action, Run, SourceChoice};
use serde_json::json;
use sis_agent::{Agent, ask_local, set_quiet, source};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let action = match arguments::parse(std::env::args().skip(1)) {
        Ok(action) => action,
        Err(error) => {
            eprintln!("sis-agent: {error}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let result = match action {
        Action::Help => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
        Action::Version => {
            println!("sis-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Action::Pair { socket, role } => local(&socket, &json!({"cmd": "pair", "role": role}), "link"),
        Action::List { socket } => local(&socket, &json!({"cmd": "list"}), ""),
        Action::Unpair { socket, client } => local(&socket, &json!({"cmd": "unpair", "client": client}), ""),
        Action::Status { socket } => local(&socket, &json!({"cmd": "status"}), ""),
        Action::Run(run) => start(*run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>sis-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the running agent; prints one field of the answer as text, or all of it as JSON.
fn local(socket: &Path, request: &serde_json::Value, field: &str) -> Result<(), Box<dyn std::error::Error>> {
    let answer = ask_local(socket, request)?;
    match answer.get(field).and_then(serde_json::Value::as_str) {
        Some(text) => println!("{text}"),
        None => println!("{answer}"),
    }
    Ok(())
}

fn start(run: Run) -> Result<(), Box<dyn std::error::Error>> {
    set_quiet(run.is_quiet);
    // One thread is enough for what a board has to say, and costs least.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let device = &run.control_device;
        let source = match run.source {
            SourceChoice::Control => source::control(device)?,
            SourceChoice::Proc => source::proc(),
            SourceChoice::Auto if device.exists() => source::control(device)?,
            SourceChoice::Auto => source::proc(),
        };
        let agent = Agent::start(&run.config, source)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        agent.shut_down().await;
        Ok(())
    })
}
