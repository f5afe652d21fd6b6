//! What is read of the catalogue at once, for all tables: which there are, which have triggers, and which refer to which. Asked table by
//! table, each of these would read through all of them again.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::dialect::failed;
use crate::error::Result;

/// An ordinary table, and what no pragma about it alone tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name as it was made.
    pub(super) name: String,
    pub(super) without_rowid: bool,
    pub(super) strict: bool,
    /// Whether the word DEFERRED stands in its statement: no pragma tells. Where it stands for something else the table is only
    /// written more carefully than need be.
    pub(super) deferred: bool,
    pub(super) has_triggers: bool,
    /// Whether the word CONFLICT stands in its statement: a constraint of its own may say what becomes of a row that breaks it.
    pub(super) says_conflict: bool,
}

/// A foreign key that refers to a table, as far as it is told without reading the table that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The table that has it.
    pub(super) child: String,
    /// The column that it refers to; `None` means the primary key.
    pub(super) to: Option<String>,
    /// Whether the rows that refer change with those that they refer to.
    pub(super) follows: bool,
}

/// A table that was just made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) entry: Entry,
    /// The names of its indexes.
    pub(super) indexes: Vec<String>,
    /// The tables that it refers to, each with how.
    pub(super) references: Vec<(String, Reference)>,
}

/// All of it, for one state of the catalogue. Names are found as SQLite compares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Overview {
    tables: HashMap<String, Entry>,
    views: HashSet<String>,
    /// Of tables, indexes, views and triggers, rowferry's own included.
    taken: HashSet<String>,
    with_triggers: HashSet<String>,
    has_virtual: bool,
    /// By the table that is referred to.
    references: HashMap<String, Vec<Reference>>,
}

impl Overview {
    pub(super) fn read(sqlite: &Connection) -> Result<Self> {
        Overview::try_read(sqlite).map_err(failed)
    }

    fn try_read(sqlite: &Connection) -> rusqlite::Result<Self> {
        let mut found = Overview::default();
        let (mut deferred, mut conflict) = (HashSet::new(), HashSet::new());
        let sql = "SELECT type, tbl_name, name, type = 'table' AND sql LIKE '%DEFERRED%', rootpage = 0 AND type = 'table',
                   type = 'table' AND sql LIKE '%CONFLICT%' FROM sqlite_schema";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, name, says_deferred) = (row.get_ref(0)?, row.get::<_, String>(1)?, row.get::<_, Option<bool>>(3)?);
            found.has_virtual |= row.get::<_, bool>(4)?;
            found.taken.insert(folded(&row.get::<_, String>(2)?));
            if row.get::<_, Option<bool>>(5)? == Some(true) {
                conflict.insert(name.clone());
            }
            match kind.as_bytes()? {
                b"view" => drop(found.views.insert(folded(&name))),
                b"trigger" => drop(found.with_triggers.insert(folded(&name))),
                _ if says_deferred == Some(true) => drop(deferred.insert(name)),
                _ => {}
            }
        }
        let sql = "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'rowferry\\_%' ESCAPE '\\'";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, without_rowid, strict): (String, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (deferred, has_triggers) = (deferred.contains(&name), found.with_triggers.contains(&folded(&name)));
            let says_conflict = conflict.contains(&name);
            let entry = Entry { name, without_rowid, strict, deferred, has_triggers, says_conflict };
            found.tables.insert(folded(&entry.name), entry);
        }
        found.read_references(sqlite)?;
        Ok(found)
    }

    fn read_references(&mut self, sqlite: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT s.name, f.\"table\", f.\"to\", f.on_update NOT IN ('NO ACTION', 'RESTRICT')
                   FROM sqlite_schema s, pragma_foreign_key_list(s.name) f
                   WHERE s.type = 'table' AND s.sql LIKE '%REFERENCES%' ORDER BY s.name, f.id, f.seq";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let parent: String = row.get(1)?;
            let reference = Reference { child: row.get(0)?, to: row.get(2)?, follows: row.get(3)? };
            self.references.entry(folded(&parent)).or_default().push(reference);
        }
        Ok(())
    }

    /// Adds a table that was just made, with these indexes.
    pub(super) fn add(&mut self, made: Made) {
        self.taken.extend(made.indexes.iter().chain([&made.entry.name]).map(|name| folded(name)));
        self.tables.insert(folded(&made.entry.name), made.entry);
        for (parent, reference) in made.references {
            self.references.entry(folded(&parent)).or_default().push(reference);
        }
    }

    /// Whether a table, an index, a view or a trigger has this name.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.taken.contains(&folded(name))
    }

    /// The ordinary table of this name.
    pub(super) fn table(&self, name: &str) -> Option<&Entry> {
        self.tables.get(&folded(name))
    }

    /// The names of the ordinary tables, sorted by their bytes.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tables.values().map(|entry| entry.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Whether there is a virtual table: then SQLite may call a table part of it by its name alone.
    pub(super) fn has_virtual(&self) -> bool {
        self.has_virtual
    }

    pub(super) fn is_view(&self, name: &str) -> bool {
        self.views.contains(&folded(name))
    }

    /// Whether anything of the host's runs when this table is written.
    pub(super) fn has_triggers(&self, table: &str) -> bool {
        self.with_triggers.contains(&folded(table))
    }

    /// What refers to a table, column by column.
    pub(super) fn references_to(&self, table: &str) -> &[Reference] {
        self.references.get(&folded(table)).map_or(&[], Vec::as_slice)
    }

    /// The names of the tables that refer to this one, sorted.
    pub(super) fn children(&self, table: &str) -> Vec<String> {
        let mut names: Vec<String> = self.references_to(table).iter().map(|reference| reference.child.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_tables_views_triggers_and_references() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "CREATE TABLE Parents(id INTEGER PRIMARY KEY, code TEXT UNIQUE) STRICT;
                 CREATE TABLE a(p INT REFERENCES parents(ID) ON UPDATE CASCADE, c TEXT REFERENCES PARENTS(code));
                 CREATE TABLE b(p INT REFERENCES parents DEFERRABLE INITIALLY DEFERRED, k TEXT PRIMARY KEY) WITHOUT ROWID;
                 CREATE VIEW v AS SELECT 1; CREATE TABLE rowferry_x(x);
                 CREATE TRIGGER t AFTER INSERT ON PARENTS BEGIN SELECT 1; END;",
            )
            .unwrap();
        let found = Overview::read(&sqlite).unwrap();
        assert_eq!(found.names(), ["Parents", "a", "b"]);
        let entry = |name: &str| found.table(name).map(|entry| (entry.strict, entry.without_rowid, entry.deferred));
        assert_eq!(
            [entry("PARENTS"), entry("a"), entry("B"), entry("v"), entry("rowferry_x")],
            [Some((true, false, false)), Some((false, false, false)), Some((false, true, true)), None, None]
        );
        assert!(found.is_view("V") && !found.is_view("a") && found.has_triggers("parents") && !found.has_triggers("a"));
        assert_eq!(found.children("pARENTS"), ["a", "b"]);
        let to: Vec<_> = found.references_to("parents").iter().map(|r| (r.to.as_deref(), r.follows)).collect();
        assert_eq!(to, [(Some("code"), false), (Some("ID"), true), (None, false)]);
    }
}
