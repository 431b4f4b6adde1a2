use super::super::model::tests::{online, proposal, sample};
use super::*;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use sis_client::LinkState;

fn model() -> Model {
    let mut model = Model::new("qemu-virt");
    model.link_changed(&online(), Instant::now());
    for seq in 1..80 {
        model.sample(&sample(seq));
    }
    model
}

fn render(model: &Model, width: u16, height: u16, has_colour: bool) -> (String, Vec<Color>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw(frame, model, &Theme::new(has_colour), Instant::now()))
        .expect("draws");
    let buffer = terminal.backend().buffer();
    let text = (0..height)
        .map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>() + "\n")
        .collect::<String>();
    (text, buffer.content().iter().map(|cell| cell.fg).collect())
}

#[test]
fn a_large_terminal_shows_everything() {
    let mut model = model();
    model.proposals(vec![proposal(7)]);
    let (text, _) = render(&model, 140, 40, true);
    for part in [
        "qemu-virt",
        "online as owner",
        "CPU 30 %",
        "20 40",
        "memory 25 %",
        "128 of 512 MiB",
        "load 1.50",
        "faults/s 5000",
        "switches/s 10.0 k",
        "interrupts/s 100",
        "received/s 10.0 KiB",
        "sent/s 40.0 KiB",
        " log ",
        "1 waits: a approve, r reject",
        "Balanced -> Aggressive",
        "faults are slow",
        "5000 faults/s",
        "q quit",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    let mut model = model();
    model.proposals(vec![proposal(7)]);
    let (text, _) = render(&model, 80, 24, true);
    for part in ["qemu-virt", "CPU 30 %", "sent/s", "1 waits", "log", "q quit"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let (text, _) = render(&model, 40, 12, true);
    for part in ["qemu-virt", "online", "1 waits"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn no_size_is_too_small_to_draw() {
    let mut model = model();
    model.proposals((0..30).map(proposal).collect());
    model.key(KeyEvent::new(KeyCode::Char('?'), KeyModifiers::NONE));
    for width in 1..60 {
        for height in 1..30 {
            render(&model, width, height, true);
        }
    }
}

#[test]
fn a_lost_board_has_a_banner() {
    let mut model = model();
    let waiting = LinkState::Waiting {
        retry_in_ms: 1500,
        reason: "no answer".into(),
    };
    model.link_changed(&waiting, Instant::now());
    let (text, _) = render(&model, 100, 30, true);
    assert!(
        text.contains("reconnecting in 1.") && text.contains("no answer"),
        "{text}"
    );
    model.link_changed(
        &LinkState::Refused {
            reason: "not paired".into(),
        },
        Instant::now(),
    );
    let (text, _) = render(&model, 100, 30, true);
    assert!(text.contains("the board refuses: not paired"), "{text}");
}

#[test]
fn without_colour_there_is_none() {
    let mut model = model();
    model.proposals(vec![proposal(7)]);
    let (_, colours) = render(&model, 120, 40, false);
    assert!(colours.iter().all(|colour| *colour == Color::Reset));
    let (_, colours) = render(&model, 120, 40, true);
    assert!(colours.contains(&Color::Magenta), "what waits is marked");
}

#[test]
fn the_selected_proposal_is_always_in_sight() {
    let mut model = model();
    model.proposals((100..140).map(proposal).collect());
    for _ in 0..39 {
        model.key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    }
    let (text, _) = render(&model, 120, 30, true);
    assert!(text.contains("139 StrategyChange"), "{text}");
}
