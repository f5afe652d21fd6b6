//! What a host does to each connection before rowferry uses it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

type Work = dyn Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync;

/// What is done to each new connection first of all: nothing by default.
#[derive(Clone, Default)]
pub(crate) struct Setup(Option<Arc<Work>>);

impl Setup {
    pub(crate) fn new(work: impl Fn(&rusqlite::Connection) -> rusqlite::Result<()> + Send + Sync + 'static) -> Self {
        Setup(Some(Arc::new(work)))
    }

    /// Does it to a connection to this file.
    pub(super) fn run(&self, sqlite: &rusqlite::Connection, path: &Path) -> Result<()> {
        let Some(work) = &self.0 else { return Ok(()) };
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

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Setup(..)" } else { "Setup" })
    }
}
