//! One connection to PostgreSQL: how it is set up, and the statements and tables that it remembers.

use std::collections::HashMap;
use std::sync::Arc;

use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

use super::faults::failed;
use super::options::PostgresOptions;
use super::quote::{literal, quote};
use super::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Prepared statements kept by a connection.
const STATEMENTS: usize = 256;

/// How long a transaction may wait for its program, in milliseconds: one that hangs would block all writers.
const IDLE_IN_TRANSACTION: u64 = 600_000;

/// A connection.
pub struct Connection {
    pub(super) client: Client,
    schemas: Arc<[String]>,
    statements: HashMap<String, Statement>,
    /// The tables that were asked for since the last [`Connection::forget`]: [`Connection::table`] reads them.
    pub(super) tables: HashMap<String, Option<Arc<Table>>>,
    /// How many of them were read one by one.
    pub(super) read: usize,
    /// Whether it is in a transaction, which the next user of the connection must not find.
    pub(super) in_transaction: bool,
}

impl Connection {
    /// Sets up a connection that was just made. Each setting is made explicitly: those of a server, a database or a role differ.
    pub(super) fn new(mut client: Client, options: &PostgresOptions, limits: &Limits) -> Result<Self> {
        let first = options.schemas.first().map(String::as_str).unwrap_or("public");
        let settings = [
            ("client_encoding", "UTF8".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("DateStyle", "ISO, MDY".to_owned()),
            ("IntervalStyle", "postgres".to_owned()),
            ("TimeZone", "UTC".to_owned()),
            ("extra_float_digits", "1".to_owned()),
            ("bytea_output", "hex".to_owned()),
            ("xmloption", "content".to_owned()),
            ("lc_monetary", "C".to_owned()),
            ("search_path", quote(first)),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("lock_timeout", limits.store.busy_timeout.as_millis().clamp(1, i32::MAX as u128).to_string()),
            ("statement_timeout", options.statement_timeout.as_millis().min(i32::MAX as u128).to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_string()),
            // Rows without a key come as they lie in their table only if one process reads it from the first page on.
            ("synchronize_seqscans", "off".to_owned()),
            ("max_parallel_workers_per_gather", "0".to_owned()),
            // Statements here are many and small, whatever their costs are estimated at.
            ("jit", "off".to_owned()),
            // A notice for each table that is there already helps nobody.
            ("client_min_messages", "warning".to_owned()),
        ];
        let set = settings.map(|(name, value)| format!("SET {name} = {}", value_of(name, &value)));
        client.batch_execute(&set.join("; ")).map_err(failed)?;
        Ok(Connection {
            client,
            schemas: options.schemas.clone().into(),
            statements: HashMap::new(),
            tables: HashMap::new(),
            read: 0,
            in_transaction: false,
        })
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&mut self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).map_err(failed)
    }

    /// The rows of a query, which is prepared once.
    pub(super) fn rows(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql)?;
        self.client.query(&statement, parameters).map_err(failed)
    }

    /// Runs a statement, which is prepared once; gives the number of rows that it inserted, changed or deleted.
    pub(super) fn run(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.prepared(sql)?;
        self.client.execute(&statement, parameters).map_err(failed)
    }

    /// The prepared statement of this text.
    pub(super) fn prepared(&mut self, sql: &str) -> Result<Statement> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).map_err(failed)?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The schemas of the site: tables of the first one have their plain names.
    pub(super) fn schemas(&self) -> &[String] {
        &self.schemas
    }

    /// Forgets what was read of the catalogue: with each transaction, and when it may have changed. Statements that name tables that are
    /// gone are prepared again.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
        self.read = 0;
    }

    /// Forgets the prepared statements, too: a table was changed, and with it the types of what they give.
    pub(super) fn forget_statements(&mut self) {
        self.tables.clear();
        self.read = 0;
        self.statements.clear();
    }
}

/// The value of a setting as SQL: a list of names stands as it is.
fn value_of(setting: &str, value: &str) -> String {
    match setting {
        "search_path" => value.to_owned(),
        _ => literal(value),
    }
}

/// An error where the caller is an async task, which the crate `postgres` would answer with a panic. A thread for blocking work of a
/// runtime has its handle, too, and may block: only trying tells.
pub(super) fn refuse_async() -> Result<()> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Ok(()) };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(async {}))).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "a PostgreSQL store cannot be used on an async task: its calls block")
            .with_hint("Call it where blocking is allowed: in tokio's spawn_blocking, or on a thread of your own.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_async_task_is_refused_and_a_blocking_thread_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { refuse_async() }).unwrap_err().kind(), ErrorKind::InvalidInput);
        runtime.block_on(async { tokio::task::spawn_blocking(refuse_async).await }).unwrap().unwrap();
        refuse_async().unwrap();
    }
}
