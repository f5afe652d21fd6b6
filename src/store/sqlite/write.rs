//! One write transaction on the writing connection.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::ErrorCode;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;

use super::dialect::{failed, parameters};
use super::pool::Pooled;
use super::{append, apply, create, inspect, read, stage, whole};
use crate::domain::record::Tally;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{AppendKeys, PageBounds, Scope, Sql, Stage, Writer};

/// How many pages the write-ahead log may hold before a checkpoint moves them into the database: what SQLite does by itself.
const LOG_PAGES: i32 = 1_000;

/// The same while many rows are written: each checkpoint waits for the disk twice, and writes a page again that the next
/// transaction changes again. [`tidy`] makes up for it.
const BULK_LOG_PAGES: i32 = 16_000;

/// A transaction begun with BEGIN IMMEDIATE: it holds the write lock from the start, so that it can never fail half-way for
/// the lack of it.
pub(super) struct SqliteWriter {
    pub(super) connection: Pooled,
    /// The last integer key that was given to a row, per table.
    pub(super) last_keys: HashMap<String, i64>,
    /// Whether text that is not UTF-8 can be stored: not where the database's encoding is UTF-16.
    pub(super) any_text: bool,
    /// How many pages the write-ahead log held after the last commit.
    log_pages: Arc<AtomicI32>,
    /// How many it may.
    most_log_pages: i32,
    open: bool,
    marked: bool,
    deferred: bool,
}

impl SqliteWriter {
    /// Begins a transaction that may be one of many.
    pub(super) fn bulk(connection: Pooled, log_pages: &Arc<AtomicI32>) -> Result<Self> {
        SqliteWriter::begin(connection, log_pages, BULK_LOG_PAGES)
    }

    /// Begins a small transaction.
    pub(super) fn small(connection: Pooled, log_pages: &Arc<AtomicI32>) -> Result<Self> {
        SqliteWriter::begin(connection, log_pages, LOG_PAGES)
    }

    fn begin(mut connection: Pooled, log_pages: &Arc<AtomicI32>, most_log_pages: i32) -> Result<Self> {
        // In place of SQLite's own checkpoint, which is part of the COMMIT: with this one the lock is known to be free.
        let pages = Arc::clone(log_pages);
        let note = move |_: &mut Wal, count| {
            pages.store(count, Ordering::Relaxed);
            Ok(())
        };
        connection.sqlite.wal_hook(Some(note)).map_err(failed)?;
        connection.sqlite.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let mut writer = SqliteWriter {
            connection,
            last_keys: HashMap::new(),
            any_text: true,
            log_pages: Arc::clone(log_pages),
            most_log_pages,
            open: true,
            marked: false,
            deferred: false,
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
        if self.open
            && !sqlite.is_autocommit()
            && let Err(error) = sqlite.execute_batch("ROLLBACK")
        {
            log::warn!("rolling back failed: {error}");
        }
        // SQLite itself ends the deferral with the transaction, but not what statements that are kept prepared know of it:
        // such a statement leaves a row behind that it refuses. The pragma has them prepared anew.
        if self.deferred
            && let Err(error) = sqlite.pragma_update(None, "defer_foreign_keys", false)
        {
            log::warn!("ending deferred foreign keys failed: {error}");
        }
        // A checkpoint moves the log into the database; it takes long, but no lock that another writer needs.
        checkpoint(sqlite, &self.log_pages, self.most_log_pages);
    }
}

/// Moves the write-ahead log into the database if it is large: for the end of a pull.
pub(super) fn tidy(connection: &Pooled, log_pages: &AtomicI32) {
    checkpoint(&connection.sqlite, log_pages, LOG_PAGES);
}

fn checkpoint(sqlite: &rusqlite::Connection, log_pages: &AtomicI32, most: i32) {
    if log_pages.load(Ordering::Relaxed) < most {
        return;
    }
    match sqlite.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
        Ok(_) => log_pages.store(0, Ordering::Relaxed),
        Err(error) => log::debug!("a checkpoint failed: {error}"),
    }
}

impl Writer for SqliteWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        inspect::schema(&self.connection.sqlite, table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        read::count(&self.connection.sqlite, table)
    }

    fn create_table(&mut self, table: &TableSchema) -> Result<()> {
        create::create(&self.connection.sqlite, table)
    }

    fn apply(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<()> {
        match append::followed_rows(self, plan, scope, rows, range.clone(), tally)? {
            Some(followed) => apply::apply(self, plan, &followed, 0..followed.len(), tally),
            None => apply::apply(self, plan, rows, range, tally),
        }
    }

    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()> {
        whole::count(self, plan, scope)
    }

    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        tally: &mut Tally,
    ) -> Result<()> {
        match append::followed_rows(self, plan, scope, rows, range.clone(), tally)? {
            Some(followed) => whole::apply(self, plan, scope, &followed, 0..followed.len(), tally),
            None => whole::apply(self, plan, scope, rows, range, tally),
        }
    }

    fn stage_create(&mut self, stage: &Stage) -> Result<()> {
        stage::create(self, stage)
    }

    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()> {
        stage::append(self, stage, rows, range)
    }

    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()> {
        stage::page(self, stage, after, bounds, rows, numbers)
    }

    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()> {
        stage::remove(self, stage, numbers)
    }

    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>> {
        stage::orphans(self, plan, stage, limit)
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
        append::append(self, plan, scope, keys, rows, range, tally)
    }

    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()> {
        append::append_keys(self, plan, scope, rows, range)
    }

    fn end_scope(&mut self, scope: &Scope) -> Result<()> {
        stage::end_scope(self, scope)
    }

    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()> {
        self.deferred |= deferred;
        self.connection.sqlite.pragma_update(None, "defer_foreign_keys", deferred).map_err(failed)
    }

    fn mark(&mut self) -> Result<()> {
        let sql = match self.marked {
            true => "RELEASE rowferry_mark; SAVEPOINT rowferry_mark",
            false => "SAVEPOINT rowferry_mark",
        };
        self.marked = true;
        self.connection.sqlite.execute_batch(sql).map_err(failed)
    }

    fn undo(&mut self) -> Result<()> {
        self.last_keys.clear();
        self.marked = false;
        self.connection.sqlite.execute_batch("ROLLBACK TO rowferry_mark; RELEASE rowferry_mark").map_err(failed)
    }

    fn state(&mut self) -> &mut dyn Sql {
        self
    }

    fn commit(&mut self) -> Result<()> {
        match self.connection.sqlite.execute_batch("COMMIT") {
            Ok(()) => {
                self.open = false;
                Ok(())
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

fn execute(sqlite: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<usize> {
    sqlite.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters(values))).map_err(failed)
}

fn query(sqlite: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
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
