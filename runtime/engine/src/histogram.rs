//! A histogram of durations with fixed bounds, from 50 µs to 60 s.
//!
//! A measurement is a search in a constant array and two additions: no allocation, no lock.

use crate::time::Duration;

/// Upper bounds of the buckets, in microseconds; the last bucket has none.
const BOUNDS: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Number of measurements by duration, and the sum of all durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Histogram {
    /// Adds a measurement.
    pub fn record(&mut self, duration: Duration) {
        let micros = duration.as_micros();
        let index = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum = self.sum.saturating_add(micros);
    }

    /// Number of measurements.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum of the durations.
    pub const fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// For each bound, the number of measurements up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut count = 0;
        BOUNDS.iter().zip(self.buckets).map(move |(bound, bucket)| {
            count += bucket;
            (Duration::from_micros(*bound), count)
        })
    }

    /// Adds all measurements of `other`.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.saturating_add(more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_counts_up_to_each_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for micros in [0, 50, 51, 1_000_000, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let up_to = |micros| {
            let bound = Duration::from_micros(micros);
            let found = histogram.cumulative().find(|(it, _)| *it == bound);
            found.map(|(_, count)| count)
        };
        assert_eq!(up_to(50), Some(2));
        assert_eq!(up_to(100), Some(3));
        assert_eq!(up_to(1_000_000), Some(4));
        assert_eq!(up_to(60_000_000), Some(5));
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum().as_micros(), 121_000_102);
        let mut both = histogram;
        both.add(&histogram);
        assert_eq!((both.count(), both.sum().as_micros()), (12, 242_000_204));
        assert!(BOUNDS.is_sorted());
    }
}
