//! Runs a board under QEMU: what `board.toml` says becomes a command line, a process that cannot outlive its parent, a
//! QMP monitor and a serial console that can be attached to and left.
//!
//! Shared by `sisctl` and by the tests, so that a test boots exactly what a person boots. It builds nothing: files come
//! in as paths.
#![forbid(unsafe_code)]

pub mod board;
pub mod command;
pub mod console;
pub mod drive;
pub mod lines;
pub mod machine;
pub mod qmp;
pub mod shell;
mod socket;
mod spawner;

pub use board::Board;
pub use command::{Files, Options};
pub use console::Console;
pub use drive::Drive;
pub use lines::{Event, LineParser};
pub use machine::Machine;
pub use qmp::Qmp;

/// A UDP port of the loopback interface that is free now.
///
/// # Errors
/// When none is.
pub fn free_udp_port() -> std::io::Result<u16> {
    std::net::UdpSocket::bind(("127.0.0.1", 0))?
        .local_addr()
        .map(|address| address.port())
}
