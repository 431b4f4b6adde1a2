//! Malformed QUIC datagrams (RFC 9000), the same for the same seed.
//!
//! Noise alone is thrown away at the first byte, so most of these are right up to a point: a version that nobody speaks in a packet that is
//! long enough to be answered, every type of long header with lengths that lie, and Initial packets that are sealed with the keys that anyone can
//! derive (RFC 9001, 5.2), so that what is wrong is found only after decryption, in the frames.

mod sealed;

use sealed::InitialKeys;

/// A client's Initial has to be at least this long, or it is thrown away unread (RFC 9000, 14.1).
const MIN_INITIAL_BYTES: usize = 1200;
/// The longest one here; it fits an Ethernet frame.
const MAX_BYTES: usize = 1452;
/// QUIC version 1.
const VERSION_1: [u8; 4] = [0, 0, 0, 1];

/// An endless row of datagrams.
#[derive(Debug, Clone)]
pub struct Datagrams {
    random: Random,
    count: u64,
}

impl Datagrams {
    /// Those of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            count: 0,
        }
    }

    /// Something between the two lengths, both included.
    fn noise(&mut self, least: usize, most: usize) -> Vec<u8> {
        let length = least + self.random.below(most - least + 1);
        (0..length).map(|_| self.random.byte()).collect()
    }

    /// The beginning of a long header (RFC 9000, 17.2): first byte, version, connection ids of plausible lengths.
    fn long_header(&mut self, first: u8, version: [u8; 4]) -> (Vec<u8>, Vec<u8>) {
        let (destination, source) = (self.noise(8, 20), self.noise(0, 20));
        let mut bytes = vec![first];
        bytes.extend(version);
        for id in [&destination, &source] {
            bytes.push(u8::try_from(id.len()).unwrap_or(0));
            bytes.extend(id);
        }
        (bytes, destination)
    }

    /// A client's Initial that decrypts, and holds `frames`.
    fn initial(&mut self, frames: Vec<u8>) -> Vec<u8> {
        let (mut bytes, destination) = self.long_header(0xc3, VERSION_1);
        // No token; the length, in two bytes, of packet number, payload and tag.
        bytes.push(0);
        let mut payload = frames;
        let rest = MIN_INITIAL_BYTES.saturating_sub(bytes.len() + 2 + 4 + sealed::TAG_BYTES);
        payload.resize(payload.len().max(rest), 0);
        let length = u16::try_from(4 + payload.len() + sealed::TAG_BYTES).unwrap_or(0);
        bytes.extend((0x4000 | length).to_be_bytes());
        let number = u32::from(self.random.byte());
        match InitialKeys::of_client(&destination) {
            Some(keys) => keys.seal(bytes, number, payload),
            None => bytes,
        }
    }

    /// A CRYPTO frame (RFC 9000, 19.6) at the stream's beginning that says it is a ClientHello and is not.
    fn false_hello(&mut self) -> Vec<u8> {
        let body = self.noise(40, 800);
        let length = u16::try_from(body.len() + 4).unwrap_or(0);
        let mut frames = vec![0x06, 0];
        frames.extend((0x4000 | length).to_be_bytes());
        frames.extend([1, 0]);
        frames.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
        frames.extend(body);
        frames
    }
}

impl Iterator for Datagrams {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let kind = self.count % 10;
        self.count += 1;
        let mut bytes = match kind {
            0 => self.noise(1, 1300),
            // A short header: of a connection that does not exist.
            1 => {
                let mut bytes = self.noise(1, 1300);
                if let Some(first) = bytes.first_mut() {
                    *first = 0x40 | (*first & 0x3f);
                }
                bytes
            }
            // An Initial's first bytes, then noise.
            2 => {
                let mut bytes = self.noise(6, 1300);
                bytes.splice(..6, [0xc3, 0, 0, 0, 1, 8]).for_each(drop);
                bytes
            }
            // Must be answered with the versions that are spoken, and with nothing else.
            3 => {
                let version = [0x0a | (self.random.byte() & 0xf0), 0x2a, 0x3a, 0x4a];
                let (mut bytes, _) = self.long_header(0xc0, version);
                bytes.extend(self.noise(MIN_INITIAL_BYTES, MIN_INITIAL_BYTES + 100));
                bytes
            }
            // 0-RTT, Handshake and Retry out of nowhere; connection ids that are longer than there are bytes.
            4 => {
                let first = 0xc0 | (self.random.byte() & 0x3f);
                let (mut bytes, _) = self.long_header(first, VERSION_1);
                bytes.extend(self.noise(0, 1200));
                bytes
            }
            5 => {
                let mut bytes = self.noise(7, 1300);
                bytes.splice(..6, [0xc0, 0, 0, 0, 1, 0xff]).for_each(drop);
                bytes
            }
            // Sealed: frames of noise; a hello that is none; an ACK and a close for what was never sent.
            6 => {
                let frames = self.noise(1, 1000);
                self.initial(frames)
            }
            7 => {
                let frames = self.false_hello();
                self.initial(frames)
            }
            8 => {
                let mut frames = vec![0x02, 0xbf, 0xff, 0xff, 0xff, 0, 0xbf, 0xff, 0xff, 0xff, 0];
                frames.extend(self.noise(0, 40));
                self.initial(frames)
            }
            // Sealed, then a byte changed, or cut short, or with another packet behind it.
            _ => {
                let frames = self.false_hello();
                let mut bytes = self.initial(frames);
                match self.random.below(3) {
                    0 => {
                        let at = self.random.below(bytes.len());
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte ^= 1 << self.random.below(8);
                        }
                    }
                    1 => bytes.truncate(1 + self.random.below(bytes.len() - 1)),
                    _ => bytes.extend(self.noise(1, 200)),
                }
                bytes
            }
        };
        bytes.truncate(MAX_BYTES);
        Some(bytes)
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
