//! The control plane: `/dev/sis`, the events it tells, and the memory manager that it governs.
//!
//! | module | story |
//! |---|---|
//! | [`events`] | what happened, numbered, the last few thousand kept |
//! | `device` | `/dev/sis`: a request a write, a message a read |
//! | `requests` | each request and its answer |
//! | [`metrics`] | a snapshot of everything that is measured |
//! | [`memory`] | the strategies of the memory manager: proposals, approvals, effects |
//! | `checks` | the kernel checks itself |
//! | `wire` | the controller's words as those of the protocol |
//!
//! The types on the device are those of [`sis_protocol::control`]; policy is [`sis_autonomy::mem`]. What is here measures,
//! carries out, and passes on.

mod checks;
mod device;
pub mod events;
pub mod memory;
pub mod metrics;
mod requests;
mod wire;

use alloc::string::String;
use core::fmt::Write;

use sis_algo::cmdline::CommandLine;
use sis_protocol::control::EventKind;

use crate::{init, uts};

/// Registers the device and starts the memory manager. Once, at boot, when all of memory is with the allocator and device
/// nodes can be made.
pub(crate) fn init(line: &CommandLine) {
    events::init();
    memory::init(line);
    device::init();
}

/// Tells that the kernel has started; when init is about to run.
pub(crate) fn tell_boot() {
    events::emit(EventKind::Boot {
        release: String::from(uts::RELEASE),
        board: init::facts().map(|f| f.board.clone()).unwrap_or_default(),
        cpus: u32::try_from(init::cpus()).unwrap_or(u32::MAX),
        mem_total_bytes: metrics::bytes(sis_machine::mm::frames::total_frames()),
        build_id: build_id(),
        boot_time_ns: Some(init::boot_time_ns()),
    });
}

/// The build id in hexadecimal.
fn build_id() -> Option<String> {
    let mut out = String::new();
    for byte in sis_machine::symbols::build_id()? {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    Some(out)
}
