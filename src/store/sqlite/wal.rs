//! The write-ahead log: when it is moved into the database, and how it is kept from growing without end.
//!
//! A passive checkpoint moves pages and makes nobody wait. The next writer then begins the log again, but only if nothing was
//! committed meanwhile: with another program that writes all the time that never happens. A log that has grown long is therefore
//! made to begin again with a checkpoint that holds the write lock. Before that, passive ones have moved nearly all of it and have
//! waited for the disk, so that the lock is held for a few milliseconds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::wal::CheckpointMode;

use crate::limits::Limits;

/// How many pages the log may hold before a checkpoint moves them into the database: what SQLite does by itself.
pub(super) const LOG_PAGES: i32 = 1_000;

/// The same while many rows are written: each checkpoint waits for the disk twice, and writes a page again that the next
/// transaction changes again. [`Log::tidy`] makes up for it.
pub(super) const BULK_LOG_PAGES: i32 = 16_000;

/// How long the other connections may keep the log from beginning again before that is put off. While readers are waited for,
/// writers wait too.
const RESTART_WAIT: Duration = Duration::from_millis(20);

/// Passive checkpoints before one that holds the lock. Each moves what was committed during the one before.
const PASSIVE_ROUNDS: usize = 4;

/// How many times the bound the log may be long before it begins again although a writer of this process waits.
const CROWDED_FACTOR: i32 = 4;

/// What is known of the log of one database. Only whoever has the writing connection changes it, but for the number of those
/// that wait.
#[derive(Debug)]
pub(super) struct Log {
    /// How many pages the log held after the last commit here.
    pages: AtomicI32,
    /// How many it held at the last checkpoint. A log that holds fewer has begun again.
    tried: AtomicI32,
    /// How many of them are in the database.
    moved: AtomicI32,
    /// With how many pages it is next to begin again, if that was tried without success; 0 if not.
    retry_at: AtomicI32,
    /// Callers that wait for the writing connection.
    waiting: AtomicUsize,
    /// [`Limits::log_restart_bytes`].
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
            restart_bytes: limits.log_restart_bytes,
            restart_pages: OnceLock::new(),
            lock_time,
        }
    }

    /// Notes how many pages the log holds after a commit.
    pub(super) fn note(&self, pages: i32) {
        self.pages.store(pages, Ordering::Relaxed);
    }

    /// Does what may have to wait for the writing connection.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let had = wait();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        had
    }

    /// Moves the log into the database if it has grown by so many pages since the last time, and makes it begin again if it is
    /// too long. For the end of a transaction.
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
            // If a reader is in the way for long, it is not tried at each commit.
            self.retry_at.store(pages.saturating_add((self.restart_pages(sqlite) / 4).max(1)), Ordering::Relaxed);
            self.restart(sqlite, || ());
        } else if grown >= most {
            self.passive(sqlite);
        }
    }

    /// The same at the end of a pull, when much was put off.
    pub(super) fn tidy(&self, sqlite: &rusqlite::Connection) {
        self.tried.store(self.moved.load(Ordering::Relaxed), Ordering::Relaxed);
        self.checkpoint(sqlite, LOG_PAGES);
    }

    /// Whether the log is to begin again.
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

    /// Moves what can be moved without making anyone wait; gives how many pages the log holds if that is all of them.
    fn passive(&self, sqlite: &rusqlite::Connection) -> Option<i32> {
        match sqlite.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
            Ok((pages, moved)) => {
                self.tried.store(pages, Ordering::Relaxed);
                self.moved.store(moved, Ordering::Relaxed);
                (moved >= pages).then_some(pages)
            }
            Err(error) => {
                log::debug!("a checkpoint failed: {error}");
                self.tried.store(self.pages.load(Ordering::Relaxed), Ordering::Relaxed);
                None
            }
        }
    }

    /// Makes the log begin again with the next write, if no reader needs what is in it. `before` is called before the write lock
    /// is taken: for tests.
    fn restart(&self, sqlite: &rusqlite::Connection, before: impl FnOnce()) {
        // A passive checkpoint waits for the disk only if nothing was committed meanwhile. The disk is to be waited for here and not
        // while the lock is held.
        let mut last = None;
        for _ in 0..PASSIVE_ROUNDS {
            match self.passive(sqlite) {
                // A reader needs the log.
                None => return,
                pages if pages == last => break,
                pages => last = pages,
            }
        }
        before();
        let restarted = sqlite
            .busy_timeout(RESTART_WAIT)
            .and_then(|()| sqlite.wal_checkpoint_v2(None::<&str>, CheckpointMode::RESTART).map(|_| ()));
        if let Err(error) = restarted {
            log::debug!("the write-ahead log does not begin again yet: {error}");
        }
        if let Err(error) = sqlite.busy_timeout(self.lock_time) {
            log::warn!("a connection waits for locks no longer than {} ms: {error}", RESTART_WAIT.as_millis());
        }
    }
}
