//! Each request and its answer.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use sis_machine::{firmware, log};
use sis_protocol::control::{
    ErrorCode, Failure, LogRecord, MAX_MESSAGE_BYTES, Request, RequestBody, ResponseBody, Selection,
};
use sis_protocol::hello::{self, Hello};

use super::device::Client;
use super::{checks, events, memory, metrics};
use crate::process::thread;
use crate::{init, sched};

/// The program that answers, for [`Hello`].
const SOFTWARE: &str = concat!("sis-kernel ", env!("CARGO_PKG_VERSION"));
/// The longest name of who decides that is recorded; longer ones are cut.
const NAME_BYTES: usize = 64;
/// What an answer's frame and a list's element take besides their texts, generously.
const OVERHEAD_BYTES: usize = 64;
/// As of reboot(2).
const RESTART_ARGUMENT_BYTES: usize = 255;
/// The most log lines looked at for one answer.
const LINES: u32 = 4096;

/// Takes the bytes of one write and sees to it that they are answered, now or later.
pub(super) fn take(client: &Arc<Client>, bytes: &[u8]) {
    match Request::from_cbor(bytes) {
        Ok(Request {
            id,
            body: RequestBody::SelfCheck,
        }) => start_checks(client, id),
        Ok(Request { id, body }) => client.answer(id, answer(client, body)),
        Err(error) => {
            let id = Request::id_of_malformed(bytes).unwrap_or(0);
            client.answer(id, failure(ErrorCode::InvalidRequest, error.to_string()));
        }
    }
}

fn answer(client: &Arc<Client>, body: RequestBody) -> ResponseBody {
    match body {
        RequestBody::Hello(peer) => greet(&peer),
        RequestBody::Metrics => ResponseBody::Metrics(Box::new(metrics::snapshot())),
        RequestBody::Subscribe { after_seq } => subscribe(client, after_seq),
        RequestBody::Unsubscribe => {
            client.unsubscribe();
            ResponseBody::Done
        }
        RequestBody::LogTail { max } => ResponseBody::LogTail(log_tail(max)),
        RequestBody::MemStatus => ResponseBody::MemStatus(Box::new(memory::status())),
        RequestBody::MemApprovals => ResponseBody::Approvals(memory::approvals()),
        RequestBody::MemApprovalMode { on } => ResponseBody::Mode {
            on: memory::approval_mode(on),
        },
        RequestBody::MemQueryMode { on } => ResponseBody::Mode {
            on: memory::query_mode(on),
        },
        RequestBody::MemApprove { which, by } => decide(&which, by, memory::approve),
        RequestBody::MemReject { which, by } => decide(&which, by, memory::reject),
        RequestBody::MemHistory { max } => ResponseBody::History(memory::history(max as usize)),
        RequestBody::MemSetStrategy { strategy } => match memory::set_strategy(strategy, &decider(None)) {
            Ok(()) => ResponseBody::MemStatus(Box::new(memory::status())),
            Err(failure) => ResponseBody::Error(failure),
        },
        RequestBody::RestartArgument { argument } => restart_argument(&argument),
        RequestBody::AutonomyStatus => ResponseBody::Autonomy(memory::autonomy()),
        _ => failure(
            ErrorCode::Unsupported,
            "this kernel does not know the request: update it",
        ),
    }
}

fn failure(code: ErrorCode, message: impl Into<String>) -> ResponseBody {
    ResponseBody::Error(Failure {
        code,
        message: message.into(),
    })
}

fn restart_argument(argument: &str) -> ResponseBody {
    if argument.len() > RESTART_ARGUMENT_BYTES {
        return failure(ErrorCode::InvalidRequest, "a restart's argument has at most 255 bytes");
    }
    match firmware::set_restart_argument(argument) {
        Ok(()) => ResponseBody::Done,
        Err(error) => failure(
            ErrorCode::Unavailable,
            format!("this board's firmware does not take {argument:?}: {error}"),
        ),
    }
}

fn greet(peer: &Hello) -> ResponseBody {
    match hello::check(peer) {
        Ok(()) => ResponseBody::Hello(Hello {
            name: init::facts().map(|f| f.board.clone()),
            build_id: super::build_id(),
            ..Hello::new(SOFTWARE)
        }),
        Err(sentence) => failure(ErrorCode::Unsupported, sentence),
    }
}

fn subscribe(client: &Arc<Client>, after_seq: u64) -> ResponseBody {
    events::catch_up();
    let (oldest_cursor, head_cursor) = events::bounds();
    if after_seq > head_cursor {
        let sentence = format!(
            "event {after_seq} has not happened: the newest is {head_cursor}. The cursor is of another boot; subscribe after 0."
        );
        return failure(ErrorCode::NotFound, sentence);
    }
    // Who has seen nothing misses nothing of what is not kept any more.
    client.subscribe(if after_seq == 0 { oldest_cursor } else { after_seq });
    ResponseBody::Subscribed {
        oldest_cursor,
        head_cursor,
    }
}

/// The newest lines, oldest first, as many as fit into a message.
fn log_tail(max: u32) -> Vec<LogRecord> {
    let (first, end) = log::bounds();
    let from = end.saturating_sub(u64::from(max.min(LINES))).max(first);
    let records = log::read(from, usize::try_from(end - from).unwrap_or(0));
    let mut room = MAX_MESSAGE_BYTES - OVERHEAD_BYTES;
    let mut fitting = 0;
    for record in records.iter().rev() {
        let Some(left) = room.checked_sub(record.text.len() + OVERHEAD_BYTES) else {
            break;
        };
        room = left;
        fitting += 1;
    }
    let skipped = records.len() - fitting;
    records.into_iter().skip(skipped).map(events::line).collect()
}

fn decide(
    which: &Selection,
    by: Option<String>,
    how: impl FnOnce(sis_autonomy::mem::Selection<'_>, &str) -> sis_protocol::control::Counts,
) -> ResponseBody {
    use sis_autonomy::mem::Selection as Which;
    let by = decider(by);
    let which = match which {
        Selection::Ids(ids) => Which::Ids(ids),
        Selection::Oldest(count) => Which::Oldest(*count as usize),
        Selection::All => Which::All,
        _ => {
            return failure(
                ErrorCode::Unsupported,
                "this kernel does not know the selection: update it",
            );
        }
    };
    ResponseBody::Decided(how(which, &by))
}

/// Who decides, for the record: as the asker says, or else the program that asks.
fn decider(by: Option<String>) -> String {
    let mut name: String = match by {
        Some(by) => by.chars().filter(|c| !c.is_control()).collect(),
        None => String::new(),
    };
    if name.is_empty() {
        name = thread::try_current().map_or_else(String::new, |t| format!("{}[{}]", t.name(), t.process.pid));
    }
    while name.len() > NAME_BYTES {
        name.pop();
    }
    name
}

static IS_CHECKING: AtomicBool = AtomicBool::new(false);

/// Checks take their time: a thread of their own does them, one after the other for everybody.
fn start_checks(client: &Arc<Client>, id: u32) {
    if IS_CHECKING.swap(true, Ordering::Acquire) {
        let sentence = "a self-check is running: try again when it is done";
        client.answer(id, failure(ErrorCode::Busy, sentence));
        return;
    }
    let asker = client.clone();
    let body = move || {
        let results = checks::run();
        IS_CHECKING.store(false, Ordering::Release);
        asker.answer(id, ResponseBody::SelfCheck(results));
    };
    if sched::spawn_kernel("selfcheck", body).is_err() {
        IS_CHECKING.store(false, Ordering::Release);
        client.answer(id, failure(ErrorCode::Internal, "no memory for the checking thread"));
    }
}
