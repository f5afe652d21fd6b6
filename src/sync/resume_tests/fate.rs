//! A store, and whatever else, that fails at a step of a pull.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::domain::names::NameRules;
use crate::domain::record::Tally;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, Lookup, NewTable, PageBounds, PageEnd, Refused, Snapshot, Sql, Store, Target,
    Writer,
};

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

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.writer.create_table(table)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        self.writer.page(table, after, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        self.writer.fit(plan, rows, range, fitted)
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        self.writer.lookup(lookup, rows, range, found)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        self.fate.store_step()?;
        self.writer.write(table, change, rows, range, refused)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        self.fate.store_step()?;
        self.writer.apply_bulk(plan, rows, range, tally)
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        self.writer.last_integer(table, column)
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        self.writer.check_references(when, tables)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.writer.savepoint()
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.writer.rollback_to()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self.writer.state()
    }

    /// It may fail before anything is kept. A process may also be killed right after it: with [`How::Killed`] the next step
    /// then does not come.
    fn commit(&mut self) -> Result<()> {
        self.fate.store_step()?;
        self.writer.commit()
    }
}
