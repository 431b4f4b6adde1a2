//! `approvals`, `approve`, `reject`.

use super::{Context, print_json};
use crate::arguments::Decide;
use crate::failure::{Exit, Failure, Outcome};
use crate::link::{self, Link, request_failure};
use sis_protocol::control::{Counts, Proposal, RequestBody, ResponseBody, Selection};
use std::process::ExitCode;

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Approve,
    Reject,
}

pub(crate) fn list(context: &Context, board: Option<&str>) -> Outcome {
    link::block_on(async {
        let link = Link::connect(context, board).await?;
        let proposals = waiting(&link).await?;
        if context.is_json {
            return print_json(&serde_json::json!({ "approvals": proposals }));
        }
        if proposals.is_empty() {
            println!("nothing waits for approval");
        }
        for proposal in &proposals {
            println!("{:>4}  {}", proposal.id, describe(proposal));
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) async fn waiting(link: &Link) -> Outcome<Vec<Proposal>> {
    let answer = link
        .client
        .control(RequestBody::MemApprovals)
        .await
        .map_err(|error| request_failure(&error))?;
    match answer {
        ResponseBody::Approvals(proposals) => Ok(proposals),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(answer: &ResponseBody) -> Failure {
    Failure::new(
        "request.answer",
        format_args!("the board answered something else: {answer:?}"),
    )
}

/// A proposal in one line, with its reason.
pub(crate) fn describe(proposal: &Proposal) -> String {
    format!("{}  {}", summary_of(proposal), proposal.reason)
}

/// What is proposed, and how sure of it the board is.
pub(crate) fn summary_of(proposal: &Proposal) -> String {
    let change = match (proposal.from, proposal.to) {
        (Some(from), Some(to)) => format!("{:?}: {from:?} -> {to:?}", proposal.kind),
        _ => format!("{:?}", proposal.kind),
    };
    let confidence = f64::from(proposal.confidence) / 10.0;
    format!("{change}  risk {}  confidence {confidence:.0} %", proposal.risk)
}

pub(crate) fn decide(context: &Context, verdict: Verdict, wishes: &Decide) -> Outcome {
    let which = if wishes.all {
        Selection::All
    } else {
        Selection::Ids(wishes.ids.clone())
    };
    link::block_on(async {
        let link = Link::connect(context, wishes.board.as_deref()).await?;
        let counts = carry_out(&link, verdict, which).await?;
        if context.is_json {
            print_json(&counts)?;
        } else {
            println!("{}", summary(counts));
        }
        // Asked for by number and not there: not what the person meant.
        let is_wrong = counts.failed > 0 || (!wishes.all && counts.not_found > 0);
        Ok(if is_wrong {
            Exit::Failed.into()
        } else {
            ExitCode::SUCCESS
        })
    })
}

pub(crate) async fn carry_out(link: &Link, verdict: Verdict, which: Selection) -> Outcome<Counts> {
    let request = match verdict {
        Verdict::Approve => RequestBody::MemApprove { which, by: None },
        Verdict::Reject => RequestBody::MemReject { which, by: None },
    };
    match link
        .client
        .control(request)
        .await
        .map_err(|error| request_failure(&error))?
    {
        ResponseBody::Decided(counts) => Ok(counts),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn summary(counts: Counts) -> String {
    let parts = [
        (counts.executed, "executed"),
        (counts.skipped, "skipped as no longer needed"),
        (counts.failed, "failed"),
        (counts.rejected, "rejected"),
        (counts.not_found, "not waiting"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if said.is_empty() {
        "nothing waited".into()
    } else {
        said.join(", ")
    }
}
