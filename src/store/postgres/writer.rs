//! What can be done in one write transaction.

use std::ops::Range;

use super::pool::Pooled;
use super::transaction::Transaction;
use super::{bulk, clashes, comparable, ddl, fit, foreign_keys, lookup, references, sequences, statements, write};
use crate::domain::record::Tally;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, NewTable, PageBounds, PageEnd, Referring, Refused, Sets, Sql,
    Target, Writer,
};

/// One write transaction.
pub(super) struct PostgresWriter {
    transaction: Transaction,
    /// What bulk applies know of the table that they wrote to last.
    bulk: bulk::Cache,
}

impl PostgresWriter {
    /// Begins a transaction, once all other writers are done.
    pub(super) fn begin(connection: Pooled) -> Result<Self> {
        Ok(PostgresWriter { transaction: Transaction::begin(connection)?, bulk: bulk::Cache::default() })
    }

    /// What is known of tables is over.
    fn forget(&mut self) {
        self.bulk.clear();
        self.transaction.forget();
    }
}

impl Writer for PostgresWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        Ok(self.transaction.connection.table(table)?.map(|table| table.schema.clone()))
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.forget();
        let Transaction { connection, pending, .. } = &mut self.transaction;
        let notes = ddl::create(connection, table, pending);
        self.forget();
        notes
    }

    fn complete_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.forget();
        foreign_keys::complete(&mut self.transaction.connection, table)
    }

    fn raise_sequence(&mut self, table: &TableSchema, to: i64) -> Result<()> {
        sequences::raise_to(&mut self.transaction, table, to)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        let table = self.transaction.table(&table.name)?;
        self.transaction.page(&table, after, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        fit::fit(&mut self.transaction, plan, rows, range, fitted)
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        lookup::lookup(&mut self.transaction, lookup, rows, range, found)
    }

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        comparable::of(&mut self.transaction, columns, cells, rows, range, to)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        write::write(&mut self.transaction, table, change, rows, range, refused)
    }

    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        references::write_dangling(&mut self.transaction, table, change, rows, row, refused)
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
        clashes::clashes(&mut self.transaction, table, key, sets, rows, row, found)
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        references::referring(&mut self.transaction, table)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        bulk::apply(&mut self.transaction, &mut self.bulk, plan, rows, range, tally)
    }

    fn most_at_once(&self) -> usize {
        bulk::MOST
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        sequences::last_integer(&mut self.transaction, table, column)
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        self.bulk.clear();
        references::check(&mut self.transaction, when, tables)
    }

    fn forgets_references(&self) -> bool {
        false
    }

    fn savepoint(&mut self) -> Result<()> {
        self.transaction.savepoint()
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.bulk.clear();
        self.transaction.rollback_to()?;
        references::after_rollback(&mut self.transaction)
    }

    fn release(&mut self) -> Result<()> {
        self.transaction.release()
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        let transaction = &mut self.transaction;
        let written = transaction.written()?;
        sequences::raise_written(transaction, &written)?;
        // Where a reference is broken, the transaction can be continued.
        references::before_commit(transaction)?;
        transaction.commit()
    }
}

impl Sql for PostgresWriter {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        statements::execute(&mut self.transaction.connection, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        statements::query(&mut self.transaction.connection, sql, values)
    }

    fn longest_indexed(&self) -> usize {
        statements::LONGEST_INDEXED
    }

    fn numbers_were_given(&mut self, table: &str) -> Result<()> {
        statements::raise_numbers(&mut self.transaction.connection, table)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
