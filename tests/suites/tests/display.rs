//! What a person without a serial cable sees: the console on the Pi's display.
//!
//! The picture is read back character by character, with the font that the kernel draws with.

use std::time::Instant;

use embedded_graphics::geometry::OriginDimensions;
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::iso_8859_1::FONT_9X15;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::Point;
use sis_harness::{Board, Boot, Failure, Result, SECOND};
use sis_suites::{RPI4, to_shell};

const WIDTH: usize = 9;
const HEIGHT: usize = 15;

/// Which pixels of a character are drawn.
fn glyph(character: char) -> Vec<bool> {
    let index = FONT_9X15.glyph_mapping.index(character);
    let per_row = FONT_9X15.image.size().width as usize / WIDTH;
    let (x, y) = (index % per_row * WIDTH, index / per_row * HEIGHT);
    let lit = |i: usize| {
        let at = Point::new((x + i % WIDTH) as i32, (y + i / WIDTH) as i32);
        FONT_9X15.image.pixel(at) == Some(BinaryColor::On)
    };
    (0..WIDTH * HEIGHT).map(lit).collect()
}

/// The display's lines of text. What is no printable ASCII character shows as `?`.
fn read(board: &Board) -> Result<Vec<String>> {
    let path = board.folder().join("display.ppm");
    let _ = std::fs::remove_file(&path);
    let arguments = serde_json::json!({"filename": path});
    board
        .qmp()?
        .execute("screendump", arguments)
        .map_err(|error| board.failure(error))?;
    let picture = std::fs::read(&path).map_err(|error| board.failure(error))?;
    // P6, size, depth, each on a line of its own, then three bytes a pixel.
    let mut parts = picture.splitn(4, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (magic, size, _depth, pixels) = (next(), next(), next(), next());
    let size = String::from_utf8_lossy(size).into_owned();
    let (width, height) = size.split_once(' ').unwrap_or_default();
    let (Ok(width), Ok(height)) = (width.parse::<usize>(), height.parse::<usize>()) else {
        return Err(board.failure(format_args!("no picture: {size:?}")));
    };
    assert_eq!((magic, pixels.len()), (b"P6".as_slice(), width * height * 3));
    let known: Vec<(char, Vec<bool>)> = (' '..='~').map(|c| (c, glyph(c))).collect();
    let lines = (0..height / HEIGHT).map(|row| {
        let cell = |column: usize| {
            let lit = |i: usize| {
                let (x, y) = (column * WIDTH + i % WIDTH, row * HEIGHT + i / WIDTH);
                let at = (y * width + x) * 3;
                pixels[at..at + 3].iter().any(|part| *part != 0)
            };
            let seen: Vec<bool> = (0..WIDTH * HEIGHT).map(lit).collect();
            known.iter().find(|(_, bits)| *bits == seen).map_or('?', |(c, _)| *c)
        };
        let line: String = (0..width / WIDTH).map(cell).collect();
        line.trim_end().to_owned()
    });
    Ok(lines.collect())
}

/// Looks until the display shows a line like this.
fn wait_for(board: &Board, is_right: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let begin = Instant::now();
    loop {
        let lines = read(board)?;
        if lines.iter().any(|line| is_right(line)) {
            return Ok(lines);
        }
        if begin.elapsed() > 30 * SECOND {
            return Err(Failure::new(format_args!("the display shows:\n{}", lines.join("\n"))));
        }
        std::thread::sleep(SECOND / 5);
    }
}

#[test]
fn the_pis_display_shows_the_boot_and_the_shell() -> Result<()> {
    let mut board = to_shell(Boot::new(RPI4))?;
    let lines = wait_for(&board, |line| line == "sis>" || line == "sis> ?")?;
    for wanted in ["KERNEL(U)", "VECTORS OK", "LAUNCHING SHELL", "type help"] {
        assert!(
            lines.iter().any(|l| l.contains(wanted)),
            "{wanted}:\n{}",
            lines.join("\n")
        );
    }
    // Longer than the display is high, so that it scrolls.
    board.run_ok("seq 1 200; echo the end of it", 20 * SECOND)?;
    let lines = wait_for(&board, |line| line == "the end of it")?;
    let at = lines.iter().position(|l| l == "the end of it").unwrap_or(0);
    let above: Vec<&str> = lines[..at].iter().rev().take(5).map(String::as_str).collect();
    assert_eq!(above, ["200", "199", "198", "197", "196"], "{}", lines.join("\n"));
    Ok(())
}

/// Starts init, whose end is a crash, and looks for the report on the display.
fn crash_is_shown(init: &str) -> Result<()> {
    let mut board = Boot::new(RPI4).append(init).expects_panic().start()?;
    board.expect("Kernel panic[^\n]*Attempted to kill init", 60 * SECOND)?;
    let lines = wait_for(&board, |line| line.contains("---- end of report ----"))?;
    for wanted in ["---- crash report ----", "Attempted to kill init", "backtrace:"] {
        assert!(
            lines.iter().any(|l| l.contains(wanted)),
            "{wanted}:\n{}",
            lines.join("\n")
        );
    }
    Ok(())
}

#[test]
fn the_pis_display_shows_a_crash() -> Result<()> {
    crash_is_shown("rdinit=/bin/false")
}

/// The thread that draws is at work on another CPU, with the screen in its hands.
#[test]
fn a_crash_is_shown_while_the_display_is_drawn_on() -> Result<()> {
    crash_is_shown("rdinit=/bin/busybox -- seq 1 6000")
}
