//! `watch`: a board, live, in the whole terminal.
//!
//! [`model`] is what is known, changed by what arrives and by keys; [`view`] draws it. Both are pure; this file is the
//! loop around them.

mod model;
mod series;
mod theme;
mod view;

use super::Context;
use super::approvals::{self, Verdict};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::link::{self, Link};
use crossterm::event::{Event as TerminalEvent, KeyEventKind};
use model::{Effect, Model};
use sis_protocol::control::{MemStatus, Proposal, RequestBody, ResponseBody, Selection};
use sis_protocol::wire::Start;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use theme::Theme;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is shown of the past when the view opens.
const PAST_LINES: u32 = 200;
const PAST_EVENTS: u32 = 30;
/// The screen follows time at least this often.
const TICK: Duration = Duration::from_millis(250);
/// The queue is asked for anew this often, should an event have been missed.
const REFRESH: Duration = Duration::from_secs(5);

/// What comes back from a question that was asked in the background.
enum Answer {
    Proposals(Vec<Proposal>),
    Memory(Box<MemStatus>),
    Said(Result<String, String>),
}

/// The terminal as it was, whatever happens.
struct Screen(ratatui::DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

pub(crate) fn run(context: &Context, board: Option<&str>) -> Outcome {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::new("watch.terminal", "watch needs a terminal")
            .exit(Exit::Usage)
            .fix("cargo sis metrics --follow, cargo sis logs --follow"));
    }
    link::block_on(async {
        let link = Arc::new(Link::open(context, board)?);
        let mut screen = Screen(ratatui::try_init().or_fail("watch.terminal")?);
        show(&link, &mut screen.0).await
    })
}

async fn show(link: &Arc<Link>, terminal: &mut ratatui::DefaultTerminal) -> Outcome {
    let theme = Theme::of_environment();
    let mut model = Model::new(&link.board.name);
    let mut state = link.client.watch_state();
    let mut samples = link.client.metrics();
    let mut logs = link.client.logs(Start::Newest(PAST_LINES));
    let mut events = link.client.events(Start::Newest(PAST_EVENTS));
    let (answers, mut answered) = mpsc::channel(32);
    let mut keys = keys();
    let mut ended = signal(SignalKind::terminate()).or_fail("watch.signal")?;
    let mut hung_up = signal(SignalKind::hangup()).or_fail("watch.signal")?;
    let mut tick = tokio::time::interval(TICK);
    let mut refresh = tokio::time::interval(REFRESH);
    model.link_changed(&state.borrow_and_update(), Instant::now());

    loop {
        terminal
            .draw(|frame| view::draw(frame, &model, &theme, Instant::now()))
            .or_fail("watch.terminal")?;
        let mut effect = Effect::None;
        tokio::select! {
            key = keys.recv() => match key {
                Some(TerminalEvent::Key(key)) if key.kind != KeyEventKind::Release => effect = model.key(key),
                Some(_) => {}
                None => effect = Effect::Quit,
            },
            Some(sample) = samples.next() => model.sample(&sample),
            Some(delivery) = logs.next() => model.log(&delivery),
            Some(delivery) = events.next() => effect = model.event(&delivery),
            changed = state.changed() => {
                if changed.is_err() {
                    return Err(Failure::new("watch.ended", "the client has ended"));
                }
                effect = model.link_changed(&state.borrow_and_update(), Instant::now());
            }
            Some(answer) = answered.recv() => match answer {
                Answer::Proposals(proposals) => model.proposals(proposals),
                Answer::Memory(status) => model.memory(*status),
                Answer::Said(result) => {
                    model.said(result, Instant::now());
                    effect = Effect::Refresh;
                }
            },
            _ = refresh.tick() => effect = Effect::Refresh,
            _ = tick.tick() => {}
            _ = ended.recv() => effect = Effect::Quit,
            _ = hung_up.recv() => effect = Effect::Quit,
        }
        match effect {
            Effect::None => {}
            Effect::Quit => return Ok(ExitCode::SUCCESS),
            Effect::Refresh => {
                if model.is_online() {
                    ask_state(link, &answers);
                }
            }
            Effect::Reconnect => link.client.retry(),
            Effect::Decide(verdict, id) => decide(link, &answers, verdict, id),
        }
    }
}

/// Keys, read on a thread of its own: reading blocks.
fn keys() -> mpsc::UnboundedReceiver<TerminalEvent> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = crossterm::event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

fn ask_state(link: &Arc<Link>, answers: &mpsc::Sender<Answer>) {
    let (link, answers) = (Arc::clone(link), answers.clone());
    tokio::spawn(async move {
        if let Ok(proposals) = approvals::waiting(&link).await {
            let _ = answers.send(Answer::Proposals(proposals)).await;
        }
        if let Ok(ResponseBody::MemStatus(status)) = link.client.control(RequestBody::MemStatus).await {
            let _ = answers.send(Answer::Memory(status)).await;
        }
    });
}

fn decide(link: &Arc<Link>, answers: &mpsc::Sender<Answer>, verdict: Verdict, id: u64) {
    let (link, answers) = (Arc::clone(link), answers.clone());
    tokio::spawn(async move {
        let counts = approvals::carry_out(&link, verdict, Selection::Ids(vec![id])).await;
        let said = match counts {
            Ok(counts) => Ok(format!("{id}: {}", approvals::summary(counts))),
            Err(failure) => Err(format!("{id}: {}", failure.message)),
        };
        let _ = answers.send(Answer::Said(said)).await;
    });
}
