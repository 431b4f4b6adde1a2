use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::{Cell, Screen, Style};

fn after(text: &str) -> Screen {
    let mut screen = Screen::new(10, 4);
    screen.write(text.as_bytes());
    screen
}

fn lines(screen: &Screen) -> Vec<String> {
    (0..screen.size().1).map(|r| screen.text(r)).collect()
}

#[test]
fn text_wraps_and_scrolls() {
    assert_eq!(lines(&after("one\r\ntwo")), ["one", "two", "", ""]);
    assert_eq!(lines(&after("0123456789abc")), ["0123456789", "abc", "", ""]);
    // A full row alone does not scroll: the next character does.
    assert_eq!(
        lines(&after("a\r\nb\r\nc\r\n0123456789")),
        ["a", "b", "c", "0123456789"]
    );
    assert_eq!(
        lines(&after("a\r\nb\r\nc\r\n0123456789x")),
        ["b", "c", "0123456789", "x"]
    );
    assert_eq!(lines(&after("ab\x08X\tY")), ["aX      Y", "", "", ""]);
}

#[test]
fn the_cursor_moves_and_cells_are_erased() {
    assert_eq!(lines(&after("\x1b[2;3Hx\x1b[Ay\x1b[1;1Hz")), ["z  y", "  x", "", ""]);
    assert_eq!(lines(&after("abcdef\x1b[3D\x1b[K")), ["abc", "", "", ""]);
    assert_eq!(lines(&after("abcdef\x1b[3D\x1b[1K")), ["    ef", "", "", ""]);
    assert_eq!(lines(&after("a\r\nb\r\nc\x1b[2J\x1b[Hx")), ["x", "", "", ""]);
    assert_eq!(lines(&after("abc\x1b[1G\x1b[P")), ["bc", "", "", ""]);
    assert_eq!(lines(&after("abc\x1b[1G\x1b[2@")), ["  abc", "", "", ""]);
    assert_eq!(lines(&after("a\r\nb\r\nc\x1b[2;1H\x1b[L")), ["a", "", "b", "c"]);
    assert_eq!(lines(&after("a\r\nb\r\nc\x1b[2;1H\x1b[M")), ["a", "c", "", ""]);
    assert_eq!(
        lines(&after("\x1b[9999;9999Hx\x1b[9999A\x1b[9999Dy")),
        ["y", "", "", "         x"]
    );
}

#[test]
fn colours_are_kept_with_the_cells() {
    let mut screen = after("\x1b[1;31ma\x1b[0;7mb\x1b[mc\x1b[38;5;12md\x1b[38;2;1;2;3;44me");
    let mut cells = Vec::new();
    screen.refresh(|row, column, cell| {
        if row == 0 && column < 5 {
            cells.push((cell.character, cell.style.foreground, cell.style.background));
        }
    });
    assert_eq!(
        cells,
        [('a', 9, 0), ('b', 0, 7), ('c', 7, 0), ('d', 12, 0), ('e', 12, 4)]
    );
}

#[test]
fn what_is_not_known_is_read_to_its_end() {
    for unknown in [
        "\x1b]0;title\x07",
        "\x1b]0;title\x1b\\",
        "\x1b(B",
        "\x1b[>0c",
        "\x1b[?2004h",
        "\x1b[1;2;3z",
        "\x1b[6n",
    ] {
        assert_eq!(after(&alloc::format!("a{unknown}b")).text(0), "ab", "{unknown:?}");
    }
}

#[test]
fn characters_of_several_bytes_are_one() {
    assert_eq!(after("é€𝄞").text(0), "é€𝄞");
    let mut screen = Screen::new(10, 1);
    screen.write(b"a\xffb\xe2\x82c\xc3");
    assert_eq!(screen.text(0), "a\u{fffd}b\u{fffd}c");
}

#[test]
fn only_what_changed_is_drawn() {
    let mut screen = after("abc");
    let count = |screen: &mut Screen| {
        let mut n = 0;
        screen.refresh(|_, _, _| n += 1);
        n
    };
    assert_eq!(count(&mut screen), 40, "everything at first");
    assert_eq!(count(&mut screen), 0);
    screen.write(b"d");
    assert_eq!(count(&mut screen), 2, "the character and the cursor");
    screen.write(b"\x1b[?25l");
    assert_eq!(count(&mut screen), 1, "the cursor is gone");
    screen.write(b"\r\n\r\n\r\n\r\n");
    assert_eq!(count(&mut screen), 4, "the four characters that scrolled away");
}

proptest! {
    /// No input leads out of the screen; what was drawn is what is there.
    #[test]
    fn any_input_is_taken(
        columns in 1usize..20,
        rows in 1usize..6,
        parts in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            "\\x1b\\[[0-9;?]{0,8}[@A-Za-z]".prop_map(String::into_bytes),
            "[a-z]{0,30}\r?\n?".prop_map(String::into_bytes),
        ], 0..30),
    ) {
        let mut screen = Screen::new(columns, rows);
        let mut drawn = alloc::vec![None; columns * rows];
        for part in parts {
            screen.write(&part);
            screen.refresh(|row, column, cell| drawn[row * columns + column] = Some(cell));
        }
        screen.write(b"\x1b[?25l");
        screen.refresh(|row, column, cell| drawn[row * columns + column] = Some(cell));
        for (row, cells) in drawn.chunks(columns).enumerate() {
            let text: String = cells.iter().map(|c: &Option<Cell>| c.unwrap().character).collect();
            prop_assert_eq!(text.trim_end(), screen.text(row));
            let is_colour = |s: Style| s.foreground < 16 && s.background < 16;
            prop_assert!(cells.iter().all(|c| is_colour(c.unwrap().style)));
        }
    }
}
