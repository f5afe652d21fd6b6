//! The suite for stores, run over the SQLite store from outside of the crate, and over stores that break one promise each:
//! those it must find.
#![cfg(all(feature = "conformance", feature = "sqlite"))]

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowferry::domain::names::NameRules;
use rowferry::domain::record::{Reason, Tally};
use rowferry::plan::TablePlan;
use rowferry::schema::TableSchema;
use rowferry::store::sqlite::SqliteStore;
use rowferry::store::{
    Change, Check, Cursor, Fitted, Found, Keys, Lookup, NewTable, PageBounds, PageEnd, Refused, Snapshot, Sql, Store,
    Target, Writer, conformance,
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
        Arc::new(Broken { store: Arc::new(self.open()), fault, unchecked: Arc::default() })
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
    assert!(!message.contains("transaction::"), "{message}");
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NamesNotFolded,
    TablesUnsorted,
    NotesLost,
    AlwaysMore,
    SkipIgnored,
    BytesIgnored,
    EndsLeftOut,
    CursorIgnored,
    SnapshotMovesOn,
    AbsentIsNull,
    MisfitsSilent,
    MisfitsCountedFromFirst,
    LookupIgnoresColumn,
    LookupFindsNull,
    LookupFailsForMissing,
    LookupInAnyOrder,
    UpdateSetsAll,
    UpdateFindsNothing,
    InsertReplaces,
    RefusalSinksBatch,
    RefusalEndsBatch,
    RefusalsCountedFromRange,
    WriteIgnoresRange,
    BulkMergeIsOverwrite,
    BulkIgnoresRange,
    BulkIgnoresOrder,
    BulkCountsTwice,
    BulkSaysLess,
    BulkAbsentIsNull,
    BulkLeavesRefusedOut,
    IntegersOfTheKeyOnly,
    IntegersBelowZero,
    AtCommitNothing,
    AtCommitNever,
    NowNothing,
    ByCallerNothing,
    ByCallerStays,
    ByCallerAlways,
    RollbackOfChecks,
    RollbackNothing,
    RollbackWithoutSavepoint,
    SavepointsNest,
    DropCommits,
    StateKeptOnError,
    StateWrittenWhenRead,
}

const FAULTS: &[(Fault, &str)] = &[
    (Fault::NamesNotFolded, "catalogue::a_table_is_found_by_its_name"),
    (Fault::TablesUnsorted, "catalogue::tables_are_sorted_and_rowferrys_own_are_not_among_them"),
    (Fault::NotesLost, "catalogue::what_cannot_be_taken_over_is_said"),
    (Fault::AlwaysMore, "pages::rows_come_in_key_order_and_each_once"),
    (Fault::SkipIgnored, "pages::skipped_rows_are_left_out"),
    (Fault::BytesIgnored, "pages::a_page_ends_at_its_bytes"),
    (Fault::EndsLeftOut, "pages::rows_are_found_by_their_key"),
    (Fault::CursorIgnored, "pages::a_writer_reads_what_it_wrote"),
    (Fault::SnapshotMovesOn, "snapshot::it_stays_as_it_is"),
    (Fault::AbsentIsNull, "fit::what_a_record_lacks_stays_absent"),
    (Fault::MisfitsSilent, "fit::what_does_not_fit_is_named_and_stands_as_it_came"),
    (Fault::MisfitsSilent, "values::nothing_is_changed_silently"),
    (Fault::MisfitsCountedFromFirst, "fit::only_the_range_is_fitted"),
    (Fault::LookupIgnoresColumn, "lookup::each_column_counts"),
    (Fault::LookupFindsNull, "lookup::null_and_what_is_absent_find_nothing"),
    (Fault::LookupFailsForMissing, "lookup::what_does_not_exist_finds_nothing"),
    (Fault::LookupInAnyOrder, "lookup::answers_are_those_of_the_range"),
    (Fault::UpdateSetsAll, "write::an_update_sets_only_what_it_is_told"),
    (Fault::UpdateFindsNothing, "write::an_update_that_finds_no_row_is_refused"),
    (Fault::InsertReplaces, "write::no_other_row_makes_room"),
    (Fault::RefusalSinksBatch, "write::refused_rows_leave_nothing_and_take_no_other_with_them"),
    (Fault::RefusalEndsBatch, "write::refused_rows_leave_nothing_and_take_no_other_with_them"),
    (Fault::RefusalsCountedFromRange, "write::only_the_range_is_written"),
    (Fault::WriteIgnoresRange, "write::only_the_range_is_written"),
    (Fault::BulkMergeIsOverwrite, "bulk::merge_takes_what_is_not_null"),
    (Fault::BulkIgnoresRange, "bulk::only_the_range_is_applied"),
    (Fault::BulkIgnoresOrder, "bulk::a_key_twice_in_a_batch_is_applied_twice"),
    (Fault::BulkCountsTwice, "bulk::skip_leaves_what_is_there"),
    (Fault::BulkSaysLess, "bulk_model::records_of_every_kind"),
    (Fault::BulkAbsentIsNull, "bulk_model::records_of_every_kind"),
    (Fault::BulkLeavesRefusedOut, "bulk_model::records_that_are_refused"),
    (Fault::IntegersOfTheKeyOnly, "integers::it_is_the_largest"),
    (Fault::IntegersBelowZero, "integers::it_is_at_least_zero"),
    (Fault::AtCommitNothing, "references::at_the_commit_parents_may_come_late"),
    (Fault::AtCommitNever, "references::at_the_commit_what_refers_to_nothing_is_an_error"),
    (Fault::NowNothing, "references::checks_at_the_commit_end"),
    (Fault::ByCallerNothing, "references::what_the_caller_checks_the_store_does_not"),
    (Fault::ByCallerStays, "references::checks_by_the_caller_end"),
    (Fault::ByCallerAlways, "references::rows_follow_a_changed_parent_whatever_is_checked"),
    (Fault::RollbackOfChecks, "references::a_savepoint_has_no_part_in_when"),
    (Fault::RollbackNothing, "savepoints::rows_tables_and_state_are_undone"),
    (Fault::RollbackWithoutSavepoint, "savepoints::without_one_there_is_nothing_to_go_back_to"),
    (Fault::SavepointsNest, "savepoints::a_new_one_replaces_the_last"),
    (Fault::DropCommits, "transaction::a_drop_keeps_nothing"),
    (Fault::StateKeptOnError, "transaction::state_is_kept_or_not_as_a_whole"),
    (Fault::StateWrittenWhenRead, "transaction::state_is_read_and_not_written"),
];

/// Passes everything on to a SQLite store, but for its fault.
#[derive(Debug)]
struct Broken {
    store: Arc<SqliteStore>,
    fault: Fault,
    /// Whether the last transaction left the checks to its caller.
    unchecked: Arc<AtomicBool>,
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
        Ok(Box::new(BrokenWriter { inner, fault: self.fault, unchecked, savepoints: 0 }))
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
    unchecked: Arc<AtomicBool>,
    /// How many savepoints there are, where they nest.
    savepoints: usize,
}

impl Drop for BrokenWriter {
    fn drop(&mut self) {
        if self.fault == Fault::DropCommits {
            // It may have been committed before.
            let _ = self.inner.commit();
        }
    }
}

/// The same rows with other cells.
fn changed<'r>(rows: &'r Rows, cell: impl Fn(usize, usize) -> Option<ValueRef<'r>>) -> Rows {
    let mut copy = Rows::new(rows.width());
    for row in 0..rows.len() {
        copy.start_row();
        for at in 0..rows.width() {
            if let Some(value) = cell(row, at) {
                copy.set(at, value);
            }
        }
    }
    copy
}

impl BrokenWriter {
    /// A bulk apply that is right but for what is said here.
    fn bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        let before = tally.outcome.clone();
        let all = range.len();
        match self.fault {
            Fault::BulkMergeIsOverwrite if plan.strategy == Strategy::Merge => {
                let plan = TablePlan { strategy: Strategy::Overwrite, ..plan.clone() };
                self.inner.apply_bulk(&plan, rows, range, tally)
            }
            Fault::BulkIgnoresRange => {
                self.inner.apply_bulk(plan, rows, 0..rows.len(), tally)?;
                tally.outcome = before;
                tally.outcome.created += all as u64;
                Ok(all)
            }
            Fault::BulkIgnoresOrder => {
                let reversed = changed(rows, |row, at| rows.get(rows.len() - 1 - row, at));
                let applied =
                    self.inner.apply_bulk(plan, &reversed, rows.len() - range.end..rows.len() - range.start, tally)?;
                // The rest would be that of other records.
                assert!(applied == all || applied == 0, "{applied} of {all} records were applied");
                Ok(applied)
            }
            Fault::BulkCountsTwice => {
                let applied = self.inner.apply_bulk(plan, rows, range, tally)?;
                tally.outcome.skipped += applied as u64;
                Ok(applied)
            }
            Fault::BulkSaysLess => {
                let applied = self.inner.apply_bulk(plan, rows, range.clone(), tally)?;
                tally.outcome = before;
                // As if the last record had not been applied: its row is there already.
                let said = applied.saturating_sub(1);
                tally.outcome.created += said as u64;
                Ok(said)
            }
            Fault::BulkAbsentIsNull => {
                let whole = changed(rows, |row, at| Some(rows.get(row, at).unwrap_or(ValueRef::Null)));
                self.inner.apply_bulk(plan, &whole, range, tally)
            }
            Fault::BulkLeavesRefusedOut => {
                let applied = self.inner.apply_bulk(plan, rows, range, tally)?;
                // The record that it stopped at may have been refused, or not.
                let left_out = usize::from(applied < all);
                tally.outcome.skipped += left_out as u64;
                Ok(applied + left_out)
            }
            _ => self.inner.apply_bulk(plan, rows, range, tally),
        }
    }

    /// Makes room for rows that were refused because another one has their values.
    fn replace(&mut self, table: &TableSchema, rows: &Rows, refused: &mut Vec<Refused>) -> Result<()> {
        let set: Vec<usize> = (1..rows.width()).collect();
        let change = Change::Update { key: &[0], set: &set };
        for conflict in std::mem::take(refused) {
            if conflict.reason == Reason::UniqueConflict {
                self.inner.write(table, change, rows, conflict.row..conflict.row + 1, refused)?;
            } else {
                refused.push(conflict);
            }
        }
        Ok(())
    }
}

impl Writer for BrokenWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        let found = self.inner.schema(table)?;
        Ok(found.filter(|found| self.fault != Fault::NamesNotFolded || found.name == table))
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        let notes = self.inner.create_table(table)?;
        Ok(if self.fault == Fault::NotesLost { Vec::new() } else { notes })
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        let after = after.filter(|_| self.fault != Fault::CursorIgnored);
        self.inner.page(table, after, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        self.inner.fit(plan, rows, range.clone(), fitted)?;
        match self.fault {
            Fault::AbsentIsNull => {
                fitted.rows = changed(&fitted.rows, |row, at| Some(fitted.rows.get(row, at).unwrap_or(ValueRef::Null)));
            }
            Fault::MisfitsSilent => fitted.misfits.clear(),
            Fault::MisfitsCountedFromFirst => fitted.misfits.iter_mut().for_each(|misfit| misfit.row += range.start),
            _ => {}
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        let mut lookup = *lookup;
        if self.fault == Fault::LookupIgnoresColumn && lookup.columns.len() > 1 {
            lookup.columns = &lookup.columns[1..];
            lookup.cells = &lookup.cells[1..];
        }
        if self.fault == Fault::LookupFailsForMissing && self.inner.schema(lookup.table)?.is_none() {
            return Err(Error::new(ErrorKind::TableNotFound, "there is no such table"));
        }
        self.inner.lookup(&lookup, rows, range.clone(), found)?;
        let mut answers: Vec<Option<Vec<Value>>> = (0..range.len())
            .map(|number| found.get(number).map(|row| row.into_iter().map(ValueRef::to_owned).collect()))
            .collect();
        match self.fault {
            Fault::LookupFindsNull => {
                for (answer, row) in answers.iter_mut().zip(range) {
                    if lookup.cells.iter().any(|cell| rows.get(row, *cell).is_some_and(ValueRef::is_null)) {
                        *answer = Some(vec![Value::Null; lookup.read.len()]);
                    }
                }
            }
            // As a database gives them that is asked for many at once.
            Fault::LookupInAnyOrder => answers.sort_by_key(Option::is_none),
            _ => return Ok(()),
        }
        found.clear(lookup.read.len());
        for answer in &answers {
            match answer {
                Some(values) => found.add(values.iter().map(Value::as_ref)),
                None => found.add_none(),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let before = refused.len();
        let range = if self.fault == Fault::WriteIgnoresRange { 0..rows.len() } else { range };
        match (self.fault, change) {
            (Fault::UpdateSetsAll, Change::Update { key, .. }) => {
                let set: Vec<usize> = (0..rows.width()).collect();
                return self.inner.write(table, Change::Update { key, set: &set }, rows, range, refused);
            }
            (Fault::InsertReplaces, Change::Insert) => {
                self.inner.write(table, change, rows, range, refused)?;
                return self.replace(table, rows, refused);
            }
            (Fault::RefusalEndsBatch, _) => {
                for row in range {
                    self.inner.write(table, change, rows, row..row + 1, refused)?;
                    if refused.len() > before {
                        break;
                    }
                }
                return Ok(());
            }
            _ => self.inner.write(table, change, rows, range.clone(), refused)?,
        }
        match self.fault {
            Fault::UpdateFindsNothing => refused.retain(|refused| refused.reason != Reason::Trigger),
            Fault::RefusalSinksBatch if refused.len() > before => {
                return Err(Error::new(ErrorKind::Database, "a row was refused"));
            }
            Fault::RefusalsCountedFromRange => refused[before..].iter_mut().for_each(|refused| refused.row -= range.start),
            _ => {}
        }
        Ok(())
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        self.bulk(plan, rows, range, tally)
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        match self.fault {
            Fault::IntegersOfTheKeyOnly => self.inner.last_integer(table, 0),
            Fault::IntegersBelowZero => {
                let last = self.inner.last_integer(table, column)?;
                Ok(if last == 0 { -1 } else { last })
            }
            _ => self.inner.last_integer(table, column),
        }
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        self.unchecked.store(when == Check::ByCaller, Ordering::Relaxed);
        match (self.fault, when) {
            (Fault::AtCommitNothing, Check::AtCommit)
            | (Fault::NowNothing, Check::Now)
            | (Fault::ByCallerNothing, Check::ByCaller) => Ok(true),
            (Fault::AtCommitNever, Check::AtCommit) => self.inner.check_references(Check::ByCaller, &[]),
            (Fault::ByCallerAlways, Check::ByCaller) => self.inner.check_references(Check::ByCaller, &[]),
            _ => self.inner.check_references(when, tables),
        }
    }

    fn savepoint(&mut self) -> Result<()> {
        if self.fault == Fault::SavepointsNest {
            self.savepoints += 1;
            return self.inner.state().execute("SAVEPOINT nested", &[]).map(|_| ());
        }
        self.inner.savepoint()
    }

    fn rollback_to(&mut self) -> Result<()> {
        match self.fault {
            Fault::RollbackNothing => Ok(()),
            Fault::RollbackOfChecks => {
                self.inner.rollback_to()?;
                self.inner.check_references(Check::Now, &[]).map(|_| ())
            }
            Fault::RollbackWithoutSavepoint => self.inner.rollback_to().or(Ok(())),
            Fault::SavepointsNest => {
                self.savepoints =
                    self.savepoints.checked_sub(1).ok_or_else(|| Error::new(ErrorKind::Database, "no savepoint"))?;
                self.inner.state().execute("ROLLBACK TO nested", &[])?;
                self.inner.state().execute("RELEASE nested", &[]).map(|_| ())
            }
            _ => self.inner.rollback_to(),
        }
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
