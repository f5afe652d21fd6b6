//! Makes tables from their structure. What is made is decided by [`creatable`](super::creatable); names are quoted, types are
//! checked, and no text of a peer is run.

use std::collections::HashMap;

use rusqlite::Connection;

use super::catalogue;
use super::creatable::creatable;
use super::dialect::{failed, quote, quote_all};
use super::keys::collated;
use crate::domain::schema::{DefaultValue, TableSchema, UniqueKind};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::NewTable;

/// Makes a table; gives what of it was left out, as sentences.
pub(super) fn create(sqlite: &Connection, new: &NewTable<'_>) -> Result<Vec<String>> {
    let mut here = HashMap::new();
    for key in &new.schema.foreign_keys {
        here.insert(key.parent.to_ascii_lowercase(), catalogue::schema(sqlite, &key.parent)?);
    }
    let others = |name: &str| here.get(&name.to_ascii_lowercase()).cloned().flatten().or_else(|| (new.parents)(name));
    let (table, notes) = creatable(new.schema, new.exact, &others)?;
    make(sqlite, &table)?;
    if catalogue::schema(sqlite, &table.name)?.is_none() {
        // SQLite takes a table for part of a virtual one by its name alone.
        let message = format!("a table named {:?} would be part of a virtual table here", table.name);
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Rename one of the two, or leave it out."));
    }
    Ok(notes)
}

fn make(sqlite: &Connection, table: &TableSchema) -> Result<()> {
    let doing = || format!("cannot create the table {:?}", table.name);
    if name_taken(sqlite, &table.name)? {
        let message = format!("{}: there is something of that name which is no ordinary table", doing());
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Rename one of the two, or leave it out."));
    }
    sqlite.execute_batch(&create_table(table)).map_err(|e| failed(e).while_doing(doing()))?;
    for index in &table.indexes {
        // Names of indexes are shared by all tables: where one is taken, this one gets another.
        let mut name = index.name.clone();
        let mut copy = 1;
        while name_taken(sqlite, &name)? {
            copy += 1;
            name = format!("{} {copy}", index.name);
        }
        let columns: Vec<String> = index
            .columns
            .iter()
            .map(|(column, descending)| quote(column) + if *descending { " DESC" } else { "" })
            .collect();
        let sql = format!("CREATE INDEX {} ON {}({})", quote(&name), quote(&table.name), columns.join(", "));
        sqlite.execute_batch(&sql).map_err(|e| failed(e).while_doing(doing()))?;
    }
    Ok(())
}

fn name_taken(sqlite: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
    sqlite.query_row(sql, [name], |row| row.get(0)).map_err(failed)
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
        let source = Connection::open_in_memory().unwrap();
        source.execute_batch(original).unwrap();
        let target = Connection::open_in_memory().unwrap();
        for name in ["parent", "select", "pair", "finer", "coarser"] {
            let table = catalogue::schema(&source, name).unwrap().unwrap();
            make(&target, &table).unwrap();
            assert_eq!(catalogue::schema(&target, name).unwrap().unwrap(), table);
        }
    }

    #[test]
    fn an_index_whose_name_is_taken_gets_another() {
        let sqlite = Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch("CREATE TABLE o(x); CREATE INDEX i ON o(x); CREATE TABLE t(x); CREATE INDEX j ON t(x);")
            .unwrap();
        let mut table = catalogue::schema(&sqlite, "t").unwrap().unwrap();
        table.name = "u".into();
        table.indexes[0].name = "i".into();
        make(&sqlite, &table).unwrap();
        assert_eq!(catalogue::schema(&sqlite, "u").unwrap().unwrap().indexes[0].name, "i 2");
    }
}
