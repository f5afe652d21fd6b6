//! A store that passes everything on to a SQLite store, but for its fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowferry::NameRules;
use rowferry::schema::TableSchema;
use rowferry::store::SqliteStore;
use rowferry::store::{Check, Cursor, Keys, PageBounds, PageEnd, Snapshot, Sql, Store, Writer};
use rowferry::{Result, Rows};

use super::Fault;
use super::broken_writer::BrokenWriter;

#[derive(Debug)]
pub struct Broken {
    store: Arc<SqliteStore>,
    fault: Fault,
    /// Whether the last transaction left the checks to its caller.
    unchecked: Arc<AtomicBool>,
}

impl Broken {
    pub fn new(store: SqliteStore, fault: Fault) -> Self {
        Broken { store: Arc::new(store), fault, unchecked: Arc::default() }
    }
}

impl Store for Broken {
    fn name(&self) -> String {
        self.store.name()
    }

    fn names(&self) -> NameRules {
        self.store.names()
    }

    fn tidy(&self) -> Result<()> {
        self.store.tidy()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let store = Arc::clone(&self.store);
        Ok(Box::new(BrokenSnapshot { inner: self.store.snapshot()?, store, fault: self.fault }))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        let mut inner = self.store.writer()?;
        if self.fault == Fault::ByCallerStays && self.unchecked.load(Ordering::Relaxed) {
            inner.check_references(Check::ByCaller, &[])?;
        }
        let unchecked = Arc::clone(&self.unchecked);
        Ok(Box::new(BrokenWriter { inner, fault: self.fault, unchecked, has_savepoint: false }))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        if self.fault != Fault::StateKeptOnError {
            return self.store.state(work);
        }
        let mut done = Ok(());
        self.store.state(&mut |sql| {
            done = work(sql);
            Ok(())
        })?;
        done
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        match self.fault {
            Fault::StateWrittenWhenRead => self.store.state(work),
            _ => self.store.read_state(work),
        }
    }
}

/// The same table as if its key compared as its columns do.
pub fn without_collations(table: &TableSchema) -> TableSchema {
    TableSchema { key_collations: Vec::new(), ..table.clone() }
}

struct BrokenSnapshot {
    inner: Box<dyn Snapshot>,
    store: Arc<SqliteStore>,
    fault: Fault,
}

impl BrokenSnapshot {
    fn inner(&mut self) -> Result<&mut dyn Snapshot> {
        if self.fault == Fault::SnapshotMovesOn {
            self.inner = self.store.snapshot()?;
        }
        Ok(&mut *self.inner)
    }
}

impl Snapshot for BrokenSnapshot {
    fn tables(&mut self) -> Result<Vec<String>> {
        let fault = self.fault;
        let mut tables = self.inner()?.tables()?;
        if fault == Fault::TablesUnsorted {
            tables.reverse();
        }
        Ok(tables)
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        let fault = self.fault;
        Ok(self.inner()?.schema(table)?.filter(|found| fault != Fault::NamesNotFolded || found.name == table))
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.inner()?.count(table)
    }

    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        let fault = self.fault;
        let skip = if fault == Fault::SkipIgnored { 0 } else { skip };
        let bounds = if fault == Fault::BytesIgnored { PageBounds { bytes: usize::MAX, ..bounds } } else { bounds };
        let table = &if fault == Fault::PagesByColumns { without_collations(table) } else { table.clone() };
        let mut end = self.inner()?.page(table, after, skip, bounds, rows)?;
        end.more |= fault == Fault::AlwaysMore && !rows.is_empty();
        Ok(end)
    }

    fn find(
        &mut self,
        table: &TableSchema,
        column: usize,
        keys: &Keys<'_>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<bool> {
        let fault = self.fault;
        let keys = match (fault, keys) {
            (Fault::EndsLeftOut, Keys::Between(_, to)) => Keys::Between(*to, *to),
            _ => *keys,
        };
        self.inner()?.find(table, column, &keys, skip, bounds, rows)
    }

    fn pinned_bytes(&self) -> u64 {
        self.inner.pinned_bytes()
    }
}
