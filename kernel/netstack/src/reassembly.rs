//! Fragments back into datagrams, in bounded memory and time (RFC 791, RFC 8200 section 4.5).
//!
//! Fragments that overlap make the whole datagram void (RFC 5722; for IPv4 too, as it is only ever an attack).

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::packet::{Fragment, IpHeader};

/// Datagrams being put together at most.
pub const DATAGRAMS: usize = 16;
/// Bytes of a datagram's payload at most.
pub const MOST_BYTES: usize = 65_535;
/// Pieces of one datagram at most.
pub const PIECES: usize = 128;
/// Time for all pieces to come.
pub const TIMEOUT_NS: u64 = 30_000_000_000;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

#[derive(Debug)]
struct Partial {
    key: Key,
    until_ns: u64,
    pieces: Vec<(usize, Vec<u8>)>,
    total: Option<usize>,
    held: usize,
}

/// Datagrams of which some pieces have come.
#[derive(Debug, Default)]
pub struct Reassembly {
    partials: Vec<Partial>,
}

impl Reassembly {
    /// Nothing has come.
    pub const fn new() -> Self {
        Self { partials: Vec::new() }
    }

    /// Adds a piece; gives the datagram's payload when it was the last one missing.
    pub fn add(&mut self, now_ns: u64, ip: &IpHeader, piece: Fragment, data: &[u8]) -> Option<Vec<u8>> {
        self.partials.retain(|p| now_ns < p.until_ns);
        let key = Key {
            src: ip.src,
            dst: ip.dst,
            id: piece.id,
            protocol: ip.protocol,
        };
        let end = piece.offset.checked_add(data.len())?;
        if end > MOST_BYTES || data.is_empty() || (piece.more && !data.len().is_multiple_of(8)) {
            return None;
        }
        let at = match self.partials.iter().position(|p| p.key == key) {
            Some(at) => at,
            None => {
                if self.partials.len() >= DATAGRAMS {
                    self.partials.remove(0);
                }
                let until_ns = now_ns + TIMEOUT_NS;
                self.partials.push(Partial {
                    key,
                    until_ns,
                    pieces: Vec::new(),
                    total: None,
                    held: 0,
                });
                self.partials.len() - 1
            }
        };
        let partial = self.partials.get_mut(at)?;
        if partial
            .pieces
            .iter()
            .any(|(o, d)| *o == piece.offset && d.len() == data.len())
        {
            return None;
        }
        let overlaps = partial
            .pieces
            .iter()
            .any(|(o, d)| piece.offset < o + d.len() && *o < end);
        let beyond = partial.total.is_some_and(|t| end > t || (!piece.more && end != t));
        let short = !piece.more && partial.pieces.iter().any(|(o, d)| o + d.len() > end);
        if overlaps || beyond || short || partial.pieces.len() >= PIECES {
            self.partials.remove(at);
            return None;
        }
        if !piece.more {
            partial.total = Some(end);
        }
        partial.held += data.len();
        partial.pieces.push((piece.offset, data.to_vec()));
        if partial.total != Some(partial.held) {
            return None;
        }
        let mut done = self.partials.remove(at);
        done.pieces.sort_unstable_by_key(|p| p.0);
        let mut out = Vec::with_capacity(done.held);
        for (_, d) in &done.pieces {
            out.extend_from_slice(d);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests;
