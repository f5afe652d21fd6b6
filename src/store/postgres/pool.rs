//! The pools that hand connections out: readers, and one writer, so that the program's own writers queue here and not at the server.

use std::sync::Arc;
use std::time::Duration;

use postgres::NoTls;
use postgres::config::SslMode;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{Connection, refuse_async};
use super::options::PostgresOptions;
use super::{faults, tls};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// How long a connection is waited for at least: opening one takes a moment.
const SHORTEST_WAIT: Duration = Duration::from_secs(10);

/// Reading connections beyond those that a server's peers may hold.
const SPARE_READERS: usize = 8;

/// The most reading connections. A server has 100 by default, for all its programs.
const MOST_READERS: usize = 1_000;

/// After how long an unused connection is closed: the server has use for it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) type Pooled = r2d2::PooledConnection<Manager>;

/// Opens connections for r2d2.
#[derive(Debug, Clone)]
pub struct Manager {
    options: PostgresOptions,
    limits: Limits,
}

impl Manager {
    pub(super) fn new(options: &PostgresOptions, limits: &Limits) -> Self {
        Manager { options: options.clone(), limits: limits.clone() }
    }

    pub(super) fn open(&self) -> Result<Connection> {
        refuse_async()?;
        let opening = |error| faults::opening(&self.options.name(), error);
        let client = match self.options.config.get_ssl_mode() {
            SslMode::Disable => self.options.config.connect(NoTls).map_err(opening)?,
            _ => self.options.config.connect(tls::connector(&self.options.authorities)?).map_err(opening)?,
        };
        Connection::new(client, &self.options, &self.limits)
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        self.open()
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        connection.batch("")
    }

    /// A connection that comes back in a transaction is of no use to the next one.
    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.in_transaction || connection.client.is_closed()
    }
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Pools {
    name: String,
    manager: Manager,
    readers: r2d2::Pool<Manager>,
    writers: r2d2::Pool<Manager>,
}

impl Pools {
    /// Connects once, so that what is wrong is known at once.
    pub(super) fn open(options: &PostgresOptions, limits: &Limits) -> Result<Self> {
        refuse_async()?;
        let manager = Manager::new(options, limits);
        drop(manager.open()?);
        // The pool of threads panics where there is none to be had.
        let thread = std::thread::Builder::new().name("rowferry-pool".to_owned()).spawn(|| ()).map_err(|error| {
            Error::new(ErrorKind::System, format!("no thread to open connections to {} on: {error}", options.name()))
                .with_hint("The system is out of threads or memory; try again later.")
                .with_source(error)
        })?;
        // It does nothing, and cannot panic.
        let _ = thread.join();
        let threads = Arc::new(ScheduledThreadPool::builder().num_threads(1).thread_name_pattern("rowferry-pool").build());
        let pool = |size| {
            r2d2::Pool::builder()
                .max_size(size)
                .min_idle(Some(0))
                .idle_timeout(Some(IDLE_TIMEOUT))
                .max_lifetime(None)
                // One that the server ended meanwhile is replaced.
                .test_on_check_out(true)
                .connection_timeout(limits.store.busy_timeout.max(SHORTEST_WAIT))
                .thread_pool(Arc::clone(&threads))
                .error_handler(Box::new(Quiet))
                .build_unchecked(manager.clone())
        };
        let readers = limits.server.connections.saturating_add(SPARE_READERS).min(MOST_READERS) as u32;
        Ok(Pools { name: options.name(), readers: pool(readers), writers: pool(1), manager })
    }

    /// What to call the database in a message.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn reader(&self) -> Result<Pooled> {
        refuse_async()?;
        self.readers.get().map_err(|error| self.exhausted("reading", &error))
    }

    pub(super) fn writer(&self) -> Result<Pooled> {
        refuse_async()?;
        self.writers.get().map_err(|error| self.exhausted("writing", &error))
    }

    /// Why the pool gave no connection: none can be made, or all are in use.
    fn exhausted(&self, doing: &str, error: &r2d2::Error) -> Error {
        match self.manager.open() {
            Err(error) => error,
            Ok(_) => Error::new(ErrorKind::Locked, format!("all connections for {doing} {} are in use: {error}", self.name))
                .with_hint("Try again when other work on this database is done."),
        }
    }
}

/// What goes wrong is told to those who wait for the connection, and not logged once more by the pool.
#[derive(Debug)]
struct Quiet;

impl r2d2::HandleError<Error> for Quiet {
    fn handle_error(&self, error: Error) {
        log::debug!(target: "rowferry::store", "a connection cannot be made: {error}");
    }
}
