//! A table and its parts, with what only PostgreSQL knows of them.

use super::types::{BaseType, Carried, text_of};
use crate::domain::schema::TableSchema;

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
