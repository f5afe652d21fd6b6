//! A store, and whatever else, that fails at a step of a pull.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind, Result};
use crate::store::sqlite::SqliteStore;
use crate::store::stepping::{Step, Stepping};
use crate::store::{Snapshot, Sql, Store, Writer};

/// What happens at the steps of a pull: requests, and calls of the store.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Steps until it strikes; below zero it has struck.
    left: AtomicI64,
    /// Steps that were made.
    pub(super) made: AtomicUsize,
    /// Transactions that were begun.
    pub(super) transactions: AtomicUsize,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum How {
    /// From then on nothing works any more: as if the process had been killed there.
    #[default]
    Killed,
    /// The step alone fails.
    Once,
}

impl Fate {
    pub(super) fn new(left: i64, how: How) -> Arc<Self> {
        Arc::new(Fate { left: AtomicI64::new(left), how, ..Fate::default() })
    }

    pub(super) fn step(&self, kind: ErrorKind) -> Result<()> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let strikes = match self.how {
            How::Killed => left <= 0,
            How::Once => left == 0,
        };
        if strikes { Err(Error::new(kind, "struck")) } else { Ok(()) }
    }

    fn store_step(&self) -> Result<()> {
        self.step(ErrorKind::DiskFull)
    }
}

/// A store each call of which may fail.
#[derive(Debug)]
pub(super) struct Fated {
    pub(super) store: SqliteStore,
    pub(super) fate: Arc<Fate>,
}

impl Store for Fated {
    fn name(&self) -> String {
        self.store.name()
    }

    fn names(&self) -> NameRules {
        self.store.names()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        self.fate.transactions.fetch_add(1, Ordering::SeqCst);
        self.fate.store_step()?;
        let fate = Arc::clone(&self.fate);
        // A commit may fail before anything is kept. A process may also be killed right after it: with [`How::Killed`] the next
        // step then does not come.
        let before = move |step| match step {
            Step::Rows(_) | Step::Commit => fate.store_step(),
            Step::Statement => Ok(()),
        };
        Ok(Box::new(Stepping { writer: self.store.writer()?, before }))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.fate.transactions.fetch_add(1, Ordering::SeqCst);
        self.fate.store_step()?;
        self.store.state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.store.read_state(work)
    }
}
