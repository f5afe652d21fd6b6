//! A writer that says what it is about to do: for tests of what fails, or is cancelled, at each step of an import.

use std::ops::Range;

use super::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, NewTable, PageBounds, PageEnd, Referring, Refused, Sets, Sql,
    Target, Writer,
};
use crate::domain::record::Tally;
use crate::domain::schema::{Index, TableSchema};
use crate::domain::table::FileNumbers;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::plan::TablePlan;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many rows are written.
    Rows(usize),
    /// A statement over state.
    Statement,
    Commit,
}

/// Hands each step to `before`; what that refuses is not done.
pub(crate) struct Stepping<F> {
    pub(crate) writer: Box<dyn Writer>,
    pub(crate) before: F,
}

impl<F: FnMut(Step) -> Result<()>> Sql for Stepping<F> {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize> {
        (self.before)(Step::Statement)?;
        self.writer.state().execute(sql, parameters)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>> {
        (self.before)(Step::Statement)?;
        self.writer.state().query(sql, parameters)
    }
}

impl<F: FnMut(Step) -> Result<()>> Writer for Stepping<F> {
    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        self.writer.write_dangling(table, change, rows, row, refused)
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.writer.schema(table)
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.writer.create_table(table)
    }

    fn complete_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.writer.complete_table(table)
    }

    fn put_off_indexes(&mut self, table: &TableSchema) -> Result<Vec<Index>> {
        self.writer.put_off_indexes(table)
    }

    fn create_indexes(&mut self, table: &TableSchema, indexes: &[Index]) -> Result<()> {
        self.writer.create_indexes(table, indexes)
    }

    fn raise_sequence(&mut self, table: &TableSchema, to: i64) -> Result<()> {
        self.writer.raise_sequence(table, to)
    }

    fn file_numbers(&mut self, tables: &[&str]) -> Result<Option<(FileNumbers, bool)>> {
        self.writer.file_numbers(tables)
    }

    fn set_file_numbers(&mut self, numbers: FileNumbers) -> Result<()> {
        self.writer.set_file_numbers(numbers)
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

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        self.writer.comparable(columns, cells, rows, range, to)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        (self.before)(Step::Rows(range.len()))?;
        self.writer.write(table, change, rows, range, refused)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        (self.before)(Step::Rows(range.len()))?;
        self.writer.apply_bulk(plan, rows, range, tally)
    }

    fn most_at_once(&self) -> usize {
        self.writer.most_at_once()
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
        self.writer.clashes(table, key, sets, rows, row, found)
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        self.writer.referring(table)
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

    fn release(&mut self) -> Result<()> {
        self.writer.release()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        (self.before)(Step::Commit)?;
        self.writer.commit()
    }
}
