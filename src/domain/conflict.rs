//! A record beside the row that it would change: what a caller's own rule sees of them, and what it decides.

use std::fmt;

use crate::domain::schema::TableSchema;
use crate::domain::value::{Value, ValueRef};

/// A row by the names of its columns, as a rule of the caller's sees it: see [`PullOptions::on_conflict`](crate::PullOptions::on_conflict).
#[derive(Clone, Copy)]
pub struct Record<'r> {
    table: &'r TableSchema,
    /// One for each column of the table; `None` where it has no value for it.
    values: &'r [Option<ValueRef<'r>>],
}

impl<'r> Record<'r> {
    pub(crate) fn new(table: &'r TableSchema, values: &'r [Option<ValueRef<'r>>]) -> Self {
        Record { table, values }
    }

    /// The local table's name.
    pub fn table(&self) -> &'r str {
        &self.table.name
    }

    /// The value of a column, whose name is compared as the store compares names. `None` if there is no such column, or a record came
    /// without it.
    pub fn get(&self, column: &str) -> Option<ValueRef<'r>> {
        self.values.get(self.table.column_index(column)?).copied().flatten()
    }

    /// The columns that it has a value for, NULL included, in the order of the local table.
    pub fn columns(&self) -> impl Iterator<Item = (&'r str, ValueRef<'r>)> {
        let columns = self.table.columns.iter().zip(self.values);
        columns.filter_map(|(column, value)| Some((column.name.as_str(), (*value)?)))
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.columns()).finish()
    }
}

/// What becomes of a row that is here and a record that would change it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Resolution {
    /// The row stays as it is. The record counts as skipped.
    Keep,
    /// The record changes the row as the strategy says.
    Take,
    /// These columns of the row, by their names, get these values; the others stay. A value is stored as the column stores it. Columns of
    /// the key stay as they are. The record counts as updated, or as unchanged where the row has all these values.
    Merge(Vec<(String, Value)>),
    /// The record fails with this message, and the reason [`RefusedByRule`](crate::Reason::RefusedByRule). The row stays as it is.
    Fail(String),
}

/// Decides what becomes of rows that records would change.
pub(crate) trait ConflictRules {
    /// What becomes of a row of the local table of this name.
    fn resolve(&self, local: &Record<'_>, incoming: &Record<'_>) -> Resolution;
}
