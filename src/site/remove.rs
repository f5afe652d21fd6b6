//! Takes rowferry's own tables out of a database again.

use std::path::Path;

use super::key::{FINGERPRINT, KeySource};
use super::{RemovedState, SiteBuilder};
use crate::domain::string_enum::string_enum;
use crate::error::Result;
use crate::ledger::indexes;
use crate::state::{self, settings};
use crate::store::migrate::{self, NAMED_SO_SQLITE as NAMED_SO, Removed};
use crate::store::sqlite::{Examination, SqliteStore};
use crate::store::{MemoryStore, Store};

string_enum! {
    /// The journal mode in which [`SiteBuilder::remove_state`] leaves a file.
    #[non_exhaustive]
    pub enum JournalMode("journal mode") {
        /// The write-ahead log, to which opening a site had switched it.
        Wal = "wal",
        /// A rollback journal, SQLite's default.
        Delete = "delete",
    }
}

impl SiteBuilder {
    /// Takes rowferry's own tables out of a SQLite file, in one transaction, and removes the key that lies beside it. Meanwhile nobody
    /// else can open the file.
    ///
    /// Lost are the settings, sessions, connections, the history and its events, messages that were not sent, and what pulls keep:
    /// where they resume, which appends were finished, and which rows records became. Other sites are told of nothing. Your own
    /// tables stay as they are, whatever their names; indexes that an interrupted pull was to make after its rows are made. A key in a
    /// file that [`SiteBuilder::key_file`] named stays, because it may be the key of other databases, too. A removal that was
    /// interrupted is completed by the next one.
    ///
    /// What was removed leaves free pages in the file, in which it can be found until SQLite uses them again: `VACUUM` makes an end of them.
    /// The file stays in WAL mode, or is left in the mode that is asked for. A file that rowferry was not used with is not changed.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if another program has the file open (in WAL mode that can be told) or this one has, by a
    /// [`Site`](super::Site) for instance; [`CannotOpen`](crate::ErrorKind::CannotOpen) if there is no such file;
    /// [`NewerState`](crate::ErrorKind::NewerState) if a newer rowferry was used with it. Nothing was removed then.
    pub fn remove_state(self, path: impl AsRef<Path>, mode: JournalMode) -> Result<RemovedState> {
        self.remove_state_and(path.as_ref(), mode, &|| ())
    }

    /// Tests do in `meanwhile` what others do at the same time: before the tables are removed, and before the key is.
    fn remove_state_and(self, path: &Path, mode: JournalMode, meanwhile: &dyn Fn()) -> Result<RemovedState> {
        let mut file = Examination::open(path, &self.setup)?;
        if migrate::version(&mut file, migrate::SQLITE, NAMED_SO)?.is_none() {
            // An earlier removal may have ended between the tables and the key.
            let key_file = match self.key {
                Some(_) => None,
                None => KeySource::beside(file.path().to_owned(), file.key_paths(), self.key_file).remove(None)?,
            };
            return Ok(RemovedState {
                left: migrate::tables_named_so(&mut file, NAMED_SO)?,
                key_file,
                ..RemovedState::default()
            });
        }
        drop(file);
        // What the scripts make of an empty database.
        let made = state::read(&MemoryStore::new()?, |sql| migrate::tables_named_so(sql, NAMED_SO))?;
        let store = SqliteStore::open_alone(path, &self.limits, &self.setup)?;
        let source = match self.key {
            Some(key) => KeySource::Given(key),
            None => KeySource::of(&store, self.key_file),
        };
        meanwhile();
        let mut writer = store.writer()?;
        let fingerprint = settings::get(writer.state(), FINGERPRINT)?;
        indexes::build_of_all_pulls(&mut *writer)?;
        let Removed { tables, left } = migrate::remove(writer.state(), &made, NAMED_SO)?;
        writer.commit()?;
        drop(writer);
        // Not before it is certain that nothing needs the key any more, whatever happens.
        store.flush()?;
        meanwhile();
        let key_file = fingerprint.map_or(Ok(None), |fingerprint| source.remove(Some(&fingerprint)))?;
        if mode == JournalMode::Delete {
            store.leave_wal()?;
        }
        Ok(RemovedState { tables, left, key_file })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::domain::session::Direction;
    use crate::{ErrorKind, Site};

    fn text(path: &Path, sql: &str) -> String {
        Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    const SCHEMA: &str =
        "SELECT group_concat(name || ifnull(sql, ''), char(10)) FROM (SELECT * FROM sqlite_schema ORDER BY name)";
    const ROWS: &str = "SELECT group_concat(quote(id) || quote(name) || quote(photo), char(10)) FROM users";

    #[test]
    fn a_file_is_as_it_was_before_rowferry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let tables =
            "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB); CREATE INDEX i ON users(photo);
            CREATE TABLE log(a, b); CREATE TRIGGER t AFTER INSERT ON users BEGIN INSERT INTO log VALUES (new.id, 1); END;
            INSERT INTO users VALUES (1, 'a', x'00ff'), (2, NULL, 1.5)";
        Connection::open(&path).unwrap().execute_batch(tables).unwrap();
        let before = (text(&path, SCHEMA), text(&path, ROWS));
        let bytes = std::fs::read(&path).unwrap();
        let remove = |mode| Site::builder().remove_state(&path, mode);
        assert_eq!(remove(JournalMode::Wal).unwrap(), RemovedState::default());
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was changed where there was nothing");

        for (mode, name) in [(JournalMode::Wal, "wal"), (JournalMode::Delete, "delete")] {
            let site = Site::open(&path).unwrap();
            drop(site.sessions().create(Direction::Send).unwrap());
            let key = folder.path().canonicalize().unwrap().join("a.db.rowferry-key");
            assert!(key.exists());
            assert_eq!(remove(mode).unwrap_err().kind(), ErrorKind::Locked, "the site is open");
            assert_eq!(site.sessions().list().unwrap().len(), 1);
            drop(site);
            let removed = remove(mode).unwrap();
            assert!(removed.tables.contains(&"rowferry_migrations".to_owned()) && removed.tables.len() > 20, "{removed:?}");
            assert_eq!(removed.key_file.as_ref(), Some(&key));
            assert_eq!((text(&path, SCHEMA), text(&path, ROWS)), before);
            assert_eq!(text(&path, "PRAGMA journal_mode"), name);
            assert_eq!(text(&path, "PRAGMA integrity_check"), "ok");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no key and no log stays");
        }
    }

    #[test]
    fn a_removal_that_was_interrupted_before_the_key_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let key = folder.path().canonicalize().unwrap().join("a.db.rowferry-key");
        drop(Site::open(&path).unwrap().sessions().create(Direction::Send).unwrap());
        let bytes = std::fs::read(&key).unwrap();
        Site::builder().remove_state(&path, JournalMode::Wal).unwrap();
        std::fs::write(&key, bytes).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let named = Site::builder().key_file(&key).remove_state(&path, JournalMode::Wal).unwrap();
        assert!(named == RemovedState::default() && key.exists());
        let removed = Site::builder().remove_state(&path, JournalMode::Wal).unwrap();
        assert_eq!((removed.tables.len(), removed.key_file.as_ref(), key.exists()), (0, Some(&key), false));
    }

    #[test]
    fn tables_of_others_that_are_named_so_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let own = ["rowferry_", "rowferry_mine", "rowferry_stage_a", "rowferry_stage_a_b", "rowferry_stages"];
        let sql = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        own.iter().for_each(|name| sql(&format!("CREATE TABLE {name}(x); INSERT INTO {name} VALUES (7)")));
        let remove = || Site::builder().remove_state(&path, JournalMode::Wal).unwrap();
        assert_eq!(remove(), RemovedState { left: own.map(str::to_owned).into(), ..RemovedState::default() });
        drop(Site::open(&path).unwrap());
        // Up to version 4 stages were such tables.
        sql("CREATE TABLE rowferry_stage_abc_1(row INTEGER PRIMARY KEY, cells BLOB NOT NULL)");
        let removed = remove();
        assert_eq!(removed.left, own);
        assert!(removed.tables.contains(&"rowferry_stage_abc_1".to_owned()) && removed.tables.len() > 20, "{removed:?}");
        let names = "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)";
        assert_eq!(text(&path, names), own.join(","));
        assert!(own.iter().all(|name| text(&path, &format!("SELECT max(x) || '' FROM {name}")) == "7"));
    }

    #[test]
    fn nobody_opens_the_file_until_all_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let site =
            || Site::builder().limits(crate::Limits::with(|limits| limits.store.busy_timeout = Duration::ZERO)).open(&path);
        for mode in [JournalMode::Wal, JournalMode::Delete] {
            drop(Site::open(&path).unwrap().sessions().create(Direction::Send).unwrap());
            let tried = std::cell::Cell::new(0);
            let meanwhile = || {
                tried.set(tried.get() + 1);
                assert_eq!(site().unwrap_err().kind(), ErrorKind::Locked);
            };
            let removed = Site::builder().remove_state_and(&path, mode, &meanwhile).unwrap();
            assert!(tried.get() == 2 && removed.key_file.is_some() && !removed.tables.is_empty());
            // Then a server begins as with a new file.
            assert!(site().unwrap().sessions().list().unwrap().is_empty());
        }
    }

    #[test]
    fn a_key_that_may_be_of_others_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("a.db"), folder.path().join("key"));
        let builder = || Site::builder().key_file(&key);
        let site = builder().open(&path).unwrap();
        drop(site.sessions().create(Direction::Send).unwrap());
        drop(site);
        assert_eq!(builder().remove_state(&path, JournalMode::Wal).unwrap().key_file, None);
        assert!(key.exists());
        // One beside the database that is not its own, as well.
        drop(builder().open(&path).unwrap().sessions().create(Direction::Send).unwrap());
        let other = folder.path().join("a.db.rowferry-key");
        std::fs::copy(&key, &other).unwrap();
        let mut bytes = std::fs::read(&other).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&other, bytes).unwrap();
        assert_eq!(Site::builder().remove_state(&path, JournalMode::Wal).unwrap().key_file, None);
        assert!(other.exists());
        let missing = folder.path().join("missing.db");
        assert_eq!(Site::builder().remove_state(&missing, JournalMode::Wal).unwrap_err().kind(), ErrorKind::CannotOpen);
        assert!(!missing.exists());
    }
}
