//! The SQLite store: the data and rowferry's state in one file, in WAL mode.

use std::path::{Path, PathBuf};

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::store::{Snapshot, Sql, Store, StoreIdentity, Writer, migrate};

pub(in crate::store) mod affinity;
mod beside;
mod bulk;
mod catalogue;
mod clashes;
mod comparable;
mod compared;
pub(crate) mod creatable;
mod create_text;
mod database_file;
mod ddl;
pub(super) mod dialect;
mod examine;
mod exclusive;
mod faults;
mod file;
mod functions;
mod keys;
mod linked;
mod machine;
mod overview;
mod pool;
mod raw;
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

pub(crate) use examine::{Examination, unopened};
pub(super) use linked::check as check_linked;
pub(crate) use setup::Setup;
pub(super) use setup::harden;

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
    /// [`CannotOpen`](ErrorKind::CannotOpen) (also where the SQLite that is linked is older than 3.37), [`NotADatabase`](ErrorKind::NotADatabase), [`Corrupt`](ErrorKind::Corrupt),
    /// [`ReadOnly`](ErrorKind::ReadOnly) and [`Locked`](ErrorKind::Locked) say what is wrong with the file;
    /// [`NewerState`](ErrorKind::NewerState) that a newer rowferry was used on it;
    /// [`InvalidInput`](ErrorKind::InvalidInput) is the answer to `:memory:`, to an empty path and to a `file:` URI.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        SqliteStore::open_with(path.as_ref(), limits, &Setup::default())
    }

    /// The same, after each connection was set up so.
    pub(crate) fn open_with(path: &Path, limits: &Limits, setup: &Setup) -> Result<Self> {
        refuse_what_is_no_file(path)?;
        linked::check()?;
        let store = SqliteStore { pools: pool::Pools::open(path, limits, setup)? };
        // The writing connection is open, and others need none until they read.
        let is_current = migrate::is_current(&mut write::Reading(store.pools.writer()?), migrate::SQLITE);
        if !is_current {
            store.state(&mut |sql| migrate::run(sql, migrate::SQLITE, SystemClock.now()))?;
        }
        Ok(store)
    }

    /// The file itself: the absolute path, without symbolic links, as it was when the file was opened.
    pub fn path(&self) -> &Path {
        self.pools.file().path()
    }

    /// Where the key of a site in this file is kept when the host gives none: `<file>.rowferry-key`, beside the file itself,
    /// whatever links it is opened through.
    pub fn key_path(&self) -> PathBuf {
        beside(self.path(), KEY_END)
    }

    /// Where rowferry 0.1.0 kept it: beside the link that the file is opened through, if that is another place.
    pub(crate) fn older_key_path(&self) -> Option<PathBuf> {
        older_key_path(self.pools.path(), self.path())
    }
}

/// How the name of the key's file ends.
const KEY_END: &str = ".rowferry-key";

/// A file beside a database, whose name is that of the database with this at its end.
fn beside(database: &Path, end: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Where rowferry 0.1.0 kept the key of a database that is opened by the first path, and that is itself the second.
fn older_key_path(given: &Path, database: &Path) -> Option<PathBuf> {
    let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let older = beside(&folder.canonicalize().ok()?.join(given.file_name()?), KEY_END);
    (older != beside(database, KEY_END)).then_some(older)
}

/// Refuses what SQLite would not take for the path of a file.
fn refuse_what_is_no_file(path: &Path) -> Result<()> {
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
    Ok(())
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
        Ok(Box::new(read::SqliteSnapshot::begin(self.pools.reader()?, self.path())?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(write::SqliteWriter::bulk(&self.pools)?))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut writer = write::SqliteWriter::small(&self.pools)?;
        work(&mut writer)?;
        writer.commit()
    }

    fn check(&self) -> Result<()> {
        self.pools.file().check()
    }

    fn flush(&self) -> Result<()> {
        self.pools.file().flush_log()
    }

    fn undoes(&self) -> bool {
        true
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
