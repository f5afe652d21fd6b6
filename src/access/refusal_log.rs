//! The lines of the log about refusals: bounded as the events are, so that a storm of them does not fill the disk.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use super::attempts::Bound;

/// So many lines a minute for each peer, ten times as many for all of them together, and how many were left out.
#[derive(Debug)]
pub(super) struct RefusalLog<K: Eq + Hash + Copy> {
    peers: Bound<K>,
    all: Bound<()>,
    left_out: AtomicU64,
}

impl<K: Eq + Hash + Copy> RefusalLog<K> {
    pub(super) fn new(per_minute: u32, remembered: usize) -> Self {
        RefusalLog {
            peers: Bound::new(per_minute, remembered),
            all: Bound::new(per_minute.saturating_mul(10), 1),
            left_out: AtomicU64::new(0),
        }
    }

    /// Logs a refusal of this peer, unless there are too many.
    pub(super) fn say(&self, peer: K, line: impl FnOnce() -> String) {
        if let Some(left_out) = self.take(peer) {
            say_left_out(left_out);
            log::info!(target: "rowferry::access", "{}", line());
        }
    }

    /// Whether there is room for a line of this peer, and how many were left out since there was some.
    fn take(&self, peer: K) -> Option<u64> {
        // The peer's own bound first: what one has too much of takes nothing from others.
        if self.peers.take(peer).is_err() || self.all.take(()).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

fn say_left_out(count: u64) {
    if count > 0 {
        log::info!(target: "rowferry::access", "{count} further refusals were left out of the log");
    }
}

impl<K: Eq + Hash + Copy> Drop for RefusalLog<K> {
    fn drop(&mut self) {
        say_left_out(*self.left_out.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_lines_and_all_have_theirs() {
        let log = RefusalLog::new(2, 100);
        assert_eq!((log.take(0), log.take(0)), (Some(0), Some(0)));
        assert_eq!((log.take(0), log.take(0), log.take(0)), (None, None, None));
        assert_eq!((log.take(1), log.take(1)), (Some(3), Some(0)), "what was left out is said with the next line");
        let lines = (2..100).filter(|peer| log.take(*peer).is_some()).count();
        assert_eq!((lines, log.left_out.load(Ordering::Relaxed)), (16, 82));
    }
}
