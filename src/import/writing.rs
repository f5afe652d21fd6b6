//! The transaction that rows are written in as they come. Small tables share it: each commit costs more than their rows.

use std::time::Instant;

use super::direct::Direct;
use super::transaction::Transaction;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::limits::Limits;

/// The transaction in progress, if there is one.
#[derive(Default)]
pub(crate) struct Writing<'r> {
    open: Option<Open<'r>>,
    /// Whether what the table at hand writes can be undone without the others.
    is_isolated: bool,
}

struct Open<'r> {
    tx: Transaction<'r>,
    since: Instant,
    rows: usize,
    bytes: usize,
}

impl<'r> Writing<'r> {
    /// Whether others cannot write meanwhile.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The transaction; begins it if there is none.
    pub(super) fn tx(&mut self, ledger: &Ledger<'r>) -> Result<&mut Transaction<'r>> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open { tx: Transaction::begin(ledger)?, since: Instant::now(), rows: 0, bytes: 0 },
        };
        Ok(&mut self.open.insert(open).tx)
    }

    /// The transaction, if there is one.
    pub(super) fn open_tx(&mut self) -> Option<&mut Transaction<'r>> {
        self.open.as_mut().map(|open| &mut open.tx)
    }

    /// Counts rows that were written.
    pub(super) fn add(&mut self, rows: &Rows) {
        if let Some(open) = &mut self.open {
            open.rows += rows.len();
            open.bytes += rows.size_bytes();
        }
    }

    /// Whether it has become so large or old that it is to be committed.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.rows >= limits.pull.commit_rows
                || open.bytes >= limits.pull.commit_bytes
                || open.since.elapsed() >= limits.pull.commit_time
        })
    }

    /// Whether so few rows were written that a further small table may join.
    pub(crate) fn has_room(&self, limits: &Limits, most_rows: usize) -> bool {
        !self.is_full(limits) && self.open.as_ref().is_none_or(|open| open.rows < most_rows)
    }

    /// A table joins the transaction: from here on what it writes can be undone alone, until [`Writing::joined`].
    pub(crate) fn join(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.tx.savepoint()?;
            self.is_isolated = true;
        }
        Ok(())
    }

    /// The table that joined is through: what it wrote stays with the rest.
    pub(crate) fn joined(&mut self) -> Result<()> {
        match (&mut self.open, std::mem::take(&mut self.is_isolated)) {
            (Some(open), true) => open.tx.release(),
            _ => Ok(()),
        }
    }

    /// Undoes what the table that joined has written. `false` if it did not join others: then nothing of the transaction is left.
    pub(crate) fn undo_joined(&mut self) -> Result<bool> {
        match (&mut self.open, std::mem::take(&mut self.is_isolated)) {
            (Some(open), true) => open.tx.rollback_to().map(|()| true),
            _ => {
                self.open = None;
                Ok(false)
            }
        }
    }

    /// Undoes all that was not committed.
    pub(crate) fn undo(&mut self) {
        (self.open, self.is_isolated) = (None, false);
    }

    /// Keeps what these tables wrote and how far each is, and lets go of the database's lock. On an error nothing since the last
    /// commit is kept.
    pub(crate) fn commit<'d>(
        &mut self,
        ledger: &Ledger<'_>,
        tables: impl IntoIterator<Item = &'d mut Direct>,
    ) -> Result<()> {
        self.is_isolated = false;
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let mut kept = Vec::new();
        for table in tables {
            if let Some(checkpoint) = table.pending_checkpoint() {
                ledger.put_checkpoint(open.tx.writer(), &checkpoint)?;
                kept.push((table, checkpoint));
            }
        }
        open.tx.commit(ledger)?;
        kept.into_iter().for_each(|(table, checkpoint)| table.keep(checkpoint));
        Ok(())
    }
}
