//! Runs boards under QEMU for tests.
//!
//! ```no_run
//! use sis_harness::{Boot, Result, SECOND};
//!
//! fn exit_status_comes_through() -> Result<()> {
//!     let mut board = Boot::new("qemu-virt").smp(1).start()?;
//!     board.wait_shell()?;
//!     let output = board.run("sh -c 'exit 42'", 10 * SECOND)?;
//!     assert_eq!(output.status, 42);
//!     Ok(())
//! }
//! ```
//!
//! A board is what `boards/<name>/board.toml` and `cargo sis build <name>` made it; a crash of the kernel fails whatever
//! waits at once, with the end of the console; QEMU dies with the [`Board`] value, and with the test's process.
//! Consoles stay in `target/sis/logs/<test>/`. No more boards run at a time than the host has CPUs, across processes.
#![forbid(unsafe_code)]

mod board;
mod boot;
mod debian;
mod failure;
mod program;
mod reference;
mod slots;

pub use board::Board;
pub use boot::Boot;
pub use debian::{Wanted, archive_of, debian_tree};
pub use failure::{Failure, Result};
pub use program::guest_program;
pub use reference::{add_disk_modules, add_fat_modules, linux_kernel, linux_modules};
pub use sis_image::root::{Archive, Node};
pub use sis_qemu::lines::{BOOT_MARKERS, Event, LineParser};
pub use sis_qemu::shell::Output;
pub use sis_qemu::{Drive, free_udp_port};

use std::path::{Path, PathBuf};
use std::time::Duration;

/// One second, to be multiplied.
pub const SECOND: Duration = Duration::from_secs(1);

/// The workspace's root.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
}

/// Where `cargo sis build` leaves what `board` boots.
#[must_use]
pub fn build_folder(board: &str) -> PathBuf {
    workspace().join("target/sis").join(board)
}

/// `limit`, stretched by the environment's `SIS_TEST_TIMEOUT_SCALE` for a slow host.
#[must_use]
pub fn scaled(limit: Duration) -> Duration {
    let scale = std::env::var("SIS_TEST_TIMEOUT_SCALE")
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    limit * scale.unwrap_or(1).clamp(1, 100)
}
