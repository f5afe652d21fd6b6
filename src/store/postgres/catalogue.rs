//! Tables as `pg_catalog` describes them.
//!
//! What is asked is asked of many tables at once: a schema of 300 tables costs the same few queries as one of three.

use std::collections::HashMap;

use super::columns;
use super::connection::Connection;
use super::constraints;
use super::indexes;
use super::relations::{self, Relation};
use super::types::{BaseType, Carried, text_of};
use crate::domain::names::NameRules;
use crate::domain::schema::{Origin, TableSchema};
use crate::error::Result;
use crate::plan::table::key_of;

/// A table, with what only PostgreSQL knows of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: TableSchema,
    pub(super) oid: u32,
    /// Its name as SQL, with its schema.
    pub(super) relation: String,
    /// What its rows are read from, changed in and deleted from: `ONLY` it, so that the rows of tables that inherit from it are left
    /// alone, which are offered as tables of their own. The partitions of a partitioned table belong to it.
    pub(super) source: String,
    /// One for each of the schema's columns.
    pub(super) columns: Vec<Column>,
    /// The primary key as an index.
    pub(super) primary: Option<UniqueIndex>,
    /// One for each of the schema's unique sets.
    pub(super) unique: Vec<UniqueIndex>,
    /// One for each of the schema's foreign keys.
    pub(super) references: Vec<Reference>,
    /// How its pages are ordered: the columns of [`key_of`], each with the collation of the key's index as SQL, ` COLLATE "C"`, where
    /// it is not the column's. Empty without a key.
    pub(super) order: Vec<(usize, String)>,
    pub(super) is_partitioned: bool,
    /// Whether policies decide which rows the role sees: then a part could be taken for the whole.
    pub(super) has_row_security: bool,
    /// Whether rules rewrite what is written to it: then no `ON CONFLICT` works, nor is anything returned.
    pub(super) has_rules: bool,
}

/// A column, with what only PostgreSQL knows of it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its name as SQL.
    pub(super) quoted: String,
    /// Its type as SQL, with its schema where that is needed, and with its length or digits.
    pub(super) type_sql: String,
    pub(super) base: BaseType,
    pub(super) carried: Carried,
    /// Whether it is computed, stored or not.
    pub(super) is_generated: bool,
    /// The sequence of an identity or serial column, as SQL with its schema.
    pub(super) sequence: Option<String>,
}

impl Column {
    /// The expression that COPY gives a cell by, which [`values`](super::values) reads.
    pub(super) fn select(&self) -> String {
        match self.carried {
            Carried::Any | Carried::Cast => self.text(&self.quoted),
            _ => self.quoted.clone(),
        }
    }

    /// An expression of the column's type as exactly the text that its type reads again.
    pub(super) fn text(&self, expression: &str) -> String {
        text_of(self.carried, &self.base, expression)
    }
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UniqueIndex {
    /// Its name.
    pub(super) name: String,
    /// The name of the constraint that it belongs to, if it does.
    pub(super) constraint: Option<String>,
    /// The positions of its columns among the table's, in its order; empty where it has expressions.
    pub(super) columns: Vec<usize>,
    /// The collations of the columns as SQL, ` COLLATE "C"`, where they are not those of the columns.
    pub(super) collates: Vec<String>,
    /// Whether its constraint is DEFERRABLE: then `ON CONFLICT` cannot name it.
    pub(super) is_deferrable: bool,
    /// Whether two NULLs are the same to it.
    pub(super) nulls_not_distinct: bool,
    /// Its condition as SQL, where it covers only some of the rows.
    pub(super) predicate: Option<String>,
    /// Whether it tells values apart otherwise than their columns do, by operators of its own or a coarser collation.
    pub(super) is_coarser: bool,
}

/// A foreign key's constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Its name.
    pub(super) name: String,
    pub(super) is_deferrable: bool,
    /// Whether it is checked at the commit unless a transaction says otherwise.
    pub(super) is_deferred: bool,
    /// Whether all rows are known to keep it: not where it was added NOT VALID.
    pub(super) is_valid: bool,
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
