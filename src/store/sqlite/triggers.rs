//! Writes a row of a table that has triggers.
//!
//! A conflict clause of the statement overrides those in the bodies of triggers, and of the tables that they write to
//! (<https://www.sqlite.org/lang_createtrigger.html>, 2): with `INSERT OR ABORT` a trigger's `INSERT OR REPLACE` into a side table is an error. So
//! the statement says nothing here.
//!
//! But then a constraint of the table itself that is declared ON CONFLICT REPLACE, IGNORE, ROLLBACK or FAIL would delete another row, or
//! leave the row out. Where there may be one, it is first tried whether the table takes the row as it is, with triggers and foreign keys off.
//! If it does not, the statement says OR ABORT all the same: only a trigger that makes room lets it through then. So it does where a trigger
//! runs before the row is written: it may put another row into its way.
//!
//! Actions of foreign keys (ON UPDATE CASCADE) are none of this: SQLite runs them, and the triggers behind them, with OR ABORT always.

use super::dialect::{failed, refusal};
use super::rows::{Statement, run as run_alone};
use super::transaction::Transaction;
use crate::domain::schema::TableSchema;
use crate::domain::value::ValueRef;
use crate::error::Result;

/// Runs a statement that writes one row of the table; gives how many were written. What is refused leaves nothing behind. The outer error
/// is one after which the transaction is over.
pub(super) fn run<'v, V: Iterator<Item = ValueRef<'v>>>(
    transaction: &Transaction,
    table: &TableSchema,
    statement: &Statement,
    values: &dyn Fn() -> V,
) -> Result<rusqlite::Result<usize>> {
    let overview = transaction.connection.overview()?;
    let entry = overview.table(&table.name).filter(|entry| entry.has_triggers);
    let Some(entry) = entry else {
        let done = run_alone(transaction, &statement.or_abort(), values());
        return still_open(transaction, done);
    };
    let try_it = || Ok(run_alone(transaction, &statement.or_abort(), values()).is_ok());
    let is_taken = match (entry.says_conflict, entry.has_before_triggers) {
        (false, _) => true,
        (true, true) => false,
        (true, false) => transaction.undone_alone(try_it)?,
    };
    let sql = if is_taken { statement.plain() } else { statement.or_abort() };
    // What a trigger ends with FAIL keeps what was done before.
    let sqlite = &transaction.connection.sqlite;
    sqlite.execute_batch("SAVEPOINT rowferry_row").map_err(failed)?;
    let done = run_alone(transaction, &sql, values());
    let done = still_open(transaction, done)?;
    if sqlite.is_autocommit() {
        return Ok(done);
    }
    let end = match done {
        Ok(_) => "RELEASE rowferry_row",
        Err(_) => "ROLLBACK TO rowferry_row; RELEASE rowferry_row",
    };
    sqlite.execute_batch(end).map_err(failed)?;
    Ok(done)
}

/// An error if a row was refused and the transaction ended with it.
fn still_open(transaction: &Transaction, done: rusqlite::Result<usize>) -> Result<rusqlite::Result<usize>> {
    match &done {
        Err(error) if refusal(error).is_some() => transaction.still_open().map(|()| done),
        _ => Ok(done),
    }
}
