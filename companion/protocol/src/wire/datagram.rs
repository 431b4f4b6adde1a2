//! Metrics samples as datagrams: loss is allowed, order is not promised, a sample is whole or not delivered.
//!
//! One sample fits one datagram on every board we know (up to 8 CPUs). With more CPUs than fit, it is split: every part carries some of
//! the CPUs, the first part everything else too.

use alloc::boxed::Box;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

use crate::codec;
use crate::control::{CpuTimes, Metrics};

/// The most parts that a sample may have.
pub const MAX_PARTS: u32 = 64;

/// One part of one sample.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cbor(map)]
pub struct MetricsDatagram {
    /// Of the sample; one more a sample from 1 on, per connection, so that loss is seen.
    #[n(0)]
    pub seq: u64,
    /// When the sample was taken, `CLOCK_MONOTONIC` of the board.
    #[n(1)]
    pub ts_ns: u64,
    /// Which part, from 0.
    #[n(2)]
    #[cbor(default)]
    pub part: u32,
    /// How many parts.
    #[n(3)]
    pub parts: u32,
    /// Part 0: everything but the CPUs that do not fit; other parts: CPUs only.
    #[n(4)]
    pub metrics: Metrics,
}

/// The datagrams of a sample, each of at most `max_bytes`; empty when even the scalars do not fit, which takes a `max_bytes` below 600.
#[must_use]
pub fn split(seq: u64, ts_ns: u64, metrics: &Metrics, max_bytes: usize) -> Vec<Vec<u8>> {
    let whole = MetricsDatagram {
        seq,
        ts_ns,
        part: 0,
        parts: 1,
        metrics: metrics.clone(),
    };
    let encoded = codec::to_vec(&whole);
    if encoded.len() <= max_bytes {
        return alloc::vec![encoded];
    }
    let mut metrics = whole.metrics;
    let cpus = core::mem::take(&mut metrics.cpus);
    let mut parts = alloc::vec![metrics];
    // The numbers of a part's header, at their longest, and the list's own header.
    let header = codec::to_vec(&MetricsDatagram {
        seq: u64::MAX,
        ts_ns: u64::MAX,
        part: MAX_PARTS,
        parts: MAX_PARTS,
        metrics: Metrics::default(),
    })
    .len()
        + 4;
    let scalars = codec::to_vec(&parts).len();
    if header + scalars > max_bytes {
        return Vec::new();
    }
    let mut room = max_bytes - header - scalars;
    for cpu in cpus {
        let len = codec::to_vec(&cpu).len();
        if len > room {
            parts.push(Metrics::default());
            room = max_bytes - header;
        }
        room = room.saturating_sub(len);
        if let Some(last) = parts.last_mut() {
            last.cpus.push(cpu);
        }
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    if count > MAX_PARTS {
        return Vec::new();
    }
    (0..)
        .zip(parts)
        .map(|(part, metrics)| {
            codec::to_vec(&MetricsDatagram {
                seq,
                ts_ns,
                part,
                parts: count,
                metrics,
            })
        })
        .collect()
}

/// A whole sample, as delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// See [`MetricsDatagram::seq`].
    pub seq: u64,
    /// See [`MetricsDatagram::ts_ns`].
    pub ts_ns: u64,
    /// Samples that were sent since the one delivered before and did not arrive (whole) in time.
    pub lost_before: u64,
    /// The values.
    pub metrics: Metrics,
}

/// Puts samples together again; late and repeated datagrams are dropped, a sample that is overtaken by a newer whole one is lost.
#[derive(Debug, Default)]
pub struct Assembler {
    delivered: u64,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    seq: u64,
    parts: Vec<Option<Vec<CpuTimes>>>,
    scalars: Option<Box<Metrics>>,
}

impl Assembler {
    /// Takes one datagram; `Some` when it completes a sample newer than all that were delivered.
    ///
    /// # Errors
    /// [`codec::DecodeError`] when it is not a metrics datagram; the connection need not end for that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Sample>, codec::DecodeError> {
        let datagram: MetricsDatagram = codec::from_slice(bytes, 65_536)?;
        if datagram.seq <= self.delivered
            || datagram.parts == 0
            || datagram.parts > MAX_PARTS
            || datagram.part >= datagram.parts
        {
            return Ok(None);
        }
        if datagram.parts == 1 {
            return Ok(Some(self.deliver(datagram.seq, datagram.ts_ns, datagram.metrics)));
        }
        Ok(self.add_part(datagram))
    }

    fn add_part(&mut self, datagram: MetricsDatagram) -> Option<Sample> {
        let MetricsDatagram {
            seq,
            ts_ns,
            part,
            parts,
            mut metrics,
        } = datagram;
        let (index, count) = (usize::try_from(part).ok()?, usize::try_from(parts).ok()?);
        if self
            .partial
            .as_ref()
            .is_none_or(|partial| partial.seq < seq || partial.parts.len() != count)
        {
            let empty = alloc::vec![None; count];
            self.partial = Some(Partial {
                seq,
                parts: empty,
                scalars: None,
            });
        }
        let partial = self.partial.as_mut().filter(|partial| partial.seq == seq)?;
        *partial.parts.get_mut(index)? = Some(core::mem::take(&mut metrics.cpus));
        if part == 0 {
            partial.scalars = Some(Box::new(metrics));
        }
        if partial.parts.iter().any(Option::is_none) {
            return None;
        }
        let Partial { parts, scalars, .. } = self.partial.take()?;
        let mut whole = *scalars?;
        whole.cpus = parts.into_iter().flatten().flatten().collect();
        Some(self.deliver(seq, ts_ns, whole))
    }

    fn deliver(&mut self, seq: u64, ts_ns: u64, metrics: Metrics) -> Sample {
        let lost_before = seq - self.delivered - 1;
        self.delivered = seq;
        Sample {
            seq,
            ts_ns,
            lost_before,
            metrics,
        }
    }
}
