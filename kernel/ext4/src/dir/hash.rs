//! Hashes of names, by which a directory's index is sorted: the legacy one, half MD4 and TEA.

/// A name's place in its directory's index: sorted by `major`, then `minor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hash {
    /// Even: the lowest bit marks a run of one hash that goes on in the next block.
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// How names are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hasher {
    /// 0 legacy, 1 half MD4, 2 TEA.
    pub(crate) version: u8,
    /// Whether bytes above 127 count as positive.
    pub(crate) is_unsigned: bool,
    /// Of the superblock.
    pub(crate) seed: [u32; 4],
}

const NO_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// The greatest hash that is not the mark of the end.
const END: u32 = 0x7fff_ffff << 1;

impl Hasher {
    fn byte(self, b: u8) -> u32 {
        if self.is_unsigned {
            u32::from(b)
        } else {
            i32::from(b.cast_signed()).cast_unsigned()
        }
    }

    fn words<const N: usize>(self, chunk: &[u8], rest: usize) -> [u32; N] {
        // What is left of the name, not of the chunk, pads the words.
        let pad = (rest & 0xff) as u32;
        let pad = pad | pad << 8;
        let pad = pad | pad << 16;
        let mut out = [pad; N];
        for (word, bytes) in out.iter_mut().zip(chunk.chunks(4)) {
            for b in bytes {
                *word = self.byte(*b).wrapping_add(*word << 8);
            }
        }
        out
    }

    fn legacy(self, name: &[u8]) -> u32 {
        let (mut h0, mut h1) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for b in name {
            let mut hash = h1.wrapping_add(h0 ^ self.byte(*b).wrapping_mul(7_152_373));
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            h1 = h0;
            h0 = hash;
        }
        h0 << 1
    }

    /// The hash of a name; `None` for a version that is not known.
    pub(crate) fn hash(self, name: &[u8]) -> Option<Hash> {
        let mut state = if self.seed == [0; 4] { NO_SEED } else { self.seed };
        let mut rest = name.len();
        let (major, minor) = match self.version {
            0 => (self.legacy(name), 0),
            1 => {
                for chunk in name.chunks(32) {
                    half_md4(&mut state, &self.words(chunk, rest));
                    rest -= chunk.len();
                }
                (state[1], state[2])
            }
            2 => {
                for chunk in name.chunks(16) {
                    tea(&mut state, self.words(chunk, rest));
                    rest -= chunk.len();
                }
                (state[0], state[1])
            }
            _ => return None,
        };
        let major = major & !1;
        Some(Hash {
            major: if major == END { END - 2 } else { major },
            minor,
        })
    }
}

fn half_md4(state: &mut [u32; 4], x: &[u32; 8]) {
    const K2: u32 = 0x5a82_7999;
    const K3: u32 = 0x6ed9_eba1;
    let f = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let g = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let h = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let [mut a, mut b, mut c, mut d] = *state;
    let [x0, x1, x2, x3, x4, x5, x6, x7] = *x;
    let mut round = |f: &dyn Fn(u32, u32, u32) -> u32, words: [u32; 8], k: u32, shifts: [u32; 4]| {
        let [s0, s1, s2, s3] = shifts;
        let (quads, _) = words.as_chunks::<4>();
        for [w0, w1, w2, w3] in quads {
            a = a
                .wrapping_add(f(b, c, d))
                .wrapping_add(w0.wrapping_add(k))
                .rotate_left(s0);
            d = d
                .wrapping_add(f(a, b, c))
                .wrapping_add(w1.wrapping_add(k))
                .rotate_left(s1);
            c = c
                .wrapping_add(f(d, a, b))
                .wrapping_add(w2.wrapping_add(k))
                .rotate_left(s2);
            b = b
                .wrapping_add(f(c, d, a))
                .wrapping_add(w3.wrapping_add(k))
                .rotate_left(s3);
        }
    };
    round(&f, [x0, x1, x2, x3, x4, x5, x6, x7], 0, [3, 7, 11, 19]);
    round(&g, [x1, x3, x5, x7, x0, x2, x4, x6], K2, [3, 5, 9, 13]);
    round(&h, [x3, x7, x2, x6, x1, x5, x0, x4], K3, [3, 9, 11, 15]);
    for (s, v) in state.iter_mut().zip([a, b, c, d]) {
        *s = s.wrapping_add(v);
    }
}

fn tea(state: &mut [u32; 4], key: [u32; 4]) {
    let [a, b, c, d] = key;
    let [mut b0, mut b1, ..] = *state;
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        b0 = b0.wrapping_add((b1 << 4).wrapping_add(a) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(b));
        b1 = b1.wrapping_add((b0 << 4).wrapping_add(c) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(d));
    }
    state[0] = state[0].wrapping_add(b0);
    state[1] = state[1].wrapping_add(b1);
}
