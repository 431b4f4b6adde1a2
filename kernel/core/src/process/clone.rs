//! New processes and threads (fork(2), vfork(2), clone(2), clone3(2)).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use sis_abi::process::CloneFlags;
use sis_abi::signal::Signal;
use sis_machine::user::{self, UserContext};

use super::cred::Capability;
use super::limits::Resource;
use super::signal::stack::AltStack;
use super::signal::{Actions, SignalState};
use super::thread::{Beginning, Thread};
use super::{Process, run, table};
use crate::fs::FsContext;
use crate::fs::file::FdTable;
use crate::time::Deadline;
use crate::user::UserPtr;
use crate::vm::Vm;
use crate::wait::Sleep;
use crate::{Errno, Result, sched};

/// What clone(2) and clone3(2) ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) flags: CloneFlags,
    /// Sent to the parent at the end; 0 for none.
    pub(crate) exit_signal: u32,
    /// The new stack pointer; 0 for a copy of the caller's.
    pub(crate) stack: u64,
    /// For CLONE_SETTLS.
    pub(crate) tls: u64,
    /// For CLONE_PARENT_SETTID.
    pub(crate) parent_tid: usize,
    /// For CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID.
    pub(crate) child_tid: usize,
}

/// Flags that are built or that mean nothing here.
const KNOWN: CloneFlags = CloneFlags::VM
    .union(CloneFlags::FS)
    .union(CloneFlags::FILES)
    .union(CloneFlags::SIGHAND)
    .union(CloneFlags::PTRACE)
    .union(CloneFlags::VFORK)
    .union(CloneFlags::PARENT)
    .union(CloneFlags::THREAD)
    .union(CloneFlags::SYSVSEM)
    .union(CloneFlags::SETTLS)
    .union(CloneFlags::PARENT_SETTID)
    .union(CloneFlags::CHILD_CLEARTID)
    .union(CloneFlags::DETACHED)
    .union(CloneFlags::UNTRACED)
    .union(CloneFlags::CHILD_SETTID)
    .union(CloneFlags::IO)
    .union(CloneFlags::CLEAR_SIGHAND);

/// Checks flags as Linux does.
pub(crate) fn check(request: &Request) -> Result<()> {
    let f = request.flags;
    let needs = |flag, other| !f.contains(flag) || f.contains(other);
    let is_valid = KNOWN.contains(f)
        && needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
        && needs(CloneFlags::SIGHAND, CloneFlags::VM)
        && !f.contains(CloneFlags::SIGHAND | CloneFlags::CLEAR_SIGHAND)
        && (request.exit_signal == 0 || Signal::new(request.exit_signal as i32).is_some());
    if is_valid { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Makes a thread or a process that is a copy of the caller; answers its number. With CLONE_VFORK it returns when the
/// child has left the address space.
pub(crate) fn clone(thread: &Arc<Thread>, user: &UserContext, request: &Request) -> Result<u32> {
    check(request)?;
    let flags = request.flags;
    if thread.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    check_count(thread)?;
    let vm = thread.vm();
    let vm = if flags.contains(CloneFlags::VM) {
        vm
    } else {
        fork_space(thread, &vm)?
    };
    let files = thread.files();
    let files = if flags.contains(CloneFlags::FILES) {
        files
    } else {
        Arc::new(files.duplicate())
    };
    let fs = thread.fs();
    let fs = if flags.contains(CloneFlags::FS) {
        fs
    } else {
        Arc::new(fs.duplicate())
    };
    let shares_stack = (flags & (CloneFlags::VM | CloneFlags::VFORK)) == CloneFlags::VM;
    let beginning = Beginning {
        files,
        fs,
        cred: thread.cred(),
        name: thread.name_bytes(),
        blocked: thread.blocked(),
        alt_stack: if shares_stack {
            AltStack::NONE
        } else {
            *thread.alt_stack.lock()
        },
        no_new_privs: thread.no_new_privs.load(Ordering::Relaxed),
    };
    let child = register(thread, request, &vm, beginning)?;
    let tid = child.tid();
    if flags.contains(CloneFlags::CHILD_CLEARTID) {
        child.clear_tid.store(request.child_tid, Ordering::Relaxed);
    }
    let is_vfork = flags.contains(CloneFlags::VFORK);
    if is_vfork {
        child.process.is_vfork_child.store(true, Ordering::Release);
    }
    let process = child.process.clone();
    if let Err(e) = launch(child.clone(), vm, user, request) {
        withdraw(&child);
        return Err(e);
    }
    drop(child);
    if is_vfork && !flags.contains(CloneFlags::THREAD) {
        let done = || (!process.is_vfork_child.load(Ordering::Acquire)).then_some(());
        let _ = process.vfork_wait.wait_for(Sleep::Killable, Deadline::NEVER, done);
    }
    Ok(tid)
}

/// `EAGAIN` beyond RLIMIT_NPROC or what the machine can have.
fn check_count(thread: &Thread) -> Result<()> {
    let table = table::lock();
    let most = max_threads();
    if table.load() >= most {
        return Err(Errno::EAGAIN);
    }
    let cred = thread.cred();
    let limit = thread.process.limit(Resource::Processes).soft;
    let is_exempt = cred.uid == 0 || cred.has(Capability::SysResource) || cred.has(Capability::SysAdmin);
    if is_exempt || (table.load() as u64) < limit {
        return Ok(());
    }
    let own = table.processes().filter(|p| p.uid() == cred.uid).count() as u64;
    if own >= limit { Err(Errno::EAGAIN) } else { Ok(()) }
}

/// Most threads (/proc/sys/kernel/threads-max): their kernel stacks take at most an eighth of memory.
pub fn max_threads() -> usize {
    const STACK_PAGES: usize = 8;
    (sis_machine::mm::frames::total_frames() / STACK_PAGES / 8).clamp(64, 30_000)
}

fn fork_space(thread: &Thread, vm: &Arc<Vm>) -> Result<Arc<Vm>> {
    loop {
        match vm.fork() {
            Err(Errno::ENOMEM) if !thread.kill_pending() && super::oom_may_help() => {
                if !super::oom_kill() {
                    return Err(Errno::ENOMEM);
                }
            }
            other => return other,
        }
    }
}

/// Gives the new thread a number and a place in the tables.
fn register(parent: &Arc<Thread>, request: &Request, vm: &Arc<Vm>, beginning: Beginning) -> Result<Arc<Thread>> {
    let flags = request.flags;
    // Declared before the lock, and so dropped after it: their ends may sleep.
    let (process, child);
    let mut table = table::lock();
    let tid = table.allocate()?;
    if flags.contains(CloneFlags::THREAD) {
        child = Thread::new(tid, parent.process.clone(), beginning);
        let mut state = parent.process.signal.lock();
        // What is sent to all threads from now on is sent to this one too; what was sent before is seen here.
        if parent.signal_pending() {
            return Err(Errno::ERESTARTNOINTR);
        }
        state.threads.push(child.clone());
        super::signal::recompute(&state, &child);
        drop(state);
        table.insert_thread(&child);
        return Ok(child);
    }
    let actions = {
        let state = parent.process.signal.lock();
        if flags.contains(CloneFlags::SIGHAND) {
            state.actions.clone()
        } else if flags.contains(CloneFlags::CLEAR_SIGHAND) {
            state.actions.for_exec()
        } else {
            state.actions.duplicate()
        }
    };
    let is_sibling = flags.contains(CloneFlags::PARENT);
    process = Arc::new(Process::child_of(&parent.process, tid, vm.clone(), actions, is_sibling));
    let exit_signal = if is_sibling {
        parent.process.exit_signal.load(Ordering::Relaxed)
    } else {
        request.exit_signal as i32
    };
    process.exit_signal.store(exit_signal, Ordering::Relaxed);
    child = Thread::new(tid, process.clone(), beginning);
    // A signal to the group that comes before the child is a member must not miss it: fork again after it.
    if parent.signal_pending() {
        return Err(Errno::ERESTARTNOINTR);
    }
    process.signal.lock().threads.push(child.clone());
    table.insert(&process);
    table.insert_thread(&child);
    Ok(child)
}

/// Takes back what [`register`] did.
fn withdraw(child: &Arc<Thread>) {
    let process = &child.process;
    let mut table = table::lock();
    let gone = table.remove_thread(child);
    process.signal.lock().threads.retain(|t| !Arc::ptr_eq(t, child));
    let gone_process = if process.pid == child.tid() {
        table.remove(process)
    } else {
        None
    };
    drop(table);
    drop(gone);
    drop(gone_process);
}

/// Makes the task and lets it run.
fn launch(child: Arc<Thread>, vm: Arc<Vm>, user: &UserContext, request: &Request) -> Result<()> {
    let flags = request.flags;
    let mut context = user.clone();
    context.x[0] = 0;
    if request.stack != 0 {
        context.sp = request.stack;
    }
    let fp = Box::new(user::fp_snapshot());
    let tls = if flags.contains(CloneFlags::SETTLS) {
        request.tls
    } else {
        user::tls()
    };
    let tid = child.tid();
    let set_child_tid = flags.contains(CloneFlags::CHILD_SETTID).then_some(request.child_tid);
    if flags.contains(CloneFlags::PARENT_SETTID) {
        // As Linux: a bad address is nobody's error.
        let _ = UserPtr::<u32>::new(request.parent_tid).write(&tid);
    }
    let thread = child.clone();
    let body = Box::new(move || {
        user::fp_replace(&fp);
        drop(fp);
        user::set_tls(tls);
        if let Some(address) = set_child_tid {
            let _ = UserPtr::<u32>::new(address).write(&tid);
        }
        run::main(thread, context);
    });
    let task = sched::spawn_user(child.clone(), vm, body)?;
    child.attach(&task);
    sched::start(&task);
    Ok(())
}

impl Process {
    /// A copy of `parent`, its child or (CLONE_PARENT) its sibling.
    fn child_of(parent: &Process, pid: u32, vm: Arc<Vm>, actions: Arc<Actions>, is_sibling: bool) -> Self {
        let (limits, exe, text, arguments) = {
            let inner = parent.inner.lock();
            (
                inner.limits.clone(),
                inner.exe.clone(),
                inner.text.clone(),
                inner.arguments,
            )
        };
        let ppid = if is_sibling { parent.ppid() } else { parent.pid };
        let child = Self::new(
            pid,
            ppid,
            parent.pgid(),
            parent.sid(),
            Some(vm),
            limits,
            SignalState::new(actions),
        );
        {
            let mut inner = child.inner.lock();
            inner.exe = exe;
            inner.text = text;
            inner.arguments = arguments;
        }
        let copy = |to: &core::sync::atomic::AtomicU32, from: &core::sync::atomic::AtomicU32| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        copy(&child.personality, &parent.personality);
        copy(&child.is_dumpable, &parent.is_dumpable);
        copy(&child.uid, &parent.uid);
        child.nice.store(parent.nice(), Ordering::Relaxed);
        child
            .oom_adjust
            .store(parent.oom_adjust.load(Ordering::Relaxed), Ordering::Relaxed);
        child
    }
}

/// unshare(2) of what can be unshared: descriptors and places.
pub(crate) fn unshare(thread: &Thread, flags: CloneFlags) -> Result<()> {
    if !(CloneFlags::FILES | CloneFlags::FS | CloneFlags::SYSVSEM).contains(flags) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(CloneFlags::FILES) {
        let files: Arc<FdTable> = Arc::new(thread.files().duplicate());
        drop(thread.set_files(files));
    }
    if flags.contains(CloneFlags::FS) {
        let fs: Arc<FsContext> = Arc::new(thread.fs().duplicate());
        drop(thread.set_fs(fs));
    }
    Ok(())
}
