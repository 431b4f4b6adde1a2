//! Running programs (execve(2)).
//!
//! A program is first *prepared*: found, read, and mapped into a new address space; whatever fails then leaves the caller
//! as it was. Then it is *committed*: the other threads end, the address space changes, handlers and descriptors are
//! reset. What must be written into the new space is written last, by the thread itself.

pub mod hwcap;
mod load;
mod strings;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use sis_abi::process::COMM_BYTES;
use sis_abi::signal::SIGKILL;
use sis_algo::exec::rope::Rope;
use sis_algo::exec::script;
use sis_machine::mm::usercopy;
use sis_machine::task;
use sis_machine::user::{self, FpState, UserContext};

use super::cred::{CAP_ALL, Cred};
use super::signal::stack::AltStack;
use super::thread::{Thread, work};
use super::{Arguments, exit, table};
use crate::fs::file::{IoFlags, OpenFile};
use crate::fs::mount::MountFlags;
use crate::fs::text::Running;
use crate::fs::walk::Base;
use crate::fs::{self, Path};
use crate::user::Sink;
use crate::vm::Vm;
use crate::{Errno, Result, sched};

pub(crate) use strings::Strings;

/// Most `#!` lines one after another.
const SCRIPTS_MAX: usize = 5;
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
/// Owner and group change.
const S_IXGRP: u32 = 0o010;

/// A program that is ready to run.
pub(crate) struct Prepared {
    vm: Arc<Vm>,
    entry: u64,
    sp: u64,
    /// What is written into the space once it is the current one.
    writes: Vec<Write>,
    /// The stack's first contents, from `sp` on.
    stack: Rope,
    arguments: Arguments,
    exe: Option<Path>,
    text: Option<Running>,
    name: [u8; COMM_BYTES],
    cred: Arc<Cred>,
    is_secure: bool,
}

/// Where the program is found.
pub(crate) enum Program<'a> {
    /// By name.
    Name { name: &'a [u8], follow: bool },
    /// It is open (execveat with AT_EMPTY_PATH); the name is for AT_EXECFN.
    Open { file: Path, name: &'a [u8] },
}

/// Finds, reads and maps a program.
pub(crate) fn prepare(
    base: &Base,
    program: &Program<'_>,
    mut args: Strings,
    env: &Strings,
    personality: u32,
    no_new_privs: bool,
    stack_limit: u64,
) -> Result<Prepared> {
    let name = match program {
        Program::Name { name, .. } | Program::Open { name, .. } => *name,
    };
    let mut file = match program {
        Program::Name { name, follow } => fs::open_exec(base, name, *follow)?,
        Program::Open { file, .. } => fs::open_exec_path(base, file.clone())?,
    };
    if args.is_empty() {
        // As Linux since 5.18: a program always has a name.
        args.push(b"")?;
    }
    let mut head = read_head(&file, 4096)?;
    let mut level = 0;
    while script::is_script(&head) {
        level += 1;
        if level > SCRIPTS_MAX {
            return Err(Errno::ELOOP);
        }
        let line = script::parse(&head).ok_or(Errno::ENOEXEC)?;
        let path = if level == 1 { name.to_vec() } else { args.first_owned() };
        args.replace_first(&[Some(line.interpreter), line.argument, Some(&path)])?;
        args.check_limit(env, stack_limit)?;
        let interpreter = line.interpreter.to_vec();
        file = fs::open_exec(base, &interpreter, true)?;
        head = read_head(&file, 4096)?;
    }
    args.check_limit(env, stack_limit)?;
    let (cred, is_secure) = credentials(&base.cred, &file, no_new_privs);
    let cred = Arc::new(cred);
    let loaded = load::load(base, &file, head, personality)?;
    let image = load::stack(&loaded, &args, env, name, &cred, is_secure)?;
    let writes = loaded.writes;
    let arguments = Arguments {
        args: (image.args.0 as usize, image.args.1 as usize),
        env: (image.env.0 as usize, image.env.1 as usize),
        auxv: (image.auxv.0 as usize, image.auxv.1 as usize),
        stack: image.sp as usize,
    };
    let sp = image.sp;
    let mut comm = [0; COMM_BYTES];
    let base_name = name.rsplit(|b| *b == b'/').next().unwrap_or_default();
    for (to, from) in comm.iter_mut().take(COMM_BYTES - 1).zip(base_name) {
        *to = *from;
    }
    Ok(Prepared {
        vm: loaded.vm,
        entry: loaded.start,
        sp,
        writes,
        stack: image.bytes,
        arguments,
        exe: file.path.clone(),
        text: file.running(),
        name: comm,
        cred,
        is_secure,
    })
}

/// The first bytes of a file, at most `most`.
fn read_head(file: &OpenFile, most: usize) -> Result<Vec<u8>> {
    let mut out = alloc::vec![0; most];
    let mut n = 0;
    while n < most {
        let rest = out.get_mut(n..).unwrap_or_default();
        match file.ops.read(&mut Sink::kernel(rest), n as u64, IoFlags::default())? {
            0 => break,
            more => n += more,
        }
    }
    out.truncate(n);
    Ok(out)
}

/// Whom the program acts for (execve(2); capabilities(7), "Transformation of capabilities during execve"), and whether
/// it must not trust its environment (AT_SECURE).
fn credentials(old: &Cred, file: &OpenFile, no_new_privs: bool) -> (Cred, bool) {
    let mut new = old.clone();
    if let Some(path) = &file.path
        && !no_new_privs
        && !path.mount.flags().contains(MountFlags::NOSUID)
    {
        let owner = path.inode().owner();
        if owner.mode & S_ISUID != 0 {
            new.euid = owner.uid;
        }
        if owner.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
            new.egid = owner.gid;
        }
    }
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    let is_root = new.uid == 0 || new.euid == 0;
    new.cap_permitted = if is_root { CAP_ALL } else { 0 };
    new.cap_effective = if new.euid == 0 { CAP_ALL } else { 0 };
    new.keep_caps = false;
    let is_secure = new.uid != new.euid || new.gid != new.egid;
    (new, is_secure)
}

/// Makes a prepared program the caller's. After this there is no way back: what fails kills the process.
///
/// # Errors
/// `EINTR` when the process is ending, `EAGAIN` when another thread runs exec; nothing has changed then.
pub(crate) fn commit(thread: &Arc<Thread>, user: &mut UserContext, prepared: Prepared) -> Result<()> {
    end_other_threads(thread)?;
    let process = &thread.process;
    super::futex::exit_robust(thread);
    exit::clear_tid(thread);
    let old_vm = process.set_vm(Some(prepared.vm.clone()));
    if let Some(vm) = &old_vm {
        let peak = vm.resident_pages() as u64 * 4;
        let mut inner = process.inner.lock();
        inner.ended.max_resident_kib = inner.ended.max_resident_kib.max(peak);
    }
    sched::set_current_space(Some(prepared.vm.clone()));
    drop(old_vm);
    exit::vfork_done(process);
    {
        let mut state = process.signal.lock();
        state.actions = state.actions.for_exec();
    }
    *thread.alt_stack.lock() = AltStack::NONE;
    *thread.restart.lock() = None;
    process.timers.clear_posix();
    let files = thread.files();
    if Arc::strong_count(&files) > 2 {
        drop(thread.set_files(Arc::new(files.duplicate())));
    }
    drop(files);
    drop(thread.files().take_close_on_exec());
    thread.set_name(&prepared.name);
    let old_exe = {
        let mut inner = process.inner.lock();
        inner.arguments = prepared.arguments;
        (
            core::mem::replace(&mut inner.exe, prepared.exe),
            core::mem::replace(&mut inner.text, prepared.text),
        )
    };
    drop(old_exe);
    process.has_execed.store(true, Ordering::Relaxed);
    process
        .exit_signal
        .store(sis_abi::signal::SIGCHLD.number(), Ordering::Relaxed);
    if prepared.is_secure {
        thread.parent_death_signal.store(0, Ordering::Relaxed);
    }
    process
        .is_dumpable
        .store(u32::from(!prepared.is_secure), Ordering::Relaxed);
    thread.set_cred(prepared.cred);
    let image = Image {
        entry: prepared.entry,
        sp: prepared.sp,
        writes: &prepared.writes,
        stack: &prepared.stack,
    };
    begin(thread, user, &image);
    Ok(())
}

/// Bytes for an address of the new space.
type Write = (usize, Vec<u8>);

/// What the new space is filled with, and where it begins.
struct Image<'a> {
    entry: u64,
    sp: u64,
    writes: &'a [Write],
    stack: &'a Rope,
}

/// Fills the new space and sets the registers for the first instruction.
fn begin(thread: &Arc<Thread>, user: &mut UserContext, image: &Image<'_>) {
    let mut at = image.sp as usize;
    let stack = image.stack.pieces().map(|p| {
        let here = at;
        at += p.len();
        (here, p)
    });
    for (at, bytes) in image.writes.iter().map(|(at, b)| (*at, b.as_slice())).chain(stack) {
        if usercopy::copy_out(at, bytes).is_err() {
            sis_machine::warn!("{}[{}]: no memory for the new program", thread.name(), thread.tid());
            exit::begin_group(&thread.process, SIGKILL.number());
            return;
        }
    }
    *user = UserContext::default();
    user.pc = image.entry;
    user.sp = image.sp;
    user::fp_replace(&FpState::default());
    user::set_tls(0);
}

/// Ends the other threads of the process and takes over the number of the first one.
fn end_other_threads(thread: &Arc<Thread>) -> Result<()> {
    let process = &thread.process;
    {
        let mut state = process.signal.lock();
        if state.group_exit.is_some() {
            return Err(Errno::EINTR);
        }
        if state.exec_by.is_some() {
            return Err(Errno::EAGAIN);
        }
        if state.threads.len() > 1 {
            state.exec_by = Some(thread.tid());
            for t in state.threads.iter().filter(|t| !Arc::ptr_eq(t, thread)) {
                t.add_work(work::KILL);
                t.kick();
            }
        }
    }
    loop {
        {
            let mut state = process.signal.lock();
            let is_alone = state.threads.len() == 1;
            if is_alone || state.group_exit.is_some() {
                state.exec_by = None;
            }
            if state.group_exit.is_some() {
                return Err(Errno::EINTR);
            }
            if is_alone {
                break;
            }
        }
        task::park();
    }
    if thread.tid() != process.pid {
        table::lock().renumber(thread, process.pid);
    }
    Ok(())
}

/// Starts a prepared program in a thread that has never run. By that thread itself.
pub(super) fn first(thread: &Arc<Thread>, prepared: Prepared) -> UserContext {
    let mut user = UserContext::default();
    let image = Image {
        entry: prepared.entry,
        sp: prepared.sp,
        writes: &prepared.writes,
        stack: &prepared.stack,
    };
    begin(thread, &mut user, &image);
    user
}

impl Prepared {
    pub(super) fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    pub(super) fn name(&self) -> [u8; COMM_BYTES] {
        self.name
    }

    pub(super) fn arguments(&self) -> Arguments {
        self.arguments
    }

    pub(super) fn exe(&self) -> Option<Path> {
        self.exe.clone()
    }

    pub(super) fn text(&self) -> Option<Running> {
        self.text.clone()
    }
}
