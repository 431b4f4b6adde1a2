//! `doctor`.

use super::{Context, print_json};
use crate::failure::{Exit, Outcome};
use crate::needs;
use std::process::ExitCode;

pub(crate) fn run(context: &Context) -> Outcome {
    let needs = needs::all(&context.workspace);
    let is_healthy = needs.iter().all(|need| need.state.is_ok());
    if context.is_json {
        let list: Vec<_> = needs
            .iter()
            .map(|need| {
                let (found, missing) = (need.state.as_ref().ok(), need.state.as_ref().err());
                serde_json::json!({ "name": need.name, "why": need.why, "found": found, "missing": missing })
            })
            .collect();
        print_json(&serde_json::json!({ "healthy": is_healthy, "needs": list }))?;
    } else {
        for need in &needs {
            match &need.state {
                Ok(found) => println!("    ok  {:<26}{found}", need.name),
                Err(wrong) => println!("missing {:<26}{wrong}; {}", need.name, need.why),
            }
        }
        if !is_healthy {
            println!("fix: cargo sis setup");
        }
    }
    Ok(if is_healthy {
        ExitCode::SUCCESS
    } else {
        Exit::Missing.into()
    })
}
