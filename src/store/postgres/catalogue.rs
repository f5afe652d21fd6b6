//! Tables as `pg_catalog` describes them.

use super::connection::Connection;
use super::types::Carried;
use crate::domain::schema::TableSchema;
use crate::error::Result;

/// A table, with what only PostgreSQL knows of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: TableSchema,
    pub(super) oid: u32,
    /// Its name as SQL, with its schema.
    pub(super) relation: String,
    /// One for each of the schema's columns.
    pub(super) columns: Vec<Column>,
}

/// A column, with what only PostgreSQL knows of it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its name as SQL.
    pub(super) quoted: String,
    /// Its type as SQL, with its schema where that is needed.
    pub(super) type_sql: String,
    pub(super) carried: Carried,
    pub(super) is_identity_always: bool,
    pub(super) is_generated: bool,
}

/// Reads a table; `None` if the site has none of this name.
pub(super) fn read(_connection: &mut Connection, _name: &str) -> Result<Option<Table>> {
    Ok(None)
}
