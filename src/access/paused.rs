//! Pulls over HTTP, whose pages are calls of their own: what is remembered between them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::Uuid;

use super::Pull;
use crate::export::Exporter;
use crate::site::Site;

/// Pulls of one table through one connection that are remembered.
const ALIKE: usize = 4;

/// One connection may have this part of all that are remembered.
const SHARE: usize = 4;

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

    /// Where the one stands that must go when this one comes. One peer that begins pulls and never goes on must not push out
    /// those of others.
    fn too_many(&self, pulls: &VecDeque<Paused>, new: &Paused) -> Option<usize> {
        let first = |of: &dyn Fn(&Paused) -> bool, most: usize| {
            let first = pulls.iter().position(of);
            first.filter(|_| pulls.iter().filter(|other| of(other)).count() >= most)
        };
        let of_connection = |other: &Paused| other.connection == new.connection;
        let own = first(&|other| other.is(new.connection, &new.table), ALIKE)
            .or_else(|| first(&of_connection, self.most.div_ceil(SHARE)));
        if own.is_some() || pulls.len() < self.most {
            return own;
        }
        let mut held: HashMap<Uuid, usize> = HashMap::new();
        pulls.iter().for_each(|paused| *held.entry(paused.connection).or_default() += 1);
        let most = held.values().copied().max()?;
        pulls.iter().position(|paused| held.get(&paused.connection) == Some(&most))
    }

    /// Keeps a pull until its next call.
    pub(crate) fn pause(&self, mut paused: Paused) {
        paused.exporter.idle();
        let over = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            let over = self.too_many(&pulls, &paused).and_then(|first| pulls.remove(first));
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
