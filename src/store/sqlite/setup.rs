//! What a host does to each connection before rowferry uses it, and how the connection is made safe against what is in the file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;

use crate::error::{Error, ErrorKind, Result};

type Work = dyn Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync;

/// What is done to each new connection first of all: nothing by default.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    work: Option<Arc<Work>>,
    trusts_schema: bool,
    is_alone: bool,
}

impl Setup {
    pub(crate) fn set_work(&mut self, work: impl Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync + 'static) {
        self.work = Some(Arc::new(work));
    }

    pub(crate) fn set_trusts_schema(&mut self, trusts: bool) {
        self.trusts_schema = trusts;
    }

    /// The same for a connection that is the only one: from the first time that it reads a file in WAL mode, or writes to another one,
    /// nobody else can open it.
    pub(super) fn alone(&self) -> Self {
        Setup { is_alone: true, ..self.clone() }
    }

    /// Makes a connection safe against what is in the file.
    pub(super) fn harden(&self, sqlite: &rusqlite::Connection) -> rusqlite::Result<()> {
        harden(sqlite, self.trusts_schema)
    }

    /// Does it to a connection to this file.
    pub(super) fn run(&self, sqlite: &rusqlite::Connection, path: &Path) -> Result<()> {
        if self.is_alone {
            // It reads nothing, so that it may come before the key of an encrypted file.
            let alone = sqlite.execute_batch("PRAGMA locking_mode = EXCLUSIVE");
            alone.map_err(|error| super::dialect::opening(path, error))?;
        }
        let Some(work) = &self.work else { return Ok(()) };
        let failed = |kind, why: &str| {
            let what = format!(
                "cannot open {}: what the program does to each connection (on_connection) failed: {why}",
                path.display()
            );
            Error::new(kind, what)
        };
        // Only the message of the error: it may hold the statement, and that a key.
        work(sqlite).map_err(super::dialect::failed).map_err(|error| match (error.kind(), error.hint()) {
            (ErrorKind::Database, _) => failed(ErrorKind::CannotOpen, error.message())
                .with_hint("Mend what was given to SiteBuilder::on_connection."),
            (kind, Some(hint)) => failed(kind, error.message()).with_hint(hint),
            (kind, None) => failed(kind, error.message()),
        })?;
        match sqlite.is_autocommit() {
            true => Ok(()),
            false => Err(failed(ErrorKind::CannotOpen, "it left a transaction open").with_hint("End it with a COMMIT.")),
        }
    }
}

/// Makes a connection safe against what is in the file: no statement changes the schema's own table or what lies behind virtual tables,
/// damaged pages are noticed when they are read, and the schema calls no function and no virtual table that is not known to be harmless.
pub(in crate::store) fn harden(sqlite: &rusqlite::Connection, trusts_schema: bool) -> rusqlite::Result<()> {
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    sqlite.pragma_update(None, "trusted_schema", trusts_schema)?;
    sqlite.pragma_update(None, "cell_size_check", true)
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.work.is_some() { "Setup(..)" } else { "Setup" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_does_not_believe_the_file() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite.create_scalar_function("own", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1)).unwrap();
        sqlite.execute_batch("CREATE TABLE t(a DEFAULT (own())); CREATE VIRTUAL TABLE f USING fts5(a)").unwrap();
        let run =
            |sql: &str| sqlite.execute_batch(sql).map_err(|error| super::super::dialect::failed(error).message().to_owned());
        let hostile = ["DELETE FROM f_content", "INSERT INTO t DEFAULT VALUES"];
        let page_check = || sqlite.query_row("PRAGMA cell_size_check", [], |row| row.get::<_, i64>(0)).unwrap();
        assert!(hostile.iter().all(|sql| run(sql).is_ok()));
        for trusts in [false, true] {
            harden(&sqlite, trusts).unwrap();
            assert_eq!(run(hostile[0]).unwrap_err(), "table f_content may not be modified");
            assert_eq!(run(hostile[1]).is_ok(), trusts);
            assert_eq!(page_check(), 1);
            let forged = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = ''";
            assert_eq!(run(forged).unwrap_err(), "table sqlite_master may not be modified");
        }
    }
}
