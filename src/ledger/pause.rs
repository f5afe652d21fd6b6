//! When a pull leaves the database's lock to other writers between its transactions.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits::Limits;

/// Who waits for the lock as SQLite does looks again every tenth of a second at last, and more often at first: a pause that is
/// shorter than this is not surely found.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Another writer has found a pause of this length.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the least pause is given, transactions are kept together up to about so long before one.
const SHORT: Duration = Duration::from_millis(25);

/// How long the transactions of a pull held the lock since others had their turn. A pause is made before the next transaction, so
/// that time in which nothing is there to be written counts as one.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    held: Cell<Duration>,
    /// When the transaction in progress began.
    began: Cell<Option<Instant>>,
    /// When the last one ended.
    freed: Cell<Option<Instant>>,
}

impl Pauses {
    /// Waits, if it is the others' turn. To be called before a transaction.
    pub(super) fn wait(&self, limits: &Limits) {
        let Some(free) = self.freed.get().map(|freed| freed.elapsed()) else {
            return;
        };
        if let Some(pause) = pause(limits, self.held.get(), free) {
            std::thread::sleep(pause);
            self.held.set(Duration::ZERO);
        }
    }

    /// A transaction has begun.
    pub(super) fn begin(&self) {
        self.began.set(Some(Instant::now()));
    }

    /// It has ended.
    pub(super) fn end(&self) {
        let now = Instant::now();
        if let Some(began) = self.began.take() {
            self.held.set(self.held.get().saturating_add(now.saturating_duration_since(began)));
        }
        self.freed.set(Some(now));
    }
}

/// How long to wait yet so that others have had their turn, after the lock was held for so long and then `free`. `None` if it is not
/// their turn.
fn pause(limits: &Limits, held: Duration, free: Duration) -> Option<Duration> {
    let owed = held.saturating_mul(limits.pull.lock_pause_percent) / 100;
    let (least, is_due) = match limits.pull.lock_pause_time {
        Duration::ZERO => (LEAST_PAUSE, owed >= LEAST_PAUSE),
        least => (least, held >= limits.pull.commit_time.min(SHORT * 2) / 2),
    };
    let whole = owed.min(LONGEST_PAUSE).max(least);
    let had_turn = free >= whole;
    (is_due || had_turn).then(|| whole.saturating_sub(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn others_have_their_turn_after_a_while() {
        let limits = Limits::with(|limits| limits.pull.lock_pause_percent = 5);
        assert_eq!(pause(&limits, 999 * MS, Duration::ZERO), None);
        assert_eq!(pause(&limits, 1_000 * MS, Duration::ZERO), Some(50 * MS));
        assert_eq!(pause(&limits, 1_400 * MS, 30 * MS), Some(40 * MS));
        // What was spent waiting for rows is a pause, too, if it was long enough to be found.
        assert_eq!(pause(&limits, 1_400 * MS, 70 * MS), Some(Duration::ZERO));
        assert_eq!(pause(&limits, 10 * MS, 49 * MS), None);
        assert_eq!(pause(&limits, 10 * MS, 50 * MS), Some(Duration::ZERO));
        assert_eq!(pause(&limits, 3_600_000 * MS, Duration::ZERO), Some(LONGEST_PAUSE));
        assert_eq!(pause(&limits, Duration::MAX, Duration::MAX), Some(Duration::ZERO));
    }

    #[test]
    fn nothing_is_owed_where_nothing_is_to_be_left() {
        let limits = Limits::with(|limits| limits.pull.lock_pause_percent = 0);
        assert_eq!(pause(&limits, 3_600_000 * MS, Duration::ZERO), None);
    }

    #[test]
    fn short_transactions_add_up_where_others_wait_no_longer_than_asked() {
        let limits = Limits::default().yielding(100 * MS);
        let least = limits.pull.lock_pause_time;
        // None of them is as long as a whole transaction, which is 25 ms; together they are.
        assert_eq!(pause(&limits, 5 * MS, Duration::ZERO), None);
        assert_eq!(pause(&limits, 13 * MS, Duration::ZERO), Some(least));
        assert_eq!(pause(&limits, 13 * MS, least / 2), Some(least / 2));
        assert_eq!(pause(&limits, 13 * MS, least), Some(Duration::ZERO));
        assert_eq!(pause(&limits, 25 * MS, Duration::ZERO), Some(least));
    }

    #[test]
    fn what_was_held_is_added_up() {
        let pauses = Pauses::default();
        let limits = Limits::with(|limits| limits.pull.lock_pause_percent = 0);
        for _ in 0..2 {
            pauses.wait(&limits);
            pauses.begin();
            std::thread::sleep(2 * MS);
            pauses.end();
        }
        assert!(pauses.held.get() >= 4 * MS && pauses.freed.get().is_some() && pauses.began.get().is_none());
    }
}
