//! What the statements of tables say beyond what pragmas tell, for one state of the catalogue.

use std::collections::HashMap;

use rusqlite::Connection;

use super::compared::{Compared, Comparisons};
use super::create_text::{self, CreateText, KeyPart, KeyText};
use super::dialect::failed;
use crate::domain::schema::{OnConflict, TableSchema, UniqueKind};
use crate::error::Result;

/// The statements in which one of these words stands; the others say nothing more. `None` for one that makes no sense.
#[derive(Debug, Clone, Default)]
pub(super) struct Statements(HashMap<String, Option<CreateText>>);

impl Statements {
    pub(super) fn read(sqlite: &Connection) -> Result<Self> {
        let mut found = Statements::default();
        found.try_read(sqlite).map_err(failed)?;
        Ok(found)
    }

    fn try_read(&mut self, sqlite: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT tbl_name, sql FROM sqlite_schema
                   WHERE type = 'table' AND (sql LIKE '%CONFLICT%' OR sql LIKE '%DEFERRED%')";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // One whose name is no UTF-8 is not looked for.
            if let (Ok(name), text) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str()) {
                self.0.insert(name.to_ascii_lowercase(), text.ok().and_then(create_text::read));
            }
        }
        Ok(())
    }

    /// Adds the statement of a table that was just made, whose keywords are in capitals.
    pub(super) fn add(&mut self, table: &str, text: &str) {
        let says_more = ["CONFLICT", "DEFERRED"].iter().any(|word| text.contains(word));
        if says_more {
            self.0.insert(table.to_ascii_lowercase(), create_text::read(text));
        }
    }

    /// Adds what its statement says to a table's structure, or that it makes no sense.
    pub(super) fn tell(&self, table: &mut TableSchema) {
        let Some(text) = self.0.get(&table.name.to_ascii_lowercase()) else { return };
        match text.as_ref().and_then(|text| told(table, text)) {
            Some(told) => *table = told,
            None => table.is_unread = true,
        }
    }
}

/// The structure with what the text says; `None` if the text is about another one.
fn told(table: &TableSchema, text: &CreateText) -> Option<TableSchema> {
    let mut told = table.clone();
    let same = |one: &str, other: &str| table.names.same(one, other);
    if told.columns.len() != text.columns.len() || told.foreign_keys.len() != text.foreign_keys.len() {
        return None;
    }
    for (column, text) in told.columns.iter_mut().zip(&text.columns) {
        same(&column.name, &text.name).then_some(())?;
        column.not_null_on_conflict = text.not_null;
    }
    for (key, text) in told.foreign_keys.iter_mut().zip(&text.foreign_keys) {
        let are_same = key.columns.len() == text.columns.len()
            && key.columns.iter().zip(&text.columns).all(|(one, other)| same(one, other));
        (are_same && same(&key.parent, &text.parent)).then_some(())?;
        key.deferred = text.deferred;
    }
    set_keys(&mut told, &text.keys)?;
    Some(told)
}

/// Says of a table's key and unique sets what the constraints of its statement do. Each is found once: there may be many.
fn set_keys(table: &mut TableSchema, keys: &[KeyText]) -> Option<()> {
    let comparisons = Comparisons::of(table);
    let primary = comparisons.key(table).filter(|_| !table.rowid_alias);
    let mut sets: HashMap<Vec<Compared>, usize> = HashMap::new();
    for (at, set) in table.unique.iter().enumerate() {
        if set.index.is_none()
            && set.kind != UniqueKind::Partial
            && let Some(compared) = comparisons.set(set)
        {
            sets.entry(compared).or_insert(at);
        }
    }
    for key in keys {
        let part = |part: &KeyPart| comparisons.part(&part.column, part.collation.as_deref());
        let parts: Vec<Compared> = key.parts.iter().map(part).collect::<Option<_>>()?;
        if key.on_conflict == OnConflict::Abort {
            continue;
        }
        // One index serves constraints that say the same; what one of them does, all do.
        if key.is_primary || primary.as_ref() == Some(&parts) {
            table.key_on_conflict = key.on_conflict;
        } else {
            table.unique[*sets.get(&parts)?].on_conflict = key.on_conflict;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::tests::inspect;
    use super::*;

    #[test]
    fn a_structure_has_what_its_statement_says() {
        let table = inspect(
            "CREATE TABLE p(x PRIMARY KEY);
             CREATE TABLE t(a TEXT COLLATE NOCASE NOT NULL ON CONFLICT IGNORE, b TEXT UNIQUE ON CONFLICT FAIL, c REFERENCES p DEFERRABLE
                INITIALLY DEFERRED, d REFERENCES p, PRIMARY KEY (b COLLATE NOCASE, a) ON CONFLICT REPLACE, UNIQUE (A, b, a)
                ON CONFLICT ROLLBACK, UNIQUE (c, b COLLATE RTRIM) ON CONFLICT IGNORE, UNIQUE (d));
             CREATE UNIQUE INDEX named ON t(b);",
            "T",
        );
        assert!(!table.is_unread);
        assert_eq!(table.key_on_conflict, OnConflict::Replace);
        assert_eq!(table.columns[0].not_null_on_conflict, OnConflict::Ignore);
        assert_eq!(table.foreign_keys.iter().map(|key| key.deferred).collect::<Vec<_>>(), [true, false]);
        let sets: Vec<_> = table.unique.iter().map(|set| (set.index.as_deref(), set.on_conflict)).collect();
        let clauses = [OnConflict::Fail, OnConflict::Rollback, OnConflict::Ignore, OnConflict::Abort];
        assert_eq!(sets[..4], clauses.map(|clause| (None, clause)));
        assert_eq!(sets[4], (Some("named"), OnConflict::Abort));
    }

    #[test]
    fn constraints_that_share_an_index_share_what_they_do() {
        let table = inspect("CREATE TABLE t(a TEXT PRIMARY KEY, UNIQUE (a) ON CONFLICT REPLACE)", "t");
        assert_eq!((table.key_on_conflict, table.unique.len()), (OnConflict::Replace, 0));
        let table = inspect("CREATE TABLE t(a INTEGER PRIMARY KEY, UNIQUE (a) ON CONFLICT REPLACE)", "t");
        assert_eq!((table.key_on_conflict, table.unique[0].on_conflict), (OnConflict::Abort, OnConflict::Replace));
    }

    #[test]
    fn a_statement_that_is_about_something_else_is_not_believed() {
        for text in [
            "CREATE TABLE t(a UNIQUE ON CONFLICT IGNORE)",
            "CREATE TABLE t(a, c UNIQUE ON CONFLICT IGNORE)",
            "CREATE TABLE t(a, b UNIQUE ON CONFLICT IGNORE)",
            "CREATE TABLE t(a, b REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TABLE t(a, b DEFERRED",
        ] {
            let mut table = inspect("CREATE TABLE t(a, b)", "t");
            let mut statements = Statements::default();
            statements.add("T", text);
            let before = table.clone();
            statements.tell(&mut table);
            assert_eq!(table, TableSchema { is_unread: true, ..before }, "{text}");
        }
    }
}
