//! Colours with a meaning. `NO_COLOR` (no-color.org) leaves weight and inversion to carry it.

use ratatui::style::{Color, Modifier, Style};

/// Styles by meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    has_colour: bool,
}

impl Theme {
    pub(super) fn of_environment() -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: !is_plain }
    }

    #[cfg(test)]
    pub(super) const fn new(has_colour: bool) -> Self {
        Self { has_colour }
    }

    fn coloured(self, colour: Color, plain: Modifier) -> Style {
        if self.has_colour {
            Style::new().fg(colour)
        } else {
            Style::new().add_modifier(plain)
        }
    }

    /// As it should be.
    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    /// Worth a look.
    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    /// Wrong.
    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD | Modifier::REVERSED)
    }

    /// Waits for the person.
    pub(super) fn asks(self) -> Style {
        self.coloured(Color::Magenta, Modifier::BOLD)
    }

    /// A chart.
    pub(super) fn chart(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    /// Names and frames.
    pub(super) fn quiet(self) -> Style {
        self.coloured(Color::DarkGray, Modifier::DIM)
    }

    /// What is selected.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}
