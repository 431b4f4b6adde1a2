//! `run`, in the foreground or handed to a supervisor in the background.

use super::console::attach_failure;
use super::{Context, print_json};
use crate::arguments::Run;
use crate::build::{self, Wishes};
use crate::failure::{Exit, Failure, OrFail, Outcome};
use crate::run_state::{Process, RunState};
use crate::terminal::{self, Left};
use sis_image::card::start::as_firmware;
use sis_qemu::machine::StartError;
use sis_qemu::qmp::{Ended, Watch};
use sis_qemu::{Board, Drive, Files, Machine, Options};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// How long a supervisor may take until its board runs.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const SUPERVISOR_LOG: &str = "supervisor.log";
/// Made when a bound board is to outlive the process that it is bound to.
const KEEP_FILE: &str = "keep";

pub(crate) fn run(context: &Context, wishes: &Run) -> Outcome {
    let board = context.workspace.board(&wishes.board)?;
    refuse_second(context, &board)?;
    make_ready(context, &board, wishes)?;
    if wishes.headless {
        let state = start_headless(context, wishes)?;
        if context.is_json {
            return print_json(&state);
        }
        let log = context
            .workspace
            .run_folder(&board.name)
            .join(sis_qemu::command::CONSOLE_LOG);
        println!(
            "{} runs (process {}); its console is in {}",
            board.name,
            state.qemu.pid,
            log.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    foreground(context, &board, wishes)
}

fn refuse_second(context: &Context, board: &Board) -> Outcome<()> {
    match RunState::load(&context.workspace, &board.name) {
        Some(state) => {
            let message = format!("{} is running already (process {})", board.name, state.qemu.pid);
            let fix = format!("cargo sis console {0}, or cargo sis down {0}", board.name);
            Err(Failure::new("run.already", message).exit(Exit::Busy).fix(fix))
        }
        None => Ok(()),
    }
}

/// Builds, unless told not to.
fn make_ready(context: &Context, board: &Board, wishes: &Run) -> Outcome<()> {
    if !wishes.no_build && wishes.kernel.is_none() && wishes.card.is_none() {
        let what = Wishes {
            checked: wishes.checked,
            refresh: false,
        };
        build::build(&context.workspace, board, &what, &context.report)?;
    }
    if wishes.card.is_some() && board.qemu.loader.is_none() {
        return Ok(());
    }
    for file in files(context, board, wishes)?.all() {
        if !file.is_file() {
            let fix = format!("cargo sis build {}", board.name);
            return Err(Failure::new("run.missing", format_args!("there is no {}", file.display())).fix(fix));
        }
    }
    Ok(())
}

fn files(context: &Context, board: &Board, wishes: &Run) -> Outcome<Files> {
    let absolute = |path: &PathBuf| std::path::absolute(path).or_fail("run.path");
    let mut files = build::files(&context.workspace, board);
    if wishes.card.is_some() {
        files.loader.clone_from(&board.qemu.loader);
    }
    if let Some(kernel) = &wishes.kernel {
        files.kernel = absolute(kernel)?;
        files.initrd = None;
    }
    if let Some(initrd) = &wishes.initrd {
        files.initrd = Some(absolute(initrd)?);
    }
    Ok(files)
}

fn options(board: &Board, wishes: &Run) -> Outcome<Options> {
    let agent_port = match (wishes.agent_port, &board.qemu.network_device) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => Some(sis_qemu::free_udp_port().or_fail("run.port")?),
        (None, None) => None,
    };
    Ok(Options {
        smp: wishes.smp,
        memory: wishes.mem.clone(),
        gic: wishes.gic,
        cpu: wishes.cpu.clone(),
        virtualization: wishes.el2.then_some(true),
        append_more: wishes.append.iter().cloned().collect(),
        icount: wishes.icount,
        gdb: wishes.gdb,
        agent_port,
        no_reboot: wishes.no_reboot,
        card: wishes.card.as_deref().map(drive).transpose()?,
        drives: wishes.drive.iter().map(|file| drive(file)).collect::<Outcome<_>>()?,
        extra: wishes.qemu.clone(),
        ..Options::default()
    })
}

/// Whether the firmware's part is played at each restart too: by the supervisor, who starts QEMU anew with what the card then says.
fn plays_firmware(board: &Board, wishes: &Run) -> bool {
    wishes.headless && wishes.card.is_some() && board.qemu.loader.is_none() && !wishes.no_reboot
}

/// QEMU runs no firmware of the Pi's: takes from the card what that would start, and answers the command line.
fn play_firmware(
    board: &Board,
    card: &Path,
    is_tryboot: bool,
    run_folder: &Path,
    files: &mut Files,
) -> Outcome<String> {
    let start = as_firmware(card, &board.name, is_tryboot).or_fail("run.card")?;
    let (kernel, tree) = start.save(run_folder).or_fail("run.card")?;
    files.kernel = kernel;
    files.device_tree = Some(tree);
    files.initrd = None;
    Ok(start.command_line)
}

fn drive(file: &Path) -> Outcome<Drive> {
    let path = std::path::absolute(file).or_fail("run.drive")?;
    let drive = Drive::raw(path.to_string_lossy());
    Ok(match path.extension() {
        Some(extension) if extension == "qcow2" => drive.format("qcow2"),
        _ => drive,
    })
}

/// Starts QEMU (stopped) and writes down that it runs.
fn start(context: &Context, board: &Board, wishes: &Run, is_tryboot: bool) -> Outcome<Machine> {
    let run_folder = context.workspace.run_folder(&board.name);
    let mut options = options(board, wishes)?;
    let mut files = files(context, board, wishes)?;
    if let Some(card) = wishes.card.as_ref().filter(|_| board.qemu.loader.is_none()) {
        options.append = Some(play_firmware(board, card, is_tryboot, &run_folder, &mut files)?);
        options.plays_firmware = plays_firmware(board, wishes);
    }
    let usage = |error| Failure::new("run.options", error).exit(Exit::Usage);
    let command = board.command(&files, &options).map_err(usage)?;
    let machine = Machine::start(&command, &run_folder).map_err(|error| {
        let failure = Failure::new("run.qemu", &error);
        if matches!(error, StartError::NoQemu(_)) {
            failure.exit(Exit::Missing).fix("cargo sis setup")
        } else {
            failure
        }
    })?;
    let gone = || Failure::new("run.qemu", "QEMU ended at once");
    let started = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let state = RunState {
        board: board.name.clone(),
        qemu: Process::of(machine.pid()).ok_or_else(gone)?,
        supervisor: Process::of(std::process::id()).ok_or_else(gone)?,
        agent_port: options.agent_port,
        started_ms: started.as_millis() as u64,
        command,
    };
    state.save(&run_folder)?;
    Ok(machine)
}

fn resume(machine: &Machine, wishes: &Run) -> Outcome<()> {
    if wishes.gdb.is_some() {
        return Ok(());
    }
    machine.qmp().and_then(|mut qmp| qmp.resume()).or_fail("run.qemu")
}

fn foreground(context: &Context, board: &Board, wishes: &Run) -> Outcome {
    let mut machine = start(context, board, wishes, false)?;
    let attached = sis_qemu::console::attach(machine.run_folder()).map_err(attach_failure)?;
    context.report.say(format_args!("{}: Ctrl-] ends it", board.title));
    if let Some(port) = wishes.gdb {
        context
            .report
            .say(format_args!("waiting for a debugger on 127.0.0.1:{port}"));
    }
    resume(&machine, wishes)?;
    let left = terminal::attach(&attached.stream)?;
    if left == Left::AtEnd {
        machine.wait(Duration::from_secs(2));
    }
    machine.stop();
    RunState::forget(machine.run_folder());
    context.report.say(format_args!("\r\n{} has ended", board.name));
    ended(&mut machine)
}

/// QEMU's own failures are ours; a guest that powered off is a success.
fn ended(machine: &mut Machine) -> Outcome {
    match machine.wait(Duration::ZERO) {
        Some(status) if !status.success() && status.code().is_some() => Err(Failure::new(
            "run.qemu",
            format_args!("QEMU ended with {status}: {}", machine.log()),
        )),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Starts the supervisor and waits until its board runs.
pub(crate) fn start_headless(context: &Context, wishes: &Run) -> Outcome<RunState> {
    let run_folder = context.workspace.run_folder(&wishes.board);
    std::fs::create_dir_all(&run_folder).or_fail("run.folder")?;
    let _ = std::fs::remove_file(run_folder.join(KEEP_FILE));
    let log = File::create(run_folder.join(SUPERVISOR_LOG)).or_fail("run.folder")?;
    let program = std::env::current_exe().or_fail("run.supervisor")?;
    let mut supervisor = Command::new(program)
        .arg("supervise")
        .args(wishes.words())
        .current_dir(context.workspace.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone().or_fail("run.folder")?)
        .stderr(log)
        .spawn()
        .or_fail("run.supervisor")?;
    let pid = supervisor.id();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(state) =
            RunState::load(&context.workspace, &wishes.board).filter(|state| state.supervisor.pid == pid)
        {
            return Ok(state);
        }
        if supervisor.try_wait().or_fail("run.supervisor")?.is_some() {
            let said = std::fs::read_to_string(run_folder.join(SUPERVISOR_LOG)).unwrap_or_default();
            return Err(Failure::new("run.supervisor", said.trim()));
        }
        if Instant::now() >= deadline {
            let _ = supervisor.kill();
            let message = format!("{} did not start within {} s", wishes.board, START_TIMEOUT.as_secs());
            return Err(Failure::new("run.supervisor", message).exit(Exit::Timeout));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The background half of `run --headless`: a session of its own, so that no closing terminal takes it along. QEMU dies
/// with it.
pub(crate) fn supervise(context: &Context, wishes: &Run) -> Outcome {
    // Refused only to the leader of a process group, which a freshly started child is not.
    let _ = rustix::process::setsid();
    let board = context.workspace.board(&wishes.board)?;
    let mut wishes = wishes.clone();
    wishes.headless = true;
    if wishes.agent_port.is_none() && board.qemu.network_device.is_some() {
        // Clients know the board by its port: it stays when QEMU is started anew.
        wishes.agent_port = Some(sis_qemu::free_udp_port().or_fail("run.port")?);
    }
    let bound = wishes.bound.as_deref().and_then(Process::parse);
    let keep = context.workspace.run_folder(&board.name).join(KEEP_FILE);
    let mut is_tryboot = false;
    let mut machine = loop {
        let mut machine = start(context, &board, &wishes, is_tryboot)?;
        let watch = if plays_firmware(&board, &wishes) {
            Some(Watch::connect(machine.run_folder()).or_fail("run.qemu")?)
        } else {
            None
        };
        resume(&machine, &wishes)?;
        let ending = watch.map(|watch| std::thread::spawn(|| watch.wait()));
        while !machine.has_ended() {
            if bound.is_some_and(|process| !process.is_alive()) && !keep.exists() {
                machine.stop();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let ended = ending.and_then(|ending| ending.join().ok());
        match ended {
            Some(Ended::Restart { is_tryboot: asked }) => is_tryboot = asked,
            _ => break machine,
        }
    };
    forget_if_ours(context, machine.run_folder());
    ended(&mut machine)
}

/// Lets a bound board live on.
pub(crate) fn keep(run_folder: &Path) -> Outcome<()> {
    File::create(run_folder.join(KEEP_FILE)).map(drop).or_fail("run.keep")
}

fn forget_if_ours(context: &Context, run_folder: &Path) {
    // A next run may have begun already; its state is not ours to remove.
    let name = run_folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if RunState::load(&context.workspace, &name).is_none() {
        RunState::forget(run_folder);
    }
}

impl Run {
    /// The words that say the same to `supervise`.
    fn words(&self) -> Vec<String> {
        let mut words = vec![self.board.clone()];
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        option("smp", self.smp.map(|value| value.to_string()));
        option("mem", self.mem.clone());
        option("gic", self.gic.map(|value| value.to_string()));
        option("cpu", self.cpu.clone());
        option("append", self.append.clone());
        option("initrd", self.initrd.as_ref().and_then(|path| absolute_text(path)));
        option("card", self.card.as_ref().and_then(|path| absolute_text(path)));
        option("kernel", self.kernel.as_ref().and_then(|path| absolute_text(path)));
        option("gdb", self.gdb.map(|value| value.to_string()));
        option("bound", self.bound.clone());
        option("agent-port", self.agent_port.map(|value| value.to_string()));
        for (is_set, word) in [
            (self.el2, "--el2"),
            (self.icount, "--icount"),
            (self.no_reboot, "--no-reboot"),
        ] {
            words.extend(is_set.then(|| word.to_owned()));
        }
        for file in self.drive.iter().filter_map(|path| absolute_text(path)) {
            words.push(format!("--drive={file}"));
        }
        if !self.qemu.is_empty() {
            words.push("--".into());
            words.extend(self.qemu.iter().cloned());
        }
        words
    }
}

fn absolute_text(path: &Path) -> Option<String> {
    Some(std::path::absolute(path).ok()?.to_string_lossy().into_owned())
}
