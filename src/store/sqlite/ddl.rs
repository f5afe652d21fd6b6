//! Makes tables from their structure. What is made is decided by [`creatable`](super::creatable); names are quoted, types are
//! checked, and no text of a peer is run.

use std::collections::HashMap;

use super::creatable::creatable;
use super::dialect::{failed, quote, quote_all};
use super::keys::collated;
use super::overview::{Entry, Made, Reference};
use super::pool::Connection;
use crate::domain::schema::{
    DefaultValue, ForeignKey, ForeignKeyAction, Index, IndexPart, OnConflict, TableSchema, UniqueSet,
};
use crate::error::{Error, ErrorKind, Result};
use crate::store::NewTable;

/// Makes a table; gives what of it was left out, as sentences.
pub(super) fn create(connection: &Connection, new: &NewTable<'_>) -> Result<Vec<String>> {
    let mut here = HashMap::new();
    for key in &new.schema.foreign_keys {
        here.insert(key.parent.to_ascii_lowercase(), connection.schema(&key.parent)?);
    }
    let others = |name: &str| here.get(&name.to_ascii_lowercase()).cloned().flatten().or_else(|| (new.parents)(name));
    let (table, notes) = creatable(new.schema, new.exact, &others)?;
    make(connection, &table)?;
    Ok(notes)
}

fn make(connection: &Connection, table: &TableSchema) -> Result<()> {
    let doing = || format!("cannot create the table {:?}", table.name);
    let overview = connection.overview()?;
    if let Some(error) = overview.forbids(&table.name) {
        return Err(error);
    }
    if overview.is_taken(&table.name) {
        let message = format!("{}: there is something of that name which is no ordinary table", doing());
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Rename one of the two, or leave it out."));
    }
    let run = |sql: &str| connection.sqlite.execute_batch(sql).map_err(|e| failed(e).while_doing(doing()));
    let statement = create_table(table);
    run(&statement)?;
    let mut indexes: Vec<String> = Vec::new();
    let unique = table.unique.iter().filter_map(|set| Some((set.index.as_ref()?, parts_of(set), "UNIQUE ")));
    let plain = table.indexes.iter().map(|index| (&index.name, index.parts.clone(), ""));
    for (name, parts, unique) in unique.chain(plain) {
        // Names of indexes are shared by all tables: where one is taken, this one gets another.
        let is_taken = |name: &str| {
            let own = indexes.iter().chain([&table.name]).any(|own| own.eq_ignore_ascii_case(name));
            own || overview.is_taken(name)
        };
        let free = free_name(name, is_taken);
        run(&format!("CREATE {unique}INDEX {} ON {}({})", quote(&free), quote(&table.name), listed(&parts)))?;
        indexes.push(free);
    }
    if overview.has_virtual() && is_shadow(&connection.sqlite, &table.name).map_err(failed)? {
        // SQLite takes a table for part of a virtual one by its name alone.
        let message = format!("a table named {:?} would be part of a virtual table here", table.name);
        return Err(Error::new(ErrorKind::ShadowTable, message).with_hint("Rename one of the two, or leave it out."));
    }
    drop(overview);
    connection.note_made(made(table, indexes, &statement), &statement)
}

/// Takes the plain indexes of a table away; gives what they were.
pub(super) fn drop_indexes(connection: &Connection, table: &TableSchema) -> Result<Vec<Index>> {
    for index in &table.indexes {
        connection.sqlite.execute_batch(&format!("DROP INDEX {}", quote(&index.name))).map_err(failed)?;
    }
    Ok(table.indexes.clone())
}

/// The page cache while an index is made, in KiB: SQLite sorts the rows in as much memory again.
const SORTING_CACHE: i64 = 16 << 10;

/// Makes plain indexes of a table, but for those that it has.
pub(super) fn create_indexes(connection: &Connection, table: &TableSchema, indexes: &[Index]) -> Result<()> {
    let usual: i64 = connection.sqlite.query_one("PRAGMA cache_size", [], |row| row.get(0)).map_err(failed)?;
    let set = |size: i64| connection.sqlite.pragma_update(None, "cache_size", size).map_err(failed);
    set(-SORTING_CACHE)?;
    let made = try_create_indexes(connection, table, indexes);
    set(usual)?;
    made
}

fn try_create_indexes(connection: &Connection, table: &TableSchema, indexes: &[Index]) -> Result<()> {
    for index in indexes {
        let Some(now) = connection.schema(&table.name)? else { return Ok(()) };
        let overview = connection.overview()?;
        // Another program may have taken the name meanwhile: then the index has another one.
        let is_renamed = |other: &Index| overview.is_taken(&index.name) && other.parts == index.parts;
        if now.indexes.iter().any(|other| now.names.same(&other.name, &index.name) || is_renamed(other)) {
            continue;
        }
        let name = free_name(&index.name, |name| overview.is_taken(name));
        let sql = format!("CREATE INDEX {} ON {}({})", quote(&name), quote(&now.name), listed(&index.parts));
        let doing = || format!("cannot create the index {name:?} of the table {:?}", now.name);
        // SQLite would take the name of a column that is not there for a string.
        if let Some(part) = index.parts.iter().find(|part| now.column_index(&part.column).is_none()) {
            let error = Error::new(ErrorKind::SchemaMismatch, format!("it has no column {:?}", part.column));
            return Err(error.while_doing(doing()));
        }
        connection.sqlite.execute_batch(&sql).map_err(|error| failed(error).while_doing(doing()))?;
    }
    Ok(())
}

/// This name, or one like it that is free.
fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut copy = 1;
    while is_taken(&free) {
        copy += 1;
        free = format!("{name} {copy}");
    }
    free
}

/// The columns of a unique set as its index lists them.
fn parts_of(set: &UniqueSet) -> Vec<IndexPart> {
    match set.parts.is_empty() {
        true => set.columns.iter().map(|column| IndexPart::plain(column)).collect(),
        false => set.parts.clone(),
    }
}

/// The columns of an index as SQL.
fn listed(parts: &[IndexPart]) -> String {
    let part = |part: &IndexPart| {
        collated(&quote(&part.column), part.collation.as_deref()) + if part.descending { " DESC" } else { "" }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// What a constraint says of rows that break it; nothing where that is what SQLite does anyway.
fn on_conflict(what: OnConflict) -> String {
    match what {
        OnConflict::Abort => String::new(),
        other => format!(" ON CONFLICT {}", other.as_sql()),
    }
}

/// What there is now that the table was made.
fn made(table: &TableSchema, indexes: Vec<String>, statement: &str) -> Made {
    let TableSchema { name, without_rowid, strict, .. } = table.clone();
    let stays = |key: &ForeignKey| matches!(key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
    let references = table.foreign_keys.iter().flat_map(|key| {
        let reference = |to: &String| {
            let (child, follows) = (table.name.clone(), !stays(key));
            (key.parent.clone(), Reference { child, to: Some(to.clone()), follows })
        };
        key.parent_columns.iter().map(reference)
    });
    let references = references.collect();
    let deferred = table.foreign_keys.iter().any(|key| key.deferred);
    let says_conflict = statement.to_ascii_uppercase().contains("CONFLICT");
    let entry =
        Entry { name, without_rowid, strict, deferred, has_triggers: false, has_before_triggers: false, says_conflict };
    Made { entry, indexes, references }
}

/// Whether SQLite calls a table part of a virtual one.
fn is_shadow(sqlite: &rusqlite::Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND type <> 'table')";
    sqlite.prepare_cached(sql)?.query_row([table], |row| row.get(0))
}

fn create_table(table: &TableSchema) -> String {
    let mut parts: Vec<String> = Vec::new();
    for column in &table.columns {
        let mut part = quote(&column.name);
        if !column.declared_type.is_empty() {
            part.push(' ');
            part.push_str(&column.declared_type);
        }
        if table.rowid_alias && table.primary_key.first() == Some(&column.name) {
            part.push_str(" PRIMARY KEY");
            part.push_str(&on_conflict(table.key_on_conflict));
            if table.autoincrement {
                part.push_str(" AUTOINCREMENT");
            }
        }
        if !column.nullable {
            part.push_str(" NOT NULL");
            part.push_str(&on_conflict(column.not_null_on_conflict));
        }
        if let Some(collation) = &column.collation {
            part.push_str(" COLLATE ");
            part.push_str(&quote(collation));
        }
        if let Some(default) = column.default.as_deref().and_then(DefaultValue::parse) {
            part.push_str(" DEFAULT ");
            part.push_str(&default.to_sql());
        }
        parts.push(part);
    }
    if !table.rowid_alias && !table.primary_key.is_empty() {
        let collation = |at: usize| table.key_collations.get(at).and_then(Option::as_deref);
        let key = table.primary_key.iter().enumerate().map(|(at, name)| collated(&quote(name), collation(at)));
        let key = key.collect::<Vec<_>>().join(", ");
        parts.push(format!("PRIMARY KEY ({key}){}", on_conflict(table.key_on_conflict)));
    }
    for set in table.unique.iter().filter(|set| set.index.is_none()) {
        parts.push(format!("UNIQUE ({}){}", listed(&parts_of(set)), on_conflict(set.on_conflict)));
    }
    for key in &table.foreign_keys {
        parts.push(format!(
            "FOREIGN KEY ({}) REFERENCES {}({}) ON DELETE {} ON UPDATE {}{}",
            list(&key.columns),
            quote(&key.parent),
            list(&key.parent_columns),
            key.on_delete.as_sql(),
            key.on_update.as_sql(),
            if key.deferred { " DEFERRABLE INITIALLY DEFERRED" } else { "" }
        ));
    }
    let mut options = Vec::new();
    if table.strict {
        options.push("STRICT");
    }
    if table.without_rowid {
        options.push("WITHOUT ROWID");
    }
    format!("CREATE TABLE {}({}) {}", quote(&table.name), parts.join(", "), options.join(", "))
}

fn list(names: &[String]) -> String {
    quote_all(names.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory(sql: &str) -> Connection {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite.execute_batch(sql).unwrap();
        Connection::new(sqlite, std::sync::Arc::default()).unwrap()
    }

    /// The statements that make what is there.
    fn dump(connection: &Connection) -> String {
        let sql = "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
        connection.sqlite.query_one(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_table_made_from_its_structure_has_the_same_structure() {
        let original = "
            CREATE TABLE parent(id INTEGER PRIMARY KEY);
            CREATE TABLE \"select\"(
                \"a \"\"quoted\"\"\" INTEGER PRIMARY KEY AUTOINCREMENT, email VARCHAR(20) NOT NULL COLLATE NOCASE UNIQUE,
                n REAL DEFAULT 1.5, t TEXT DEFAULT 'it''s', b BLOB DEFAULT x'00ff', at TEXT DEFAULT CURRENT_TIMESTAMP, any,
                p INT REFERENCES parent(id) ON DELETE CASCADE, UNIQUE(n, t));
            CREATE INDEX \"by n\" ON \"select\"(n DESC, t);
            CREATE TABLE pair(a TEXT, b INT, v ANY, PRIMARY KEY(b, a)) STRICT, WITHOUT ROWID;
            CREATE TABLE finer(a TEXT COLLATE NOCASE, b INT, PRIMARY KEY(b, a COLLATE BINARY));
            CREATE TABLE coarser(a TEXT, b TEXT COLLATE RTRIM, PRIMARY KEY(a COLLATE NOCASE, b)) WITHOUT ROWID;
            CREATE TABLE clauses(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, a TEXT NOT NULL ON CONFLICT IGNORE, b TEXT COLLATE NOCASE,
                UNIQUE (a, b, a) ON CONFLICT FAIL, UNIQUE (b COLLATE BINARY) ON CONFLICT ROLLBACK, UNIQUE (b, a DESC));
            CREATE UNIQUE INDEX one ON clauses(b); CREATE UNIQUE INDEX two ON clauses(b COLLATE RTRIM, id, b DESC);
            CREATE UNIQUE INDEX three ON clauses(b); CREATE INDEX four ON clauses(a, b COLLATE BINARY DESC, a);
            CREATE TABLE late(x INT PRIMARY KEY ON CONFLICT ABORT, y INT REFERENCES late(x) DEFERRABLE INITIALLY DEFERRED,
                z INT REFERENCES parent(id), FOREIGN KEY (y, y) REFERENCES clauses(b, a) DEFERRABLE INITIALLY DEFERRED);
            CREATE TABLE keyed(a TEXT, b INT, PRIMARY KEY(b, a) ON CONFLICT IGNORE) WITHOUT ROWID;";
        let source = in_memory(original);
        let target = in_memory("");
        for name in ["parent", "select", "pair", "finer", "coarser", "clauses", "late", "keyed"] {
            let table = source.schema(name).unwrap().unwrap();
            make(&target, &table).unwrap();
            assert_eq!(target.schema(name).unwrap().unwrap(), table);
            let read = in_memory(&dump(&target));
            assert_eq!(read.overview().unwrap().names(), target.overview().unwrap().names());
            assert_eq!(read.overview().unwrap().table(name), target.overview().unwrap().table(name));
            assert_eq!(read.overview().unwrap().children("parent"), target.overview().unwrap().children("parent"));
        }
    }

    #[test]
    fn indexes_that_were_taken_away_are_made_again_once() {
        let tables = "CREATE TABLE t(x, y); CREATE INDEX i ON t(x, y COLLATE NOCASE DESC, x); CREATE INDEX j ON t(y); CREATE UNIQUE INDEX u ON t(y)";
        let sqlite = in_memory(tables);
        let before = sqlite.schema("t").unwrap().unwrap();
        let indexes = drop_indexes(&sqlite, &before).unwrap();
        assert_eq!(indexes, before.indexes);
        let bare = sqlite.schema("t").unwrap().unwrap();
        assert_eq!((bare.indexes.len(), bare.unique.len()), (0, 1));
        // Another table takes a name meanwhile.
        sqlite.sqlite.execute_batch("CREATE TABLE o(x); CREATE INDEX j ON o(x)").unwrap();
        let size = || -> i64 { sqlite.sqlite.query_one("PRAGMA cache_size", [], |row| row.get(0)).unwrap() };
        let usual = size();
        for _ in 0..2 {
            create_indexes(&sqlite, &bare, &indexes).unwrap();
            let now = sqlite.schema("t").unwrap().unwrap().indexes;
            assert_eq!(now.iter().map(|index| index.name.as_str()).collect::<Vec<_>>(), ["i", "j 2"]);
            assert!(now.iter().zip(&indexes).all(|(now, index)| now.parts == index.parts));
        }
        assert_eq!(size(), usual);
    }

    #[test]
    fn an_index_whose_name_is_taken_gets_another() {
        let sqlite = in_memory("CREATE TABLE o(x); CREATE INDEX i ON o(x); CREATE TABLE t(x); CREATE INDEX j ON t(x);");
        let mut table = sqlite.schema("t").unwrap().unwrap();
        table.name = "u".into();
        table.indexes[0].name = "i".into();
        make(&sqlite, &table).unwrap();
        assert_eq!(sqlite.schema("u").unwrap().unwrap().indexes[0].name, "i 2");
    }
}
