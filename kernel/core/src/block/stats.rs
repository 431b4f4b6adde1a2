//! What /proc/diskstats, /sys/block/*/stat and the control plane show of a disk.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use sis_hal::BlockOp;

use crate::time;

/// The kinds of I/O that are counted by themselves.
#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    Discard,
    Flush,
}

fn kind_of(op: BlockOp) -> Kind {
    match op {
        BlockOp::Read => Kind::Read,
        BlockOp::Write | BlockOp::WriteThrough | BlockOp::WriteZeroes => Kind::Write,
        BlockOp::Discard => Kind::Discard,
        BlockOp::Flush => Kind::Flush,
    }
}

#[derive(Default)]
struct OfKind {
    ios: AtomicU64,
    merges: AtomicU64,
    sectors: AtomicU64,
    spent_ns: AtomicU64,
}

/// Counters of a disk or partition.
#[derive(Default)]
pub struct Stats {
    kinds: [OfKind; 4],
    errors: AtomicU64,
    in_flight: AtomicU64,
    /// When the present busy time began, if something is in flight.
    busy_since_ns: AtomicU64,
    busy_ns: AtomicU64,
}

/// Totals of reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Reads that ended well.
    pub reads: u64,
    /// Writes that ended well.
    pub writes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// I/Os of any kind that failed.
    pub errors: u64,
}

const MS: u64 = 1_000_000;

impl Stats {
    fn kind(&self, kind: Kind) -> &OfKind {
        let [read, write, discard, flush] = &self.kinds;
        match kind {
            Kind::Read => read,
            Kind::Write => write,
            Kind::Discard => discard,
            Kind::Flush => flush,
        }
    }

    pub(super) fn begin(&self) {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            self.busy_since_ns.store(time::now_ns(), Ordering::Relaxed);
        }
    }

    pub(super) fn merged(&self, op: BlockOp) {
        self.kind(kind_of(op)).merges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, op: BlockOp, sectors: u64, spent_ns: u64, is_ok: bool) {
        let k = self.kind(kind_of(op));
        k.spent_ns.fetch_add(spent_ns, Ordering::Relaxed);
        if is_ok {
            k.ios.fetch_add(1, Ordering::Relaxed);
            k.sectors.fetch_add(sectors, Ordering::Relaxed);
        } else {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            let since = self.busy_since_ns.load(Ordering::Relaxed);
            self.busy_ns
                .fetch_add(time::now_ns().saturating_sub(since), Ordering::Relaxed);
        }
    }

    /// Totals of reads and writes.
    pub fn totals(&self) -> Totals {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let (r, w) = (self.kind(Kind::Read), self.kind(Kind::Write));
        Totals {
            reads: get(&r.ios),
            writes: get(&w.ios),
            read_bytes: get(&r.sectors) * 512,
            written_bytes: get(&w.sectors) * 512,
            errors: get(&self.errors),
        }
    }

    /// I/Os in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The 17 fields of Linux's Documentation/block/stat.rst and admin-guide/iostats.rst, separated by spaces.
    pub fn line(&self) -> String {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let ms = |c: &AtomicU64| get(c) / MS;
        let in_flight = self.in_flight();
        let mut busy = get(&self.busy_ns);
        if in_flight > 0 {
            busy += time::now_ns().saturating_sub(get(&self.busy_since_ns));
        }
        let group = |k: Kind| {
            let k = self.kind(k);
            format!(
                "{} {} {} {}",
                get(&k.ios),
                get(&k.merges),
                get(&k.sectors),
                ms(&k.spent_ns)
            )
        };
        let flush = self.kind(Kind::Flush);
        let all_ms: u64 = self.kinds.iter().map(|k| ms(&k.spent_ns)).sum();
        format!(
            "{} {} {} {} {} {} {} {}",
            group(Kind::Read),
            group(Kind::Write),
            in_flight,
            busy / MS,
            all_ms,
            group(Kind::Discard),
            get(&flush.ios),
            ms(&flush.spent_ns)
        )
    }
}
