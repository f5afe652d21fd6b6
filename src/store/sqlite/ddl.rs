//! Makes tables from their structure. What is made is decided by [`creatable`](super::creatable); names are quoted, types are
//! checked, and no text of a peer is run.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet};

use super::creatable::{built_in, creatable};
use super::dialect::{failed, quote, quote_all};
use super::keys::collated;
use super::overview::{Entry, Made, Overview, Reference};
use super::pool::Connection;
use super::virtual_tables;
use crate::domain::schema::{
    DefaultValue, ForeignKey, ForeignKeyAction, Index, IndexPart, OnConflict, TableSchema, UniqueSet,
};
use crate::error::{Error, ErrorKind, Result};
use crate::store::NewTable;

/// Makes a table; gives what of it was left out, as sentences.
pub(super) fn create(connection: &Connection, new: &NewTable<'_>) -> Result<Vec<String>> {
    let mut here = HashMap::new();
    for key in &new.schema.foreign_keys {
        if let hash_map::Entry::Vacant(unknown) = here.entry(key.parent.to_ascii_lowercase()) {
            unknown.insert(connection.schema(&key.parent)?);
        }
    }
    let others = |name: &str| here.get(&name.to_ascii_lowercase()).and_then(Option::as_ref).or_else(|| (new.parents)(name));
    let (table, notes) = creatable(new.schema, new.exact, &others)?;
    make(connection, &table)?;
    Ok(notes)
}

/// An error if a table cannot be made, whatever else is made: it is made in a database of its own, in memory. What SQLite says to what a
/// sender describes is known then before anybody waits for the lock.
pub(super) fn try_out(connection: &Connection, new: &NewTable<'_>) -> Result<()> {
    check_name(connection, &*connection.overview()?, &new.schema.name)?;
    let (table, _) = creatable(new.schema, new.exact, &|_| None)?;
    let scratch = rusqlite::Connection::open_in_memory().map_err(failed)?;
    run_statements(&scratch, &table, |_| false).map(|_| ())
}

/// An error if no table of this name can be here.
fn check_name(connection: &Connection, overview: &Overview, name: &str) -> Result<()> {
    if let Some(error) = overview.forbids(name) {
        return Err(error);
    }
    if overview.is_taken(name) {
        let message =
            format!("cannot create the table {name:?}: there is something of that name which is not an ordinary table");
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Rename one of the two, or leave it out."));
    }
    match virtual_tables::is_module(&connection.sqlite, name).map_err(failed)? {
        true => Err(built_in(name)),
        false => Ok(()),
    }
}

fn make(connection: &Connection, table: &TableSchema) -> Result<()> {
    let overview = connection.overview()?;
    check_name(connection, &overview, &table.name)?;
    let (statement, indexes) = run_statements(&connection.sqlite, table, |name| overview.is_taken(name))?;
    drop(overview);
    connection.note_made(made(table, indexes, &statement), &statement)
}

/// Makes a table and its indexes. Gives the statement that made the table, and the names that the indexes got: another one where `is_taken`.
fn run_statements(
    sqlite: &rusqlite::Connection,
    table: &TableSchema,
    is_taken: impl Fn(&str) -> bool,
) -> Result<(String, Vec<String>)> {
    let doing = || format!("cannot create the table {:?}", table.name);
    let run = |sql: &str| sqlite.execute_batch(sql).map_err(|e| failed(e).while_doing(doing()));
    let statement = create_table(table);
    run(&statement).map_err(|error| match error.message().contains("reserved for internal use") {
        // SQLite takes a table for part of a virtual one by its name alone, and makes none on a defensive connection.
        true => {
            let message = format!("a table named {:?} would be part of a virtual table here", table.name);
            Error::new(ErrorKind::ShadowTable, message).with_hint("Rename one of the two, or leave it out.")
        }
        false => error,
    })?;
    let (mut indexes, mut own) = (Vec::new(), HashSet::from([table.name.to_ascii_lowercase()]));
    let unique = table.unique.iter().filter_map(|set| Some((set.index.as_ref()?, parts_of(set), "UNIQUE ")));
    let plain = table.indexes.iter().map(|index| (&index.name, index.parts.clone(), ""));
    for (name, parts, unique) in unique.chain(plain) {
        // Names of indexes are shared by all tables: where one is taken, this one gets another.
        let free = free_name(name, |name| is_taken(name) || own.contains(&name.to_ascii_lowercase()));
        run(&format!("CREATE {unique}INDEX {} ON {}({})", quote(&free), quote(&table.name), listed(&parts)))?;
        own.insert(free.to_ascii_lowercase());
        indexes.push(free);
    }
    Ok((statement, indexes))
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

/// This name, or one like it with a number that is free. A number is found in few steps although thousands of tables have the name.
fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let copy = |number: u64| format!("{name} {number}");
    // The number 1 is the name itself.
    let Some(power) = (1..u64::BITS).find(|power| !is_taken(&copy(1 << power))) else {
        // Somebody has named them all so. There are more numbers than names.
        return (2..u64::MAX).map(copy).find(|name| !is_taken(name)).unwrap_or_else(|| name.to_owned());
    };
    let (mut taken, mut free) = (1_u64 << (power - 1), 1_u64 << power);
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(&copy(middle)) { taken = middle } else { free = middle }
    }
    copy(free)
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

fn create_table(table: &TableSchema) -> String {
    let mut parts: Vec<String> = Vec::new();
    for column in &table.columns {
        let mut part = quote(&column.name);
        if !column.declared_type.is_empty() {
            part.push(' ');
            part.push_str(&column.declared_type);
        }
        if table.rowid_alias && table.primary_key.first().is_some_and(|key| key.eq_ignore_ascii_case(&column.name)) {
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
    use crate::domain::schema::Column;

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

    /// As much as a peer may describe: what is made of it, and read of that again, takes time with the names, not with their square.
    #[test]
    fn many_constraints_are_made_and_read_in_passing() {
        let name = |number: usize| format!("c{}", number % 2_000);
        let column =
            |number| Column { name: name(number), declared_type: "TEXT".into(), nullable: true, ..Column::default() };
        let mut table =
            TableSchema { name: "t".into(), columns: (0..2_000).map(column).collect(), ..TableSchema::default() };
        let set = |number: usize| UniqueSet {
            columns: (0..3).map(|part| name(number + part * 7)).collect(),
            on_conflict: OnConflict::Ignore,
            ..UniqueSet::default()
        };
        table.unique = (0..2_000).map(set).collect();
        let key = |number| ForeignKey {
            columns: vec![name(number)],
            parent: "t".into(),
            parent_columns: vec![name(1), name(8), name(15)],
            ..ForeignKey::default()
        };
        table.foreign_keys = (0..2_000).map(|number| ForeignKey { columns: vec![name(number); 3], ..key(number) }).collect();
        let began = std::time::Instant::now();
        let sqlite = in_memory("");
        let notes = create(&sqlite, &NewTable { schema: &table, exact: true, parents: &|_| None }).unwrap();
        let made = sqlite.schema("t").unwrap().unwrap();
        assert_eq!((notes.len(), made.unique.len(), made.foreign_keys.len()), (0, 2_000, 2_000));
        assert!(made.unique.iter().all(|set| set.on_conflict == OnConflict::Ignore) && !made.is_unread);
        // It took a minute.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn a_key_that_is_named_in_other_letters_is_the_key() {
        let column = |name: &str, declared: &str| Column {
            name: name.into(),
            declared_type: declared.into(),
            nullable: true,
            ..Column::default()
        };
        let mut table = TableSchema {
            name: "t".into(),
            columns: vec![column("id", "INTEGER"), column("v", "TEXT")],
            primary_key: vec!["ID".into()],
            rowid_alias: true,
            autoincrement: true,
            ..TableSchema::default()
        };
        for rowid_alias in [true, false] {
            table.rowid_alias = rowid_alias;
            let sqlite = in_memory("");
            create(&sqlite, &NewTable { schema: &table, exact: true, parents: &|_| None }).unwrap();
            let made = sqlite.schema("t").unwrap().unwrap();
            assert_eq!((made.primary_key, made.rowid_alias), (vec!["id".to_owned()], rowid_alias));
        }
    }

    #[test]
    fn a_free_name_is_found_in_few_steps() {
        let free = |taken: &dyn Fn(&str) -> bool| {
            let steps = std::cell::Cell::new(0);
            let found = free_name("i", |name| {
                steps.set(steps.get() + 1);
                taken(name)
            });
            (found, steps.get())
        };
        let number = |name: &str| name.strip_prefix("i ").map_or(1, |number| number.parse::<u64>().unwrap());
        assert_eq!(free(&|_| false), ("i".to_owned(), 1));
        assert_eq!(free(&|name| number(name) == 1).0, "i 2");
        for last in [2, 3, 4, 9_999, 1 << 40] {
            let (found, steps) = free(&|name| number(name) <= last);
            assert!(found == format!("i {}", last + 1) && steps < 90, "{found} {steps}");
        }
        // All powers of two, and some others.
        assert_eq!(free(&|name| number(name).is_power_of_two() || number(name) < 7).0, "i 7");
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
