//! Waking those that wait for the events of a site.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts the changes that were made through a site, and wakes those that wait for one.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Wake {
    /// A change was committed.
    pub(crate) fn all(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = changes.wrapping_add(1);
        self.changed.notify_all();
    }

    pub(crate) fn count(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change beyond those that were seen, at most this long. Waking for nothing does no harm.
    pub(crate) fn wait(&self, seen: u64, time: Duration) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(changes, time, |changes| *changes == seen));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_change_after_the_look_ends_the_wait() {
        let wake = Wake::default();
        let seen = wake.count();
        wake.all();
        let began = Instant::now();
        wake.wait(seen, LONG);
        assert!(began.elapsed() < LONG);
    }
}
