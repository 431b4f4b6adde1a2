//! `status`: what runs here and whether it can be reached.

use super::{Context, print_json};
use crate::failure::{Exit, Outcome};
use crate::link::{self, Link};
use crate::run_state::RunState;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) fn run(context: &Context, board: Option<&str>) -> Outcome {
    let names = match board {
        Some(name) => vec![context.workspace.board(name)?.name],
        None => context.workspace.boards()?,
    };
    let states: Vec<RunState> = names
        .iter()
        .filter_map(|name| RunState::load(&context.workspace, name))
        .collect();
    let mut boards = Vec::new();
    for state in &states {
        boards.push(of_running(context, state)?);
    }
    if context.is_json {
        print_json(&json!({ "boards": boards }))?;
    } else if boards.is_empty() {
        println!("no board is running");
    } else {
        for board in &boards {
            let text = |key: &str| board.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
            println!("{}  {}  {}", text("board"), text("link"), text("reason"));
        }
    }
    Ok(if boards.is_empty() {
        Exit::NotRunning.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// A running board with what its agent says; why not, when it does not answer.
pub(crate) fn of_running(context: &Context, state: &RunState) -> Outcome<Value> {
    let mut value = json!({
        "board": state.board, "state": "running", "pid": state.qemu.pid, "agentPort": state.agent_port,
        "startedMs": state.started_ms,
        "console": context.workspace.run_folder(&state.board).join(sis_qemu::command::CONSOLE_LOG),
    });
    let reached = link::block_on(async {
        let link = Link::connect(context, Some(&state.board)).await?;
        let metrics = link.client.metrics_once().await.ok();
        Ok((link.client.state(), metrics))
    });
    match reached {
        Ok((sis_client::LinkState::Online(welcome), metrics)) => {
            value["link"] = json!("online");
            value["role"] = json!(welcome.role);
            value["agent"] = json!(welcome.hello.software);
            value["metrics"] = json!(metrics);
        }
        Ok(_) => value["link"] = json!("lost"),
        Err::<_, crate::failure::Failure>(failure) => {
            value["link"] = json!(if failure.exit == Exit::NotPaired {
                "not paired"
            } else {
                "unreachable"
            });
            value["reason"] = json!(failure.message);
        }
    }
    Ok(value)
}
