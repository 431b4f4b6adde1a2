//! One thread that starts every child and never ends before the process does.
//!
//! The parent-death signal, by which QEMU cannot outlive us, is tied to the *thread* that started the child
//! (`PR_SET_PDEATHSIG(2const)`): started from a test's thread, a shared machine would die with that test.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, Mutex, mpsc};

type Request = (Command, mpsc::SyncSender<io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, reply) in receiver {
            // The other side may have given up; then the child is nobody's and ends with us.
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    let sender = SPAWNER
        .lock()
        .map_err(|_| io::Error::other("a thread died while starting a process"))?
        .clone();
    sender
        .send((command, reply))
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))?;
    answer.recv().map_err(gone)?
}
