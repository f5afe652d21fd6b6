//! A store, and whatever else, that fails at a step of a pull.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::domain::record::Tally;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::sqlite::SqliteStore;
use crate::store::{AppendKeys, PageBounds, Scope, Snapshot, Sql, Stage, Store, Writer};

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

    fn key_path(&self) -> Option<PathBuf> {
        None
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        self.fate.transactions.fetch_add(1, Ordering::SeqCst);
        self.fate.store_step()?;
        Ok(Box::new(FatedWriter { writer: self.store.writer()?, fate: Arc::clone(&self.fate) }))
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

struct FatedWriter {
    writer: Box<dyn Writer>,
    fate: Arc<Fate>,
}

impl Writer for FatedWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.writer.schema(table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.writer.count(table)
    }

    fn create_table(&mut self, table: &TableSchema) -> Result<()> {
        self.writer.create_table(table)
    }

    fn apply(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<()> {
        self.fate.store_step()?;
        self.writer.apply(plan, scope, rows, range, tally)
    }

    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()> {
        self.writer.count_whole(plan, scope)
    }

    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<()> {
        self.fate.store_step()?;
        self.writer.apply_whole(plan, scope, rows, range, tally)
    }

    fn stage_create(&mut self, stage: &Stage) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_create(stage)
    }

    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_append(stage, rows, range)
    }

    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()> {
        self.writer.stage_page(stage, after, bounds, rows, numbers)
    }

    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()> {
        self.fate.store_step()?;
        self.writer.stage_remove(stage, numbers)
    }

    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>> {
        self.writer.orphans(plan, stage, limit)
    }

    fn append(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        keys: AppendKeys,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<()> {
        self.fate.store_step()?;
        self.writer.append(plan, scope, keys, rows, range, tally)
    }

    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()> {
        self.fate.store_step()?;
        self.writer.append_keys(plan, scope, rows, range)
    }

    fn end_scope(&mut self, scope: &Scope) -> Result<()> {
        self.writer.end_scope(scope)
    }

    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()> {
        self.writer.defer_foreign_keys(deferred)
    }

    fn mark(&mut self) -> Result<()> {
        self.writer.mark()
    }

    fn undo(&mut self) -> Result<()> {
        self.writer.undo()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self.writer.state()
    }

    /// It may fail before anything is kept. A process may also be killed right behind it: with [`How::Killed`] the next step
    /// then does not come.
    fn commit(&mut self) -> Result<()> {
        self.fate.store_step()?;
        self.writer.commit()
    }
}
