//! Makes tables from their structure. What is made is decided by [`creatable`](super::creatable); names are quoted, types are
//! checked, and no text of a peer is run.

use std::collections::HashMap;

use super::creatable::creatable;
use super::dialect::{failed, quote, quote_all};
use super::keys::collated;
use super::overview::{Entry, Made, Reference};
use super::pool::Connection;
use crate::domain::schema::{DefaultValue, ForeignKey, ForeignKeyAction, TableSchema, UniqueKind};
use crate::domain::value::Value;
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
    run(&create_table(table))?;
    let mut indexes: Vec<String> = Vec::new();
    for index in &table.indexes {
        // Names of indexes are shared by all tables: where one is taken, this one gets another.
        let is_taken = |name: &str| {
            let own = indexes.iter().chain([&table.name]).any(|own| own.eq_ignore_ascii_case(name));
            own || overview.is_taken(name)
        };
        let mut name = index.name.clone();
        let mut copy = 1;
        while is_taken(&name) {
            copy += 1;
            name = format!("{} {copy}", index.name);
        }
        let columns: Vec<String> = index
            .columns
            .iter()
            .map(|(column, descending)| quote(column) + if *descending { " DESC" } else { "" })
            .collect();
        run(&format!("CREATE INDEX {} ON {}({})", quote(&name), quote(&table.name), columns.join(", ")))?;
        indexes.push(name);
    }
    if overview.has_virtual() && is_shadow(&connection.sqlite, &table.name).map_err(failed)? {
        // SQLite takes a table for part of a virtual one by its name alone.
        let message = format!("a table named {:?} would be part of a virtual table here", table.name);
        return Err(Error::new(ErrorKind::ShadowTable, message).with_hint("Rename one of the two, or leave it out."));
    }
    drop(overview);
    connection.note_made(made(table, indexes))
}

/// What there is now that the table was made.
fn made(table: &TableSchema, indexes: Vec<String>) -> Made {
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
    let entry = Entry { name, without_rowid, strict, deferred: false, has_triggers: false, says_conflict: false };
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
            if table.autoincrement {
                part.push_str(" AUTOINCREMENT");
            }
        }
        if !column.nullable {
            part.push_str(" NOT NULL");
        }
        if let Some(collation) = &column.collation {
            part.push_str(" COLLATE ");
            part.push_str(&quote(collation));
        }
        if let Some(default) = column.default.as_deref().and_then(DefaultValue::parse) {
            part.push_str(" DEFAULT ");
            part.push_str(&default_sql(&default));
        }
        parts.push(part);
    }
    if !table.rowid_alias && !table.primary_key.is_empty() {
        let collation = |at: usize| table.key_collations.get(at).and_then(Option::as_deref);
        let key = table.primary_key.iter().enumerate().map(|(at, name)| collated(&quote(name), collation(at)));
        parts.push(format!("PRIMARY KEY ({})", key.collect::<Vec<_>>().join(", ")));
    }
    for set in table.unique.iter().filter(|set| set.kind == UniqueKind::Full) {
        parts.push(format!("UNIQUE ({})", list(&set.columns)));
    }
    for key in &table.foreign_keys {
        parts.push(format!(
            "FOREIGN KEY ({}) REFERENCES {}({}) ON DELETE {} ON UPDATE {}",
            list(&key.columns),
            quote(&key.parent),
            list(&key.parent_columns),
            key.on_delete.as_sql(),
            key.on_update.as_sql()
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

fn default_sql(default: &DefaultValue) -> String {
    match default {
        DefaultValue::CurrentDate => "CURRENT_DATE".to_owned(),
        DefaultValue::CurrentTime => "CURRENT_TIME".to_owned(),
        DefaultValue::CurrentTimestamp => "CURRENT_TIMESTAMP".to_owned(),
        DefaultValue::Literal(Value::Null) => "NULL".to_owned(),
        DefaultValue::Literal(Value::Integer(v)) => v.to_string(),
        DefaultValue::Literal(Value::Real(v)) => format!("{v:?}"),
        DefaultValue::Literal(Value::Text(v)) => format!("'{}'", String::from_utf8_lossy(v).replace('\'', "''")),
        DefaultValue::Literal(Value::Blob(v)) => format!("x'{}'", v.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
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
            CREATE TABLE coarser(a TEXT, b TEXT COLLATE RTRIM, PRIMARY KEY(a COLLATE NOCASE, b)) WITHOUT ROWID;";
        let source = in_memory(original);
        let target = in_memory("");
        for name in ["parent", "select", "pair", "finer", "coarser"] {
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
    fn an_index_whose_name_is_taken_gets_another() {
        let sqlite = in_memory("CREATE TABLE o(x); CREATE INDEX i ON o(x); CREATE TABLE t(x); CREATE INDEX j ON t(x);");
        let mut table = sqlite.schema("t").unwrap().unwrap();
        table.name = "u".into();
        table.indexes[0].name = "i".into();
        make(&sqlite, &table).unwrap();
        assert_eq!(sqlite.schema("u").unwrap().unwrap().indexes[0].name, "i 2");
    }
}
