//! The console's output on a display.
//!
//! Whatever goes to the serial console is put into a buffer, from any context; the kernel thread `screen` writes it onto
//! the text screen and draws what has changed. A crash report draws for itself.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use embedded_graphics::geometry::OriginDimensions;
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::iso_8859_1::FONT_9X15;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::Point;
use sis_algo::screen::{Cell, Screen};
use sis_hal::Display;
use sis_machine::sync::{IrqLock, Rank, SpinLock};
use sis_machine::{log, percpu};

use crate::poll::Events;
use crate::sched;
use crate::time::Deadline;
use crate::wait::{Sleep, WaitQueue};

/// Bytes that wait to be shown; where more come, the oldest are lost.
const BUFFER: usize = 32768;
/// A byte that found no thread to wake is shown at the latest after this.
const LATEST_NS: u64 = 1_000_000_000;
/// Between two drawings, so that a flood of lines is not drawn line by line.
const FRAME_NS: u64 = 20_000_000;

const FONT: MonoFont<'static> = FONT_9X15;
const GLYPH_WIDTH: usize = 9;
const GLYPH_HEIGHT: usize = 15;

/// As Linux's console has them: 0x00RRGGBB, the bright ones behind the others.
const COLOURS: [u32; 16] = [
    0x00_0000, 0xaa_0000, 0x00_aa00, 0xaa_5500, 0x00_00aa, 0xaa_00aa, 0x00_aaaa, 0xaa_aaaa, 0x55_5555, 0xff_5555,
    0x55_ff55, 0xff_ff55, 0x55_55ff, 0xff_55ff, 0x55_ffff, 0xff_ffff,
];

struct Pending {
    bytes: Box<[u8]>,
    /// Counted without wrapping.
    written: usize,
    read: usize,
}

static PENDING: IrqLock<Option<Pending>> = IrqLock::new(Rank::Mirror, None);
static HAS_PENDING: AtomicBool = AtomicBool::new(false);
static WAKE: WaitQueue = WaitQueue::new();
static SHOWN: SpinLock<Option<Shown>> = SpinLock::new(Rank::Mirror, None);
/// An empty screen that only a crash report writes on, where another CPU was stopped with [`SHOWN`] in its hands.
static SPARE: SpinLock<Option<Shown>> = SpinLock::new(Rank::Mirror, None);
/// Whether the report is on [`SPARE`]: all of it is then.
static ON_SPARE: AtomicBool = AtomicBool::new(false);

struct Shown {
    display: &'static dyn Display,
    screen: Screen,
}

impl Shown {
    fn draw(&mut self) {
        let display = self.display;
        self.screen
            .refresh(|row, column, cell| draw(display, row, column, cell));
    }

    /// A piece of a crash report, drawn line by line.
    fn report(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            self.screen.write(line);
            if line.ends_with(b"\n") {
                self.screen.write(b"\r");
                self.draw();
            }
        }
    }
}

/// Shows the console on `display` from now on; once, at boot. What the log has is shown first.
pub(crate) fn start(display: &'static dyn Display) {
    let (width, height) = display.size();
    let (columns, rows) = (width / GLYPH_WIDTH, height / GLYPH_HEIGHT);
    if columns == 0 || rows == 0 {
        sis_machine::warn!("the display of {width} x {height} pixels is too small for text");
        return;
    }
    let mut screen = Screen::new(columns, rows);
    for record in log::read(0, rows) {
        let (s, us) = (record.time_ns / 1_000_000_000, record.time_ns / 1000 % 1_000_000);
        screen.write(alloc::format!("[{s:5}.{us:06}] {}\r\n", record.text).as_bytes());
    }
    *SHOWN.lock() = Some(Shown { display, screen });
    let screen = Screen::new(columns, rows);
    *SPARE.lock() = Some(Shown { display, screen });
    *PENDING.lock() = Some(Pending {
        bytes: alloc::vec![0; BUFFER].into_boxed_slice(),
        written: 0,
        read: 0,
    });
    if sched::spawn_kernel("screen", run).is_err() {
        sis_machine::warn!("no memory for the display's thread");
        return;
    }
    log::set_mirror(note);
    sis_machine::panic::set_mirror(show_crash);
    sis_machine::info!("display: {width} x {height} pixels, {columns} x {rows} characters");
}

/// The console has said something. Called in any context, with the console's lock held.
fn note(bytes: &[u8]) {
    if let Some(p) = PENDING.lock().as_mut() {
        for byte in bytes {
            let at = p.written % BUFFER;
            if let Some(slot) = p.bytes.get_mut(at) {
                *slot = *byte;
            }
            p.written = p.written.wrapping_add(1);
        }
        if p.written.wrapping_sub(p.read) > BUFFER {
            p.read = p.written.wrapping_sub(BUFFER);
        }
    }
    HAS_PENDING.store(true, Ordering::Release);
}

/// Wakes the thread, where that may be done: not under a lock that waking may need.
pub(crate) fn poke() {
    if HAS_PENDING.load(Ordering::Acquire) && !percpu::holds_spin() {
        WAKE.wake_all(Events::READ);
    }
}

/// Takes some of what waits.
fn take(into: &mut [u8]) -> usize {
    let mut pending = PENDING.lock();
    let Some(p) = pending.as_mut() else { return 0 };
    let mut n = 0;
    while p.read != p.written
        && let Some(slot) = into.get_mut(n)
    {
        *slot = p.bytes.get(p.read % BUFFER).copied().unwrap_or(b' ');
        p.read = p.read.wrapping_add(1);
        n += 1;
    }
    n
}

fn run() {
    let mut batch = [0; 512];
    loop {
        let ready = || HAS_PENDING.swap(false, Ordering::AcqRel).then_some(());
        // Nothing ends this sleep but the condition and the time.
        let _ = WAKE.wait_for(Sleep::Uninterruptible, Deadline::after_ns(LATEST_NS), ready);
        let mut has_changed = false;
        loop {
            let n = take(&mut batch);
            if n == 0 {
                break;
            }
            has_changed = true;
            if let Some(s) = SHOWN.lock().as_mut() {
                s.screen.write(batch.get(..n).unwrap_or_default());
            }
            sched::cond_resched();
        }
        if has_changed {
            if let Some(s) = SHOWN.lock().as_mut() {
                s.draw();
            }
            let pause = WaitQueue::new();
            let _ = pause.wait_for(Sleep::Uninterruptible, Deadline::after_ns(FRAME_NS), || None::<()>);
        }
    }
}

/// A crash report has a piece more. The other CPUs are stopped: a lock that one of them holds is never free again.
fn show_crash(bytes: &[u8]) {
    if !ON_SPARE.load(Ordering::Relaxed) {
        if let Some(mut shown) = SHOWN.try_lock() {
            if let Some(s) = shown.as_mut() {
                s.report(bytes);
            }
            return;
        }
        ON_SPARE.store(true, Ordering::Relaxed);
    }
    if let Some(mut spare) = SPARE.try_lock()
        && let Some(s) = spare.as_mut()
    {
        s.report(bytes);
    }
}

fn draw(display: &dyn Display, row: usize, column: usize, cell: Cell) {
    let colour = |index: u8| COLOURS.get(usize::from(index)).copied().unwrap_or(0);
    let (front, back) = (colour(cell.style.foreground), colour(cell.style.background));
    let glyph = FONT.glyph_mapping.index(cell.character);
    let per_row = (FONT.image.size().width as usize / GLYPH_WIDTH).max(1);
    let (x, y) = (glyph % per_row * GLYPH_WIDTH, glyph / per_row * GLYPH_HEIGHT);
    for line in 0..GLYPH_HEIGHT {
        let mut pixels = [back; GLYPH_WIDTH];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let at = Point::new((x + i) as i32, (y + line) as i32);
            if FONT.image.pixel(at) == Some(BinaryColor::On) {
                *pixel = front;
            }
        }
        display.write_row(column * GLYPH_WIDTH, row * GLYPH_HEIGHT + line, &pixels);
    }
}
