//! How many rows a chunk has: as many as the source reads in the time that was asked for, and as memory allows.

use std::time::Duration;

/// No chunk is smaller for reads that take long, only for rows that are large.
const ROWS_MIN: u64 = 10;
/// How a table begins.
const ROWS_FIRST: u64 = 1_000;

/// The size of a table's next chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rows: u64,
    /// No chunk is larger after one that was too large.
    rows_max: u64,
}

impl Pace {
    pub(super) fn new(rows_max: u64) -> Self {
        Self { rows: ROWS_FIRST.min(rows_max), rows_max }
    }

    /// Rows of the next chunk.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// A chunk of so many rows and bytes took so long to read. A short one at the end of a segment tells too little.
    pub(super) fn learn(&mut self, (rows, bytes): (u64, u64), took: Duration, target: Duration, bytes_max: u64) {
        if rows < self.rows.min(ROWS_MIN) {
            return;
        }
        let factor = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rough size"
        )]
        let by_time = (rows as f64 * factor) as u64;
        let by_bytes = rows.saturating_mul(bytes_max) / bytes.max(1);
        self.rows = by_time.max(ROWS_MIN).min(by_bytes).clamp(1, self.rows_max);
    }

    /// The chunk was too large.
    pub(super) fn shrink(&mut self) {
        self.rows = (self.rows / 4).max(1);
        self.rows_max = self.rows.max(ROWS_MIN).min(self.rows_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(500);

    #[test]
    fn chunks_grow_to_the_time_and_no_further_than_memory() {
        let mut pace = Pace::new(1_000_000);
        for _ in 0..30 {
            let rows = pace.rows();
            pace.learn((rows, rows * 100), Duration::from_micros(rows * 10), TARGET, 1 << 30);
        }
        assert!((40_000..=60_000).contains(&pace.rows()), "500 ms at 10 µs a row: {}", pace.rows());
        for _ in 0..30 {
            let rows = pace.rows();
            pace.learn((rows, rows * 1_000), Duration::from_micros(rows), TARGET, 4 << 20);
        }
        assert!((4_000..=4_300).contains(&pace.rows()), "4 MiB of rows of 1,000 bytes: {}", pace.rows());
        pace.shrink();
        pace.learn((pace.rows(), 1), Duration::from_nanos(1), TARGET, 4 << 20);
        assert!(pace.rows() < 1_100, "what was too large once is not tried again: {}", pace.rows());
        (0..20).for_each(|_| pace.shrink());
        assert_eq!(pace.rows(), 1, "a few large rows are read one by one");
        pace.learn((1, 2 << 20), Duration::from_millis(1), TARGET, 4 << 20);
        pace.learn((2, 4 << 20), Duration::from_millis(1), TARGET, 4 << 20);
        assert_eq!(pace.rows(), 2, "as many as memory allows");
        pace.learn((2, 200), Duration::from_millis(1), TARGET, 4 << 20);
        assert_eq!(pace.rows(), ROWS_MIN, "small rows behind large ones");
    }
}
