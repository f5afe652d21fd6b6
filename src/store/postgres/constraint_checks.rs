//! When PostgreSQL checks the constraints that it can put off.

use super::connection::Connection;
use super::faults;
use super::quote::quote;
use super::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Check;

/// A foreign key that can be put off in this transaction only.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loosened {
    /// How many savepoints of the caller's there were then.
    pub(super) depth: usize,
    /// Its table, as SQL.
    pub(super) relation: String,
    pub(super) name: String,
}

impl Loosened {
    pub(super) fn alter(&self, how: &str) -> String {
        format!("ALTER TABLE {} ALTER CONSTRAINT {} {how}", self.relation, quote(&self.name))
    }
}

/// The deferrable constraints that are checked with each row, whatever is put off until the commit: unique ones, whose rows are refused one by
/// one, and triggers that are not deferred from the beginning.
const NOT_PUT_OFF: &str = "c.contype IN ('u', 'p', 'x') OR (c.contype = 't' AND NOT c.condeferred)";

/// The foreign keys that are not deferred from the beginning.
const PUT_OFF: &str = "c.contype = 'f' AND NOT c.condeferred";

/// The deferrable constraints of which this is so, as SQL names.
fn deferrable(connection: &mut Connection, condition: &str) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT n.nspname::text, c.conname::text FROM pg_catalog.pg_constraint AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
        WHERE c.condeferrable AND ({condition}) ORDER BY 1, 2"
    );
    let rows = connection.rows(&sql, &[])?;
    Ok(rows.iter().map(|row| format!("{}.{}", quote(row.get(0)), quote(row.get(1)))).collect())
}

/// Says when references are checked.
pub(super) fn set(connection: &mut Connection, when: Check) -> Result<()> {
    let names = match when {
        Check::AtCommit => deferrable(connection, NOT_PUT_OFF)?,
        Check::Now | Check::ByCaller => deferrable(connection, PUT_OFF)?,
    };
    if when == Check::AtCommit {
        connection.batch("SET CONSTRAINTS ALL DEFERRED")?;
    }
    if names.is_empty() {
        return Ok(());
    }
    connection.batch(&format!("SET CONSTRAINTS {} IMMEDIATE", names.join(", "))).map_err(broken)
}

/// Has the unique constraints of a table checked with each row, where they would be checked only at the commit: then a row that breaks one
/// takes no other with it.
pub(super) fn check_unique(connection: &mut Connection, table: &Table) -> Result<()> {
    if !table.primary.iter().chain(&table.unique).any(|index| index.is_deferrable) {
        return Ok(());
    }
    let condition = format!("c.conrelid = {} AND c.condeferred AND c.contype IN ('u', 'p')", table.oid);
    let names = deferrable(connection, &condition)?;
    match names.is_empty() {
        true => Ok(()),
        false => connection.batch(&format!("SET CONSTRAINTS {} IMMEDIATE", names.join(", "))),
    }
}

/// The error of a check that was put off.
pub(super) fn broken(error: Error) -> Error {
    match faults::told_by(&error).is_some_and(|told| told.code().code().starts_with("23")) {
        true => Error::new(ErrorKind::ForeignKey, error.message()).with_source(error),
        false => error,
    }
}
