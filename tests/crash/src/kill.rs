//! The other mode: the disk is a file, and QEMU is killed at some moment. What it had completed is in the file (the host
//! goes on), what was under way is there in part.

use crate::campaign::{CampaignError, examine};
use crate::check::Loss;
use crate::disk::Disk;
use crate::machine::{Load, Machine};
use crate::states::{Reached, Run};
use sis_harness::Failure;
use sis_workload::{Kind, LOG_BYTES, RECORD_BYTES, REGION_BYTES, Record, WORKERS};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// From power on to the first acknowledgement.
const START_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The board.
    #[error(transparent)]
    Board(#[from] Failure),
    /// The checks.
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    /// A file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs `load` on a file, kills QEMU `after` its first acknowledgement, and says how many acknowledgements there were and
/// what was lost.
///
/// # Errors
/// [`KillError`].
pub fn run(load: &Load, after: Duration) -> Result<(u64, Result<(), Loss>), KillError> {
    let disk = crate::machine::format(load.block_bytes, &load.format)?;
    let prepare = |folder: &Path| {
        disk.save(&folder.join("data"))?;
        File::create(folder.join("log"))?.set_len(LOG_BYTES)
    };
    let machine = Machine::start_on_files(load.kernel, &load.command(), prepare)?;
    let log = File::open(machine.folder().join("log"))?;
    let deadline = Instant::now() + sis_harness::scaled(START_LIMIT);
    while read_log(&log, load)?.iter().all(|reached| reached.acked == 0) {
        if Instant::now() > deadline || machine.board().has_panicked() {
            return Err(machine.board().failure("nothing was acknowledged").into());
        }
        std::thread::sleep(PAUSE);
    }
    std::thread::sleep(after);
    let folder = machine.kill();
    let reached = read_log(&log, load)?;
    let disk = Disk::load(&folder.path().join("data"))?;
    let judged = examine(
        &disk,
        &folder.path().join("after"),
        &[Run {
            seed: load.seed,
            reached,
        }],
    )?;
    Ok((reached.iter().map(|reached| reached.acked).sum(), judged))
}

/// What the log's file says. Each region is written from its beginning, without gaps.
fn read_log(log: &File, load: &Load) -> Result<[Reached; WORKERS as usize], KillError> {
    let mut all = [Reached::default(); WORKERS as usize];
    for (worker, reached) in (0..).zip(&mut all) {
        let mut at = worker * REGION_BYTES;
        let mut sector = [0; RECORD_BYTES];
        loop {
            log.read_exact_at(&mut sector, at)?;
            let Some(record) = Record::from_bytes(&sector).filter(|record| record.seed == load.seed) else {
                break;
            };
            match record.kind {
                Kind::Begin => reached.has_begun = true,
                Kind::Ack => reached.acked = record.number,
                Kind::Intent => reached.intended = record.number,
                Kind::Failed => {
                    let why = format!("worker {worker}: {}", record.text);
                    return Err(Failure::new(why).into());
                }
                Kind::End | Kind::Next | Kind::Recovered => {}
            }
            at += RECORD_BYTES as u64;
        }
    }
    Ok(all)
}
