//! Rows that are applied as they come, several batches a transaction while there are batches to be had.

use std::time::Instant;

use super::append::Keys;
use super::exchange;
use super::late::Late;
use super::orphans::Written;
use super::received::Received;
use super::route::{NullKeys, Way, apply, route};
use super::transaction::Transaction;
use super::waits;
use super::{Checkpoint, Import, Reached, Step, multiset};
use crate::domain::record::{Failure, Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::ledger::stages::{self, Stage};
use crate::ledger::waiting;
use crate::plan::{Identity, TablePlan};
use crate::state;
use crate::store::Sql;

/// The import of one table.
pub(crate) struct Direct {
    plan: TablePlan,
    /// Where rows with NULL in their key wait, which are compared with all such rows here, so that all must be known; its number is
    /// also that of the records that wait for unique values.
    stage: Option<Stage>,
    /// What was committed.
    kept: Checkpoint,
    /// The keys of its records.
    received: Received,
    open: Option<Open>,
    /// Whether records wait for other tables.
    is_late: bool,
}

/// Whether a transaction is left open, and others cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Held,
    Free,
}

/// The transaction in progress, and what it adds.
struct Open {
    tx: Transaction,
    tally: Tally,
    mark: Checkpoint,
    since: Instant,
    rows: usize,
    bytes: usize,
}

impl Direct {
    /// Resumes from a mark. `stage` is its stage, if it [needs one](Direct::needs_stage).
    pub(crate) fn new(plan: TablePlan, stage: Option<Stage>, mark: Checkpoint) -> Self {
        let received = Received::of(&plan, mark.records == 0);
        Direct { plan, stage, kept: mark, received, open: None, is_late: false }
    }

    /// Whether rows of a table may have to wait.
    pub(crate) fn needs_stage(plan: &TablePlan) -> bool {
        has_nulls(plan) || waits::may_wait(plan)
    }

    /// Whether records wait: for unique values, and for other tables. Those of the transaction in progress are included.
    fn waits(&mut self, import: &Import<'_>) -> Result<(bool, bool)> {
        let Some(stage) = self.stage.as_ref().filter(|_| waits::may_wait(&self.plan)) else {
            return Ok((false, false));
        };
        let look = |sql: &mut dyn Sql| Ok((waiting::first(sql, stage)?.is_some(), waiting::is_late(sql, stage)?));
        match &mut self.open {
            Some(open) => look(open.tx.state().0),
            None => state::read(import.store, look),
        }
    }

    /// The rest of the table, if records of it wait for other tables when it is finished.
    pub(crate) fn late(&self) -> Option<Late> {
        let stage = self.stage.clone().filter(|_| self.is_late)?;
        Some(Late::new(self.plan.clone(), stage, self.kept.clone()))
    }

    /// How far it is, as far as it was committed.
    pub(crate) fn mark(&self) -> &Checkpoint {
        &self.kept
    }

    /// What became of the records, as far as it was committed.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.kept.outcome
    }

    /// Applies a batch, with records that failed before they came here. It is kept, with how far it `reached`, by the next
    /// [`Direct::commit`], or on its own when the transaction has become large or old; on an error nothing since the last
    /// commit is kept.
    pub(crate) fn push(
        &mut self,
        import: &Import<'_>,
        rows: &Rows,
        failures: &[Failure],
        reached: &Reached,
    ) -> Result<Lock> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let (tally, mark) = (import.tally(&self.kept.outcome), self.kept.clone());
                Open { tx: import.transaction()?, tally, mark, since: Instant::now(), rows: 0, bytes: 0 }
            }
        };
        open.mark.reach(reached);
        open.mark.step = Step::Fetching;
        failures.iter().for_each(|failure| open.tally.fail(failure.clone()));
        let nulls = self.stage.as_ref().map_or(NullKeys::Leave, NullKeys::Stage);
        let mut written = match self.stage {
            Some(_) => Written::ignored().and_waiting(&self.plan),
            None => Written::ignored(),
        };
        written.received = match failures {
            [] => std::mem::take(&mut self.received),
            _ => Received::unknown(),
        };
        route(&mut open.tx, &self.plan, Keys::Make, nulls, rows, &mut open.tally, &mut written)?;
        self.received = std::mem::take(&mut written.received);
        if let Some(stage) = &self.stage {
            waits::keep(&mut open.tx, &self.plan, stage, &[], &written)?;
        }
        open.rows += rows.len();
        open.bytes += rows.size_bytes();
        let limits = import.limits;
        let full = open.rows >= limits.commit_rows
            || open.bytes >= limits.commit_bytes
            || open.since.elapsed() >= limits.commit_time;
        self.open = Some(open);
        if full {
            self.commit(import)?;
        }
        Ok(if full { Lock::Free } else { Lock::Held })
    }

    /// Keeps what was applied and how far it is, and lets go of the database's lock.
    pub(crate) fn commit(&mut self, import: &Import<'_>) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.mark.outcome = open.tally.outcome;
        open.mark.lacks_parents |= open.tally.lacks_parents;
        import.put_mark(&mut *open.tx.writer, &open.mark)?;
        import.commit(&mut open.tx)?;
        self.kept = open.mark;
        Ok(())
    }

    /// Applies what had to wait, and keeps everything.
    pub(crate) fn finish(&mut self, import: &Import<'_>) -> Result<()> {
        let (waits, late) = self.waits(import)?;
        self.is_late = late;
        let waits = waits || (has_nulls(&self.plan) && self.stage.is_some());
        if let (false, false, Some(open)) = (waits, late, &mut self.open) {
            open.mark.step = Step::Done;
        }
        self.commit(import)?;
        let Some(stage) = self.stage.as_ref().filter(|_| waits) else {
            // Nothing is to be written for that alone: it is known again when nothing comes after the last row.
            self.kept.step = if late { Step::Fetching } else { Step::Done };
            return Ok(());
        };
        let mut tx = import.transaction()?;
        tx.compare_table(&self.plan)?;
        let (mut tally, mut mark) = (import.tally(&self.kept.outcome), self.kept.clone());
        self.received.if_whole(&mark);
        if import.kept.is_none() {
            // What a host imports need not be all that there is.
            self.received = Received::unknown();
        }
        exchange::settle(&mut tx, &self.plan, stage, &mut tally, &Written::ignored, &mut self.received, None)?;
        let (mut rows, mut numbers, mut after) = (Rows::default(), Vec::new(), 0);
        let bounds = import.stage_bounds();
        while let Some(last) = stages::page(tx.state().0, stage, after, bounds, &mut rows, &mut numbers)? {
            after = last;
            // Where some were applied before, the counts are what those left.
            if !mark.counted {
                multiset::count(&mut tx, &self.plan)?;
                mark.counted = true;
            }
            let mut written = Written::ignored();
            apply(&mut tx, &self.plan, Way::Multiset, &rows, 0..rows.len(), &mut tally, &mut written)?;
            stages::remove_to(tx.state().0, stage, last)?;
        }
        let late = waiting::is_late(tx.state().0, stage)?;
        mark.outcome = tally.outcome;
        mark.step = if late { Step::Fetching } else { Step::Done };
        import.put_mark(&mut *tx.writer, &mark)?;
        import.commit(&mut tx)?;
        (self.kept, self.is_late) = (mark, late);
        Ok(())
    }
}

/// Whether rows with NULL in their key may come.
fn has_nulls(plan: &TablePlan) -> bool {
    plan.strategy != Strategy::Append
        && matches!(&plan.identity, Identity::Key { nullable: true, incoming, .. } if !incoming.is_empty())
}
