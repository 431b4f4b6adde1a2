//! Process 1.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use sis_abi::signal::SigSet;

use super::cred::Cred;
use super::exec::{self, Program, Strings};
use super::limits::{Limits, Resource};
use super::signal::stack::AltStack;
use super::signal::{Actions, SignalState};
use super::thread::{Beginning, Thread};
use super::{Process, clone, run, table};
use crate::fs::file::FdTable;
use crate::fs::{self, FsContext};
use crate::{Errno, Result, sched};

/// Starts process 1 with /dev/console as its standard input, output and error (as Linux: none if it cannot be opened).
///
/// # Errors
/// What execve(2) would answer; another program can be tried then.
pub fn start_init(path: &str, args: &[String], env: &[String]) -> Result<()> {
    let limits = Limits::initial(clone::max_threads() as u64 / 2);
    let mut arg_strings = Strings::default();
    for a in args {
        arg_strings.push(a.as_bytes())?;
    }
    let mut env_strings = Strings::default();
    for e in env {
        env_strings.push(e.as_bytes())?;
    }
    let base = fs::kernel_base();
    let program = Program::Name {
        name: path.as_bytes(),
        follow: true,
    };
    let stack = limits.get(Resource::Stack).soft;
    let prepared = exec::prepare(&base, &program, arg_strings, &env_strings, 0, false, stack)?;
    let files = FdTable::new();
    match fs::open_console() {
        Ok(console) => {
            for _ in 0..3 {
                files.insert(console.clone(), false, 0, 3)?;
            }
        }
        Err(e) => sis_machine::warn!("unable to open an initial console: {e}"),
    }
    let beginning = Beginning {
        files: Arc::new(files),
        fs: Arc::new(FsContext::new(fs::root())),
        cred: Arc::new(Cred::root()),
        name: prepared.name(),
        blocked: SigSet::EMPTY,
        alt_stack: AltStack::NONE,
        no_new_privs: false,
    };
    let vm = prepared.vm().clone();
    let signal = SignalState::new(Actions::new());
    let process = Arc::new(Process::new(1, 0, 0, 0, Some(vm.clone()), limits, signal));
    {
        let mut inner = process.inner.lock();
        inner.exe = prepared.exe();
        inner.text = prepared.text();
        inner.arguments = prepared.arguments();
    }
    let thread = Thread::new(1, process.clone(), beginning);
    {
        let mut table = table::lock();
        if table.process(1).is_some() {
            return Err(Errno::EBUSY);
        }
        process.signal.lock().threads.push(thread.clone());
        table.insert(&process);
        table.insert_thread(&thread);
        table.reserve_first();
    }
    let body_thread = thread.clone();
    let body = Box::new(move || {
        let user = exec::first(&body_thread, prepared);
        run::main(body_thread, user);
    });
    let task = sched::spawn_user(thread.clone(), vm, body)?;
    thread.attach(&task);
    sched::start(&task);
    Ok(())
}
