//! The terminal's modes: as found for programs, raw for the line editor.

use std::io::stdin;

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Columns assumed where the terminal does not say, as on a serial line.
const COLUMNS: usize = 80;

/// The terminal on standard input.
#[derive(Debug)]
pub(crate) struct Terminal {
    cooked: Termios,
}

impl Terminal {
    /// The terminal on standard input, or nothing when that is no terminal.
    pub(crate) fn open() -> Option<Self> {
        let mut cooked = tcgetattr(stdin()).ok()?;
        // What programs get must have line editing and ^C, however the terminal was left by whoever had it before.
        cooked.input_modes |= InputModes::ICRNL;
        cooked.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        cooked.local_modes |=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ISIG | LocalModes::IEXTEN;
        Some(Self { cooked })
    }

    /// Keys arrive one by one, unechoed; output goes out as it is.
    pub(crate) fn raw(&self) -> rustix::io::Result<()> {
        let mut raw = self.cooked.clone();
        raw.input_modes &= !(InputModes::IXON | InputModes::ICRNL | InputModes::INLCR | InputModes::ISTRIP);
        raw.output_modes &= !OutputModes::OPOST;
        raw.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Drain, not flush: what was typed ahead is kept.
        tcsetattr(stdin(), OptionalActions::Drain, &raw)
    }

    /// The modes for programs. Also undoes what a program left behind.
    pub(crate) fn cooked(&self) -> rustix::io::Result<()> {
        tcsetattr(stdin(), OptionalActions::Drain, &self.cooked)
    }
}

/// Columns of the terminal on standard input.
pub(crate) fn columns() -> usize {
    tcgetwinsize(stdin()).map_or(COLUMNS, |size| match size.ws_col {
        0 => COLUMNS,
        columns => usize::from(columns).max(20),
    })
}
