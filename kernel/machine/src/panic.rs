//! The end: a report on the console, then halt or reboot.
//!
//! Nothing here takes a lock or allocates. A second panic, on this CPU or another, stops at once.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use crate::vectors::Frame;
use crate::{cpu, log, percpu, symbols, task};

static PANICKING: AtomicBool = AtomicBool::new(false);
/// CPUs that were online when it began.
static ONLINE: AtomicU32 = AtomicU32::new(1);
static OWNER: AtomicU32 = AtomicU32::new(u32::MAX);
/// Seconds until reboot: 0 never, negative at once (Linux's `panic=`).
static TIMEOUT_S: AtomicI64 = AtomicI64::new(0);

/// Sets what a panic ends in: 0 halts, above reboots after that many seconds, below reboots at once.
pub fn set_timeout_s(seconds: i64) {
    TIMEOUT_S.store(seconds, Ordering::Relaxed);
}

static MIRROR: spin::Once<fn(&[u8])> = spin::Once::new();

/// `f` shows a report somewhere else too; it must wait for no lock.
pub fn set_mirror(f: fn(&[u8])) {
    MIRROR.call_once(|| f);
}

struct Raw;
impl Write for Raw {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        log::raw_write(s.as_bytes());
        if let Some(f) = MIRROR.get() {
            f(s.as_bytes());
        }
        Ok(())
    }
}

macro_rules! say { ($($t:tt)*) => { { let _ = writeln!(Raw, $($t)*); } }; }

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    match info.location() {
        Some(at) => {
            say!("Kernel panic - not syncing: {}", info.message());
            say!("  at {}:{}", at.file(), at.line());
        }
        None => say!("Kernel panic - not syncing: {}", info.message()),
    }
    let fp: usize;
    // SAFETY: (1) reads the frame pointer.
    unsafe { core::arch::asm!("mov {0}, x29", out(reg) fp, options(nomem, nostack)) };
    common();
    backtrace(0, fp);
    finish()
}

/// An exception that the kernel itself caused.
pub(crate) fn exception(what: &str, frame: &Frame) -> ! {
    begin();
    say!("Kernel panic - not syncing: {what}");
    say!(
        "  syndrome {:#010x} (class {:#04x})  address {:#018x}",
        frame.esr,
        frame.esr >> 26,
        frame.far
    );
    common();
    say!(
        "  pc is at {:#018x}  lr is at {:#018x}  sp {:#018x}  pstate {:#x}",
        frame.pc,
        frame.x[30],
        frame.sp,
        frame.pstate
    );
    for (i, four) in frame.x.chunks(4).enumerate() {
        let _ = write!(Raw, " ");
        for (j, v) in four.iter().enumerate() {
            let _ = write!(Raw, " x{:<2} {v:016x}", i * 4 + j);
        }
        say!("");
    }
    backtrace(frame.pc as usize, frame.x[29] as usize);
    finish()
}

fn begin() {
    cpu::irq_disable();
    let me = percpu::try_get().map_or(0, |c| c.id);
    if PANICKING.swap(true, Ordering::SeqCst) {
        if OWNER.load(Ordering::SeqCst) == me {
            log::raw_write(b"\npanic while panicking\n");
        }
        cpu::park_forever();
    }
    OWNER.store(me, Ordering::SeqCst);
    ONLINE.store(percpu::online_count().max(1) as u32, Ordering::Relaxed);
    crate::irq::stop_others();
    say!("");
    say!("---- crash report ----");
}

fn common() {
    let me = percpu::try_get().map_or(0, |c| c.id);
    let ns = crate::timer::now_ns();
    say!(
        "  CPU {me} of {}  time {}.{:06} s",
        ONLINE.load(Ordering::Relaxed),
        ns / 1_000_000_000,
        ns / 1000 % 1_000_000
    );
    let _ = write!(Raw, "  build ");
    match symbols::build_id() {
        Some(id) => id.iter().for_each(|b| {
            let _ = write!(Raw, "{b:02x}");
        }),
        None => {
            let _ = write!(Raw, "unknown");
        }
    }
    say!("");
    if let Some(f) = DESCRIBE.get()
        && task::try_current().is_some()
    {
        f(&mut Raw);
    }
}

static DESCRIBE: spin::Once<fn(&mut dyn Write)> = spin::Once::new();

/// `f` writes a line about the running task (process, name) for reports; it must take no lock.
pub fn set_describe(f: fn(&mut dyn Write)) {
    DESCRIBE.call_once(|| f);
}

fn backtrace(pc: usize, mut fp: usize) {
    say!("backtrace:");
    if pc != 0 {
        line(0, pc);
    }
    for n in 1..32 {
        if fp < crate::mm::LINEAR_BASE || !fp.is_multiple_of(8) || !crate::mm::kspace::is_mapped(fp) {
            break;
        }
        // SAFETY: (1) a mapped, aligned kernel address: two words of a frame record.
        let (next, lr) = unsafe { (*(fp as *const usize), *((fp + 8) as *const usize)) };
        if lr == 0 {
            break;
        }
        line(n, lr);
        // Frames lie upwards on the stack; anything else is damage.
        if next <= fp {
            break;
        }
        fp = next;
    }
}

fn line(n: usize, pc: usize) {
    match symbols::lookup(pc) {
        Some((name, offset)) => say!("  #{n:<2} {pc:#018x} {name}+{offset:#x}"),
        None => say!("  #{n:<2} {pc:#018x}"),
    }
}

fn finish() -> ! {
    say!("last log lines:");
    log::print_tail(16, &mut Raw);
    say!("---- end of report ----");
    if let Some(d) = log::console() {
        let _ = d.flush();
    }
    let timeout = TIMEOUT_S.load(Ordering::Relaxed);
    if timeout > 0 {
        say!("Rebooting in {timeout} seconds..");
        let end = crate::timer::now_ns().saturating_add(timeout as u64 * 1_000_000_000);
        while crate::timer::now_ns() < end {
            core::hint::spin_loop();
        }
    }
    if timeout != 0 {
        crate::firmware::reboot_quiet();
    }
    cpu::park_forever()
}
