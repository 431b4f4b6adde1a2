//! How deep the items of a CBOR input lie in each other (RFC 8949, section 3).

/// Deeper input is refused. Our own messages stay below half of it.
pub const MAX_NESTING: usize = 32;

/// Whether no item of `bytes` lies deeper than [`MAX_NESTING`]. Input that is no CBOR is none of this function's business:
/// it answers for what comes before the first mistake.
///
/// A decoder keeps a note for each open array and map that it passes over, so a small input of nothing but opening bytes
/// would cost many times its size.
pub(super) fn is_shallow(bytes: &[u8]) -> bool {
    // What is open: how many items are still to come, `None` until a break.
    let mut open = [None; MAX_NESTING];
    let mut depth = 0;
    let mut at = 0_usize;
    while let Some((head, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) {
        let (major, info) = (head >> 5, head & 0x1f);
        if *head == 0xff {
            at += 1;
            depth = closed(
                &open,
                if innermost(&open, depth) == Some(None) {
                    depth - 1
                } else {
                    depth
                },
            );
            continue;
        }
        let (argument, size) = match info {
            0..=23 => (Some(u64::from(info)), 0),
            24..=27 => {
                let size = 1 << (info - 24);
                let Some(bytes) = rest.get(..size) else { return true };
                let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                (Some(value), size)
            }
            31 => (None, 0),
            _ => return true,
        };
        at = at.saturating_add(1 + size);
        if let Some(Some(left)) = depth.checked_sub(1).and_then(|at| open.get_mut(at)) {
            *left -= 1;
        }
        let inside = match (major, argument) {
            (2 | 3, Some(length)) => {
                at = at.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                Some(0)
            }
            (4, count) => count,
            (5, count) => count.map(|pairs| pairs.saturating_mul(2)),
            (6, _) => Some(1),
            (2 | 3, None) => None,
            _ => Some(0),
        };
        if inside != Some(0) {
            let Some(slot) = open.get_mut(depth) else { return false };
            *slot = inside;
            depth += 1;
        }
        depth = closed(&open, depth);
    }
    true
}

fn innermost(open: &[Option<u64>], depth: usize) -> Option<Option<u64>> {
    open.get(depth.checked_sub(1)?).copied()
}

/// The depth once everything that is complete is closed.
fn closed(open: &[Option<u64>], mut depth: usize) -> usize {
    while innermost(open, depth) == Some(Some(0)) {
        depth -= 1;
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::{MAX_NESTING, is_shallow};
    use std::vec::Vec;

    #[test]
    fn depth_is_counted_and_not_length() {
        for opening in [
            &[0x81_u8][..],
            &[0x9f],
            &[0xc1],
            &[0xa1, 0x00],
            &[0xbf, 0x00],
            &[0x82, 0x00],
            &[0x5f],
        ] {
            let deep = |levels: usize| [opening.repeat(levels), Vec::from([0x00])].concat();
            assert!(is_shallow(&deep(MAX_NESTING)), "{opening:x?}");
            assert!(!is_shallow(&deep(MAX_NESTING + 1)), "{opening:x?}");
        }
        // Many, but beside each other: closed arrays, maps, strings, indefinite ones.
        let beside = [
            0x80, 0x81, 0x00, 0x9f, 0x00, 0xff, 0xa1, 0x00, 0x41, 0x9f, 0xbf, 0xff, 0x62, b'a', 0x9f,
        ];
        let mut many = Vec::from([0x9f]);
        many.extend(beside.repeat(1000));
        assert!(is_shallow(&many));
    }

    #[test]
    fn opening_bytes_inside_of_text_do_not_count() {
        let mut text = Vec::from([0x79, 0x01, 0x00]);
        text.extend([0x81; 0x100]);
        assert!(is_shallow(&text));
        assert!(is_shallow(&[0x5a, 0xff, 0xff, 0xff, 0xff, 0x81]));
    }

    #[test]
    fn what_is_cut_short_or_no_cbor_is_left_to_the_decoder() {
        for bytes in [&[][..], &[0x1c], &[0xff, 0xff], &[0x9b, 0x00], &[0xfc]] {
            assert!(is_shallow(bytes));
        }
        assert!(is_shallow(&[
            0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00
        ]));
    }
}
