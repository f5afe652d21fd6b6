//! Tables as `pg_catalog` describes them.
//!
//! What is asked is asked of many tables at once: a schema of 300 tables costs the same few queries as one of three.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns;
use super::connection::Connection;
use super::constraints;
use super::indexes;
use super::relations::{self, Relation};
use super::table::Table;
use super::types::Carried;
use crate::domain::names::NameRules;
use crate::domain::schema::{Origin, TableSchema};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::table::key_of;

/// After how many tables that are asked for the others are read at once: who asks for so many mostly asks for all.
const ONE_BY_ONE: usize = 4;

impl Connection {
    /// A table by its name; `None` if the site has none such. It is read once until [`Connection::forget`].
    pub(super) fn table(&mut self, name: &str) -> Result<Option<Arc<Table>>> {
        if let Some(known) = self.tables.get(name) {
            return Ok(known.clone());
        }
        self.read += 1;
        if self.read == ONE_BY_ONE {
            for table in read_all(self)? {
                self.tables.entry(table.schema.name.clone()).or_insert_with(|| Some(Arc::new(table)));
            }
            if let Some(known) = self.tables.get(name) {
                return Ok(known.clone());
            }
        }
        let found = read(self, name)?.map(Arc::new);
        self.tables.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// A table that must be there.
    pub(super) fn known(&mut self, name: &str) -> Result<Arc<Table>> {
        self.table(name)?.ok_or_else(|| Error::new(ErrorKind::TableNotFound, format!("there is no table {name:?}")))
    }
}

/// The names of the site's tables, sorted by their bytes.
pub(super) fn table_names(connection: &mut Connection) -> Result<Vec<String>> {
    let mut names: Vec<String> = relations::offered(connection)?.into_iter().map(|relation| relation.name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads a table; `None` if the site has none of this name.
pub(super) fn read(connection: &mut Connection, name: &str) -> Result<Option<Table>> {
    let found = relations::find(connection, name)?;
    Ok(describe(connection, found.into_iter().collect())?.pop())
}

/// Reads all tables of the site.
pub(super) fn read_all(connection: &mut Connection) -> Result<Vec<Table>> {
    let relations = relations::offered(connection)?;
    describe(connection, relations)
}

fn describe(connection: &mut Connection, relations: Vec<Relation>) -> Result<Vec<Table>> {
    if relations.is_empty() {
        return Ok(Vec::new());
    }
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let mut columns = columns::read(connection, &oids)?;
    let mut indexes = indexes::read(connection, &oids)?;
    let mut references = constraints::read(connection, &oids)?;
    let mut tables = Vec::with_capacity(relations.len());
    for relation in relations {
        let columns = columns.remove(&relation.oid).unwrap_or_default();
        let mut table = Table {
            oid: relation.oid,
            source: relation.source(),
            relation: relation.sql(),
            primary: None,
            unique: Vec::new(),
            references: Vec::new(),
            order: Vec::new(),
            columns: Vec::with_capacity(columns.len()),
            is_partitioned: relation.is_partitioned,
            has_row_security: relation.has_row_security,
            has_rules: relation.has_rules,
            schema: TableSchema {
                name: relation.name,
                names: NameRules::Exact,
                origin: Origin::Postgres,
                has_triggers: relation.has_triggers,
                ..TableSchema::default()
            },
        };
        let mut positions = HashMap::with_capacity(columns.len());
        for (at, (number, described, column)) in columns.into_iter().enumerate() {
            positions.insert(number, at);
            table.schema.columns.push(described);
            table.columns.push(column);
        }
        for index in indexes.remove(&table.oid).unwrap_or_default() {
            index.add_to(&mut table, &positions);
        }
        for (key, reference) in references.remove(&table.oid).unwrap_or_default() {
            table.schema.deferred |= key.deferred;
            table.schema.foreign_keys.push(key);
            table.references.push(reference);
        }
        numbers_itself(&mut table);
        table.order = order(&table)?;
        tables.push(table);
    }
    Ok(tables)
}

/// A key that is one integer which PostgreSQL counts up is what AUTOINCREMENT makes: no number comes twice.
fn numbers_itself(table: &mut Table) {
    let [key] = &table.schema.primary_key[..] else { return };
    let Some(at) = table.schema.column_index(key) else { return };
    let column = &table.columns[at];
    let is_integer = matches!(column.carried, Carried::Int2 | Carried::Int4 | Carried::Int8);
    if is_integer && column.sequence.is_some() {
        table.schema.autoincrement = true;
        table.schema.rowid_alias = true;
    }
}

/// The columns that pages are ordered by, each with the collation of the key's index where it is not the column's.
fn order(table: &Table) -> Result<Vec<(usize, String)>> {
    let Some((key, _)) = key_of(&table.schema)? else { return Ok(Vec::new()) };
    let index = table.primary.iter().chain(&table.unique).find(|index| index.columns == key && index.predicate.is_none());
    let collate = |at: usize| index.and_then(|index| index.collates.get(at)).cloned().unwrap_or_default();
    Ok(key.into_iter().enumerate().map(|(at, column)| (column, collate(at))).collect())
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
