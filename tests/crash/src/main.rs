//! `cargo sis crash`: so many power cuts, and how many of them lost something.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sis_crash::campaign::{Campaign, Recovery};
use sis_crash::check::Loss;
use sis_crash::disk::Disk;
use sis_crash::host::HostLoad;
use sis_crash::kill;
use sis_crash::machine::{self, Kernel, Load, Until};
use sis_crash::recovery::{self, tearing_of};
use sis_crash::states::{Honesty, Run, Tearing, Walk};
use sis_crash::trace::{Progress, Trace};
use sis_workload::Random;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Cuts a board's power in many ways and looks for what was lost
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// How many cuts
    #[arg(long, default_value_t = 200)]
    cuts: usize,
    /// Cuts made of one run of the workload; each run has a seed of its own
    #[arg(long, default_value_t = 100)]
    per_run: usize,
    /// The first run's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Whose file system
    #[arg(long, value_enum, default_value_t = Which::Sis)]
    kernel: Which,
    /// Processes that write
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4))]
    workers: u32,
    /// Acknowledgements after which a run ends
    #[arg(long, default_value_t = 600)]
    acks: u64,
    /// Mount options
    #[arg(long, default_value = "")]
    options: String,
    /// Bytes of a block
    #[arg(long, default_value_t = 4096)]
    block: u32,
    /// An argument for mke2fs; may be given several times
    #[arg(long, allow_hyphen_values = true)]
    format: Vec<String>,
    /// The disk lies about every other flush
    #[arg(long)]
    lies: bool,
    /// The workload acknowledges what it has not synchronised
    #[arg(long)]
    unsynced: bool,
    /// Runs that go on with what a cut of the one before has left, before there is a fresh disk again
    #[arg(long, default_value_t = 3)]
    generations: u64,
    /// So many of each run's states the board recovers by mounting them, and its power goes again meanwhile
    #[arg(long, default_value_t = 20)]
    mounts: usize,
    /// So often QEMU is killed with the disk as a file
    #[arg(long, default_value_t = 2)]
    kills: u64,
    /// Keep the images of losses in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Debian's Linux, in QEMU
    Linux,
    /// Our kernel, in QEMU
    Sis,
    /// Our file system alone, in this process
    Host,
}

/// Losses told in full.
const SHOWN: usize = 5;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<usize, Box<dyn Error>> {
    let start = Instant::now();
    let mut total = Total::default();
    let (mut seed, mut generation, mut left) = (arguments.seed, 0, None);
    while total.cuts < arguments.cuts {
        let cuts = arguments.per_run.min(arguments.cuts - total.cuts);
        let trace = record(arguments, seed, left.take())?;
        if arguments.kernel == Which::Host {
            // Half of them is for each.
            crash(arguments, seed, cuts - cuts / 2, &trace, Recovery::E2fsck, &mut total)?;
            crash(arguments, seed ^ 1 << 32, cuts / 2, &trace, Recovery::Ours, &mut total)?;
        } else {
            crash(arguments, seed, cuts, &trace, Recovery::E2fsck, &mut total)?;
            mount(arguments, seed, &trace, &mut total)?;
        }
        generation += 1;
        if generation % arguments.generations.max(1) != 0 {
            left = Some(last_cut(&trace, tearing_of(kernel(arguments))));
        }
        seed += 1;
    }
    let kills = if arguments.kernel == Which::Host {
        0
    } else {
        arguments.kills
    };
    for kill in 0..kills {
        // Somewhere in the first seconds.
        let after = Duration::from_millis(100 + Random::new(seed).below(4000));
        let (acked, judged) = kill::run(&load(arguments, seed), after)?;
        eprintln!("kill {}: seed {seed}, {acked} operations acknowledged", kill + 1);
        total.kills += 1;
        total.judge(format_args!("seed {seed}, killed"), judged.as_ref().err());
        seed += 1;
    }
    println!(
        "{} cuts, {} losses ({} mounts by the board, {} cuts while mounting, {} kills, {:.0} s)",
        total.cuts,
        total.losses,
        total.mounts,
        total.second_cuts,
        total.kills,
        start.elapsed().as_secs_f64()
    );
    Ok(total.losses)
}

#[derive(Debug, Default)]
struct Total {
    cuts: usize,
    mounts: usize,
    second_cuts: usize,
    kills: usize,
    losses: usize,
}

impl Total {
    fn judge(&mut self, what: std::fmt::Arguments<'_>, loss: Option<&Loss>) {
        let Some(loss) = loss else { return };
        self.losses += 1;
        if self.losses <= SHOWN {
            eprintln!("{what}: {loss}");
        }
    }
}

fn kernel(arguments: &Arguments) -> Kernel {
    match arguments.kernel {
        Which::Linux => Kernel::Linux,
        Which::Sis | Which::Host => Kernel::Sis,
    }
}

fn load(arguments: &Arguments, seed: u64) -> Load {
    Load {
        workers: arguments.workers,
        options: arguments.options.clone(),
        format: arguments.format.clone(),
        block_bytes: arguments.block,
        is_unsynced: arguments.unsynced,
        until: Until::Acks(arguments.acks),
        ..Load::new(kernel(arguments), seed)
    }
}

/// What the run leaves when the power goes at its end, and the runs whose files are there.
fn last_cut(trace: &Trace, tearing: Tearing) -> (Disk, Vec<Run>) {
    let mut walk = Walk::new(trace, Honesty::Honest);
    walk.go(trace.events.len());
    // The board mounts it next, see recovery::run.
    let (cut, disk) = walk.cut_with(trace.seed, tearing);
    (disk, trace.runs(cut.reached))
}

fn record(arguments: &Arguments, seed: u64, left: Option<(Disk, Vec<Run>)>) -> Result<Trace, Box<dyn Error>> {
    eprintln!("seed {seed}: the board writes");
    let begin = Instant::now();
    let (disk, earlier) = match left {
        Some(left) => left,
        None => (machine::format(arguments.block, &arguments.format)?, Vec::new()),
    };
    let trace = if arguments.kernel == Which::Host {
        let load = HostLoad {
            seed,
            workers: arguments.workers,
            acks: arguments.acks,
            forgets_data: arguments.unsynced,
        };
        load.record_on(disk, earlier)?
    } else {
        load(arguments, seed).record_on(disk, earlier)?
    };
    let Progress {
        acks, writes, flushes, ..
    } = Progress::of(&trace);
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("seed {seed}: {acks} acknowledgements, {writes} writes, {flushes} flushes in {seconds:.0} s");
    Ok(trace)
}

fn crash(
    arguments: &Arguments,
    seed: u64,
    cuts: usize,
    trace: &Trace,
    recovery: Recovery,
    total: &mut Total,
) -> Result<(), Box<dyn Error>> {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta} left")?;
    let bar = ProgressBar::new(cuts as u64).with_style(style);
    let campaign = Campaign {
        honesty: if arguments.lies {
            Honesty::LiesAboutFlushes
        } else {
            Honesty::Honest
        },
        recovery,
        keep: arguments.keep.clone(),
        ..Campaign::of(kernel(arguments), seed, cuts)
    };
    let summary = campaign.run(trace, &|done, lost| {
        bar.set_position(done as u64);
        bar.set_message(format!("seed {seed}: {lost} losses"));
    })?;
    bar.finish_and_clear();
    for found in &summary.losses {
        let cut = &found.cut;
        let what = format_args!(
            "seed {seed}, cut after event {} ({:?}, {} writes uncovered, {:x})",
            cut.after, cut.fate, cut.uncovered, cut.seed
        );
        total.judge(what, Some(&found.loss));
        if let Some(image) = &found.image {
            eprintln!("  before recovery: {}", image.display());
        }
    }
    total.cuts += summary.cuts;
    Ok(())
}

fn mount(arguments: &Arguments, seed: u64, trace: &Trace, total: &mut Total) -> Result<(), Box<dyn Error>> {
    if arguments.mounts == 0 || arguments.lies {
        return Ok(());
    }
    // Others than those of the campaign.
    let campaign = Campaign {
        keep: arguments.keep.clone(),
        ..Campaign::of(kernel(arguments), seed, arguments.mounts)
    };
    let summary = recovery::run(&campaign, trace, kernel(arguments), &arguments.options)?;
    for (cut, loss) in &summary.losses {
        total.judge(format_args!("seed {seed}, mounted, {cut:?}"), Some(loss));
    }
    total.mounts += summary.mounts;
    total.second_cuts += summary.second_cuts;
    Ok(())
}
