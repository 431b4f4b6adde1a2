//! From the board to the first process.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_algo::cmdline::CommandLine;
use sis_hal::{ConsoleDevice, CpuPower, Display, Entropy, IrqNumber, NetDevice, TemperatureSensor, Trigger, WallClock};
use sis_machine::sync::Once;
use sis_machine::{BootInfo, Initrd, cpu, irq, log, percpu, smp, timer};

use crate::block::{self, DiskPort};
use crate::{control, fs, net, process, random, sched, time, tty};

/// A network interface of the board.
pub struct NetPort {
    /// The device.
    pub device: &'static dyn NetDevice,
    /// Its interrupt.
    pub irq: Option<(IrqNumber, Trigger)>,
}

/// The board's console port.
pub struct ConsolePort {
    /// The device.
    pub device: &'static dyn ConsoleDevice,
    /// Its interrupt.
    pub irq: Option<(IrqNumber, Trigger)>,
}

/// What a board offers the kernel. Its console and interrupt controller are set up already.
pub struct Platform {
    /// For /proc/cpuinfo and logs, such as `QEMU virt`.
    pub name: String,
    /// The console port.
    pub console: Option<ConsolePort>,
    /// How the other CPUs are started.
    pub cpu_power: Option<&'static dyn CpuPower>,
    /// Network interfaces.
    pub nets: Vec<NetPort>,
    /// Disks.
    pub disks: Vec<DiskPort>,
    /// Random number generators.
    pub entropy: Vec<&'static dyn Entropy>,
    /// A clock that knows the date.
    pub wall_clock: Option<&'static dyn WallClock>,
    /// A temperature sensor.
    pub temperature: Option<&'static dyn TemperatureSensor>,
    /// A display, for the console's output.
    pub display: Option<&'static dyn Display>,
}

/// What is known of the boot, for /proc and metrics.
pub struct BootFacts {
    /// The board's name.
    pub board: String,
    /// The command line as the loader gave it.
    pub cmdline: String,
    /// Nanoseconds from the first instruction until the MMU was on.
    pub mmu_enable_ns: u64,
    /// A temperature sensor.
    pub temperature: Option<&'static dyn TemperatureSensor>,
}

static FACTS: Once<BootFacts> = Once::new();
/// Nanoseconds from the first instruction until init was started.
static BOOT_NS: AtomicU64 = AtomicU64::new(0);

/// What is known of the boot.
pub fn facts() -> Option<&'static BootFacts> {
    FACTS.get()
}

/// Nanoseconds from the kernel's first instruction until init was started; 0 before that.
pub fn boot_time_ns() -> u64 {
    BOOT_NS.load(Ordering::Relaxed)
}

/// Paths that are tried for init without `rdinit=` and `init=`: the initramfs's, then those of Linux.
const INIT_PATHS: [&str; 5] = ["/init", "/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Brings the system up and never returns: the calling code becomes CPU 0's idle task.
pub fn run(platform: Platform, boot: BootInfo) -> ! {
    let chosen = boot.fdt.chosen();
    let line = chosen.bootargs.unwrap_or_default().to_string();
    let parsed = CommandLine::parse(&line, &sis_algo::cmdline::KNOWN);
    set_log_level(&parsed);
    if let Some(seconds) = parsed.number("panic") {
        sis_machine::panic::set_timeout_s(seconds);
    }
    check_vectors();
    log::marker("VECTORS OK");
    sis_machine::info!(
        "{} on {}, {} interrupts",
        crate::VERSION,
        platform.name,
        irq::controller_name()
    );
    sis_machine::info!("Kernel command line: {line}");
    sis_machine::info!(
        "Memory: {} KiB free, MMU on after {} ns",
        sis_machine::mm::frames::free_frames() * 4,
        boot.mmu_enable_ns
    );
    FACTS.call_once(|| BootFacts {
        board: platform.name.clone(),
        cmdline: line,
        mmu_enable_ns: boot.mmu_enable_ns,
        temperature: platform.temperature,
    });
    sis_machine::panic::set_describe(sched::describe);
    sched::init();
    smp::set_online();
    start_cpus(&platform, &boot, &parsed);
    random::init(chosen.rng_seed);
    let entry_ticks = boot.entry_ticks;
    // The rest sleeps and waits: it needs a task of its own.
    let started = sched::spawn_kernel("boot", move || start_system(platform, boot.initrd, parsed, entry_ticks));
    if started.is_err() {
        panic!("no memory for the first task");
    }
    sched::idle_loop()
}

fn set_log_level(line: &CommandLine) {
    if line.has("quiet") {
        log::set_console_level(4);
    }
    if line.has("debug") || line.has("ignore_loglevel") {
        log::set_console_level(8);
    }
    if let Some(n) = line.number("loglevel") {
        log::set_console_level(n.clamp(1, 8) as u8);
    }
}

/// Takes an exception on purpose: a load from a user address that nothing maps must come back as a fault.
fn check_vectors() {
    if sis_machine::mm::usercopy::load_u32(0x1000).is_ok() {
        panic!("a load from an unmapped address succeeded: the exception vectors do not work");
    }
}

fn start_cpus(platform: &Platform, boot: &BootInfo, line: &CommandLine) {
    let mut most = line
        .number("maxcpus")
        .or(line.number("nr_cpus"))
        .map_or(usize::MAX, |n| n.max(1) as usize);
    if line.has("nosmp") {
        most = 1;
    }
    let me = cpu::mpidr();
    let others: Vec<u64> = boot
        .fdt
        .cpus()
        .filter(|c| c.is_enabled && c.mpidr != me)
        .map(|c| c.mpidr)
        .take(most.saturating_sub(1))
        .collect();
    let wanted = others.len();
    let started = match platform.cpu_power {
        Some(power) if wanted > 0 => smp::start(others.into_iter(), power, sched::secondary_main),
        _ => 0,
    };
    sis_machine::info!("smp: {} of {} CPUs up", started + 1, wanted + 1);
}

fn start_system(platform: Platform, initrd: Option<Initrd>, line: CommandLine, entry_ticks: u64) {
    if let Some(display) = platform.display {
        tty::screen::start(display);
    }
    for source in &platform.entropy {
        let mut seed = [0u8; 64];
        match source.fill(&mut seed) {
            Ok(n) => random::mix(seed.get(..n).unwrap_or_default(), n >= 32),
            Err(e) => sis_machine::warn!("random number generator: {e}"),
        }
    }
    if !random::is_seeded() {
        sis_machine::warn!("no source of entropy: random numbers rest on timing alone");
    }
    if let Some(seconds) = platform.wall_clock.and_then(WallClock::unix_seconds) {
        time::set_wall_ns(seconds.saturating_mul(1_000_000_000));
    }
    let unpacked = fs::init(initrd.as_ref().map(Initrd::bytes).unwrap_or_default());
    report_initramfs(&unpacked);
    drop(initrd);
    tty::init(platform.console, line.values("console").last());
    start_network(&platform.nets);
    start_disks(&platform.disks);
    control::init(&line);
    start_load_average();
    start_init(&line, entry_ticks)
}

fn report_initramfs(u: &fs::initramfs::Unpacked) {
    sis_machine::info!("initramfs: {} entries, {} bytes", u.entries, u.bytes);
    if let Some((n, e)) = u.failed {
        sis_machine::error!("initramfs: {n} entries could not be made, the last for {e}");
    }
    if let Some(e) = &u.malformed {
        sis_machine::error!("initramfs: {e}; what came before is in place");
    }
}

fn start_network(ports: &[NetPort]) {
    if let Err(e) = net::init() {
        sis_machine::error!("net: {e}");
        return;
    }
    for port in ports {
        let attached = match port.irq {
            Some((irq, trigger)) => net::attach(port.device, irq, trigger),
            None => Err(crate::Errno::ENXIO),
        };
        if let Err(e) = attached {
            sis_machine::error!("net: the interface {} cannot be used: {e}", port.device.mac());
        }
    }
}

fn start_disks(ports: &[DiskPort]) {
    for port in ports {
        if let Err(e) = block::attach(port) {
            sis_machine::error!("block: a disk ({:?}) cannot be used: {e}", port.kind);
        }
    }
}

fn start_load_average() {
    let body = || {
        let queue = crate::wait::WaitQueue::new();
        loop {
            let _ = queue.wait_until(time::Deadline::after_ns(5_000_000_000), || None::<()>);
            // This thread itself runs, and does not count.
            sched::load::sample(sched::runnable().saturating_sub(1) as u64);
        }
    };
    if sched::spawn_kernel("loadavg", body).is_err() {
        sis_machine::warn!("no memory for the load average");
    }
}

fn start_init(line: &CommandLine, entry_ticks: u64) {
    let mut tried = String::new();
    let named = line
        .get("rdinit")
        .map(|p| (p, true))
        .or_else(|| line.get("init").map(|p| (p, false)));
    let candidates: Vec<&str> = match named {
        // As Linux: a named init that does not run is fatal; rdinit= falls back to the usual ones.
        Some((path, false)) => alloc::vec![path],
        Some((path, true)) => core::iter::once(path).chain(INIT_PATHS).collect(),
        None => INIT_PATHS.to_vec(),
    };
    let mut env = alloc::vec![String::from("HOME=/"), String::from("TERM=linux")];
    for var in &line.init_env {
        let key = var.split('=').next().unwrap_or_default();
        env.retain(|e| e.split('=').next() != Some(key));
        env.push(var.clone());
    }
    let ns = timer::ticks_to_ns(cpu::counter().saturating_sub(entry_ticks));
    BOOT_NS.store(ns, Ordering::Relaxed);
    control::tell_boot();
    log::marker("LAUNCHING SHELL");
    sis_machine::info!("METRIC boot_time_ns={ns}");
    sis_machine::info!("METRIC mmu_enable_ns={}", facts().map_or(0, |f| f.mmu_enable_ns));
    for path in candidates {
        let mut args = alloc::vec![path.to_string()];
        args.extend(line.init_args.iter().cloned());
        match process::start_init(path, &args, &env) {
            Ok(()) => {
                sis_machine::info!("Run {path} as init process");
                return;
            }
            Err(e) => {
                if !tried.is_empty() {
                    tried.push_str(", ");
                }
                tried.push_str(&format!("{path} ({e})"));
            }
        }
    }
    panic!(
        "No working init found. Tried: {tried}. Pass an initramfs (-initrd) that has /init, or name one with init= or rdinit=."
    );
}

/// Interrupt handlers live for good.
pub(crate) fn leak(handler: impl Fn() + Sync + 'static) -> &'static (dyn Fn() + Sync) {
    Box::leak(Box::new(handler))
}

/// CPUs online.
pub fn cpus() -> usize {
    percpu::online_count()
}
