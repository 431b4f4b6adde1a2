//! Questions and commands, each checked against the client's role.

use std::sync::Arc;

use sis_protocol::control::{ErrorCode, Failure, RequestBody, ResponseBody};
use sis_protocol::pairing::{KeyHash, required};
use sis_protocol::wire::{AgentBody, AgentRequest, AgentResponse, AgentResponseBody, Opened, PairedClient};

use super::{Stream, StreamError, forbidden};
use crate::paired::Client;
use crate::state::State;
use crate::{info, power, sampler};

pub(crate) async fn requests(stream: &mut Stream, state: &Arc<State>, client: &Client) -> Result<(), StreamError> {
    stream.send(&Opened::Ready).await?;
    while let Some(AgentRequest { id, body }) = stream.next_item().await? {
        let body = match required(client.role, &body) {
            Ok(()) => answer(state, client, body).await,
            Err(permission) => AgentResponseBody::Error(forbidden(client.role, permission)),
        };
        stream.send(&AgentResponse { id, body }).await?;
    }
    stream.finish();
    Ok(())
}

fn error(code: ErrorCode, message: impl Into<String>) -> AgentResponseBody {
    AgentResponseBody::Error(Failure {
        code,
        message: message.into(),
    })
}

async fn answer(state: &Arc<State>, client: &Client, body: AgentBody) -> AgentResponseBody {
    match body {
        AgentBody::Control(body) => control(state, client, body).await,
        AgentBody::Info => AgentResponseBody::Info(Box::new(info::gather(state).await)),
        AgentBody::Power(action) => match power::power(state, action, &client.name) {
            Ok(()) => AgentResponseBody::Done,
            Err(failure) => AgentResponseBody::Error(failure),
        },
        AgentBody::UpdateStatus => match state.updates.status() {
            Ok(status) => AgentResponseBody::UpdateStatus(Box::new(status)),
            Err(why) => error(ErrorCode::Unavailable, why.to_string()),
        },
        AgentBody::PairedClients => {
            let to_wire = |(client, connected): (Client, bool)| PairedClient {
                key: client.key,
                name: client.name,
                role: client.role,
                paired_ms: client.paired_ms,
                connected,
            };
            AgentResponseBody::PairedClients(state.clients().into_iter().map(to_wire).collect())
        }
        AgentBody::Unpair(key) => unpair(state, client, key),
        AgentBody::NewPairing(role) => match state.new_pairing(role) {
            Ok(link) => AgentResponseBody::PairingLink(link.to_string()),
            Err(why) => error(ErrorCode::Internal, why.to_string()),
        },
        _ => error(
            ErrorCode::Unsupported,
            "this agent does not know the request: update it",
        ),
    }
}

fn unpair(state: &Arc<State>, client: &Client, key: KeyHash) -> AgentResponseBody {
    if key == client.key {
        // Its own connection would end before the answer; the console is the way back in that case.
        return error(
            ErrorCode::InvalidRequest,
            "a client cannot unpair itself: use another owner or the board's console",
        );
    }
    match state.unpair(key) {
        Ok(Some(_)) => AgentResponseBody::Done,
        Ok(None) => error(ErrorCode::NotFound, "no client with that key is paired"),
        Err(why) => error(ErrorCode::Internal, why.to_string()),
    }
}

async fn control(state: &Arc<State>, client: &Client, mut body: RequestBody) -> AgentResponseBody {
    match &mut body {
        RequestBody::Unknown => {
            return error(
                ErrorCode::Unsupported,
                "this agent does not know the request: update it",
            );
        }
        RequestBody::Subscribe { .. } | RequestBody::Unsubscribe => {
            return error(ErrorCode::InvalidRequest, "events come on a stream of their own");
        }
        // Who decides is who the key says, not what the message says.
        RequestBody::MemApprove { by, .. } | RequestBody::MemReject { by, .. } => {
            *by = Some(format!("{} ({})", client.name, client.role));
        }
        _ => {}
    }
    match state.source.ask(body).await {
        ResponseBody::Metrics(mut metrics) => {
            sampler::fill_in(&mut metrics, state, sampler::resident_bytes());
            AgentResponseBody::Control(ResponseBody::Metrics(metrics))
        }
        body => AgentResponseBody::Control(body),
    }
}
