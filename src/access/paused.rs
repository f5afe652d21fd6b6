//! Pulls over HTTP, whose pages are calls of their own: what is remembered between them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::Uuid;

use super::Pull;
use crate::export::Exporter;
use crate::site::Site;

/// Pulls of one table through one connection that are remembered.
const ALIKE: usize = 4;

/// A pull between two of its calls.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) connection: Uuid,
    /// The table's own name.
    pub(crate) table: String,
    pub(crate) pull: Pull,
    /// Knows where the last page ended, and holds no snapshot.
    pub(crate) exporter: Exporter,
    /// The offset that goes on from there.
    pub(crate) offset: u64,
    pub(crate) since: OffsetDateTime,
}

/// Those of one site; of a bounded number.
#[derive(Debug)]
pub(crate) struct PausedPulls {
    /// The one that paused last is at the end.
    pulls: Mutex<VecDeque<Paused>>,
    most: usize,
}

impl PausedPulls {
    pub(super) fn new(most: usize) -> Self {
        PausedPulls { pulls: Mutex::default(), most: most.max(1) }
    }

    /// Takes out the pull of a table through a connection that ended right before this offset.
    pub(crate) fn resume(&self, site: &Site, connection: Uuid, table: &str, offset: u64) -> Option<Paused> {
        self.end_late(site);
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pulls.iter().position(|paused| paused.is(connection, table) && paused.offset == offset)?;
        pulls.remove(found)
    }

    /// Ends those that have paused for too long.
    pub(crate) fn end_late(&self, site: &Site) {
        let (now, longest) = (site.now(), site.limits().pull_pause_time);
        let late = |paused: &Paused| (now - paused.since).unsigned_abs() > longest;
        let over: Vec<Paused> = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            let (over, still): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut *pulls).into_iter().partition(late);
            *pulls = still;
            over.into()
        };
        // Their ends are written without the lock.
        drop(over);
    }

    /// Keeps a pull until its next call.
    pub(crate) fn pause(&self, mut paused: Paused) {
        paused.exporter.idle();
        let over = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            // One peer that begins pulls and never goes on must not push out those of others.
            let alike = |other: &Paused| other.is(paused.connection, &paused.table);
            let first = pulls.iter().position(alike).filter(|_| pulls.iter().filter(|other| alike(other)).count() >= ALIKE);
            let over = match first {
                None if pulls.len() >= self.most => pulls.pop_front(),
                first => first.and_then(|first| pulls.remove(first)),
            };
            pulls.push_back(paused);
            over
        };
        drop(over);
    }
}

impl Paused {
    fn is(&self, connection: Uuid, table: &str) -> bool {
        self.connection == connection && self.table.eq_ignore_ascii_case(table)
    }
}
