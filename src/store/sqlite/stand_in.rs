//! Reads tables that have columns of a collation which is not registered. SQLite reads the rows of a WITHOUT ROWID table, and counts
//! those of others through an index, only if it has all their collations, although it compares nothing by most of them. Another
//! collation stands in for such a one then, on connections that only read. Where the order of the rows depends on it, none may.

use std::cell::RefCell;
use std::collections::HashSet;

use super::dialect::missing_collation;
use super::keys::collations_of;
use super::pool::Connection;
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
    fn register(&self, sqlite: &rusqlite::Connection, collation: &str) -> Result<()> {
        sqlite.create_collation(collation, |one: &str, other: &str| one.cmp(other)).map_err(super::dialect::failed)?;
        self.0.borrow_mut().insert(collation.to_ascii_lowercase());
        Ok(())
    }
}

/// Reads of a table by `read`, in the order of the columns at `order`; again when a collation was missing that has a stand-in now.
///
/// # Errors
/// [`UnknownCollation`](ErrorKind::UnknownCollation) if the order depends on one; those of `read`.
pub(super) fn reading<T>(
    connection: &Connection,
    table: &TableSchema,
    order: &[usize],
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    let stand_ins = &connection.stand_ins;
    let orders: Vec<String> = collations_of(table, order).into_iter().filter_map(|(_, collation)| collation).collect();
    if let Some(collation) = orders.iter().find(|collation| stand_ins.has(collation)) {
        return Err(unknown(table, collation));
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
            Some(missing) if !stand_ins.has(missing) => stand_ins.register(&connection.sqlite, missing)?,
            _ => return Err(error),
        }
    }
}

fn unknown(table: &TableSchema, collation: &str) -> Error {
    let why = format!("the key of {:?} is ordered by the collation {collation:?}, which is not registered", table.name);
    Error::new(ErrorKind::UnknownCollation, why).with_hint(
        "The program that made the table has it: let that one share it, or register it with SiteBuilder::on_connection.",
    )
}
