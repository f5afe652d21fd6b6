//! One write transaction: its savepoints, its locks, and its end.
//!
//! A statement that fails aborts the whole transaction in PostgreSQL. So whatever may fail runs under a savepoint of its own
//! ([`Transaction::attempt`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::casts::Casts;
use super::constraint_checks::{self, Loosened};
use super::faults;
use super::foreign_keys::Pending;
use super::page::Pager;
use super::pool::Pooled;
use super::table::Table;
use crate::domain::schema::{Column, TableSchema};
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Check, Cursor, PageBounds, PageEnd};

/// What the planner is told. Rows are found by their keys, whatever it believes of a table that grows in this transaction; what it
/// cannot find by an index it reads as a whole all the same. Compiling a plan takes longer than any of them runs.
const PLANS: &str = "SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// What lets one transaction at a time write: PostgreSQL's own lock of this number, which is taken in each database apart and ends with the
/// transaction. The first number is rowferry's, the second the schema's.
pub(super) const ONE_WRITER: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(1919907942, pg_catalog.hashtext(pg_catalog.current_schema()::text))";

/// Ends a transaction. PostgreSQL takes the COMMIT of one in which a statement failed as ROLLBACK, and calls that a success. A statement
/// before it fails there, and with it the message.
pub(super) const COMMIT: &str = "SELECT 1; COMMIT";

/// A write transaction.
pub(super) struct Transaction {
    pub(super) connection: Pooled,
    /// When references are checked.
    pub(super) check: Check,
    /// Foreign keys that can be put off in this transaction only.
    pub(super) loosened: Vec<Loosened>,
    /// Whether references were ever checked at another time than with each row.
    pub(super) was_put_off: bool,
    /// Foreign keys of tables that were made, whose parents are still to come.
    pub(super) pending: Pending,
    /// How many savepoints of the caller's there are.
    depth: usize,
    /// The tables that were written to, by their number.
    written: HashMap<u32, Written>,
    casts: HashMap<u32, Arc<Casts>>,
    /// How many savepoints there were when a table or an index was last changed. One that is undone takes that with it.
    changed: Option<usize>,
    /// How large the rows of tables are that were read.
    pager: Pager,
    /// How many attempts are under way, one within another.
    attempts: usize,
    /// Whether the savepoint of the last attempt is still there.
    is_marked: bool,
    open: bool,
}

/// A table that was written to, and is locked.
struct Written {
    /// How many savepoints there were then. One that is undone takes the lock with it.
    depth: usize,
    /// Whether it had no rows when it was locked: then all of its rows are this transaction's.
    was_empty: bool,
    table: Arc<Table>,
}

impl Transaction {
    pub(super) fn begin(mut connection: Pooled) -> Result<Self> {
        connection.forget();
        connection.in_transaction = true;
        let begun = connection.batch(&format!("BEGIN; {PLANS}; {ONE_WRITER}"));
        let transaction = Transaction {
            connection,
            check: Check::Now,
            loosened: Vec::new(),
            was_put_off: false,
            pending: Pending::default(),
            depth: 0,
            written: HashMap::new(),
            casts: HashMap::new(),
            changed: None,
            pager: Pager::default(),
            attempts: 0,
            is_marked: false,
            open: true,
        };
        begun.map(|()| transaction)
    }

    /// How many savepoints of the caller's there are.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Does something that may fail. What the database refuses is undone, and the error given inside; the transaction continues. Any other
    /// error ends it.
    pub(super) fn attempt<T>(&mut self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<Result<T>> {
        self.attempt_kept(work, |_| true)
    }

    /// The same; what was done is undone, too, where it is not to be kept.
    pub(super) fn attempt_kept<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction) -> Result<T>,
        is_kept: impl FnOnce(&T) -> bool,
    ) -> Result<Result<T>> {
        self.mark()?;
        self.attempts += 1;
        let done = work(self);
        self.attempts -= 1;
        let is_undone = match &done {
            Ok(done) => !is_kept(done),
            Err(error) => faults::is_survivable(error),
        };
        match done {
            Err(error) if !is_undone => Err(error),
            done => {
                self.leave(is_undone)?;
                Ok(done)
            }
        }
    }

    /// Does something that takes a lock which keeps readers out: where the wait for it is too long, it is undone, and the transaction
    /// continues.
    pub(super) fn attempt_locking<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction) -> Result<T>,
        is_kept: impl FnOnce(&T) -> bool,
    ) -> Result<Result<T>> {
        let work = |transaction: &mut Transaction| match work(transaction) {
            Err(error) if faults::is_lock_timeout(&error) => Ok(Err(error)),
            done => done.map(Ok),
        };
        let done = self.attempt_kept(work, |done| done.as_ref().is_ok_and(is_kept))?;
        Ok(done.and_then(|done| done))
    }

    /// Sets the savepoint of an attempt. That of the attempt before it goes away with the same message.
    fn mark(&mut self) -> Result<()> {
        match std::mem::take(&mut self.is_marked) {
            true => self.connection.batch("RELEASE rowferry_attempt; SAVEPOINT rowferry_attempt"),
            false => self.connection.batch("SAVEPOINT rowferry_attempt"),
        }
    }

    /// Leaves the savepoint of an attempt behind: one within another is taken away, and the outermost stays until the next one.
    fn leave(&mut self, is_undone: bool) -> Result<()> {
        let is_outermost = self.attempts == 0;
        match (is_undone, is_outermost) {
            (true, true) => self.connection.batch("ROLLBACK TO rowferry_attempt")?,
            (true, false) => self.connection.batch("ROLLBACK TO rowferry_attempt; RELEASE rowferry_attempt")?,
            (false, true) => {}
            (false, false) => self.connection.batch("RELEASE rowferry_attempt")?,
        }
        self.is_marked = is_outermost;
        Ok(())
    }

    /// Reads a page of a table.
    pub(super) fn page(
        &mut self,
        table: &Table,
        after: Option<&Cursor>,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        self.pager.page(&mut self.connection, table, after, 0, bounds, rows)
    }

    /// A table, as the catalogue has it now.
    pub(super) fn table(&mut self, name: &str) -> Result<Arc<Table>> {
        self.connection.known(name)
    }

    /// How values become those of a table's columns.
    pub(super) fn casts(&mut self, table: &Table) -> Result<Arc<Casts>> {
        if let Some(known) = self.casts.get(&table.oid) {
            return Ok(Arc::clone(known));
        }
        let casts = Arc::new(Casts::read(&mut self.connection, table)?);
        self.casts.insert(table.oid, Arc::clone(&casts));
        Ok(casts)
    }

    /// The table of a structure that was read before, and how values become those of its columns.
    pub(super) fn local(&mut self, schema: &TableSchema) -> Result<(Arc<Table>, Arc<Casts>)> {
        let table = self.table(&schema.name)?;
        let same = |(one, other): (&Column, &Column)| one.name == other.name;
        let (here, there) = (&table.schema.columns, &schema.columns);
        if here.len() != there.len() || !here.iter().zip(there).all(same) {
            let message = format!("the columns of {:?} have changed meanwhile", schema.name);
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Try again."));
        }
        let casts = self.casts(&table)?;
        Ok((table, casts))
    }

    /// Keeps others from writing to a table, from now on to the end. Gives whether it had no rows then.
    pub(super) fn lock(&mut self, table: &Arc<Table>) -> Result<bool> {
        if let Some(written) = self.written.get(&table.oid) {
            return Ok(written.was_empty);
        }
        let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.relation);
        match self.attempt(|transaction| transaction.connection.batch(&lock))? {
            Ok(()) => {}
            // A role that may only add rows may not lock the table; the rows tell what is wrong, if anything.
            Err(error) if faults::is_denied(&error) => {}
            Err(error) => return Err(error.while_doing(format_args!("locking {:?}", table.schema.name))),
        }
        constraint_checks::check_unique(&mut self.connection, table)?;
        let found = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", table.source);
        let was_empty = match self.attempt(|transaction| transaction.connection.rows(&found, &[]))? {
            Ok(rows) => rows.first().is_some_and(|row| row.get(0)),
            Err(_) => false,
        };
        self.written.insert(table.oid, Written { depth: self.depth, was_empty, table: Arc::clone(table) });
        Ok(was_empty)
    }

    /// The catalogue has changed: a table was made, or an index.
    pub(super) fn forget(&mut self) {
        self.changed = Some(self.depth);
        self.connection.forget_statements();
        self.casts.clear();
    }

    pub(super) fn savepoint(&mut self) -> Result<()> {
        let release = if std::mem::take(&mut self.is_marked) { "RELEASE rowferry_attempt; " } else { "" };
        self.connection.batch(&format!("{release}SAVEPOINT rowferry_savepoint"))?;
        self.depth += 1;
        Ok(())
    }

    /// Undoes what was done since the last savepoint, also when references are checked: the writer says that again.
    pub(super) fn rollback_to(&mut self) -> Result<()> {
        self.has_savepoint()?;
        self.is_marked = false;
        // Of several savepoints of one name PostgreSQL takes the latest.
        self.connection.batch("ROLLBACK TO rowferry_savepoint; RELEASE rowferry_savepoint")?;
        self.depth -= 1;
        let depth = self.depth;
        if self.changed.is_some_and(|changed| changed > depth) {
            self.forget();
        }
        self.written.retain(|_, written| written.depth <= depth);
        Ok(())
    }

    pub(super) fn release(&mut self) -> Result<()> {
        self.has_savepoint()?;
        self.is_marked = false;
        self.connection.batch("RELEASE rowferry_savepoint")?;
        self.depth -= 1;
        let depth = self.depth;
        self.changed = self.changed.map(|changed| changed.min(depth));
        self.written.values_mut().for_each(|written| written.depth = written.depth.min(depth));
        self.loosened.iter_mut().for_each(|loosened| loosened.depth = loosened.depth.min(depth));
        Ok(())
    }

    fn has_savepoint(&self) -> Result<()> {
        match self.depth {
            0 => Err(Error::new(ErrorKind::Database, "there is no savepoint")),
            _ => Ok(()),
        }
    }

    /// The tables that were written to; an error once the transaction is over.
    pub(super) fn written(&self) -> Result<Vec<Arc<Table>>> {
        match self.open {
            true => Ok(self.written.values().map(|written| Arc::clone(&written.table)).collect()),
            false => Err(Error::new(ErrorKind::Database, "the transaction is over")),
        }
    }

    /// Keeps everything.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.open = false;
        let committed = self.connection.batch(COMMIT).map_err(|error| error.while_doing("cannot commit"));
        self.connection.in_transaction = committed.is_err();
        committed
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.connection.in_transaction {
            let rolled_back = self.connection.batch("ROLLBACK");
            if let Err(error) = &rolled_back {
                log::warn!(target: "rowferry::store", "rolling back failed: {error}");
            }
            self.connection.in_transaction = rolled_back.is_err();
        }
        // What was made may be gone.
        self.connection.forget();
    }
}
