//! The transactions of a store with a fault.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowferry::Reason;
use rowferry::schema::TableSchema;
use rowferry::store::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, NewTable, PageBounds, PageEnd, Referring, Refused, Sets, Sql,
    TablePlan, Tally, Target, Writer,
};
use rowferry::{Error, ErrorKind, Result, Rows, Strategy, Value, ValueRef};

use super::Fault;
use super::broken::without_collations;

pub struct BrokenWriter {
    pub inner: Box<dyn Writer>,
    pub fault: Fault,
    pub unchecked: Arc<AtomicBool>,
    /// Whether there is a savepoint, where a new one replaces it.
    pub has_savepoint: bool,
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
            Fault::BulkByColumns => {
                let plan = TablePlan { table: without_collations(&plan.table), ..plan.clone() };
                self.inner.apply_bulk(&plan, rows, range, tally)
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
    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        self.inner.write_dangling(table, change, rows, row, refused)
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        let found = self.inner.schema(table)?;
        Ok(found.filter(|found| self.fault != Fault::NamesNotFolded || found.name == table))
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        if self.fault == Fault::KeyCollationsLost {
            let schema = &without_collations(table.schema);
            let parents = &|name: &str| (table.parents)(name);
            return self.inner.create_table(&NewTable { schema, exact: table.exact, parents });
        }
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
            Fault::MisfitsAreNull => {
                let (rows, misfits) = (&fitted.rows, &fitted.misfits);
                let is_misfit = |row, at| misfits.iter().any(|misfit| (misfit.row, misfit.column) == (row, at));
                let cell = |row, at| if is_misfit(row, at) { Some(ValueRef::Null) } else { rows.get(row, at) };
                fitted.rows = changed(rows, cell);
            }
            Fault::OneMisfitNamed => fitted.misfits.dedup_by_key(|misfit| misfit.row),
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
        if self.fault == Fault::LookupByColumns {
            lookup.collations = &[];
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

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        match self.fault {
            Fault::ComparesAsItCame => {
                to.clear(cells.len());
                for row in range {
                    to.start_row();
                    for (at, cell) in cells.iter().enumerate() {
                        if let Some(value) = rows.get(row, *cell) {
                            to.set(at, value);
                        }
                    }
                }
                Ok(())
            }
            Fault::ComparesAll => self.inner.comparable(columns, cells, rows, 0..rows.len(), to),
            _ => self.inner.comparable(columns, cells, rows, range, to),
        }
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
            (Fault::UpdateByColumns, Change::Update { .. }) => {
                return self.inner.write(&without_collations(table), change, rows, range, refused);
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

    fn clashes(
        &mut self,
        table: &TableSchema,
        key: &[usize],
        sets: Sets,
        rows: &Rows,
        row: usize,
        found: &mut Rows,
    ) -> Result<()> {
        self.inner.clashes(table, key, sets, rows, row, found)?;
        match self.fault {
            Fault::ClashesWithItself => found.push(key.iter().map(|at| rows.get(row, *at).unwrap_or(ValueRef::Null))),
            Fault::OneClashNamed => found.truncate(1),
            _ => {}
        }
        Ok(())
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        let mut referring = self.inner.referring(table)?;
        if self.fault == Fault::OwnReferencesLost {
            referring.retain(|referring| referring.table != table.name);
        }
        Ok(referring)
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
        if self.fault == Fault::SavepointReplaces && std::mem::replace(&mut self.has_savepoint, true) {
            self.inner.release()?;
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
            Fault::SavepointReplaces => {
                self.has_savepoint = false;
                self.inner.rollback_to()
            }
            _ => self.inner.rollback_to(),
        }
    }

    fn release(&mut self) -> Result<()> {
        match self.fault {
            Fault::ReleaseNothing => Ok(()),
            Fault::ReleaseUndoes => self.inner.rollback_to(),
            _ => self.inner.release(),
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
