//! Whether anything was written to the tables of a file since some moment, without reading them.
//!
//! SQLite counts for each connection how often somebody else has committed (`PRAGMA data_version`), and leaves out what that connection
//! commits itself. The writing connection is asked, through which all of this process's own commits go: so its small transactions on
//! rowferry's own tables do not count, and a commit of anybody else does, at whatever moment between two of them it comes.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::dialect::failed;
use crate::error::Result;
use crate::store::StateToken;

/// What in a schema lets a write to rowferry's own tables change others: triggers on them, those of the connection itself, and foreign
/// keys that refer to them. What only looks so counts, too.
const REACHES_OTHERS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema \
     WHERE (type = 'trigger' AND tbl_name LIKE 'rowferry\\_%' ESCAPE '\\') \
        OR (type = 'table' AND name NOT LIKE 'rowferry\\_%' ESCAPE '\\' AND sql LIKE '%REFERENCES%rowferry\\_%' ESCAPE '\\')) \
     OR EXISTS (SELECT 1 FROM sqlite_temp_schema WHERE type = 'trigger')";

/// What is known of the writes to one file.
#[derive(Debug)]
pub(super) struct Watch {
    /// Which process that is, and which of its stores.
    run: Uuid,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Grows with commits of others.
    others: u64,
    /// Transactions of this store's that may write to any table.
    own: u64,
    /// The number of the schema that was looked at last, and whether state can be written without touching other tables.
    schema: Option<(i64, bool)>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch { run: Uuid::new_v4(), seen: Mutex::default() }
    }

    /// A transaction of this store's begins that may write to any table. Its caller has the writing connection, and keeps it until the
    /// transaction is over: nobody asks for a token meanwhile.
    pub(super) fn will_write(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).own += 1;
    }

    /// The token of the state as it is now, through the writing connection. What this connection has seen is kept with it in `last`.
    pub(super) fn token(
        &self,
        writer: &rusqlite::Connection,
        last: &Cell<Option<i64>>,
        schema: i64,
    ) -> Result<Option<StateToken>> {
        let version: i64 = writer
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut found| found.query_one([], |row| row.get(0)))
            .map_err(failed)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What happened before a new connection was there, it does not know.
        if last.replace(Some(version)) != Some(version) {
            seen.others += 1;
        }
        let is_apart = match seen.schema {
            Some((known, is_apart)) if known == schema => is_apart,
            _ => {
                let reaches: bool = writer.query_row(REACHES_OTHERS, [], |row| row.get(0)).map_err(failed)?;
                seen.schema = Some((schema, !reaches));
                !reaches
            }
        };
        Ok(is_apart.then(|| StateToken::new(self.run, seen.others, seen.own, schema)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use crate::limits::Limits;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{StateToken, Store};

    struct World {
        store: SqliteStore,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl World {
        /// The file was one with a rollback journal until the store opened it.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let before = rusqlite::Connection::open(&path).unwrap();
            before.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (0)").unwrap();
            drop(before);
            let store = SqliteStore::open(&path, &Limits::default()).unwrap();
            World { store, path, _folder: folder }
        }

        fn token(&self) -> StateToken {
            self.store.state_token().unwrap().expect("a token")
        }

        fn book(&self, key: &str) {
            let insert = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = value || '.'";
            self.store.state(&mut |sql| sql.execute(insert, &[key.into(), "v".into()]).map(|_| ())).unwrap();
        }

        fn other(&self) -> rusqlite::Connection {
            let other = rusqlite::Connection::open(&self.path).unwrap();
            other.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
            other
        }
    }

    #[test]
    fn what_the_store_notes_for_itself_is_no_change_and_what_others_write_is() {
        let world = World::new();
        let other = world.other();
        let before = world.token();
        assert_eq!(world.token(), before);
        world.book("a");
        let refused = world.store.state(&mut |sql| {
            sql.execute("DELETE FROM rowferry_settings", &[])?;
            Err(crate::error::Error::new(crate::error::ErrorKind::Cancelled, "no"))
        });
        refused.unwrap_err();
        world.store.tidy().unwrap();
        for number in 0..50 {
            world.book(&format!("k{number}"));
            drop(world.store.snapshot().unwrap());
        }
        assert_eq!(world.token(), before);
        let mut tokens = vec![before];
        let statements = [
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET x = x + 1",
            "CREATE TABLE u (x)",
            "VACUUM",
            "PRAGMA user_version = 7",
            "INSERT INTO rowferry_settings VALUES ('other', 'program')",
        ];
        for statement in statements {
            other.execute_batch(statement).unwrap();
            world.book("b");
            let token = world.token();
            assert!(!tokens.contains(&token), "{statement}");
            tokens.push(token);
        }
        assert!(tokens.windows(2).all(|pair| pair[0].to_bytes() != pair[1].to_bytes()));
        // What was begun and given up by others is none.
        other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1); ROLLBACK").unwrap();
        assert_eq!(world.token(), tokens[tokens.len() - 1]);
    }

    #[test]
    fn what_the_store_writes_to_tables_is_told_apart() {
        let world = World::new();
        let before = world.token();
        for _ in 0..2 {
            world.store.writer().unwrap().commit().unwrap();
        }
        let after = world.token();
        assert!(after != before && after.is_after_own(&before, 2));
        assert!(!after.is_after_own(&before, 1) && !after.is_after_own(&before, 3));
        world.other().execute_batch("INSERT INTO t VALUES (1)").unwrap();
        world.store.writer().unwrap().commit().unwrap();
        assert!(!world.token().is_after_own(&before, 3));
        // One that runs may be about to write: it is not known, and is not waited for.
        let _writer = world.store.writer().unwrap();
        assert_eq!(world.store.state_token().unwrap(), None);
    }

    #[test]
    fn each_opening_is_another_run() {
        let world = World::new();
        let again = SqliteStore::open(&world.path, &Limits::default()).unwrap();
        assert_ne!(again.state_token().unwrap(), Some(world.token()));
    }

    #[test]
    fn state_that_other_tables_depend_on_gives_no_token() {
        for statement in [
            "CREATE TRIGGER spread AFTER INSERT ON rowferry_settings BEGIN INSERT INTO t VALUES (1); END",
            "CREATE TABLE child (k TEXT REFERENCES rowferry_settings (key) ON UPDATE CASCADE)",
        ] {
            let world = World::new();
            world.token();
            world.other().execute_batch(statement).unwrap();
            assert_eq!(world.store.state_token().unwrap(), None, "{statement}");
        }
    }

    /// Threads that note state, and another program that writes: whatever comes between what, two equal tokens have seen the same rows.
    #[test]
    fn no_write_of_another_program_is_hidden_by_state_that_is_noted_at_the_same_time() {
        const WRITES: u64 = 300;
        let world = World::new();
        let is_over = AtomicBool::new(false);
        let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
        // How many different tokens were seen.
        let changes = AtomicU64::new(0);
        std::thread::scope(|threads| {
            for thread in 0..3 {
                let (world, is_over) = (&world, &is_over);
                threads.spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        world.book(&thread.to_string());
                    }
                });
            }
            threads.spawn(|| {
                let other = world.other();
                let continues = |writes| writes < WRITES || (changes.load(Ordering::SeqCst) < 2 && writes < 1_000 * WRITES);
                for _ in (0..).take_while(|writes| continues(*writes)) {
                    begun.fetch_add(1, Ordering::SeqCst);
                    other.execute_batch("INSERT INTO t VALUES (1)").unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
                is_over.store(true, Ordering::SeqCst);
            });
            // For each token the fewest and the most writes that its state may have.
            let mut last: Option<(StateToken, u64, u64)> = None;
            while !is_over.load(Ordering::SeqCst) {
                let least = done.load(Ordering::SeqCst);
                let Some(token) = world.store.state_token().unwrap() else { continue };
                let most = begun.load(Ordering::SeqCst);
                match &mut last {
                    Some((known, low, high)) if *known == token => {
                        (*low, *high) = ((*low).max(least), (*high).min(most));
                        assert!(low <= high, "a write between them is hidden");
                    }
                    _ => {
                        changes.fetch_add(1, Ordering::SeqCst);
                        last = Some((token, least, most));
                    }
                }
            }
            assert!(changes.load(Ordering::SeqCst) > 1);
        });
        // And all that was noted at the same time was noted.
        let before = world.token();
        world.book("x");
        assert_eq!(world.token(), before);
    }
}
