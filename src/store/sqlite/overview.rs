//! What is read of the catalogue at once, for all tables: which there are, which have triggers, and which refer to which. Asked table by
//! table, each of these would read through all of them again.

use std::collections::{HashMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::create_text;
use super::dialect::failed;
use super::virtual_tables::{self, Virtual};
use crate::domain::names::is_reserved;
use crate::domain::not_copied::NotCopied;
use crate::error::{Error, ErrorKind, Result};

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
    /// Whether one of them may run before a row is written.
    pub(super) has_before_triggers: bool,
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

/// Why a table is left alone: neither is it offered nor written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Apart {
    /// It lies behind a virtual table; behind this one of a module that is not registered, or SQLite itself says so.
    Shadow(Option<Virtual>),
    /// A name or default in it is no UTF-8.
    NotUtf8,
}

/// All of it, for one state of the catalogue. Names are found as SQLite compares them; one that is no UTF-8 is known by what can be
/// read of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Overview {
    tables: HashMap<String, Entry>,
    /// Tables that are left alone, with their names as they were made.
    apart: HashMap<String, (String, Apart)>,
    virtual_tables: Vec<Virtual>,
    views: HashMap<String, String>,
    /// Of tables, indexes, views and triggers, rowferry's own included.
    taken: HashSet<String>,
    /// By the table that they belong to.
    triggers: HashMap<String, Vec<String>>,
    /// By the table that is referred to.
    references: HashMap<String, Vec<Reference>>,
}

/// A text of the catalogue as far as it can be read: SQLite lets any bytes into a name.
fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(at)?.as_bytes_or_null()?.unwrap_or_default()).into_owned())
}

fn is_utf8(row: &Row<'_>, at: usize) -> rusqlite::Result<bool> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).is_ok(),
        _ => true,
    })
}

impl Overview {
    pub(super) fn read(sqlite: &Connection) -> Result<Self> {
        Overview::try_read(sqlite).map_err(failed)
    }

    fn try_read(sqlite: &Connection) -> rusqlite::Result<Self> {
        let mut found = Overview::default();
        let (mut deferred, mut conflict, mut before) = (HashSet::new(), HashSet::new(), HashSet::new());
        let (mut suspicious, mut virtual_tables) = (HashSet::new(), Vec::new());
        let sql =
            "SELECT type, tbl_name, name, type = 'table' AND sql LIKE '%DEFERRED%', rootpage = 0 AND type = 'table', sql,
                    type = 'table' AND sql LIKE '%CONFLICT%'
                   FROM sqlite_schema";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (table, name, says_deferred) = (text(row, 1)?, text(row, 2)?, row.get::<_, Option<bool>>(3)?);
            found.taken.insert(folded(&name));
            let kind = row.get_ref(0)?.as_bytes()?;
            match kind {
                b"view" => drop(found.views.insert(folded(&name), name)),
                b"trigger" => {
                    if !create_text::runs_after(&text(row, 5)?) {
                        before.insert(folded(&table));
                    }
                    found.triggers.entry(folded(&table)).or_default().push(name);
                }
                b"table" if row.get::<_, bool>(4)? => {
                    let sql = row.get_ref(5)?.as_bytes_or_null()?.unwrap_or_default().to_vec();
                    virtual_tables.push((name, sql));
                }
                _ => {
                    // All names of a table and its indexes stand in their statements.
                    if !is_utf8(row, 2)? || !is_utf8(row, 5)? {
                        suspicious.insert(table.clone());
                    }
                    if row.get::<_, Option<bool>>(6)? == Some(true) {
                        conflict.insert(table.clone());
                    }
                    if says_deferred == Some(true) {
                        deferred.insert(table);
                    }
                }
            }
        }
        found.virtual_tables = virtual_tables::all(sqlite, virtual_tables)?;
        let sql = "SELECT name, wr, strict, type = 'shadow' FROM temp.pragma_table_list
                   WHERE schema = 'main' AND type IN ('table', 'shadow')
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'rowferry\\_%' ESCAPE '\\'";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, without_rowid, strict): (String, bool, bool) = (text(row, 0)?, row.get(1)?, row.get(2)?);
            let owner = || found.virtual_tables.iter().find(|owner| owner.may_own(&name)).cloned();
            let apart = match (row.get(3)?, owner()) {
                (true, _) => Some(Apart::Shadow(None)),
                (false, Some(owner)) => Some(Apart::Shadow(Some(owner))),
                (false, None) if !is_utf8(row, 0)? => Some(Apart::NotUtf8),
                (false, None) if suspicious.contains(&name) && !is_readable(sqlite, &name)? => Some(Apart::NotUtf8),
                (false, None) => None,
            };
            if let Some(apart) = apart {
                found.apart.insert(folded(&name), (name, apart));
                continue;
            }
            let (deferred, has_triggers) = (deferred.contains(&name), found.triggers.contains_key(&folded(&name)));
            let says_conflict = conflict.contains(&name);
            let has_before_triggers = before.contains(&folded(&name));
            let entry = Entry { name, without_rowid, strict, deferred, has_triggers, has_before_triggers, says_conflict };
            found.tables.insert(folded(&entry.name), entry);
        }
        found.read_references(sqlite)?;
        Ok(found)
    }

    fn read_references(&mut self, sqlite: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT s.name, f.\"table\", f.\"to\", f.on_update NOT IN ('NO ACTION', 'RESTRICT')
                   FROM sqlite_schema s, temp.pragma_foreign_key_list(s.name) f
                   WHERE s.type = 'table' AND s.sql LIKE '%REFERENCES%' ORDER BY s.name, f.id, f.seq";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let parent = text(row, 1)?;
            let to = match row.get_ref(2)? {
                ValueRef::Null => None,
                _ => Some(text(row, 2)?),
            };
            let reference = Reference { child: text(row, 0)?, to, follows: row.get(3)? };
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

    /// Why rows of this table are none of a pull's business, whether it is there or is to be made.
    pub(super) fn forbids(&self, table: &str) -> Option<Error> {
        let hint = "Register the module (SiteBuilder::on_connection), or rename the table, if it is no part of it.";
        let behind = |owner: &Virtual| {
            let (name, module) = (&owner.name, &owner.module);
            let why = format!(
                "the table {table:?} belongs to the virtual table {name:?} here, whose module {module:?} is unknown"
            );
            Error::new(ErrorKind::ShadowTable, why).with_hint(hint)
        };
        match self.apart.get(&folded(table)) {
            Some((_, Apart::Shadow(Some(owner)))) => Some(behind(owner)),
            Some((_, Apart::Shadow(None))) => {
                let why = format!("the table {table:?} belongs to a virtual table here");
                Some(Error::new(ErrorKind::ShadowTable, why).with_hint("Rename one of the two, or leave it out."))
            }
            Some((_, Apart::NotUtf8)) => {
                let why = format!("the table {table:?} here has a name or a default in it that is not UTF-8");
                Some(Error::new(ErrorKind::NotUtf8, why).with_hint("Rename what is named so, or leave the table out."))
            }
            None if self.tables.contains_key(&folded(table)) => None,
            None => self.virtual_tables.iter().find(|owner| owner.may_own(table)).map(behind),
        }
    }

    /// What there is beside the ordinary tables; nothing of rowferry's own.
    pub(super) fn not_copied(&self, sqlite: &Connection) -> Result<NotCopied> {
        let mut found = NotCopied {
            views: self.views.values().cloned().collect(),
            virtual_tables: self.virtual_tables.iter().map(|table| table.name.clone()).collect(),
            ..NotCopied::default()
        };
        for (name, apart) in self.apart.values() {
            match apart {
                Apart::Shadow(_) => found.shadow_tables.push(name.clone()),
                Apart::NotUtf8 => found.not_utf8.push(name.clone()),
            }
        }
        for (table, triggers) in &self.triggers {
            if let Some(entry) = self.tables.get(table) {
                found.triggers.insert(entry.name.clone(), triggers.clone());
            }
        }
        self.count_checks(sqlite, &mut found).map_err(failed)?;
        found.retain(|name| !is_reserved(name));
        found.sort();
        Ok(found)
    }

    /// Counts the CHECK constraints in the statements of the tables. A statement that makes no sense has none.
    fn count_checks(&self, sqlite: &Connection, found: &mut NotCopied) -> rusqlite::Result<()> {
        let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%CHECK%'";
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(entry) = self.tables.get(&folded(&text(row, 0)?)) else { continue };
            let checks = create_text::read(&text(row, 1)?).map_or(0, |read| read.checks as u64);
            if checks > 0 {
                found.checks.insert(entry.name.clone(), checks);
            }
        }
        Ok(())
    }

    /// The virtual tables whose modules are not registered, each with its module.
    pub(super) fn unknown_modules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.virtual_tables.iter().filter(|table| !table.is_known).map(|table| (&*table.name, &*table.module))
    }

    pub(super) fn is_view(&self, name: &str) -> bool {
        self.views.contains_key(&folded(name))
    }

    /// Whether anything of the host's runs when this table is written.
    pub(super) fn has_triggers(&self, table: &str) -> bool {
        self.triggers.contains_key(&folded(table))
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

/// Whether all that is read of a table is UTF-8.
fn is_readable(sqlite: &Connection, table: &str) -> rusqlite::Result<bool> {
    for sql in [
        "SELECT name, type, dflt_value FROM temp.pragma_table_xinfo(?1)",
        "SELECT \"table\", \"from\", \"to\" FROM temp.pragma_foreign_key_list(?1)",
        "SELECT i.name, x.name, x.coll FROM temp.pragma_index_list(?1) i LEFT JOIN temp.pragma_index_xinfo(i.name) x",
    ] {
        let mut statement = sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([table])?;
        while let Some(row) = rows.next()? {
            for at in 0..3 {
                if !is_utf8(row, at)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
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

    #[test]
    fn tables_behind_virtual_ones_are_told_from_those_beside_them() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "CREATE VIRTUAL TABLE notes USING fts5(x); CREATE TABLE notes_tags(x);
                 CREATE TABLE Doc_Vec_info(x); CREATE TABLE doc_vec(x); CREATE TABLE doc_vecchio(x CHECK (x > 0), CHECK (x < 9)); CREATE VIEW doc_vec_v AS SELECT 1;
                 CREATE TRIGGER tr AFTER INSERT ON doc_vecchio BEGIN SELECT 1; END;
                 CREATE TRIGGER of_shadow AFTER INSERT ON Doc_Vec_info BEGIN SELECT 1; END; DROP TABLE doc_vec;
                 PRAGMA writable_schema = ON;
                 INSERT INTO sqlite_schema VALUES ('table', 'DOC_vec', 'DOC_vec', 0, 'CREATE VIRTUAL TABLE DOC_vec USING vec0(e)');
                 PRAGMA writable_schema = RESET;",
            )
            .unwrap();
        let found = Overview::read(&sqlite).unwrap();
        assert_eq!(found.names(), ["doc_vecchio", "notes_tags"]);
        let kind = |table: &str| found.forbids(table).map(|error| error.kind());
        assert_eq!(kind("doc_vec_INFO"), Some(ErrorKind::ShadowTable));
        assert_eq!([kind("doc_vec_not_here"), kind("NOTES_data")], [Some(ErrorKind::ShadowTable); 2]);
        assert_eq!([kind("doc_vecchio"), kind("notes_tags"), kind("notes_new"), kind("doc_vec")], [None, None, None, None]);
        let beside = found.not_copied(&sqlite).unwrap();
        assert_eq!(
            (&beside.views[..], &beside.virtual_tables[..]),
            (&["doc_vec_v".into()][..], &["DOC_vec".into(), "notes".into()][..])
        );
        let of_notes = ["config", "content", "data", "docsize", "idx"].map(|part| format!("notes_{part}"));
        assert_eq!(beside.shadow_tables, [&["Doc_Vec_info".to_owned()][..], &of_notes].concat());
        assert_eq!(beside.checks, [("doc_vecchio".into(), 2)].into());
        assert_eq!(beside.triggers, [("doc_vecchio".into(), vec!["tr".into()])].into());
    }

    #[test]
    fn what_is_no_utf8_leaves_the_other_tables_alone() {
        let sqlite = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE good(x /* caf_ */, y REFERENCES good(x)); CREATE TABLE na_me(x); CREATE TABLE col(c_c);
            CREATE TABLE def(x DEFAULT 'd_d'); CREATE TABLE typ(x T_T); CREATE TABLE child(x REFERENCES par_ent(y));
            CREATE TABLE par_ent(y); CREATE TABLE ind(x); CREATE INDEX i_i ON ind(x); CREATE TABLE com(x);
            CREATE INDEX j ON com(x /* _ */) WHERE x > '_'; CREATE VIEW v_v AS SELECT 1;
            CREATE TRIGGER t_t AFTER INSERT ON good BEGIN SELECT 1; END;";
        sqlite.execute_batch(tables).unwrap();
        let spoil =
            ["name", "tbl_name", "sql"].map(|column| format!("{column} = replace({column}, '_', CAST(x'e9' AS TEXT))"));
        let spoil = format!("UPDATE sqlite_schema SET {}", spoil.join(", "));
        sqlite.execute_batch(&format!("PRAGMA writable_schema = ON; {spoil}; PRAGMA writable_schema = RESET")).unwrap();
        let found = Overview::read(&sqlite).unwrap();
        assert_eq!(found.names(), ["com", "good"]);
        let bad = ["child", "col", "def", "ind", "na\u{fffd}me", "par\u{fffd}ent", "typ"];
        let beside = found.not_copied(&sqlite).unwrap();
        assert_eq!(beside.not_utf8, bad);
        assert_eq!(
            (&beside.views[..], &beside.triggers["good"][..]),
            (&["v\u{fffd}v".into()][..], &["t\u{fffd}t".into()][..])
        );
        assert_eq!(found.forbids("COL").map(|error| error.kind()), Some(ErrorKind::NotUtf8));
    }
}
