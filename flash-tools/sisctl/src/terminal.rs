//! This terminal on the board's serial console.

use crate::failure::{OrFail, Outcome};
use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Ctrl-]: leaves the console.
const LEAVE: u8 = 0x1d;

/// Why the console was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The person left.
    ByKey,
    /// The machine ended, or the output went away.
    AtEnd,
}

/// The terminal as it was, whatever happens.
struct RawMode;

impl RawMode {
    fn enter() -> io::Result<Self> {
        crossterm::terminal::enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Joins terminal and console until one of them goes. Without a terminal bytes pass through unchanged, and the end of
/// the input leaves the output running.
pub(crate) fn attach(stream: &UnixStream) -> Outcome<Left> {
    let is_terminal = io::stdin().is_terminal();
    let _raw = is_terminal
        .then(RawMode::enter)
        .transpose()
        .or_fail("console.terminal")?;
    let (sender, left) = std::sync::mpsc::channel();

    let mut to_board = stream.try_clone().or_fail("console.attach")?;
    let keys = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = io::stdin().read(&mut buffer) {
            let typed = buffer.get(..count).unwrap_or_default();
            let leave = typed.iter().position(|byte| *byte == LEAVE).filter(|_| is_terminal);
            if to_board
                .write_all(typed.get(..leave.unwrap_or(count)).unwrap_or_default())
                .is_err()
            {
                return;
            }
            if leave.is_some() {
                let _ = keys.send(Left::ByKey);
                return;
            }
        }
    });

    let mut from_board = stream.try_clone().or_fail("console.attach")?;
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from_board.read(&mut buffer) {
            let mut output = io::stdout().lock();
            if output
                .write_all(buffer.get(..count).unwrap_or_default())
                .and_then(|()| output.flush())
                .is_err()
            {
                break;
            }
        }
        let _ = sender.send(Left::AtEnd);
    });

    let left = left.recv().unwrap_or(Left::AtEnd);
    let _ = stream.shutdown(Shutdown::Both);
    Ok(left)
}
