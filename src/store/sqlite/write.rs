//! One write transaction on the writing connection.

use std::ops::Range;
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;

use super::bulk;
use super::clashes::{self, Clashing};
use super::dialect::{failed, parameters, quote};
use super::pool::{DatabaseFile, Pooled, Pools};
use super::wal::{BULK_LOG_PAGES, LOG_PAGES, Log};
use super::{catalogue, comparable, ddl, read, rows};
use crate::domain::record::Tally;
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, NewTable, PageBounds, PageEnd, Referring, Refused, Sets, Sql,
    Target, Writer,
};

/// A transaction begun with BEGIN IMMEDIATE: it holds the write lock from the start, so that it can never fail half-way for
/// the lack of it.
pub(super) struct SqliteWriter {
    pub(super) connection: Pooled,
    /// What bulk applies know of the table that they wrote to last.
    pub(super) bulk: bulk::Cache,
    /// Whether text that is not UTF-8 can be stored: not where the database's encoding is UTF-16.
    pub(super) any_text: bool,
    log: Arc<Log>,
    /// By how many pages the log may grow before a checkpoint.
    most_log_pages: i32,
    file: Arc<DatabaseFile>,
    open: bool,
    /// Whether the table of this name has no triggers and nothing to do with references: the one that was asked for last.
    pub(super) quiet: Option<(String, bool)>,
    /// When references are checked.
    pub(super) check: Check,
}

impl SqliteWriter {
    /// Begins a transaction that may be one of many.
    pub(super) fn bulk(pools: &Pools) -> Result<Self> {
        SqliteWriter::begin(pools, BULK_LOG_PAGES)
    }

    /// Begins a small transaction.
    pub(super) fn small(pools: &Pools) -> Result<Self> {
        SqliteWriter::begin(pools, LOG_PAGES)
    }

    fn begin(pools: &Pools, most_log_pages: i32) -> Result<Self> {
        let mut connection = pools.writer()?;
        // In place of SQLite's own checkpoint, which is part of the COMMIT: with this one the lock is known to be free.
        let log = pools.log();
        let note = move |_: &mut Wal, pages| {
            log.note(pages);
            Ok(())
        };
        connection.sqlite.wal_hook(Some(note)).map_err(failed)?;
        connection.keeps_log.set(&connection.sqlite, most_log_pages == BULK_LOG_PAGES).map_err(failed)?;
        connection.sqlite.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let mut writer = SqliteWriter {
            connection,
            bulk: bulk::Cache::default(),
            any_text: true,
            log: pools.log(),
            most_log_pages,
            file: pools.file(),
            open: true,
            quiet: None,
            check: Check::Now,
        };
        let encoding: String =
            writer.connection.sqlite.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)?;
        writer.any_text = encoding == "UTF-8";
        Ok(writer)
    }

    /// Makes sure that the transaction is still there after a statement failed: a trigger's RAISE(ROLLBACK), and some
    /// failures of the disk, end it.
    pub(super) fn still_open(&self) -> Result<()> {
        if !self.connection.sqlite.is_autocommit() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Database, "the database rolled the whole batch back; a trigger may have asked for it")
            .with_hint("Look for RAISE(ROLLBACK) in the triggers of the table."))
    }
}

impl Drop for SqliteWriter {
    fn drop(&mut self) {
        let sqlite = &self.connection.sqlite;
        if self.open {
            self.connection.forget_schemas();
        }
        if self.open
            && !sqlite.is_autocommit()
            && let Err(error) = sqlite.execute_batch("ROLLBACK")
        {
            log::warn!("rolling back failed: {error}");
        }
        if self.check != Check::Now
            && let Err(error) = set_check(sqlite, Check::Now)
        {
            log::warn!("a connection that cannot check references again is closed: {error}");
            self.connection.spoil();
        }
        // A checkpoint moves the log into the database; it takes long, but no lock that another writer needs.
        self.log.checkpoint(sqlite, self.most_log_pages);
    }
}

/// Switches the checks of references on this connection. SQLite itself ends a deferral with the transaction, but not what
/// statements that are kept prepared know of it: such a statement keeps a row that it refuses. Both settings have them
/// prepared again. The pragma `foreign_keys` does nothing within a transaction; this setting, which is the same one, does.
fn set_check(sqlite: &rusqlite::Connection, check: Check) -> Result<()> {
    let enforced = check != Check::ByCaller;
    let set = sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, enforced).map_err(failed)?;
    if set != enforced {
        return Err(Error::new(ErrorKind::Database, "this SQLite does not let foreign keys be switched on and off"));
    }
    sqlite.pragma_update(None, "defer_foreign_keys", check == Check::AtCommit).map_err(failed)
}

impl Writer for SqliteWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.connection.schema(table)
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        self.bulk.clear();
        self.quiet = None;
        ddl::create(&self.connection, table)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        read::page(&self.connection.sqlite, table, after, 0, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        rows::fit(self, plan, rows, range, fitted);
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        rows::lookup(self, lookup, rows, range, found)
    }

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        comparable::of(&self.connection.sqlite, columns, cells, rows, range, to)
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        rows::write(self, table, change, rows, range, refused)
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
        clashes::clashes(self, &Clashing { table, key, sets, rows, row }, found)
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        let mut referring = Vec::new();
        for child in self.connection.overview()?.children(&table.name) {
            let Some(child) = self.connection.schema(&child)? else { continue };
            let keys = child.foreign_keys.iter().filter(|key| child.names.same(&key.parent, &table.name));
            let found =
                |key: &ForeignKey| Referring { table: child.name.clone(), key: key.clone(), deferred: child.deferred };
            referring.extend(keys.map(found));
        }
        Ok(referring)
    }

    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        bulk::apply(self, plan, rows, range, tally)
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
            for target in tables {
                if catalogue::depends_on_checks(&self.connection, target)? {
                    return Ok(false);
                }
            }
        }
        self.bulk.clear();
        self.check = when;
        set_check(&self.connection.sqlite, when)?;
        Ok(true)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.connection.sqlite.execute_batch("SAVEPOINT rowferry_savepoint").map_err(failed)
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.bulk.clear();
        self.quiet = None;
        self.connection.forget_schemas();
        // Of several savepoints of one name SQLite takes the latest.
        let sql = "ROLLBACK TO rowferry_savepoint; RELEASE rowferry_savepoint";
        self.connection.sqlite.execute_batch(sql).map_err(failed)
    }

    fn release(&mut self) -> Result<()> {
        self.connection.sqlite.execute_batch("RELEASE rowferry_savepoint").map_err(failed)
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        match self.connection.sqlite.execute_batch("COMMIT") {
            Ok(()) => {
                self.open = false;
                // Rows in a file that was replaced meanwhile are lost.
                self.file.check()
            }
            Err(error) => {
                let broken_reference = error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
                let error = failed(error).while_doing("cannot commit");
                Err(if broken_reference {
                    Error::new(ErrorKind::ForeignKey, error.message()).with_source(error)
                } else {
                    error
                })
            }
        }
    }
}

impl Sql for SqliteWriter {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        execute(&self.connection.sqlite, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        query(&self.connection.sqlite, sql, values)
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
