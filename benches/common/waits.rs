//! How long another writer waits for its turn.

use std::time::Duration;

/// How long another writer waited.
#[derive(Default)]
pub struct Waits {
    pub times: Vec<Duration>,
    /// Writes that did not get the lock within the busy time-out. They are among the times.
    pub refused: u64,
}

impl Waits {
    pub fn add(&mut self, other: Waits) {
        self.times.extend(other.times);
        self.refused += other.refused;
    }

    /// The wait, in milliseconds, that so many percent of the (sorted) waits do not exceed.
    pub fn at_percent(&self, percent: usize) -> f64 {
        let at = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}
