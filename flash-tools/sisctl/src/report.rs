//! Progress on standard error: a line a step, with its time. Standard output is for results alone.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Says what goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    is_quiet: bool,
    is_terminal: bool,
}

impl Report {
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Whether a person watches.
    pub(crate) const fn is_shown(&self) -> bool {
        self.is_terminal && !self.is_quiet
    }

    /// A step that has begun. It says "failed" unless [`Step::done`] is called.
    pub(crate) fn step(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if self.is_terminal && !self.is_quiet {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg:.dim}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Step {
            report: *self,
            title,
            bar,
            start: Instant::now(),
            is_over: false,
        }
    }

    /// A line for the person.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.is_quiet {
            eprintln!("{text}");
        }
    }
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step {
    report: Report,
    title: String,
    bar: ProgressBar,
    start: Instant,
    is_over: bool,
}

impl Step {
    /// What the step is doing now.
    pub(crate) fn now(&self, detail: impl Into<String>) {
        self.bar.set_message(detail.into());
    }

    /// The step worked; `detail` says what came of it.
    pub(crate) fn done(mut self, detail: impl std::fmt::Display) {
        self.end("ok", &detail.to_string());
    }

    fn end(&mut self, verdict: &str, detail: &str) {
        self.is_over = true;
        self.bar.finish_and_clear();
        let separator = if detail.is_empty() { "" } else { "  " };
        let seconds = self.start.elapsed().as_secs_f64();
        self.report.say(format_args!(
            "{verdict:>6}  {:<28} {seconds:>6.1} s{separator}{detail}",
            self.title
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.is_over {
            self.end("failed", "");
        }
    }
}
