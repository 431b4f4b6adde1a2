//! Waiting until one of several files is ready: what poll(2) and select(2) share.

use alloc::sync::Arc;

use sis_machine::task;

use super::file::OpenFile;
use crate::poll::{Events, PollTable};
use crate::process::thread;
use crate::time::{self, Deadline};
use crate::{Errno, Result};

/// A file that is waited for.
pub struct Watched {
    /// The file; none for an entry that is not looked at.
    pub file: Option<Arc<OpenFile>>,
    /// What is waited for; errors and hang-ups always are.
    pub wanted: Events,
    /// What is the case.
    pub found: Events,
}

/// Looks at every file once; answers how many have something to tell.
fn look(files: &mut [Watched], mut table: Option<&mut PollTable>, mask: fn(&Watched) -> Events) -> usize {
    let mut ready = 0;
    for w in files {
        let Some(file) = &w.file else {
            ready += usize::from(!w.found.is_empty());
            continue;
        };
        // Once something is ready there is no sleep, so the rest need not be watched.
        let table = if ready == 0 { table.as_deref_mut() } else { None };
        w.found = file.ops.poll(table) & mask(w);
        ready += usize::from(!w.found.is_empty());
    }
    ready
}

/// Waits until a file is ready, at most until `deadline`; answers how many are. `ERESTARTNOHAND` when a signal comes.
pub fn wait(files: &mut [Watched], deadline: Deadline) -> Result<usize> {
    wait_for(files, deadline, |w| w.wanted | Events::ALWAYS)
}

/// As [`wait`], with the events that count for each file.
pub fn wait_for(files: &mut [Watched], deadline: Deadline, mask: fn(&Watched) -> Events) -> Result<usize> {
    let ready = look(files, None, mask);
    if ready > 0 || deadline.has_passed() {
        return Ok(ready);
    }
    let timer = time::wake_at(deadline, &task::current_arc());
    let mut table = PollTable::new();
    let out = loop {
        let ready = look(files, Some(&mut table), mask);
        if ready > 0 || deadline.has_passed() {
            break Ok(ready);
        }
        if thread::signal_pending() {
            break Err(Errno::ERESTARTNOHAND);
        }
        task::park();
        table.clear();
    };
    drop(timer);
    out
}
