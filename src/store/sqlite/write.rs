//! What can be done in one write transaction.

use std::ops::Range;

use super::bulk;
use super::clashes::{self, Clashing};
use super::dialect::{failed, parameters, quote};
use super::pool::{Pooled, Pools};
use super::transaction::Transaction;
use super::wal::Writes;
use super::{catalogue, comparable, ddl, faults, file, read, rows, stand_in};
use crate::domain::record::Tally;
use crate::domain::schema::{ForeignKey, Index, TableSchema};
use crate::domain::table::FileNumbers;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, NewTable, PageBounds, PageEnd, Referring, Refused, Sets, Sql,
    Target, Writer,
};

/// One write transaction.
pub(super) struct SqliteWriter {
    pub(super) transaction: Transaction,
    /// What bulk applies know of the table that they wrote to last.
    bulk: bulk::Cache,
}

impl SqliteWriter {
    /// Begins a transaction that may be one of many.
    pub(super) fn bulk(pools: &Pools) -> Result<Self> {
        SqliteWriter::begin(pools, Writes::Tables)
    }

    /// Begins a small transaction.
    pub(super) fn small(pools: &Pools) -> Result<Self> {
        SqliteWriter::begin(pools, Writes::State)
    }

    fn begin(pools: &Pools, writes: Writes) -> Result<Self> {
        Ok(SqliteWriter { transaction: Transaction::begin(pools, writes)?, bulk: bulk::Cache::default() })
    }

    /// What is known of the table that was written last is over.
    fn forget_shape(&mut self) {
        self.bulk.clear();
        self.transaction.quiet = None;
    }
}

impl Writer for SqliteWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.transaction.connection.schema(table)
    }

    fn check_writable(&mut self, table: &TableSchema) -> Result<()> {
        stand_in::check_writable(&self.transaction.connection.sqlite, table)
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.bulk.clear();
        self.transaction.quiet = None;
        ddl::create(&self.transaction.connection, table)
    }

    fn put_off_indexes(&mut self, table: &TableSchema) -> Result<Vec<Index>> {
        self.forget_shape();
        ddl::drop_indexes(&self.transaction.connection, table)
    }

    fn create_indexes(&mut self, table: &TableSchema, indexes: &[Index]) -> Result<()> {
        self.forget_shape();
        ddl::create_indexes(&self.transaction.connection, table, indexes)
    }

    fn raise_sequence(&mut self, table: &TableSchema, to: i64) -> Result<()> {
        file::raise_sequence(&self.transaction.connection.sqlite, table, to)
    }

    fn file_numbers(&mut self, tables: &[&str]) -> Result<Option<(FileNumbers, bool)>> {
        let sqlite = &self.transaction.connection.sqlite;
        Ok(Some((file::numbers(sqlite)?, file::has_only(sqlite, tables)?)))
    }

    fn set_file_numbers(&mut self, numbers: FileNumbers) -> Result<()> {
        file::set_numbers(&self.transaction.connection.sqlite, numbers)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        read::page(&self.transaction.connection.sqlite, table, after, 0, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        rows::fit(&self.transaction, plan, rows, range, fitted);
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        rows::lookup(&self.transaction, lookup, rows, range, found)
    }

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        comparable::of(&self.transaction.connection.sqlite, columns, cells, rows, range, to)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        rows::write(&self.transaction, table, change, rows, range, refused)
    }

    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        // A deferred key is looked at again at the commit, and one that SQLite cannot check refuses all.
        let is_off = table.deferred || faults::has_any(&self.transaction.connection, table)?;
        self.transaction
            .without_checks(is_off, |transaction| rows::write(transaction, table, change, rows, row..row + 1, refused))
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
        clashes::clashes(&mut self.transaction, &Clashing { table, key, sets, rows, row }, found)
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        let mut referring = Vec::new();
        for child in self.transaction.connection.overview()?.children(&table.name) {
            let Some(child) = self.transaction.connection.schema(&child)? else { continue };
            let keys = child.foreign_keys.iter().filter(|key| child.names.same(&key.parent, &table.name));
            let found =
                |key: &ForeignKey| Referring { table: child.name.clone(), key: key.clone(), deferred: child.deferred };
            referring.extend(keys.map(found));
        }
        Ok(referring)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        bulk::apply(&self.transaction, &mut self.bulk, plan, rows, range, tally)
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        let integer = |rows: Vec<Vec<Value>>| rows.first().and_then(|row| row.first()).and_then(Value::as_integer);
        let (name, from) = (quote(&table.columns[column].name), quote(&table.name));
        let largest = format!("SELECT {name} FROM {from} WHERE typeof({name}) = 'integer' ORDER BY {name} DESC LIMIT 1");
        let largest = integer(self.query(&largest, &[])?).unwrap_or(0);
        let ever = match table.autoincrement {
            true => integer(self.query("SELECT seq FROM sqlite_sequence WHERE name = ?1", &[table.name.as_str().into()])?),
            false => None,
        };
        Ok(largest.max(ever.unwrap_or(0)).max(0))
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        if when == Check::ByCaller {
            let connection = &self.transaction.connection;
            for target in tables {
                if catalogue::depends_on_checks(&*connection.overview()?, |table| connection.schema(table), target)? {
                    return Ok(false);
                }
            }
        }
        self.bulk.clear();
        self.transaction.set_check(when)?;
        Ok(true)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.transaction.connection.sqlite.execute_batch("SAVEPOINT rowferry_savepoint").map_err(failed)
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.bulk.clear();
        self.transaction.quiet = None;
        self.transaction.connection.forget_schemas();
        // Of several savepoints of one name SQLite takes the latest.
        let sql = "ROLLBACK TO rowferry_savepoint; RELEASE rowferry_savepoint";
        self.transaction.connection.sqlite.execute_batch(sql).map_err(failed)
    }

    fn release(&mut self) -> Result<()> {
        self.transaction.connection.sqlite.execute_batch("RELEASE rowferry_savepoint").map_err(failed)
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        self.transaction.commit()
    }
}

impl Sql for SqliteWriter {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        execute(&self.transaction.connection.sqlite, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        query(&self.transaction.connection.sqlite, sql, values)
    }
}

/// [`Sql`] on a reading connection.
pub(super) struct Reading(pub(super) Pooled);

impl Sql for Reading {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        execute(&self.0.sqlite, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        query(&self.0.sqlite, sql, values)
    }
}

pub(in crate::store) fn execute(sqlite: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<usize> {
    sqlite.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters(values))).map_err(failed)
}

pub(in crate::store) fn query(sqlite: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
    let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
    let width = statement.column_count();
    let mut found = statement.query(parameters(values)).map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        let cells = (0..width).map(|at| row.get_ref(at).map(|value| super::dialect::borrowed(value).to_owned()));
        rows.push(cells.collect::<rusqlite::Result<Vec<Value>>>().map_err(failed)?);
    }
    Ok(rows)
}
