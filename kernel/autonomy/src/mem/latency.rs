//! A histogram of latencies that is cheap to record into and can be taken apart by time.

/// Octaves from 64 ns up to 2^32 ns, four buckets each.
const OCTAVES: usize = 26;
const FIRST_OCTAVE: u32 = 6;

/// Latencies in nanoseconds: how many, how long in total, and how they are spread (each bucket is a fifth to a quarter wide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    count: u64,
    sum_ns: u64,
    buckets: [u32; Latency::BUCKETS],
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// How many buckets there are.
    pub const BUCKETS: usize = OCTAVES * 4;

    /// The bucket of a latency, for whoever counts by bucket (in atomic counters) and makes a histogram of the counts later.
    #[inline]
    pub const fn bucket_of(ns: u64) -> usize {
        let octave = (ns | 1).ilog2();
        if octave < FIRST_OCTAVE {
            return 0;
        }
        let quarter = (ns >> (octave - 2) & 3) as usize;
        let bucket = (octave - FIRST_OCTAVE) as usize * 4 + quarter;
        if bucket < Self::BUCKETS {
            bucket
        } else {
            Self::BUCKETS - 1
        }
    }

    /// A histogram of counts by bucket and the sum of the latencies. Counts are taken modulo 2^32, which differences
    /// ([`Self::since`]) do not mind as long as fewer lie between the two.
    pub fn from_counts(sum_ns: u64, counts: &[u64; Self::BUCKETS]) -> Self {
        Self {
            count: counts.iter().sum(),
            sum_ns,
            buckets: counts.map(|count| count as u32),
        }
    }

    /// Nothing recorded.
    pub const fn new() -> Self {
        Self {
            count: 0,
            sum_ns: 0,
            buckets: [0; Self::BUCKETS],
        }
    }

    /// Records one.
    pub fn record(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        if let Some(bucket) = self.buckets.get_mut(Self::bucket_of(ns)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// How many were recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their sum in nanoseconds.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The mean in nanoseconds; 0 when nothing was recorded.
    pub const fn mean_ns(&self) -> u64 {
        match self.sum_ns.checked_div(self.count) {
            Some(mean) => mean,
            None => 0,
        }
    }

    /// A quantile in nanoseconds (990 is the 99th percentile): the upper end of the bucket that it lies in; 0 when nothing was recorded.
    pub fn quantile_ns(&self, permille: u32) -> u64 {
        let total: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let rank = (u128::from(total) * u128::from(permille.min(1000)))
            .div_ceil(1000)
            .max(1) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return upper_end(index);
            }
        }
        0
    }

    /// Adds what another one recorded.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to = to.saturating_add(*from);
        }
    }

    /// What was recorded since an earlier copy of this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut out = *self;
        out.count = out.count.saturating_sub(earlier.count);
        out.sum_ns = out.sum_ns.saturating_sub(earlier.sum_ns);
        for (to, from) in out.buckets.iter_mut().zip(&earlier.buckets) {
            *to = to.wrapping_sub(*from);
        }
        out
    }
}

fn upper_end(index: usize) -> u64 {
    let octave = FIRST_OCTAVE + (index / 4) as u32;
    (1 << octave) + ((index % 4 + 1) as u64) * (1 << (octave - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut latency = Latency::new();
        assert_eq!((latency.mean_ns(), latency.quantile_ns(990)), (0, 0));
        for ns in 1..=10_000 {
            latency.record(ns);
        }
        assert_eq!((latency.count(), latency.mean_ns()), (10_000, 5000));
        for (permille, exact) in [(500, 5000), (900, 9000), (990, 9900), (1000, 10_000), (100, 1000)] {
            let got = latency.quantile_ns(permille);
            assert!(got >= exact && got <= exact + exact / 4, "{permille}: {got}");
        }
    }

    #[test]
    fn counts_make_the_same_histogram() {
        let mut recorded = Latency::new();
        let mut counts = [0; Latency::BUCKETS];
        let mut sum = 0;
        for ns in [0, 1, 63, 64, 80, 1000, 5000, 1 << 31, 1 << 40, 1 << 41] {
            recorded.record(ns);
            counts[Latency::bucket_of(ns)] += 1;
            sum += ns;
        }
        assert_eq!(Latency::from_counts(sum, &counts), recorded);
        // Counters that have passed 2^32 since boot.
        counts[5] = (1 << 32) - 1;
        let before = Latency::from_counts(sum, &counts);
        counts[5] += 3;
        let window = Latency::from_counts(sum + 480, &counts).since(&before);
        assert_eq!((window.count(), window.mean_ns()), (3, 160));
        assert!((128..256).contains(&window.quantile_ns(990)));
    }

    #[test]
    fn windows_are_differences() {
        let mut all = Latency::new();
        all.record(100);
        let before = all;
        all.record(1_000_000);
        all.record(u64::MAX);
        let window = all.since(&before);
        assert_eq!(window.count(), 2);
        let mut sum = before;
        sum.merge(&window);
        assert_eq!(sum.count(), all.count());
        assert_eq!(sum.quantile_ns(500), all.quantile_ns(500));
        assert!(window.quantile_ns(1000) > 1 << 31);
    }
}
