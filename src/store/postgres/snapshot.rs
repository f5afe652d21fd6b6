//! A snapshot of a PostgreSQL database: a connection with a transaction that only reads, and sees one state.
//!
//! Readers and writers do not wait for each other. Who changes the structure of a table, or empties it by TRUNCATE, waits until the
//! snapshots end that have read from it.

use std::collections::HashSet;

use super::catalogue;
use super::faults::{failed, told_by};
use super::page::{Pager, check_columns, check_readable, count};
use super::pool::Pooled;
use super::table::Table;
use super::{beside, ddl, find};
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Cursor, Keys, NewTable, PageBounds, PageEnd, Snapshot};

/// A read transaction on a connection of its own.
pub(super) struct PostgresSnapshot {
    connection: Pooled,
    pager: Pager,
    /// The tables that are known to be those of this snapshot.
    untouched: HashSet<u32>,
}

/// What the transaction is like.
///
/// - A table whose rows are hidden from the role by policies is an error, and no smaller table.
/// - Rows in the order of a key are looked up in its index, page by page: to sort a table for each page is never faster.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off;
    SET LOCAL enable_sort = off; SELECT 1; SAVEPOINT rowferry_read";

/// Sets the savepoint again, so that locks taken before it stay whatever fails after it.
const KEEP: &str = "RELEASE rowferry_read; SAVEPOINT rowferry_read";

impl PostgresSnapshot {
    pub(super) fn begin(mut connection: Pooled) -> Result<Self> {
        connection.in_transaction = true;
        connection.forget();
        // BEGIN alone takes no snapshot: the first query does.
        connection.batch(BEGIN)?;
        Ok(PostgresSnapshot { connection, pager: Pager::default(), untouched: HashSet::new() })
    }

    /// Does something that may fail: a statement that does would abort the whole transaction, so it is undone to the savepoint, and the
    /// state that the snapshot sees stays.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let done = work(self);
        if let Err(error) = &done
            && told_by(error).is_some()
        {
            // What was read of the catalogue since is no longer locked.
            self.connection.forget();
            if let Err(lost) = self.connection.batch("ROLLBACK TO rowferry_read") {
                log::debug!(target: "rowferry::store", "a read transaction cannot continue after {error}: {lost}");
            }
        }
        done
    }

    /// The number that the sequence of a table's key gave last, if it gave one and the role may know.
    fn last_number(&mut self, table: &Table) -> Result<Option<i64>> {
        let key = table.primary.as_ref().and_then(|primary| primary.columns.first());
        let Some(sequence) = key.and_then(|at| table.columns.get(*at)?.sequence.as_ref()) else { return Ok(None) };
        let sql = "SELECT CASE WHEN has_sequence_privilege(s.oid, 'USAGE, SELECT') THEN pg_sequence_last_value(s.oid) END
            FROM to_regclass($1::text) s(oid) WHERE s.oid IS NOT NULL";
        let rows = self.connection.rows(sql, &[sequence])?;
        rows.first().map_or(Ok(None), |row| row.try_get(0)).map_err(failed)
    }

    /// An error if a table was emptied by TRUNCATE or rewritten by ALTER TABLE after the snapshot was taken: then PostgreSQL shows no rows
    /// where there were some. To be asked once rows were read from it, since nobody can do that from then on.
    fn check_untouched(&mut self, table: &Table) -> Result<()> {
        if self.untouched.contains(&table.oid) {
            return Ok(());
        }
        let sql = "SELECT EXISTS (SELECT FROM pg_class c WHERE c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
            AND (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass))))";
        let rows = self.connection.rows(sql, &[&table.oid])?;
        let is_touched: bool = rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(failed)?;
        if is_touched {
            let why = format!(
                "the table {:?} was emptied or rewritten (TRUNCATE, ALTER TABLE) while it was read",
                table.schema.name
            );
            return Err(Error::new(ErrorKind::Database, why).with_hint("Begin again."));
        }
        self.connection.batch(KEEP)?;
        self.untouched.insert(table.oid);
        Ok(())
    }
}

impl Drop for PostgresSnapshot {
    fn drop(&mut self) {
        match self.connection.batch("ROLLBACK") {
            Ok(()) => self.connection.in_transaction = false,
            Err(error) => log::warn!(target: "rowferry::store", "ending a read transaction failed: {error}"),
        }
    }
}

impl Snapshot for PostgresSnapshot {
    fn tables(&mut self) -> Result<Vec<String>> {
        self.attempt(|it| catalogue::table_names(&mut it.connection))
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        self.attempt(|it| Ok(it.connection.table(table)?.map(|table| table.schema.clone())))
    }

    fn not_copied(&mut self) -> Result<NotCopied> {
        self.attempt(|it| beside::not_copied(&mut it.connection))
    }

    fn tell(&mut self, table: &mut TableSchema) -> Result<()> {
        table.sequence = self.attempt(|it| match it.connection.table(&table.name)? {
            Some(known) if known.schema.autoincrement => it.last_number(&known),
            _ => Ok(None),
        })?;
        Ok(())
    }

    fn try_table(&mut self, table: &NewTable<'_>) -> Result<()> {
        ddl::try_out(&self.connection, table)
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        self.attempt(|it| {
            let table = it.connection.known(&table.name)?;
            check_readable(&table)?;
            let rows = count(&mut it.connection, &format!("SELECT count(*) FROM {}", table.source))?;
            it.check_untouched(&table)?;
            Ok(rows)
        })
    }

    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        self.attempt(|it| {
            let known = it.connection.known(&table.name)?;
            check_columns(&known, table)?;
            let end = it.pager.page(&mut it.connection, &known, after, skip, bounds, rows)?;
            it.check_untouched(&known)?;
            Ok(end)
        })
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
        self.attempt(|it| {
            let known = it.connection.known(&table.name)?;
            check_columns(&known, table)?;
            let more = find::find(&mut it.connection, &known, column, keys, (skip, bounds), rows)?;
            it.check_untouched(&known)?;
            Ok(more)
        })
    }

    /// A server keeps old versions of rows because of a snapshot; how many bytes those have it does not tell.
    fn pinned_bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
