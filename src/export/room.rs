//! Memory that all peers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are taken, by all that share it. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// A part of a [`Room`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    /// No bytes yet.
    pub(crate) fn take(&self) -> Taken {
        Taken { room: self.clone(), bytes: 0 }
    }
}

impl Taken {
    /// Takes so many bytes more, if all together are then no more than `most`. Gives whether they are.
    pub(crate) fn grow(&mut self, bytes: usize, most: usize) -> bool {
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        let fits = self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_the_others_do_not_get() {
        let room = Room::default();
        let (mut one, mut other) = (room.take(), room.clone().take());
        assert!(one.grow(60, 100) && other.grow(40, 100));
        assert!(!other.grow(1, 100) && !one.grow(usize::MAX, usize::MAX));
        drop(one);
        assert!(other.grow(60, 100) && !other.grow(1, 100));
    }
}
