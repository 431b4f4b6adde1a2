//! Long names: 13 UTF-16 units an entry, the last part first, in front of an entry with a name of 8 and 3 characters (FAT
//! specification, "FAT Long Directory Entries").

use alloc::string::String;
use alloc::vec::Vec;

use crate::Error;
use crate::layout::{put, u16_at};
use crate::slot::Slot;

/// Units of a name at most.
const UNITS_MAX: usize = 255;
/// Units in an entry, and where they are.
const UNITS: usize = 13;
const PLACES: [usize; UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// In the number of the entry that comes first.
const LAST: u8 = 0x40;
/// Numbers at the end of short names that are tried.
const TAILS: u32 = 999_999;

/// Whether a part of a long name can be read together with the entry after it: half a character at its beginning has its
/// other half at that one's end.
pub(crate) fn goes_on_in(part: &Slot, next: Option<&Slot>) -> bool {
    let first = u16_at(&part.0, PLACES[0]);
    if !(0xdc00..=0xdfff).contains(&first) {
        return true;
    }
    let before = next
        .filter(|n| n.is_long())
        .map_or(0, |n| u16_at(&n.0, PLACES[UNITS - 1]));
    (0xd800..=0xdbff).contains(&before)
}

/// The sum over a short name that its long one carries.
pub(crate) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, b| sum.rotate_right(1).wrapping_add(*b))
}

/// A name without what FAT does not keep: points at its end.
///
/// # Errors
/// [`Error::InvalidName`], [`Error::NameTooLong`].
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let name = name.trim_end_matches('.');
    let is_bad = |c: char| c < ' ' || matches!(c, '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' | '\x7f');
    if name.is_empty() || name.chars().any(is_bad) || name.ends_with(' ') {
        return Err(Error::InvalidName);
    }
    if name.encode_utf16().count() > UNITS_MAX {
        return Err(Error::NameTooLong);
    }
    Ok(name)
}

/// The entries of a long name for `short`, in the order in which they are on the disk.
pub(crate) fn entries(name: &str, short: &[u8; 11]) -> Vec<Slot> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let sum = checksum(short);
    let count = units.len().div_ceil(UNITS);
    let mut out: Vec<Slot> = units
        .chunks(UNITS)
        .enumerate()
        .map(|(n, part)| {
            let mut slot = Slot([0xff; 32]);
            slot.0[0] = (n + 1) as u8 | if n + 1 == count { LAST } else { 0 };
            slot.set_attributes(0x0f);
            slot.0[12] = 0;
            slot.0[13] = sum;
            put(&mut slot.0, 26, &[0, 0]);
            for (k, place) in PLACES.iter().enumerate() {
                let unit = match part.get(k) {
                    Some(unit) => *unit,
                    None if k == part.len() => 0,
                    None => 0xffff,
                };
                put(&mut slot.0, *place, &unit.to_le_bytes());
            }
            slot
        })
        .collect();
    out.reverse();
    out
}

/// The short name that says all of `name`, if there is one: capital letters, digits and some signs, 8 and 3 at most.
pub(crate) fn as_short(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let is_plain = |s: &str| s.bytes().all(is_short_byte);
    let is_short = (1..=8).contains(&base.len()) && extension.len() <= 3 && is_plain(base) && is_plain(extension);
    // "A." is "A" to FAT.
    (is_short && !name.ends_with('.')).then(|| padded(base.as_bytes(), extension.as_bytes()))
}

fn is_short_byte(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&b)
}

fn padded(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut out = [b' '; 11];
    put(&mut out, 0, base.get(..8).unwrap_or(base));
    put(&mut out, 8, extension.get(..3).unwrap_or(extension));
    out
}

/// A short name for a long one that is nobody's yet: its first letters, and a number.
pub(crate) fn alias(name: &str, is_taken: impl Fn(&[u8; 11]) -> bool) -> Result<[u8; 11], Error> {
    let trimmed = name.trim_start_matches(['.', ' ']);
    let (base, extension) = trimmed.rsplit_once('.').unwrap_or((trimmed, ""));
    let letters = |s: &str, most: usize| -> Vec<u8> {
        s.chars()
            .filter(|c| !matches!(c, '.' | ' '))
            .map(|c| match u8::try_from(c.to_ascii_uppercase()) {
                Ok(b) if is_short_byte(b) => b,
                _ => b'_',
            })
            .take(most)
            .collect()
    };
    let (base, extension) = (letters(base, 8), letters(extension, 3));
    let with = |tail: &str| {
        let mut out: Vec<u8> = base.iter().copied().take(8 - tail.len()).collect();
        out.extend(tail.as_bytes());
        padded(&out, &extension)
    };
    // Where many names begin alike most numbers are taken: then the name itself has a part in it, as with Windows.
    let sum = name
        .bytes()
        .fold(0u16, |sum, b| sum.rotate_left(3) ^ (sum >> 7) ^ u16::from(b));
    let few = (1..=4).map(|n| alloc::format!("~{n}"));
    let mixed = (1..=9).map(|n| alloc::format!("{sum:04X}~{n}"));
    let others = (5..=TAILS).map(|n| alloc::format!("~{n}"));
    few.chain(mixed)
        .chain(others)
        .map(|tail| with(&tail))
        .find(|short| !is_taken(short))
        .ok_or(Error::NoSpace)
}

/// A short name as it is shown: with a point, and in the case that it is meant in. Bytes beyond ASCII are of a code page that
/// nothing names; they are shown as ISO 8859-1.
pub(crate) fn shown(slot: &Slot) -> String {
    let short = slot.short();
    let (is_base_lower, is_extension_lower) = slot.lower_case();
    let text = |bytes: &[u8], is_lower: bool| -> String {
        let end = bytes.iter().rposition(|b| *b != b' ').map_or(0, |n| n + 1);
        let part = bytes.get(..end).unwrap_or_default();
        part.iter()
            .map(|b| char::from(if is_lower { b.to_ascii_lowercase() } else { *b }))
            .map(|c| if c == '/' || c < ' ' { '_' } else { c })
            .collect()
    };
    let (base, extension) = short.split_at(8);
    let mut out = text(base, is_base_lower);
    // The specification's stand-in for a first byte that would mean a free entry.
    if short[0] == 5 {
        out = core::iter::once('\u{e5}').chain(out.chars().skip(1)).collect();
    }
    let extension = text(extension, is_extension_lower);
    if !extension.is_empty() {
        out.push('.');
        out.push_str(&extension);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn aliases_are_as_the_specification_makes_them() {
        let alias =
            |name: &str, taken: &[&[u8; 11]]| alias(name, |s| taken.contains(&s)).expect("free").map(char::from);
        let text = |chars: [char; 11]| chars.iter().collect::<String>();
        assert_eq!(text(alias("bcm2711-rpi-4-b.dtb", &[])), "BCM271~1DTB");
        assert_eq!(text(alias("config.txt", &[b"CONFIG~1TXT"])), "CONFIG~2TXT");
        assert_eq!(text(alias(".profile", &[])), "PROFIL~1   ");
        assert_eq!(text(alias("a.b.tar.gz", &[])), "ABTAR~1 GZ ");
        assert_eq!(text(alias("größe", &[])), "GR__E~1    ");
    }

    #[test]
    fn only_what_is_short_and_capital_is_a_short_name() {
        assert_eq!(as_short("KERNEL8.IMG"), Some(*b"KERNEL8 IMG"));
        for name in ["kernel8.img", "KERNEL8.IMAGE", "A.B.C", "A B", "TOOLONGNAME", ".A", "Ä"] {
            assert_eq!(as_short(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_fat_cannot_have_are_refused() {
        for name in ["", "...", "a:b", "a?", "x\u{1}", "back\\slash", "end "] {
            assert_eq!(checked(name), Err(Error::InvalidName), "{name:?}");
        }
        assert_eq!(checked("name.."), Ok("name"));
        assert_eq!(checked(&"x".repeat(256)), Err(Error::NameTooLong));
        assert_eq!(checked(&"x".repeat(255)).map(str::len), Ok(255));
        // Two units each.
        assert_eq!(checked(&"\u{1f600}".repeat(128)), Err(Error::NameTooLong));
    }

    #[test]
    fn names_that_begin_alike_have_aliases_of_their_own() {
        let mut taken = alloc::collections::BTreeSet::new();
        for n in 0..3000 {
            let short = alias(&alloc::format!("a longer name {n}"), |s| taken.contains(s)).expect("free");
            assert!(taken.insert(short), "{n}");
        }
    }

    #[test]
    fn a_name_is_shown_in_the_case_it_is_meant_in() {
        let mut slot = Slot([0; 32]);
        slot.set_short(b"KERNEL8 IMG");
        assert_eq!(shown(&slot), "KERNEL8.IMG");
        slot.0[12] = 8 | 16;
        assert_eq!(shown(&slot), "kernel8.img".to_string());
        // A name with a blank inside keeps it.
        slot.set_short(b"A B     T  ");
        assert_eq!(shown(&slot), "a b.t");
    }
}
