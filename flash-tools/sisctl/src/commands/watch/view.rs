//! Draws the model. Whatever does not fit is left out, the least important first.

use super::model::{CHARTS, Chart, Connection, Line as LogLine, Model, Tone};
use super::theme::Theme;
use crate::commands::approvals::{describe, summary_of};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Wrap};
use std::time::Instant;

/// Below this the panes would show nothing.
const MIN_WIDTH: u16 = 20;
const MIN_HEIGHT: u16 = 4;
/// Rows of a chart with its frame.
const CHART_ROWS: u16 = 4;

const HELP: &[(&str, &str)] = &[
    ("a", "approve the selected proposal"),
    ("r", "reject it"),
    ("up, down", "select a proposal"),
    ("page up, page down", "move through the log; end: newest"),
    ("c", "connect now"),
    ("?", "this help"),
    ("q, ctrl-c", "leave"),
];

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: &Theme, now: Instant) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        frame.render_widget(Paragraph::new(format!("{} {}", model.board, short_state(model))), area);
        return;
    }
    let banner_rows = u16::from(!model.is_online());
    let chart_rows = chart_rows(area);
    let [header, banner, charts, panes, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(banner_rows),
        Constraint::Length(chart_rows),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_header(frame, header, model, theme);
    draw_banner(frame, banner, model, theme, now);
    draw_charts(frame, charts, model, theme);
    draw_panes(frame, panes, model, theme);
    draw_footer(frame, footer, model, theme, now);
    if model.is_helping {
        draw_help(frame, area, theme);
    }
}

fn chart_columns(width: u16) -> u16 {
    match width {
        100.. => 4,
        50.. => 2,
        _ => 1,
    }
}

/// Charts get half of the screen at most; on a small one, one row each, and none when even that is too much.
fn chart_rows(area: Rect) -> u16 {
    let columns = chart_columns(area.width);
    let rows = (CHARTS.len() as u16).div_ceil(columns);
    let half = area.height / 2;
    if rows * CHART_ROWS <= half {
        rows * CHART_ROWS
    } else if rows <= half {
        rows
    } else {
        half.saturating_sub(1)
    }
}

fn short_state(model: &Model) -> &'static str {
    match model.connection {
        Connection::Online { .. } => "online",
        Connection::Connecting { .. } => "connecting",
        Connection::Waiting { .. } => "reconnecting",
        Connection::Refused { .. } => "refused",
    }
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    let mut spans = vec![Span::styled(format!(" {} ", model.board), theme.strong())];
    let style = match model.connection {
        Connection::Online { .. } => theme.good(),
        Connection::Connecting { .. } | Connection::Waiting { .. } => theme.warning(),
        Connection::Refused { .. } => theme.bad(),
    };
    spans.push(Span::styled(format!(" {}", short_state(model)), style));
    if let Connection::Online { role, .. } = &model.connection {
        spans.push(Span::raw(format!(" as {role}")));
    }
    let mut say = |name: &str, value: Option<String>, style: Style| {
        if let Some(value) = value {
            spans.push(Span::styled(format!("  {name} "), theme.quiet()));
            spans.push(Span::styled(value, style));
        }
    };
    let waiting = model.proposals.len();
    say("waiting", (waiting > 0).then(|| waiting.to_string()), theme.asks());
    let newest = model.newest.as_ref();
    say(
        "up",
        newest.and_then(|metrics| metrics.uptime_ns).map(uptime),
        Style::new(),
    );
    let strategy = model
        .memory
        .as_ref()
        .map(|memory| memory.strategy)
        .or(newest.and_then(|metrics| metrics.strategy));
    say("memory", strategy.map(|strategy| format!("{strategy:?}")), Style::new());
    let approval = model
        .memory
        .as_ref()
        .map(|memory| if memory.approval_mode { "on" } else { "off" });
    say("approval", approval.map(str::to_owned), Style::new());
    say(
        "processes",
        newest
            .and_then(|metrics| metrics.processes)
            .map(|count| count.to_string()),
        Style::new(),
    );
    let heat = newest
        .and_then(|metrics| metrics.temperature_milli_c)
        .map(|heat| format!("{:.0} C", f64::from(heat) / 1e3));
    say("temperature", heat, Style::new());
    say(
        "samples lost",
        (model.lost_samples > 0).then(|| model.lost_samples.to_string()),
        theme.warning(),
    );
    if let Connection::Online { agent, .. } = &model.connection {
        say("", Some(agent.clone()), theme.quiet());
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn uptime(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn draw_banner(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: Instant) {
    if area.height == 0 {
        return;
    }
    let (text, style) = match &model.connection {
        Connection::Online { .. } => return,
        Connection::Connecting { attempt: 1 } => (" connecting...".to_owned(), theme.warning()),
        Connection::Connecting { attempt } => (format!(" reconnecting, attempt {attempt}..."), theme.warning()),
        Connection::Waiting { until, reason } => {
            let left = until.saturating_duration_since(now).as_secs_f32();
            (
                format!(" reconnecting in {left:.1} s (c: now): {reason}"),
                theme.warning(),
            )
        }
        Connection::Refused { reason } => (format!(" the board refuses: {reason} (cargo sis pair)"), theme.bad()),
    };
    frame.render_widget(Paragraph::new(text).style(style), area);
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    if area.height == 0 {
        return;
    }
    let columns = chart_columns(area.width);
    let rows = (CHARTS.len() as u16).div_ceil(columns);
    let is_framed = area.height >= rows * CHART_ROWS;
    let shown_rows = if is_framed { rows } else { area.height.min(rows) };
    let row_areas = Layout::vertical(vec![
        Constraint::Ratio(1, u32::from(shown_rows.max(1)));
        usize::from(shown_rows)
    ])
    .split(area);
    let mut charts = CHARTS.iter();
    for row in row_areas.iter() {
        let cells =
            Layout::horizontal(vec![Constraint::Ratio(1, u32::from(columns)); usize::from(columns)]).split(*row);
        for (cell, chart) in cells.iter().zip(charts.by_ref()) {
            draw_chart(frame, *cell, model, theme, *chart, is_framed);
        }
    }
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, chart: Chart, is_framed: bool) {
    let series = model.series(chart);
    let value = series
        .last()
        .map_or_else(|| "-".to_owned(), |value| value_text(chart, value));
    let is_high = matches!(chart, Chart::Cpu | Chart::Memory) && series.last().is_some_and(|value| value >= 90.0);
    let value_style = if is_high { theme.bad() } else { theme.strong() };
    let title = Line::from(vec![
        Span::styled(format!("{} ", name(chart)), theme.quiet()),
        Span::styled(value, value_style),
        Span::styled(detail(chart, model), theme.quiet()),
    ]);
    let plot = if is_framed {
        let block = Block::bordered().title(title).border_style(theme.quiet());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        inner
    } else {
        let width = (area.width / 2).min(24);
        let [label, plot] = Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(area);
        frame.render_widget(Paragraph::new(title), label);
        plot
    };
    // Sparklines are of whole numbers: a thousand steps to the top.
    let top = match chart {
        Chart::Cpu | Chart::Memory => 100.0,
        Chart::Load => series.peak().max(1.0),
        _ => series.peak().max(1.0),
    };
    let data: Vec<u64> = series
        .columns(usize::from(plot.width))
        .iter()
        .map(|value| (value.clamp(0.0, top) * 1000.0 / top).round() as u64)
        .collect();
    let padding = usize::from(plot.width).saturating_sub(data.len());
    let data: Vec<u64> = std::iter::repeat_n(0, padding).chain(data).collect();
    let style = if is_high { theme.bad() } else { theme.chart() };
    frame.render_widget(Sparkline::default().data(data).max(1000).style(style), plot);
}

const fn name(chart: Chart) -> &'static str {
    match chart {
        Chart::Cpu => "CPU",
        Chart::Memory => "memory",
        Chart::Load => "load",
        Chart::Faults => "faults/s",
        Chart::Switches => "switches/s",
        Chart::Interrupts => "interrupts/s",
        Chart::Received => "received/s",
        Chart::Sent => "sent/s",
    }
}

fn value_text(chart: Chart, value: f64) -> String {
    match chart {
        Chart::Cpu | Chart::Memory => format!("{value:.0} %"),
        Chart::Load => format!("{value:.2}"),
        Chart::Received | Chart::Sent => bytes(value),
        Chart::Faults | Chart::Switches | Chart::Interrupts => count(value),
    }
}

fn detail(chart: Chart, model: &Model) -> String {
    let Some(newest) = &model.newest else {
        return String::new();
    };
    match chart {
        Chart::Cpu if model.cpus.len() > 1 => {
            let each: Vec<String> = model.cpus.iter().map(|value| format!("{value:.0}")).collect();
            format!("  {}", each.join(" "))
        }
        Chart::Memory => match (newest.mem_total_bytes, newest.mem_free_bytes) {
            (Some(total), Some(free)) => {
                let mib = |bytes: u64| bytes >> 20;
                format!("  {} of {} MiB", mib(total.saturating_sub(free)), mib(total))
            }
            _ => String::new(),
        },
        Chart::Faults => match newest.fault_mean_ns {
            Some(mean) if mean > 0 => format!("  {:.1} us", mean as f64 / 1000.0),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value:.0} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{:.1} M", value / 1e6),
        1e4.. => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

fn draw_panes(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    if area.width >= 90 {
        let [log, approvals] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(area);
        draw_log(frame, log, model, theme);
        draw_approvals(frame, approvals, model, theme);
        return;
    }
    // A narrow screen shows the queue only when something waits, and never less than one of its lines.
    let rows = match model.proposals.len() {
        0 => 0,
        count => (count as u16 + 2).min((area.height / 2).max(3)),
    };
    let [approvals, log] = Layout::vertical([Constraint::Length(rows), Constraint::Fill(1)]).areas(area);
    if rows > 0 {
        draw_approvals(frame, approvals, model, theme);
    }
    draw_log(frame, log, model, theme);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    let title = if model.scroll > 0 {
        format!(" log, {} lines back (end: newest) ", model.scroll)
    } else {
        " log ".into()
    };
    let block = Block::bordered().title(title).border_style(theme.quiet());
    let rows = usize::from(block.inner(area).height);
    let end = model
        .log
        .len()
        .saturating_sub(model.scroll)
        .max(rows.min(model.log.len()));
    let start = end.saturating_sub(rows);
    let lines: Vec<Line<'_>> = model.log.range(start..end).map(|line| log_line(line, theme)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn log_line<'a>(line: &'a LogLine, theme: &Theme) -> Line<'a> {
    let style = match line.tone {
        Tone::Plain => Style::new(),
        Tone::Good => theme.good(),
        Tone::Warning => theme.warning(),
        Tone::Bad => theme.bad(),
        Tone::Asks => theme.asks(),
        Tone::Quiet => theme.quiet(),
    };
    let time = line
        .ts_ns
        .map_or_else(String::new, |ns| format!("{:>10.3} ", ns as f64 / 1e9));
    Line::from(vec![
        Span::styled(time, theme.quiet()),
        Span::styled(line.text.as_str(), style),
    ])
}

fn draw_approvals(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    let count = model.proposals.len();
    let (title, frame_style) = match count {
        0 => (" nothing waits for approval ".to_owned(), theme.quiet()),
        1 => (" 1 waits: a approve, r reject ".to_owned(), theme.asks()),
        _ => (format!(" {count} wait: a approve, r reject "), theme.asks()),
    };
    let block = Block::bordered().title(title).border_style(frame_style);
    let rows = usize::from(block.inner(area).height).max(1);
    // Each proposal on three rows where there is room; the selected one is always in sight.
    let per_proposal = if count * 3 <= rows { 3 } else { 1 };
    let first = (model.selected + 1).saturating_sub(rows / per_proposal);
    let mut lines = Vec::new();
    for (index, proposal) in model.proposals.iter().enumerate().skip(first) {
        let style = if index == model.selected {
            theme.selected()
        } else {
            Style::new()
        };
        if per_proposal == 1 {
            lines.push(Line::styled(
                format!("{:>3} {}", proposal.id, describe(proposal)),
                style,
            ));
        } else {
            lines.push(Line::styled(
                format!("{:>3} {}", proposal.id, summary_of(proposal)),
                style,
            ));
            lines.push(Line::styled(format!("    {}", proposal.reason), style));
            lines.push(Line::styled(format!("    {}", observed(proposal)), theme.quiet()));
        }
    }
    if count == 0
        && let Some(memory) = &model.memory
    {
        lines.extend(memory_lines(memory, theme));
    }
    let mut pane = Paragraph::new(lines).block(block);
    if count * 3 <= rows {
        pane = pane.wrap(Wrap { trim: false });
    }
    frame.render_widget(pane, area);
}

fn observed(proposal: &sis_protocol::control::Proposal) -> String {
    let seen = &proposal.observation;
    let mut parts = Vec::new();
    if let Some(value) = seen.pressure_permille {
        parts.push(format!("pressure {:.1} %", f64::from(value) / 10.0));
    }
    if let Some(value) = seen.faults_per_second {
        parts.push(format!("{value} faults/s"));
    }
    if let Some(value) = seen.fault_mean_ns {
        parts.push(format!("mean fault {:.1} us", value as f64 / 1000.0));
    }
    parts.join("  ")
}

fn memory_lines(memory: &sis_protocol::control::MemStatus, theme: &Theme) -> Vec<Line<'static>> {
    let counted = [
        ("proposed", memory.proposed),
        ("executed", memory.executed),
        ("rejected", memory.rejected),
        ("skipped", memory.skipped),
        ("expired", memory.expired),
    ];
    let text: Vec<String> = counted
        .iter()
        .filter_map(|(name, count)| count.map(|count| format!("{name} {count}")))
        .collect();
    vec![Line::styled(text.join("  "), theme.quiet())]
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: Instant) {
    let line = match model.message(now) {
        Some(Ok(text)) => Line::styled(format!(" {text}"), theme.good()),
        Some(Err(text)) => Line::styled(format!(" {text}"), theme.bad()),
        None => Line::styled(
            " a approve  r reject  up/down select  page up/down log  ? help  q quit",
            theme.quiet(),
        ),
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
    let height = (HELP.len() as u16 + 2).min(area.height);
    let width = 60.min(area.width);
    let box_area = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<20}"), theme.strong()),
                Span::raw(*what),
            ])
        })
        .collect();
    frame.render_widget(Clear, box_area);
    let block = Block::bordered().title(" keys ").border_style(theme.asks());
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), box_area);
}

#[cfg(test)]
mod tests;
