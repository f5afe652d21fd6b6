//! One write transaction on the writing connection.

use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::config::DbConfig;

use super::database_file::DatabaseFile;
use super::dialect::failed;
use super::pool::{Pooled, Pools};
use super::raw::log_hook;
use super::wal::{Log, Writes};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Check;

/// A transaction begun with BEGIN IMMEDIATE: it holds the write lock from the start, so that it can never fail half-way for
/// the lack of it.
pub(super) struct Transaction {
    pub(super) connection: Pooled,
    /// Whether text that is not UTF-8 can be stored: not where the database's encoding is UTF-16.
    pub(super) any_text: bool,
    log: Arc<Log>,
    writes: Writes,
    file: Arc<DatabaseFile>,
    open: bool,
    /// Whether the table of this name has no triggers and nothing to do with references: the one that was asked for last.
    pub(super) quiet: Option<(String, bool)>,
    /// When references are checked.
    pub(super) check: Check,
}

impl Transaction {
    pub(super) fn begin(pools: &Pools, writes: Writes) -> Result<Self> {
        let connection = pools.writer()?;
        // In place of SQLite's own checkpoint, which is part of the COMMIT: with this one the lock is known to be free.
        log_hook::watch(&connection.sqlite);
        connection.keeps_log.set(&connection.sqlite, writes == Writes::Tables).map_err(failed)?;
        connection.sqlite.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        if writes == Writes::Tables {
            pools.watch().will_write();
        }
        let mut transaction = Transaction {
            connection,
            any_text: true,
            log: pools.log(),
            writes,
            file: Arc::clone(pools.file()),
            open: true,
            quiet: None,
            check: Check::Now,
        };
        let encoding: String =
            transaction.connection.sqlite.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)?;
        transaction.any_text = encoding == "UTF-8";
        Ok(transaction)
    }

    /// Makes sure that the transaction is still there after a statement failed: a trigger's RAISE(ROLLBACK), and some
    /// failures of the disk, end it.
    pub(super) fn still_open(&self) -> Result<()> {
        if !self.connection.sqlite.is_autocommit() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Database, "the database rolled the whole batch back; a trigger may have asked for it")
            .with_hint("Look for RAISE(ROLLBACK) and OR ROLLBACK in the triggers of the table, and ON CONFLICT ROLLBACK in what they write."))
    }

    /// Does something that is undone.
    pub(super) fn undone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let sqlite = &self.connection.sqlite;
        sqlite.execute_batch("SAVEPOINT rowferry_undone").map_err(failed)?;
        let done = work();
        let undone = sqlite.execute_batch("ROLLBACK TO rowferry_undone; RELEASE rowferry_undone").map_err(failed);
        if undone.is_err() {
            // Nothing may be written with this connection any more: rows may be gone.
            self.connection.spoil();
        }
        undone.and(done)
    }

    /// The same with triggers and foreign keys off.
    pub(super) fn undone_alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let sqlite = &self.connection.sqlite;
        let switch = |on: bool| -> Result<()> {
            let enforced = on && self.check != Check::ByCaller;
            sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, enforced).map_err(failed)?;
            sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on).map(|_| ()).map_err(failed)
        };
        let done = self.undone(|| switch(false).and_then(|()| work()));
        let restored = switch(true);
        if restored.is_err() {
            // Triggers may be off.
            self.connection.spoil();
        }
        restored.and(done)
    }

    /// Does something whose references are not checked: they are put off, and what is found broken meanwhile is forgotten, so that all
    /// that foreign keys do is done; or foreign keys are off altogether.
    pub(super) fn without_checks<T>(&mut self, is_off: bool, work: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let before = self.check;
        self.set_check(if is_off { Check::ByCaller } else { Check::AtCommit })?;
        let done = work(self);
        // That the pragma forgets what it put off is how SQLite is: https://www.sqlite.org/pragma.html#pragma_defer_foreign_keys.
        let restored = self.set_check(before);
        if restored.is_err() {
            self.connection.spoil();
        }
        restored.and(done)
    }

    /// References are checked then from now on.
    pub(super) fn set_check(&mut self, when: Check) -> Result<()> {
        self.check = when;
        set_check(&self.connection.sqlite, when)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        match self.log.commit(&self.connection.sqlite) {
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

impl Drop for Transaction {
    fn drop(&mut self) {
        let sqlite = &self.connection.sqlite;
        if self.open {
            self.connection.forget_schemas();
        }
        if self.open
            && !sqlite.is_autocommit()
            && let Err(error) = sqlite.execute_batch("ROLLBACK")
        {
            log::warn!(target: "rowferry::store", "rolling back failed: {error}");
        }
        if self.check != Check::Now
            && let Err(error) = set_check(sqlite, Check::Now)
        {
            log::warn!(target: "rowferry::store", "a connection that cannot check references again is closed: {error}");
            self.connection.spoil();
        }
        // A checkpoint moves the log into the database; it takes long, but no lock that another writer needs.
        self.log.checkpoint(sqlite, self.writes.most_log_pages());
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
