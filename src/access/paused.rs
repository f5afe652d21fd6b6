//! Pulls that nobody works on just now: over HTTP each page is a call of its own, and on a channel the connection may be lost. What
//! is remembered of them until they are resumed. Only of those without a name: see [`Grant::begin_named`](super::Grant::begin_named).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::account::end_all;
use super::{Account, ResumeAt};
use crate::domain::names::NameRules;
use crate::export::Exporter;
use crate::site::Site;

/// Pulls of one table through one connection that are remembered.
const ALIKE: usize = 4;

/// One connection may have this part of all that are remembered.
const SHARE: usize = 4;

/// How long a receiver that comes back waits until its old channel has noticed that it is lost, and how often it looks.
const NOTICE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A download until it is resumed.
#[derive(Debug)]
pub(crate) struct Paused {
    /// The connection, or the session.
    pub(crate) owner: Uuid,
    /// The table's own name.
    pub(crate) table: String,
    pub(crate) account: Account,
    /// Between two calls over HTTP: knows where the last page ended, and holds no snapshot. `None` for a channel that was lost.
    pub(crate) exporter: Option<Exporter>,
    /// The offset at which it is resumed.
    pub(crate) offset: u64,
    pub(crate) since: OffsetDateTime,
}

/// The sign of a pull that somebody works on.
#[derive(Debug)]
pub(super) struct Running(#[expect(dead_code, reason = "it is there or not")] Arc<()>);

/// Pulls that somebody works on: whose they are, and of which table.
type AllRunning = Vec<(Uuid, String, Weak<()>)>;

/// Those of one site; of a bounded number.
#[derive(Debug)]
pub(crate) struct PausedPulls {
    /// The one that paused last is at the end.
    pulls: Mutex<VecDeque<Paused>>,
    running: Mutex<AllRunning>,
    /// Rings when one has paused.
    bell: Condvar,
    most: usize,
    /// How the site compares names.
    names: NameRules,
}

impl PausedPulls {
    pub(super) fn new(most: usize, names: NameRules) -> Self {
        let (pulls, running, bell) = (Mutex::default(), Mutex::default(), Condvar::new());
        PausedPulls { pulls, running, bell, most: most.max(1), names }
    }

    fn is(&self, paused: &Paused, owner: Uuid, table: &str) -> bool {
        paused.owner == owner && self.names.same(&paused.table, table)
    }

    /// Takes out the pull of a table through a connection whose last call over HTTP ended right before this offset.
    pub(crate) fn resume(&self, site: &Site, connection: Uuid, table: &str, offset: u64) -> Option<Paused> {
        self.end_late(site);
        let goes_on = |paused: &Paused| paused.exporter.is_some() && paused.offset == offset;
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pulls.iter().position(|paused| self.is(paused, connection, table) && goes_on(paused))?;
        let mut paused = pulls.remove(found)?;
        drop(pulls);
        paused.account.taken_up(offset, self.runs(connection, table));
        Some(paused)
    }

    /// Takes out the pull of a table whose channel was lost, for a receiver that has so many records of it.
    pub(super) fn take_up(&self, site: &Site, owner: Uuid, table: &str, records: u64, at: ResumeAt<'_>) -> Option<Account> {
        self.end_late(site);
        let until = Instant::now() + NOTICE;
        let fits = |paused: &Paused| paused.exporter.is_none() && paused.account.leads_on(records, at);
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // The one that paused last.
            let found = pulls.iter().rposition(|paused| self.is(paused, owner, table) && fits(paused));
            if let Some(Paused { account: mut pull, .. }) = found.and_then(|found| pulls.remove(found)) {
                drop(pulls);
                pull.taken_up(records, self.runs(owner, table));
                return Some(pull);
            }
            // A peer that begins has nothing to resume. One that has something may be back before its old channel has noticed.
            let runs = |of: Uuid, other: &str| of == owner && self.names.same(other, table);
            if records == 0 || Instant::now() >= until || !self.any_running(runs) {
                return None;
            }
            pulls = self.bell.wait_timeout(pulls, POLL_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether this connection or session has pulls, running or paused.
    pub(super) fn has(&self, owner: Uuid) -> bool {
        let paused = |pulls: &VecDeque<Paused>| pulls.iter().any(|paused| paused.owner == owner);
        // In this order: one that pauses meanwhile is running still, or paused already.
        self.any_running(|of, _| of == owner) || paused(&self.pulls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn any_running(&self, is: impl Fn(Uuid, &str) -> bool) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().any(|(owner, table, sign)| sign.strong_count() > 0 && is(*owner, table))
    }

    /// Notes that somebody works on a pull.
    pub(super) fn runs(&self, owner: Uuid, table: &str) -> Running {
        let sign = Arc::new(());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, _, sign)| sign.strong_count() > 0);
        running.push((owner, table.to_owned(), Arc::downgrade(&sign)));
        Running(sign)
    }

    /// Ends those that have paused for too long.
    pub(crate) fn end_late(&self, site: &Site) {
        let (now, longest) = (site.now(), site.limits().server.pull_pause_time);
        let late = |paused: &Paused| (now - paused.since).unsigned_abs() > longest;
        let over = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            let (over, still): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut *pulls).into_iter().partition(late);
            *pulls = still;
            over
        };
        // Their ends are written without the lock.
        end_all(site, over.into_iter().map(|paused| paused.account).collect());
    }

    /// Where the one stands that must go when this one comes. One peer that begins pulls and never resumes them must not push out
    /// those of others.
    fn too_many(&self, pulls: &VecDeque<Paused>, new: &Paused) -> Option<usize> {
        let first = |of: &dyn Fn(&Paused) -> bool, most: usize| {
            // A look before a download, which costs more to begin again.
            let look = pulls.iter().position(|other| of(other) && other.account.is_look());
            let first = look.or_else(|| pulls.iter().position(of));
            first.filter(|_| pulls.iter().filter(|other| of(other)).count() >= most)
        };
        let of_owner = |other: &Paused| other.owner == new.owner;
        let own = first(&|other| self.is(other, new.owner, &new.table), ALIKE)
            .or_else(|| first(&of_owner, self.most.div_ceil(SHARE)));
        if own.is_some() || pulls.len() < self.most {
            return own;
        }
        let mut held: HashMap<Uuid, usize> = HashMap::new();
        pulls.iter().for_each(|paused| *held.entry(paused.owner).or_default() += 1);
        let most = held.values().copied().max()?;
        pulls.iter().position(|paused| held.get(&paused.owner) == Some(&most))
    }

    /// Keeps a download until it is resumed.
    pub(crate) fn pause(&self, mut paused: Paused) {
        if let Some(exporter) = &mut paused.exporter {
            exporter.idle();
        }
        let over = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            let over = self.too_many(&pulls, &paused).and_then(|first| pulls.remove(first));
            // Only now: it is found as running or as paused at every moment.
            paused.account.paused();
            pulls.push_back(paused);
            over
        };
        self.bell.notify_all();
        drop(over);
    }
}
