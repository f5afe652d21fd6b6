//! The write-ahead log: when it is moved into the database, and how it is kept from growing without end.
//!
//! A passive checkpoint moves pages and makes nobody wait. The next writer then restarts the log, but only if nothing was
//! committed meanwhile: with another program that writes all the time that may never happen. A log that has grown long therefore
//! gets a checkpoint that holds the write lock. Before that, passive ones have moved nearly all of it and have waited for the disk,
//! so that the lock is held for less than a millisecond.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use super::raw::log_hook;
use crate::limits::Limits;

/// What a transaction writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// A little, and only of rowferry's own tables.
    State,
    /// Rows of any table, maybe many, in one of many transactions.
    Tables,
}

impl Writes {
    /// How many pages the log may hold before a checkpoint moves them into the database: what SQLite does by itself, or more while many
    /// rows are written. Each checkpoint waits for the disk twice, and writes a page again that the next transaction changes again.
    /// [`Log::tidy`] makes up for it.
    pub(super) fn most_log_pages(self) -> i32 {
        match self {
            Writes::State => 1_000,
            Writes::Tables => 16_000,
        }
    }
}

/// How long a checkpoint waits for other connections before it is put off. While it waits for readers, writers wait too.
const RESTART_WAIT: Duration = Duration::from_millis(20);

/// Passive checkpoints before one that holds the lock. Each moves what was committed during the one before.
const PASSIVE_ROUNDS: usize = 4;

/// A writer of this process that waits comes first until the log is so many times as long as its bound.
const CROWDED_FACTOR: i32 = 4;

/// To how much the file of the log is cut when the log restarts: it does not stay as large as one pull made it.
const FILE_BYTES: i64 = 16 << 20;

/// Whether a connection that restarts the log leaves its file as large as it is. It does so while many rows are written: cutting it
/// takes tens of milliseconds, in which the lock is held, and it grows again at once.
#[derive(Debug)]
pub(super) struct KeepsLog(Cell<bool>);

impl KeepsLog {
    /// Of a new connection, which cuts it.
    pub(super) fn cut(sqlite: &rusqlite::Connection) -> rusqlite::Result<Self> {
        limit_file(sqlite, FILE_BYTES).map(|()| KeepsLog(Cell::new(false)))
    }

    pub(super) fn set(&self, sqlite: &rusqlite::Connection, keeps: bool) -> rusqlite::Result<()> {
        if self.0.replace(keeps) != keeps {
            limit_file(sqlite, if keeps { -1 } else { FILE_BYTES })?;
        }
        Ok(())
    }
}

fn limit_file(sqlite: &rusqlite::Connection, bytes: i64) -> rusqlite::Result<()> {
    sqlite.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))
}

/// Checkpoints as this mode says. Gives the pages that the log holds, and how many of them are in the database; `None` if another
/// connection is in the way.
fn checkpoint(sqlite: &rusqlite::Connection, mode: &str) -> rusqlite::Result<Option<(i32, i32)>> {
    sqlite.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(if row.get(0)? { None } else { Some((row.get(1)?, row.get(2)?)) })
    })
}

/// What is known of the log of one database. Only the holder of the writing connection changes it, but for `waiting`.
#[derive(Debug)]
pub(super) struct Log {
    /// How many pages the log held after the last commit here.
    pages: AtomicI32,
    /// How many it held at the last checkpoint. A log that holds fewer was restarted.
    tried: AtomicI32,
    /// How many of them are in the database.
    moved: AtomicI32,
    /// At how many pages a restart is tried again, if it failed; 0 if it did not.
    retry_at: AtomicI32,
    /// Callers that wait for the writing connection.
    waiting: AtomicUsize,
    /// [`StoreLimits::log_restart_bytes`].
    restart_bytes: u64,
    /// The same in pages.
    restart_pages: OnceLock<i32>,
    lock_time: Duration,
}

impl Log {
    pub(super) fn new(limits: &Limits, lock_time: Duration) -> Self {
        Log {
            pages: AtomicI32::new(0),
            tried: AtomicI32::new(0),
            moved: AtomicI32::new(0),
            retry_at: AtomicI32::new(0),
            waiting: AtomicUsize::new(0),
            restart_bytes: limits.store.log_restart_bytes,
            restart_pages: OnceLock::new(),
            lock_time,
        }
    }

    /// Commits on a connection that is [watched](log_hook::watch), and notes how many pages the log holds then.
    pub(super) fn commit(&self, sqlite: &rusqlite::Connection) -> rusqlite::Result<()> {
        if let Some(pages) = log_hook::committed(|| sqlite.execute_batch("COMMIT"))? {
            self.pages.store(pages, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Does what may have to wait for the writing connection.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let had = wait();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        had
    }

    /// Moves the log into the database if it has grown by so many pages since the last time, and restarts it if it is too
    /// long. For the end of a transaction.
    pub(super) fn checkpoint(&self, sqlite: &rusqlite::Connection, most: i32) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.tried.load(Ordering::Relaxed) {
            for number in [&self.tried, &self.moved, &self.retry_at] {
                number.store(0, Ordering::Relaxed);
            }
        }
        let is_long = self.is_long(sqlite, pages);
        let grown = pages.saturating_sub(self.tried.load(Ordering::Relaxed));
        if is_long {
            self.restart(sqlite, || ());
        } else if grown >= most {
            self.passive(sqlite);
        }
    }

    /// The same at the end of a pull, when much was put off.
    pub(super) fn tidy(&self, sqlite: &rusqlite::Connection) {
        self.tried.store(self.moved.load(Ordering::Relaxed), Ordering::Relaxed);
        self.checkpoint(sqlite, Writes::State.most_log_pages());
    }

    /// Whether the log is to be restarted.
    fn is_long(&self, sqlite: &rusqlite::Connection, pages: i32) -> bool {
        let bound = self.restart_pages(sqlite);
        let bound = match self.waiting.load(Ordering::Relaxed) {
            0 => bound,
            _ => bound.saturating_mul(CROWDED_FACTOR),
        };
        pages >= bound.max(self.retry_at.load(Ordering::Relaxed))
    }

    /// The bound on the log in pages, whose size never changes in this mode.
    fn restart_pages(&self, sqlite: &rusqlite::Connection) -> i32 {
        *self.restart_pages.get_or_init(|| {
            let size = sqlite.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0)).unwrap_or(4096);
            i32::try_from(self.restart_bytes / u64::from(size.max(1))).unwrap_or(i32::MAX).max(1)
        })
    }

    /// Moves what can be moved without making anyone wait.
    fn passive(&self, sqlite: &rusqlite::Connection) -> Moved {
        match checkpoint(sqlite, "PASSIVE") {
            Ok(Some((pages, moved))) => {
                self.tried.store(pages, Ordering::Relaxed);
                self.moved.store(moved, Ordering::Relaxed);
                return if moved >= pages { Moved::All(pages) } else { Moved::Some };
            }
            Ok(None) => log::debug!(target: "rowferry::store", "another connection makes a checkpoint"),
            Err(error) => log::debug!(target: "rowferry::store", "a checkpoint failed: {error}"),
        }
        self.tried.store(self.pages.load(Ordering::Relaxed), Ordering::Relaxed);
        Moved::Failed
    }

    /// Has the next write restart the log, if no reader needs what is in it. Tests do in `before` what others do before the write
    /// lock is taken.
    fn restart(&self, sqlite: &rusqlite::Connection, before: impl FnOnce()) {
        // A passive checkpoint waits for the disk only if nothing was committed meanwhile. The disk is to be waited for here and not
        // while the lock is held.
        let mut last = None;
        for _ in 0..PASSIVE_ROUNDS {
            match self.passive(sqlite) {
                Moved::All(pages) if last == Some(pages) => break,
                Moved::All(pages) => last = Some(pages),
                // A reader needs the log.
                Moved::Some => return self.put_off(sqlite),
                // Another connection makes a checkpoint just now: the next commit tries again.
                Moved::Failed => return,
            }
        }
        before();
        match sqlite.busy_timeout(RESTART_WAIT).and_then(|()| checkpoint(sqlite, "RESTART")) {
            Ok(Some(_)) => (),
            Ok(None) => {
                log::debug!(target: "rowferry::store", "the write-ahead log cannot be restarted yet: another connection uses it");
                self.put_off(sqlite);
            }
            Err(error) => {
                log::debug!(target: "rowferry::store", "the write-ahead log cannot be restarted yet: {error}");
                self.put_off(sqlite);
            }
        }
        if let Err(error) = sqlite.busy_timeout(self.lock_time) {
            log::warn!(
                target: "rowferry::store",
                "a connection waits for locks no longer than {} ms: {error}", RESTART_WAIT.as_millis()
            );
        }
    }

    /// Lets the log grow by a part of its bound before a restart is tried again, so that a long reader does not slow down each
    /// commit.
    fn put_off(&self, sqlite: &rusqlite::Connection) {
        let more = (self.restart_pages(sqlite) / 4).max(1);
        self.retry_at.store(self.tried.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
    }
}

/// What a passive checkpoint moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// All of so many pages.
    All(i32),
    /// What no reader needs where it is.
    Some,
    /// Nothing: another connection does the same.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::pool::Pools;
    use crate::store::sqlite::write::SqliteWriter;
    use crate::store::{Sql, Writer};

    /// The bound on the log in pages.
    const BOUND: i32 = 40;

    /// A database, and another program that has it open.
    struct World {
        pools: Pools,
        other: rusqlite::Connection,
        _folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let limits = Limits::with(|limits| limits.store.log_restart_bytes = 4096 * BOUND as u64);
            let pools = Pools::open(&path, &limits, &super::super::Setup::default()).unwrap();
            let other = rusqlite::Connection::open(path).unwrap();
            other.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)").unwrap();
            World { pools, other, _folder: folder }
        }

        /// A transaction of rowferry's of about so many pages, and what happens between its commit and its end.
        fn write(&self, pages: i64, before_end: impl FnOnce()) {
            let mut writer = SqliteWriter::bulk(&self.pools).unwrap();
            writer.execute("INSERT INTO t VALUES (zeroblob(?1))", &[(4096 * pages).into()]).unwrap();
            writer.commit().unwrap();
            before_end();
        }

        fn other(&self, sql: &str) {
            self.other.execute_batch(sql).unwrap();
        }

        fn log(&self) -> std::sync::Arc<Log> {
            self.pools.log()
        }

        fn pages(&self) -> i32 {
            self.log().pages.load(Ordering::Relaxed)
        }

        /// Writes until the log is longer than its bound, with another program that always reads it when it could restart.
        fn grow(&self) {
            while self.pages() < BOUND {
                self.write(10, || self.other("BEGIN; SELECT count(*) FROM t"));
                self.other("INSERT INTO t VALUES (1); COMMIT");
            }
        }
    }

    #[test]
    fn a_log_restarts_though_another_program_writes_during_each_checkpoint() {
        let world = World::new();
        world.grow();
        let before = world.pages();
        let during = |restart: bool| {
            world.other("BEGIN; SELECT count(*) FROM t");
            let connection = world.pools.writer().unwrap();
            let commit = || world.other("INSERT INTO t VALUES (1); COMMIT");
            match restart {
                true => world.log().restart(&connection.sqlite, commit),
                false => {
                    world.log().passive(&connection.sqlite);
                    commit();
                }
            }
            drop(connection);
            world.write(1, || ());
            world.pages()
        };
        assert!(during(false) > before, "a passive checkpoint is not enough");
        assert!(during(true) < 10);
    }

    #[test]
    fn a_log_that_a_reader_needs_is_tried_again_when_it_has_grown_by_a_part() {
        let world = World::new();
        world.other("INSERT INTO t VALUES (1); BEGIN; SELECT * FROM t");
        let mut retries = std::collections::BTreeSet::new();
        let mut commits = 0;
        while world.pages() < 2 * BOUND {
            world.write(1, || ());
            commits += 1;
            retries.insert(world.log().retry_at.load(Ordering::Relaxed));
        }
        assert!((3..=6).contains(&retries.len()) && commits > 20, "{retries:?} in {commits}");
        let timeout = |connection: &rusqlite::Connection| -> i64 {
            connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0)).unwrap()
        };
        // In the way of a restart, but not of a checkpoint.
        world.other("COMMIT; BEGIN; SELECT * FROM t");
        let connection = world.pools.writer().unwrap();
        world.log().restart(&connection.sqlite, || ());
        assert!(world.log().retry_at.load(Ordering::Relaxed) > world.pages());
        assert_eq!(timeout(&connection.sqlite), 5_000, "as it was before");
        drop(connection);
        world.other("COMMIT");
        world.log().retry_at.store(0, Ordering::Relaxed);
        world.write(1, || ());
        world.write(1, || ());
        assert!(world.pages() < 10);
        assert_eq!(world.log().retry_at.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_waiting_writer_comes_first_up_to_a_point() {
        let world = World::new();
        let connection = world.pools.writer().unwrap();
        let log = world.log();
        let is_long = |pages| log.is_long(&connection.sqlite, pages);
        assert!(!is_long(BOUND - 1) && is_long(BOUND));
        log.waiting(|| {
            assert!(!is_long(BOUND) && !is_long(CROWDED_FACTOR * BOUND - 1) && is_long(CROWDED_FACTOR * BOUND));
        });
        assert!(is_long(BOUND));
    }

    #[test]
    fn the_file_of_the_log_is_cut_but_not_while_many_rows_are_written() {
        let world = World::new();
        let limit = |writer: SqliteWriter| -> i64 {
            writer.transaction.connection.sqlite.query_row("PRAGMA journal_size_limit", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(limit(SqliteWriter::small(&world.pools).unwrap()), FILE_BYTES);
        assert_eq!(limit(SqliteWriter::bulk(&world.pools).unwrap()), -1);
        assert_eq!(limit(SqliteWriter::small(&world.pools).unwrap()), FILE_BYTES);
    }
}
