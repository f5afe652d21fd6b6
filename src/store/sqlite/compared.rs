//! By what keys and unique sets tell rows apart: their columns in order, each with its collation. Two constraints of which that is the
//! same are one index to SQLite.

use std::collections::HashMap;

use crate::domain::schema::{Column, TableSchema, UniqueSet};

/// The place of a column, and the folded name of the collation that it is compared by.
pub(super) type Compared = (usize, String);

/// The columns of a table, found by name once: a peer's table may have many sets over many columns.
pub(super) struct Comparisons {
    /// By the folded name: the place of a column, and its own collation.
    columns: HashMap<String, Compared>,
}

impl Comparisons {
    pub(super) fn of(table: &TableSchema) -> Self {
        let column = |(at, column): (usize, &Column)| {
            let own = column.collation.as_deref().unwrap_or("BINARY").to_ascii_lowercase();
            (column.name.to_ascii_lowercase(), (at, own))
        };
        Comparisons { columns: table.columns.iter().enumerate().map(column).collect() }
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains_key(&column.to_ascii_lowercase())
    }

    /// One column, compared by this collation or by its own; `None` if there is none of this name.
    pub(super) fn part(&self, column: &str, collation: Option<&str>) -> Option<Compared> {
        let (at, own) = self.columns.get(&column.to_ascii_lowercase())?;
        Some((*at, collation.map_or_else(|| own.clone(), str::to_ascii_lowercase)))
    }

    /// What a set compares rows by; `None` if it names what is no column.
    pub(super) fn set(&self, set: &UniqueSet) -> Option<Vec<Compared>> {
        match set.parts.is_empty() {
            true => set.columns.iter().map(|column| self.part(column, None)).collect(),
            false => set.parts.iter().map(|part| self.part(&part.column, part.collation.as_deref())).collect(),
        }
    }

    /// What the primary key of this table compares rows by; `None` if it names what is no column.
    pub(super) fn key(&self, table: &TableSchema) -> Option<Vec<Compared>> {
        let collation = |at: usize| table.key_collations.get(at).and_then(Option::as_deref);
        table.primary_key.iter().enumerate().map(|(at, column)| self.part(column, collation(at))).collect()
    }
}
