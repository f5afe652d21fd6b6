//! Connections to one SQLite file: how each is opened and set up, and the pools that hand them out.
//!
//! There are two pools. Readers only read (`query_only`), with a small page cache. There is one writer, with a large cache:
//! SQLite has one writer at a time anyway, and so the program's own writers queue here and not on the file's lock.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use scheduled_thread_pool::ScheduledThreadPool;

use super::database_file::DatabaseFile;
use super::functions::Counters;
use super::overview::{Made, Overview};
use super::raw::bind::Kept;
use super::setup::Setup;
use super::stand_in::StandIns;
use super::statements::Statements;
use super::wal::{KeepsLog, Log};
use super::watch::Watch;
use super::{catalogue, dialect, functions};
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Page cache of a reading connection.
const READ_CACHE_BYTES: usize = 2 << 20;

/// SQLite counts milliseconds in 31 bits.
const LONGEST_LOCK_TIME: Duration = Duration::from_millis(i32::MAX as u64);

/// How long a connection is waited for at least: opening one takes a moment, though nothing is locked.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Reading connections beyond those that a server's peers may hold.
const SPARE_READERS: usize = 8;

/// The most reading connections. The pool has a place in memory for each.
const MOST_READERS: usize = 10_000;

/// How long the end of the pools waits for a connection that is being opened.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Prepared statements kept by a connection.
const STATEMENTS: usize = 64;

/// How long the writing connection is waited for where it is only asked for what it saw.
const LOOK_TIME: Duration = Duration::from_millis(100);

pub(super) type Pooled = r2d2::PooledConnection<Manager>;

/// A connection with what its SQL functions count.
pub struct Connection {
    // First: statements end before their connection does.
    pub(super) kept: Kept,
    pub(super) sqlite: rusqlite::Connection,
    counters: Arc<Counters>,
    schemas: RefCell<Schemas>,
    /// Whether it is of no further use: its settings could not be set back.
    is_spoilt: Cell<bool>,
    pub(super) keeps_log: KeepsLog,
    /// Of collations that are not registered.
    pub(super) stand_ins: StandIns,
    /// What [`Watch`] saw last through it.
    pub(super) seen: Cell<Option<i64>>,
}

/// What was read of the catalogue, and the number that SQLite gave to it then.
#[derive(Default)]
struct Schemas {
    version: Option<i64>,
    overview: Option<Arc<Overview>>,
    statements: Option<Statements>,
    tables: HashMap<String, Option<TableSchema>>,
}

impl Connection {
    /// A connection that was set up already.
    pub(super) fn new(sqlite: rusqlite::Connection, counters: Arc<Counters>) -> rusqlite::Result<Self> {
        let keeps_log = KeepsLog::cut(&sqlite)?;
        let (kept, schemas, is_spoilt) = (Kept::default(), RefCell::default(), Cell::new(false));
        Ok(Connection {
            kept,
            sqlite,
            counters,
            schemas,
            is_spoilt,
            keeps_log,
            stand_ins: StandIns::default(),
            seen: Cell::new(None),
        })
    }

    /// What there is in the catalogue. It is read once for as long as that stays the same.
    pub(super) fn overview(&self) -> Result<Arc<Overview>> {
        self.overview_in(&mut *self.current()?)
    }

    fn overview_in(&self, schemas: &mut Schemas) -> Result<Arc<Overview>> {
        if let Some(known) = &schemas.overview {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Overview::read(&self.sqlite)?);
        schemas.overview = Some(Arc::clone(&read));
        Ok(read)
    }

    /// The structure of a table; `None` if there is no ordinary one of this name. It is read once, as well.
    pub(super) fn schema(&self, table: &str) -> Result<Option<TableSchema>> {
        let mut schemas = self.current()?;
        if let Some(known) = schemas.tables.get(table) {
            return Ok(known.clone());
        }
        let overview = self.overview_in(&mut schemas)?;
        let mut found = overview.table(table).map(|entry| catalogue::read(&self.sqlite, entry)).transpose()?;
        if let Some(found) = &mut found {
            let statements = match schemas.statements.take() {
                Some(known) => known,
                None => Statements::read(&self.sqlite)?,
            };
            schemas.statements.insert(statements).tell(found);
        }
        schemas.tables.insert(table.to_owned(), found.clone());
        Ok(found)
    }

    /// What is known of the catalogue as it is now.
    fn current(&self) -> Result<RefMut<'_, Schemas>> {
        let version = self.version()?;
        let mut schemas = self.schemas.borrow_mut();
        if schemas.version != Some(version) {
            *schemas = Schemas { version: Some(version), ..Schemas::default() };
        }
        Ok(schemas)
    }

    /// The number that SQLite gives to the catalogue.
    pub(super) fn version(&self) -> Result<i64> {
        let version = self.sqlite.prepare_cached("PRAGMA schema_version");
        version.and_then(|mut found| found.query_one([], |row| row.get(0))).map_err(dialect::failed)
    }

    /// Takes note of a table that this connection has just made by this statement, when all was known before: the rest of the catalogue is as it was.
    pub(super) fn note_made(&self, made: Made, statement: &str) -> Result<()> {
        let version = self.version()?;
        let mut schemas = self.schemas.borrow_mut();
        let name = made.entry.name.clone();
        if let Some(overview) = &mut schemas.overview {
            Arc::make_mut(overview).add(made);
        }
        if let Some(statements) = &mut schemas.statements {
            statements.add(&name, statement);
        }
        // A reference that names no columns means the key of a table that is there only now.
        schemas.tables.retain(|known, table| {
            let refers = |table: &TableSchema| table.foreign_keys.iter().any(|key| table.names.same(&key.parent, &name));
            !known.eq_ignore_ascii_case(&name) && !table.as_ref().is_some_and(refers)
        });
        schemas.version = Some(version);
        Ok(())
    }

    /// Keeps the connection from being used again.
    pub(super) fn spoil(&self) {
        self.is_spoilt.set(true);
    }

    /// Forgets what was read of a catalogue that is undone: its number is given again.
    pub(super) fn forget_schemas(&self) {
        *self.schemas.borrow_mut() = Schemas::default();
    }

    /// How often `rowferry_hit()` was called so far.
    pub(super) fn hits(&self) -> u64 {
        self.counters.hits.load(Ordering::Relaxed)
    }

    /// The same of `rowferry_older()`.
    pub(super) fn older(&self) -> u64 {
        self.counters.older.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Reader,
    Writer,
}

/// Opens connections for r2d2.
pub struct Manager {
    path: PathBuf,
    /// The file that was opened first by that path; `None` for the connection that does so.
    file: Option<Arc<DatabaseFile>>,
    role: Role,
    cache_bytes: usize,
    lock_time: Duration,
    setup: Setup,
    /// A connection that is already open: it is handed out first.
    opened: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("path", &self.path).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Manager {
    fn open(&self) -> Result<Connection> {
        let opening = |error| dialect::opening(&self.path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = match &self.file {
            None => rusqlite::Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_CREATE),
            // A file that was deleted meanwhile is not made again.
            Some(file) => rusqlite::Connection::open_with_flags(file.path(), flags),
        };
        if let Some(file) = &self.file {
            file.check()?;
        }
        let sqlite = sqlite.map_err(opening)?;
        sqlite.busy_timeout(self.lock_time).map_err(opening)?;
        // Before any statement: without its key an encrypted file cannot be read.
        self.setup.run(&sqlite, &self.path)?;
        self.set_up(sqlite).map_err(opening)
    }

    fn set_up(&self, sqlite: rusqlite::Connection) -> rusqlite::Result<Connection> {
        sqlite.set_prepared_statement_cache_capacity(STATEMENTS);
        // Each pragma is set explicitly: SQLite's defaults differ between builds.
        self.setup.harden(&sqlite)?;
        sqlite.pragma_update(None, "foreign_keys", true)?;
        sqlite.pragma_update(None, "synchronous", "NORMAL")?;
        sqlite.pragma_update(None, "cache_size", -((self.cache_bytes >> 10) as i64))?;
        sqlite.pragma_update(None, "query_only", self.role == Role::Reader)?;
        // The host may have set one for itself.
        sqlite.busy_timeout(self.lock_time)?;
        let counters = Arc::new(Counters::default());
        functions::register(&sqlite, Arc::clone(&counters))?;
        Connection::new(sqlite, counters)
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        match self.opened.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(opened) => Ok(opened),
            None => self.open(),
        }
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        connection.sqlite.execute_batch("SELECT 1").map_err(dialect::failed)
    }

    /// A connection that comes back in a transaction could not end it, and would be of no use to the next one.
    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_spoilt.get() || !connection.sqlite.is_autocommit()
    }
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Pools {
    // First: when the pools are dropped, nobody else holds one, and their connections close one after the other.
    _settled: Settled,
    path: PathBuf,
    setup: Setup,
    file: Arc<DatabaseFile>,
    log: Arc<Log>,
    watch: Arc<Watch>,
    readers: r2d2::Pool<Manager>,
    writers: r2d2::Pool<Manager>,
}

/// Waits when dropped until the pools' thread has ended what it does: it may hold a pool, and with it open connections, for a
/// moment after everybody else has let go. The write-ahead log would stay beside the database if the program ended meanwhile, or if two
/// connections closed at the same moment on two threads: each finds the other one open, and none takes the log away.
struct Settled(Arc<ScheduledThreadPool>);

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settled")
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        let (done, wait) = std::sync::mpsc::channel();
        // There is one thread: it comes to this when everything before is over. Nobody listens after a time-out.
        self.0.execute(move || {
            let _ = done.send(());
        });
        if wait.recv_timeout(SETTLE_TIME).is_err() {
            log::debug!(target: "rowferry::store", "a connection is still being opened");
        }
    }
}

/// Switches the file to WAL mode. SQLite does not always wait for the lock that this takes, so it is tried again: two programs
/// may open a new file at once.
fn switch_to_wal(sqlite: &rusqlite::Connection, lock_time: Duration) -> rusqlite::Result<()> {
    let began = Instant::now();
    loop {
        match sqlite.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && began.elapsed() < lock_time =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            switched => return switched,
        }
    }
}

impl Pools {
    /// Opens the file, making it if it is missing, and checks that it is a database that can be written.
    pub(super) fn open(path: &Path, limits: &Limits, setup: &Setup) -> Result<Self> {
        let lock_time = limits.store.busy_timeout.min(LONGEST_LOCK_TIME);
        let manager = |role, cache_bytes| {
            let (path, setup) = (path.to_owned(), setup.clone());
            Manager { path, file: None, role, cache_bytes, lock_time, setup, opened: Mutex::default() }
        };
        let mut writer = manager(Role::Writer, limits.store.write_cache_bytes);
        // The first connection is made outside of the pool, which would try again and again and then only say "timed out".
        // It then becomes the writing one: a file whose last connection is closed loses its log, and gets it again.
        let first = writer.open()?;
        switch_to_wal(&first.sqlite, lock_time).map_err(|e| dialect::opening(path, e))?;
        *writer.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        let file = Arc::new(DatabaseFile::opened(path));
        let mut reader = manager(Role::Reader, READ_CACHE_BYTES);
        for manager in [&mut writer, &mut reader] {
            manager.file = Some(Arc::clone(&file));
        }
        // The pool of threads panics where there is none to be had.
        let thread = std::thread::Builder::new().name("rowferry-pool".to_owned()).spawn(|| ()).map_err(|error| {
            Error::new(ErrorKind::System, format!("no thread to open connections to {} on: {error}", path.display()))
                .with_hint("The system is out of threads or memory; try again later.")
                .with_source(error)
        })?;
        // It does nothing, and cannot panic.
        let _ = thread.join();
        let threads = Arc::new(ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("rowferry-pool").build());
        let pool = |manager, size| {
            r2d2::Pool::builder()
                .max_size(size)
                .min_idle(Some(0))
                .idle_timeout(None)
                .max_lifetime(None)
                .test_on_check_out(false)
                .connection_timeout(lock_time.max(SHORTEST_WAIT))
                .thread_pool(Arc::clone(&threads))
                .build_unchecked(manager)
        };
        let readers = limits.server.connections.saturating_add(SPARE_READERS).min(MOST_READERS) as u32;
        Ok(Pools {
            path: path.to_owned(),
            setup: setup.clone(),
            file,
            log: Arc::new(Log::new(limits, lock_time)),
            watch: Arc::new(Watch::new()),
            readers: pool(reader, readers),
            writers: pool(writer, 1),
            _settled: Settled(threads),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<DatabaseFile> {
        &self.file
    }

    pub(super) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    pub(super) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    pub(super) fn reader(&self) -> Result<Pooled> {
        self.file.check()?;
        self.readers.get().map_err(|e| self.exhausted("reading", &e))
    }

    pub(super) fn writer(&self) -> Result<Pooled> {
        self.file.check()?;
        self.log.waiting(|| self.writers.get()).map_err(|e| self.exhausted("writing", &e))
    }

    /// The writing connection, if it is free within a moment.
    pub(super) fn idle_writer(&self) -> Result<Option<Pooled>> {
        self.file.check()?;
        Ok(self.writers.get_timeout(LOOK_TIME).ok())
    }

    /// Why the pool gave no connection: none can be made, or all are in use.
    fn exhausted(&self, doing: &str, error: &r2d2::Error) -> Error {
        match self.probe().open() {
            Err(error) => error,
            Ok(_) => {
                let message = format!("all connections for {doing} {} are in use: {error}", self.path.display());
                Error::new(ErrorKind::Locked, message).with_hint("Try again when other work on this database is done.")
            }
        }
    }

    /// Opens one connection more.
    fn probe(&self) -> Manager {
        Manager {
            path: self.path.clone(),
            file: Some(Arc::clone(&self.file)),
            role: Role::Reader,
            cache_bytes: READ_CACHE_BYTES,
            lock_time: Duration::from_millis(100),
            setup: self.setup.clone(),
            opened: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_did_not_end_its_transaction_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let pools = Pools::open(&folder.path().join("site.db"), &Limits::default(), &Setup::default()).unwrap();
        for _ in 0..3 {
            pools.writer().unwrap().sqlite.execute_batch("BEGIN IMMEDIATE").unwrap();
            pools.reader().unwrap().sqlite.execute_batch("BEGIN").unwrap();
        }
    }
}
