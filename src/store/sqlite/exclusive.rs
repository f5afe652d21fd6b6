//! A database file that nobody else has open.

use std::path::Path;
use std::time::Duration;

use super::dialect;
use super::{Setup, SqliteStore};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// How long others are waited for: one that is just about to close the file.
const LOCK_TIME: Duration = Duration::from_secs(1);

impl SqliteStore {
    /// Opens a file so that nobody else can until the store is dropped. It can only write: a second connection, to read, is
    /// [`Locked`](ErrorKind::Locked) out, too.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) if another program has it open, or this one, which SQLite can tell of a file in WAL mode; otherwise
    /// those of [`SqliteStore::open`].
    pub(crate) fn open_alone(path: &Path, limits: &Limits, setup: &Setup) -> Result<Self> {
        let mut limits = limits.clone();
        limits.store.busy_timeout = limits.store.busy_timeout.min(LOCK_TIME);
        SqliteStore::open_with(path, &limits, &setup.alone()).map_err(|error| match error.kind() {
            ErrorKind::Locked => open_elsewhere(path),
            _ => error,
        })
    }

    /// Moves the log into the database and leaves WAL mode. For a store that was [opened alone](SqliteStore::open_alone).
    pub(crate) fn leave_wal(&self) -> Result<()> {
        let writer = self.pools.writer()?;
        let left = writer.sqlite.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0));
        match left.map_err(dialect::failed)?.as_str() {
            "wal" => Err(open_elsewhere(self.path())),
            _ => Ok(()),
        }
    }
}

fn open_elsewhere(path: &Path) -> Error {
    Error::new(ErrorKind::Locked, format!("a program has {} open", path.display()))
        .with_hint("End every program that uses it, a server or a pull above all, and try again.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn only_a_file_that_nobody_has_open_is_opened_alone_and_then_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let alone = || SqliteStore::open_alone(&path, &Limits::default(), &Setup::default());
        let rows = || {
            let sqlite = rusqlite::Connection::open(&path).unwrap();
            sqlite.busy_timeout(Duration::ZERO).unwrap();
            sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
        };
        for mode in ["WAL", "DELETE"] {
            let other = rusqlite::Connection::open(&path).unwrap();
            other.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE IF NOT EXISTS t(a)")).unwrap();
            if mode == "WAL" {
                assert_eq!(alone().unwrap_err().kind(), ErrorKind::Locked);
            }
            drop(other);
            let store = alone().unwrap();
            assert!(rows().is_err(), "{mode}");
            assert_eq!(alone().unwrap_err().kind(), ErrorKind::Locked);
            store.state(&mut |sql| sql.execute("INSERT INTO t VALUES (1)", &[]).map(|_| ())).unwrap();
            store.flush().unwrap();
            assert!(rows().is_err(), "{mode}");
            store.leave_wal().unwrap();
            assert!(rows().is_err(), "{mode}");
            drop(store);
            assert!(rows().is_ok());
            let mode: String =
                rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "delete");
        }
    }
}
