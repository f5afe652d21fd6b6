//! The SQLite store: the data and rowferry's state in one file, in WAL mode.

use std::path::{Path, PathBuf};

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::store::{Snapshot, Sql, Store, StoreIdentity, Writer, migrate};

mod affinity;
mod bulk;
mod catalogue;
mod clashes;
mod comparable;
pub(crate) mod creatable;
mod create_text;
mod ddl;
pub(super) mod dialect;
mod faults;
mod file;
mod functions;
mod keys;
mod machine;
mod overview;
mod pool;
mod read;
mod rows;
mod setup;
mod stand_in;
mod statements;
mod tokens;
mod transaction;
mod triggers;
mod types;
mod virtual_tables;
mod wal;
pub(super) mod write;

pub(crate) use setup::Setup;

/// A SQLite database file.
///
/// Opening it switches the file to WAL mode, which stays, and makes rowferry's own `rowferry_*` tables; nothing else in it
/// is changed. Programs that have the file open keep working.
#[derive(Debug)]
pub struct SqliteStore {
    pools: pool::Pools,
}

impl SqliteStore {
    /// Opens a database file; makes it if it is missing.
    ///
    /// # Errors
    /// [`CannotOpen`](ErrorKind::CannotOpen), [`NotADatabase`](ErrorKind::NotADatabase), [`Corrupt`](ErrorKind::Corrupt),
    /// [`ReadOnly`](ErrorKind::ReadOnly) and [`Locked`](ErrorKind::Locked) say what is wrong with the file;
    /// [`NewerState`](ErrorKind::NewerState) that a newer rowferry was used on it;
    /// [`InvalidInput`](ErrorKind::InvalidInput) is the answer to `:memory:`, to an empty path and to a `file:` URI.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        SqliteStore::open_with(path.as_ref(), limits, &Setup::default())
    }

    /// The same, after each connection was set up so.
    pub(crate) fn open_with(path: &Path, limits: &Limits, setup: &Setup) -> Result<Self> {
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            let message =
                format!("cannot open {path:?}: rowferry reads and writes over several connections, so it needs a file");
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Give the path of a file."));
        }
        if path.as_os_str().as_encoded_bytes().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"file:")) {
            // SQLite may take it for a URI, and then it is another name of a file that is known by its path.
            let message = format!("cannot open {path:?}: it is a URI");
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Give the path of the file, without file:."));
        }
        let store = SqliteStore { pools: pool::Pools::open(path, limits, setup)? };
        // The writing connection is open, and others need none until they read.
        let is_current = migrate::is_current(&mut write::Reading(store.pools.writer()?), migrate::SQLITE);
        if !is_current {
            store.state(&mut |sql| migrate::run(sql, migrate::SQLITE, SystemClock.now()))?;
        }
        Ok(store)
    }

    /// Where the key of a site in this file is kept when the host gives none: `<file>.rowferry-key`.
    pub fn key_path(&self) -> PathBuf {
        let mut path = self.pools.path().as_os_str().to_owned();
        path.push(".rowferry-key");
        path.into()
    }
}

impl Store for SqliteStore {
    fn name(&self) -> String {
        self.pools.path().display().to_string()
    }

    fn names(&self) -> NameRules {
        NameRules::IgnoreAsciiCase
    }

    fn identity(&self) -> Option<StoreIdentity> {
        Some(self.pools.file().identity())
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(read::SqliteSnapshot::begin(self.pools.reader()?, self.pools.path())?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(write::SqliteWriter::bulk(&self.pools)?))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut writer = write::SqliteWriter::small(&self.pools)?;
        work(&mut writer)?;
        writer.commit()
    }

    fn tidy(&self) -> Result<()> {
        self.pools.log().tidy(&self.pools.writer()?.sqlite);
        Ok(())
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        work(&mut write::Reading(self.pools.reader()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn keeps_the_contract_of_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let mut number = 0;
        conformance::run(&mut || {
            number += 1;
            std::sync::Arc::new(SqliteStore::open(folder.path().join(format!("{number}.db")), &Limits::default()).unwrap())
        });
    }
}
