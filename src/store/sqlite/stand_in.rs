//! Reads tables that have columns of a collation which is not registered. SQLite reads the rows of a WITHOUT ROWID table, and counts
//! those of others through an index, only if it has all their collations, although it compares nothing by most of them. Another
//! collation stands in for such a one then, on connections that only read. Where the order of the rows depends on it, none may.

use std::cell::RefCell;
use std::collections::HashSet;

use rusqlite::Connection;

use super::dialect::{REGISTER, failed, missing_collation, quote};
use super::keys::{collations_of, is_known};
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};

/// The names of the collations that another one stands in for.
#[derive(Debug, Default)]
pub(super) struct StandIns(RefCell<HashSet<String>>);

impl StandIns {
    fn has(&self, collation: &str) -> bool {
        self.0.borrow().contains(&collation.to_ascii_lowercase())
    }

    /// Registers one on this connection, which only reads.
    fn register(&self, sqlite: &Connection, collation: &str) -> Result<()> {
        sqlite.create_collation(collation, |one: &str, other: &str| one.cmp(other)).map_err(failed)?;
        self.0.borrow_mut().insert(collation.to_ascii_lowercase());
        Ok(())
    }
}

/// Reads of a table by `read`, in the order of the columns at `order`; again when a collation was missing that has a stand-in now.
///
/// # Errors
/// [`UnknownCollation`](ErrorKind::UnknownCollation) if the order depends on one; those of `read`.
pub(super) fn reading<T>(
    (sqlite, stand_ins): (&Connection, &StandIns),
    table: &TableSchema,
    order: &[usize],
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    let orders: Vec<String> = collations_of(table, order).into_iter().filter_map(|(_, collation)| collation).collect();
    // Of these tables SQLite only says that there is "no query solution".
    for missing in missing_of_rows(sqlite, table)? {
        if !orders.iter().any(|order| order.eq_ignore_ascii_case(missing)) {
            stand_ins.register(sqlite, missing)?;
        }
    }
    for collation in &orders {
        if stand_ins.has(collation) || !is_registered(sqlite, collation)? {
            return Err(unknown(table, collation));
        }
    }
    loop {
        let error = match read() {
            Err(error) if error.kind() == ErrorKind::UnknownCollation => error,
            answer => return answer,
        };
        match missing_collation(error.message()) {
            Some(missing) if orders.iter().any(|order| order.eq_ignore_ascii_case(missing)) => {
                return Err(unknown(table, missing));
            }
            // One that stands in and is still missing would be missing forever.
            Some(missing) if !stand_ins.has(missing) => stand_ins.register(sqlite, missing)?,
            _ => return Err(error),
        }
    }
}

/// Whether a collation is registered, or stood in for.
pub(super) fn is_registered(sqlite: &Connection, collation: &str) -> Result<bool> {
    if is_known(collation) {
        return Ok(true);
    }
    // The host may register collations when they are first needed: SQLite asks it for this one.
    let sql = format!("SELECT '' = '' COLLATE {}", quote(collation));
    match sqlite.prepare_cached(&sql).map_err(failed) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnknownCollation => Ok(false),
        Err(error) => Err(error),
    }
}

/// The collations that the rows of a table cannot be reached without, and that are not registered: those of all columns, if it is
/// WITHOUT ROWID.
fn missing_of_rows<'t>(sqlite: &Connection, table: &'t TableSchema) -> Result<Vec<&'t str>> {
    let mut missing = Vec::new();
    if table.without_rowid {
        for collation in table.columns.iter().filter_map(|column| column.collation.as_deref()) {
            if !is_registered(sqlite, collation)? {
                missing.push(collation);
            }
        }
    }
    Ok(missing)
}

/// Whether rows of a table can be written at all, as far as its collations go: none stands in for another then.
pub(super) fn check_writable(sqlite: &Connection, table: &TableSchema) -> Result<()> {
    let Some(missing) = missing_of_rows(sqlite, table)?.into_iter().next() else { return Ok(()) };
    let why = format!("the table {:?} here has a column of the collation {missing:?}, which is not registered", table.name);
    Err(Error::new(ErrorKind::UnknownCollation, why).with_hint(REGISTER))
}

fn unknown(table: &TableSchema, collation: &str) -> Error {
    let why = format!("the key of {:?} is ordered by the collation {collation:?}, which is not registered", table.name);
    Error::new(ErrorKind::UnknownCollation, why).with_hint(
        "The program that made the table has it: let that one share it, or register it with SiteBuilder::on_connection.",
    )
}
