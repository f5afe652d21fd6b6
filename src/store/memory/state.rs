//! rowferry's own tables: two databases of SQLite's in memory.
//!
//! A writer works on the first one, in a transaction that can be undone. What it changes is written down and repeated in the
//! second one at the commit, so that those who only read never see a transaction that is not over, nor wait for it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::turn::{Lease, Turn};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;
use crate::store::sqlite::dialect::failed;
use crate::store::sqlite::write::{execute, query};
use crate::store::sqlite::{check_linked, harden};

/// Prepared statements kept by a connection.
const STATEMENTS: usize = 64;

/// The two databases.
pub(super) struct State {
    /// What the writer works on.
    working: Arc<Turn<Connection>>,
    /// What was committed.
    committed: Arc<Turn<Connection>>,
    /// How long either is waited for.
    time: Duration,
}

impl State {
    pub(super) fn open(time: Duration) -> Result<Self> {
        Ok(State { working: Turn::new(connection()?), committed: Turn::new(connection()?), time })
    }

    /// Begins a transaction, once all others are over.
    pub(super) fn begin(&self) -> Result<Working> {
        let connection = self.working.take(self.time)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        Ok(Working { connection: Some(connection), log: Vec::new(), savepoints: Vec::new() })
    }

    /// Runs `work`, which only reads what was committed. A commit waits meanwhile.
    pub(super) fn read(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let connection = self.committed.take(self.time)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        work(&mut Reading(&connection))
    }

    /// Keeps what a transaction changed. `publish` is called when nothing can fail any more, before anyone reads it. On an error
    /// nothing is kept, and the transaction is still open.
    pub(super) fn commit(&self, working: &mut Working, publish: impl FnOnce()) -> Result<()> {
        let (connection, committed) = (working.connection()?, self.committed.take(self.time)?);
        committed.pragma_update(None, "query_only", false).map_err(failed)?;
        // What the first database took the second one takes too: both hold the same when a transaction begins.
        let repeated = committed.execute_batch("BEGIN").map_err(failed).and_then(|()| {
            working.log.iter().try_for_each(|done| query(&committed, &done.sql, &done.values).map(|_| ()))?;
            connection.execute_batch("COMMIT").map_err(failed)?;
            committed.execute_batch("COMMIT").map_err(failed)
        });
        if let Err(error) = repeated {
            roll_back(&committed);
            return Err(error.while_doing("cannot commit"));
        }
        publish();
        working.connection = None;
        Ok(())
    }
}

fn connection() -> Result<Connection> {
    check_linked()?;
    let connection = Connection::open_in_memory().map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    harden(&connection, false).map_err(failed)?;
    Ok(connection)
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        log::warn!(target: "rowferry::store", "rolling back failed: {error}");
    }
}

/// A statement that changed something.
struct Done {
    sql: String,
    values: Vec<Value>,
}

/// A transaction over rowferry's own tables. Dropped without a commit, all of it is undone.
pub(super) struct Working {
    /// `None` once it is over.
    connection: Option<Lease<Connection>>,
    /// What changed something, in its order.
    log: Vec<Done>,
    /// How much of that there was at each savepoint, the innermost last.
    savepoints: Vec<usize>,
}

impl Working {
    /// An error if the transaction is over.
    pub(super) fn connection(&self) -> Result<&Connection> {
        let over =
            || Error::new(ErrorKind::InvalidInput, "the transaction was committed: nothing can be done in it any more");
        self.connection.as_deref().ok_or_else(over)
    }

    pub(super) fn savepoint(&mut self) -> Result<()> {
        self.connection()?.execute_batch("SAVEPOINT rowferry_savepoint").map_err(failed)?;
        self.savepoints.push(self.log.len());
        Ok(())
    }

    /// Without a savepoint it is an error.
    pub(super) fn rollback_to(&mut self) -> Result<()> {
        let sql = "ROLLBACK TO rowferry_savepoint; RELEASE rowferry_savepoint";
        self.connection()?.execute_batch(sql).map_err(failed)?;
        self.log.truncate(self.savepoints.pop().unwrap_or(0));
        Ok(())
    }

    /// Without a savepoint it is an error.
    pub(super) fn release(&mut self) -> Result<()> {
        self.connection()?.execute_batch("RELEASE rowferry_savepoint").map_err(failed)?;
        self.savepoints.pop();
        Ok(())
    }

    /// Does something with a statement, and writes it down if it may change anything.
    fn run<T>(&mut self, sql: &str, values: &[Value], run: fn(&Connection, &str, &[Value]) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
        let only_reads = connection.prepare_cached(sql).map_err(failed)?.readonly();
        let done = run(connection, sql, values)?;
        if !only_reads {
            self.log.push(Done { sql: sql.to_owned(), values: values.to_vec() });
        }
        Ok(done)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.connection.iter().for_each(|connection| roll_back(connection));
    }
}

impl Sql for Working {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize> {
        self.run(sql, parameters, execute)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.run(sql, parameters, query)
    }
}

/// [`Sql`] over what was committed.
struct Reading<'c>(&'c Connection);

impl Sql for Reading<'_> {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize> {
        execute(self.0, sql, parameters)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>> {
        query(self.0, sql, parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "INSERT INTO rowferry_t (id) VALUES (?1)";

    fn state() -> State {
        let state = State::open(Duration::from_millis(20)).unwrap();
        let mut working = state.begin().unwrap();
        working.execute("CREATE TABLE IF NOT EXISTS rowferry_t (id INTEGER PRIMARY KEY NOT NULL)", &[]).unwrap();
        state.commit(&mut working, || ()).unwrap();
        state
    }

    fn ids(sql: &mut dyn Sql) -> Vec<i64> {
        let rows = sql.query("SELECT id FROM rowferry_t ORDER BY id", &[]).unwrap();
        rows.iter().map(|row| row[0].as_integer().unwrap()).collect()
    }

    fn committed(state: &State) -> Vec<i64> {
        let mut found = Vec::new();
        let done = state.read(&mut |sql| {
            found = ids(sql);
            Ok(())
        });
        done.unwrap();
        found
    }

    #[test]
    fn what_is_not_committed_is_seen_by_its_writer_only() {
        let state = state();
        let mut working = state.begin().unwrap();
        working.execute(ADD, &[1.into()]).unwrap();
        assert_eq!((ids(&mut working), committed(&state)), (vec![1], vec![]));
        // A statement that was refused is not repeated; one that gives rows and changes something is.
        assert!(working.execute(ADD, &[1.into()]).is_err());
        working.query("INSERT INTO rowferry_t (id) VALUES (2) RETURNING id", &[]).unwrap();
        let mut published = false;
        state.commit(&mut working, || published = true).unwrap();
        assert!(published && committed(&state) == [1, 2]);
        assert_eq!(working.execute(ADD, &[3.into()]).unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(working);
        let mut working = state.begin().unwrap();
        working.execute(ADD, &[4.into()]).unwrap();
        drop(working);
        assert_eq!((ids(&mut state.begin().unwrap()), committed(&state)), (vec![1, 2], vec![1, 2]));
    }

    #[test]
    fn what_was_rolled_back_is_not_repeated() {
        let state = state();
        let mut working = state.begin().unwrap();
        assert!(working.rollback_to().is_err());
        assert!(working.release().is_err());
        working.execute(ADD, &[1.into()]).unwrap();
        for id in [2, 3] {
            working.savepoint().unwrap();
            working.execute(ADD, &[id.into()]).unwrap();
        }
        working.rollback_to().unwrap();
        working.execute(ADD, &[4.into()]).unwrap();
        working.savepoint().unwrap();
        working.execute(ADD, &[5.into()]).unwrap();
        working.release().unwrap();
        working.rollback_to().unwrap();
        assert!(working.rollback_to().is_err());
        working.savepoint().unwrap();
        working.execute(ADD, &[6.into()]).unwrap();
        working.release().unwrap();
        state.commit(&mut working, || ()).unwrap();
        assert_eq!(committed(&state), [1, 6]);
    }

    #[test]
    fn reading_writes_nothing_and_one_reading_in_another_ends() {
        let state = state();
        assert!(state.read(&mut |sql| sql.execute(ADD, &[1.into()]).map(|_| ())).is_err());
        assert!(committed(&state).is_empty());
        let nested = state.read(&mut |_| state.read(&mut |_| Ok(())));
        assert_eq!(nested.unwrap_err().kind(), ErrorKind::Locked);
        let mut working = state.begin().unwrap();
        working.execute(ADD, &[1.into()]).unwrap();
        let inside = state.read(&mut |_| state.commit(&mut working, || ()));
        assert_eq!(inside.unwrap_err().kind(), ErrorKind::Locked);
        state.commit(&mut working, || ()).unwrap();
        assert_eq!(committed(&state), [1]);
    }
}
