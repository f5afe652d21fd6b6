//! The suite for stores, run over the SQLite store from outside of the crate, and over stores that break one promise each:
//! those it must find.
#![cfg(all(feature = "conformance", feature = "sqlite"))]

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use rowferry::domain::record::Tally;
use rowferry::plan::TablePlan;
use rowferry::schema::TableSchema;
use rowferry::store::sqlite::SqliteStore;
use rowferry::store::{
    AppendKeys, Cursor, Keys, PageBounds, PageEnd, Scope, Snapshot, Sql, Stage, Store, Writer, conformance,
};
use rowferry::{Error, ErrorKind, Limits, Result, Rows, Strategy, Value, ValueRef};

/// Opens a new file each time.
struct Files {
    folder: tempfile::TempDir,
    made: Cell<u32>,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap(), made: Cell::new(0) }
    }

    fn open(&self) -> SqliteStore {
        self.made.set(self.made.get() + 1);
        SqliteStore::open(self.folder.path().join(format!("{}.db", self.made.get())), &Limits::default()).unwrap()
    }

    fn broken(&self, fault: Fault) -> Arc<dyn Store> {
        Arc::new(Broken { store: Arc::new(self.open()), fault })
    }
}

#[test]
fn the_sqlite_store_conforms() {
    let files = Files::new();
    conformance::run(&mut || Arc::new(files.open()));
}

/// The traits can be implemented outside of the crate.
#[test]
fn a_store_that_only_passes_on_conforms() {
    let files = Files::new();
    conformance::run(&mut || files.broken(Fault::None));
}

#[test]
fn the_suite_finds_what_is_broken() {
    let files = Files::new();
    for (fault, name) in FAULTS {
        let case = conformance::CASES.iter().find(|case| case.name == *name).unwrap_or_else(|| panic!("no case {name}"));
        let run = catch_unwind(AssertUnwindSafe(|| case.run(&*files.broken(*fault))));
        assert!(run.is_err(), "{name} does not find {fault:?}");
    }
}

#[test]
fn a_run_names_the_cases_that_failed() {
    let files = Files::new();
    let run = catch_unwind(AssertUnwindSafe(|| conformance::run(&mut || files.broken(Fault::TablesUnsorted))));
    let message = *run.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("catalogue::tables_are_sorted_and_rowferrys_own_are_not_among_them: "), "{message}");
    assert!(!message.contains("append::"), "{message}");
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    TablesUnsorted,
    AlwaysMore,
    SkipIgnored,
    BytesIgnored,
    EndsLeftOut,
    SnapshotMovesOn,
    MergeIsOverwrite,
    FailureSinksBatch,
    RangeIgnored,
    CountNothing,
    AbsentIsNull,
    RemoveNothing,
    EndNothing,
    AppendIsSkip,
    KeysNotMade,
    DeferNothing,
    NoOrphans,
    DropCommits,
    UndoNothing,
    StateKeptOnError,
    StateWrittenWhenRead,
}

const FAULTS: &[(Fault, &str)] = &[
    (Fault::TablesUnsorted, "catalogue::tables_are_sorted_and_rowferrys_own_are_not_among_them"),
    (Fault::AlwaysMore, "pages::rows_come_in_key_order_and_each_once"),
    (Fault::SkipIgnored, "pages::skipped_rows_are_left_out"),
    (Fault::BytesIgnored, "pages::a_page_ends_at_its_bytes"),
    (Fault::EndsLeftOut, "pages::rows_are_found_by_their_key"),
    (Fault::SnapshotMovesOn, "snapshot::it_stays_as_it_is"),
    (Fault::MergeIsOverwrite, "apply::merge_takes_what_is_not_null"),
    (Fault::FailureSinksBatch, "apply::failures_do_not_sink_their_batch"),
    (Fault::RangeIgnored, "apply::only_the_range_is_applied"),
    (Fault::CountNothing, "whole::as_many_equal_rows_as_the_sender_has"),
    (Fault::AbsentIsNull, "stage::absent_is_not_null"),
    (Fault::RemoveNothing, "stage::rows_are_taken_out"),
    (Fault::EndNothing, "stage::the_end_of_a_scope_is_the_end_of_its_stages"),
    (Fault::AppendIsSkip, "append::integer_keys_go_on"),
    (Fault::KeysNotMade, "append::keys_are_known_before_rows_refer_to_them"),
    (Fault::DeferNothing, "foreign_keys::they_are_checked_at_the_commit_if_deferred"),
    (Fault::NoOrphans, "foreign_keys::orphans_are_named_taken_back_and_left_out"),
    (Fault::DropCommits, "transaction::a_drop_keeps_nothing"),
    (Fault::UndoNothing, "transaction::undo_goes_back_to_the_mark"),
    (Fault::StateKeptOnError, "transaction::state_is_kept_or_not_as_a_whole"),
    (Fault::StateWrittenWhenRead, "transaction::state_is_read_and_not_written"),
];

/// Passes everything on to a SQLite store, but for its fault.
#[derive(Debug)]
struct Broken {
    store: Arc<SqliteStore>,
    fault: Fault,
}

impl Store for Broken {
    fn name(&self) -> String {
        self.store.name()
    }

    fn key_path(&self) -> Option<PathBuf> {
        self.store.key_path()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let store = Arc::clone(&self.store);
        Ok(Box::new(BrokenSnapshot { inner: self.store.snapshot()?, store, fault: self.fault }))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(BrokenWriter { inner: self.store.writer()?, fault: self.fault }))
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
        self.inner()?.schema(table)
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

struct BrokenWriter {
    inner: Box<dyn Writer>,
    fault: Fault,
}

impl Drop for BrokenWriter {
    fn drop(&mut self) {
        if self.fault == Fault::DropCommits {
            // It may have been committed before.
            let _ = self.inner.commit();
        }
    }
}

impl Writer for BrokenWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.inner.schema(table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.inner.count(table)
    }

    fn create_table(&mut self, table: &TableSchema) -> Result<()> {
        self.inner.create_table(table)
    }

    fn apply(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()> {
        let mut plan = plan.clone();
        if self.fault == Fault::MergeIsOverwrite && plan.strategy == Strategy::Merge {
            plan.strategy = Strategy::Overwrite;
        }
        let range = if self.fault == Fault::RangeIgnored { 0..rows.len() } else { range };
        self.inner.apply(&plan, scope, rows, range, outcome)?;
        if self.fault == Fault::FailureSinksBatch && outcome.outcome.failed > 0 {
            return Err(Error::new(ErrorKind::Database, "a record failed"));
        }
        Ok(())
    }

    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()> {
        if self.fault == Fault::CountNothing {
            return Ok(());
        }
        self.inner.count_whole(plan, scope)
    }

    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()> {
        self.inner.apply_whole(plan, scope, rows, range, outcome)
    }

    fn stage_create(&mut self, stage: &Stage) -> Result<()> {
        self.inner.stage_create(stage)
    }

    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()> {
        if self.fault != Fault::AbsentIsNull {
            return self.inner.stage_append(stage, rows, range);
        }
        let mut whole = Rows::new(rows.width());
        for row in range {
            whole.push((0..rows.width()).map(|at| rows.get(row, at).unwrap_or(ValueRef::Null)));
        }
        self.inner.stage_append(stage, &whole, 0..whole.len())
    }

    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()> {
        self.inner.stage_page(stage, after, bounds, rows, numbers)
    }

    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()> {
        let numbers = if self.fault == Fault::RemoveNothing { &[] } else { numbers };
        self.inner.stage_remove(stage, numbers)
    }

    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>> {
        let orphans = self.inner.orphans(plan, stage, limit)?;
        Ok(if self.fault == Fault::NoOrphans { Vec::new() } else { orphans })
    }

    fn append(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        keys: AppendKeys,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()> {
        match self.fault {
            Fault::AppendIsSkip => {
                let plan = TablePlan { strategy: Strategy::Skip, ..plan.clone() };
                self.inner.apply(&plan, scope, rows, range, outcome)
            }
            _ => self.inner.append(plan, scope, keys, rows, range, outcome),
        }
    }

    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()> {
        let range = if self.fault == Fault::KeysNotMade { 0..0 } else { range };
        self.inner.append_keys(plan, scope, rows, range)
    }

    fn end_scope(&mut self, scope: &Scope) -> Result<()> {
        if self.fault == Fault::EndNothing {
            return Ok(());
        }
        self.inner.end_scope(scope)
    }

    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()> {
        self.inner.defer_foreign_keys(deferred && self.fault != Fault::DeferNothing)
    }

    fn mark(&mut self) -> Result<()> {
        self.inner.mark()
    }

    fn undo(&mut self) -> Result<()> {
        if self.fault == Fault::UndoNothing {
            return Ok(());
        }
        self.inner.undo()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        self.inner.commit()
    }
}

/// Statements over the state can be passed on, too.
impl Sql for BrokenWriter {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize> {
        self.inner.state().execute(sql, parameters)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.inner.state().query(sql, parameters)
    }
}
