//! Makes tables from their description. What is made is decided as for SQLite, by
//! [`creatable`](crate::store::sqlite::creatable::creatable), so that a table is the same in both.

use super::table::{NAMES, Table, Tables};
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::store::NewTable;
use crate::store::sqlite::creatable::creatable;

/// Makes a table; gives what of it was left out, as sentences.
pub(super) fn create(tables: &mut Tables, new: &NewTable<'_>) -> Result<Vec<String>> {
    let others = |name: &str| tables.get(name).map(|table| &*table.schema).or_else(|| (new.parents)(name));
    let (mut made, mut notes) = creatable(new.schema, new.exact, &others)?;
    if tables.get(&made.name).is_some() {
        let message = format!("cannot create the table {:?}: there is one of that name", made.name);
        return Err(Error::new(ErrorKind::SchemaMismatch, message).with_hint("Rename one of the two, or leave it out."));
    }
    compare_by_bytes(&mut made, &mut notes);
    forbid_null(&mut made);
    made.names = NAMES;
    tables.add(Table::new(made)?);
    Ok(notes)
}

/// Texts are compared byte for byte here, whatever the column says; but for those of a key that names a collation of its own.
fn compare_by_bytes(made: &mut TableSchema, notes: &mut Vec<String>) {
    for collation in &mut made.key_collations {
        collation.take_if(|collation| collation.eq_ignore_ascii_case("BINARY"));
    }
    if made.key_collations.iter().all(Option::is_none) {
        made.key_collations.clear();
    }
    for column in &mut made.columns {
        if let Some(collation) = column.collation.take().filter(|collation| !collation.eq_ignore_ascii_case("BINARY")) {
            let (table, name) = (&made.name, &column.name);
            let why = "texts are compared byte for byte here";
            notes.push(format!("Table {table:?}: the collation {collation:?} of column {name:?} is left out: {why}."));
        }
    }
}

/// Says of the columns of a key what SQLite finds out by itself.
fn forbid_null(made: &mut TableSchema) {
    if made.rowid_alias || made.without_rowid || made.strict {
        for column in &mut made.columns {
            column.nullable &= !made.names.is_among(&column.name, &made.primary_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, ForeignKey, UniqueKind, UniqueSet};

    fn described(name: &str) -> TableSchema {
        let column = |name: &str, declared_type: &str| Column {
            name: name.into(),
            declared_type: declared_type.into(),
            nullable: true,
            ..Column::default()
        };
        TableSchema {
            name: name.into(),
            columns: vec![column("Id", "TEXT"), column("up", "TEXT")],
            primary_key: vec!["id".into()],
            foreign_keys: vec![ForeignKey {
                columns: vec!["up".into()],
                parent: "Later".into(),
                parent_columns: vec!["id".into()],
                ..ForeignKey::default()
            }],
            ..TableSchema::default()
        }
    }

    fn make(tables: &mut Tables, schema: &TableSchema, later: Option<&TableSchema>) -> Result<Vec<String>> {
        let parents = |name: &str| later.filter(|later| later.name == name);
        create(tables, &NewTable { schema, exact: true, parents: &parents })
    }

    #[test]
    fn a_table_reads_back_as_it_was_made() {
        let mut tables = Tables::default();
        let (child, parent) = (described("Child"), TableSchema { foreign_keys: Vec::new(), ..described("Later") });
        assert_eq!(make(&mut tables, &child, Some(&parent)).unwrap(), Vec::<String>::new());
        assert_eq!(*tables.table("CHILD").unwrap().schema, child);
        assert_eq!(make(&mut tables, &described("other"), None).unwrap().len(), 1, "its parent is not there");
        assert!(make(&mut tables, &described("cHILD"), None).is_err(), "it is there already");
        let error = make(&mut tables, &described("rowferry_x"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReservedName);
    }

    #[test]
    fn what_is_left_out_is_told() {
        let mut tables = Tables::default();
        let mut table = TableSchema { foreign_keys: Vec::new(), without_rowid: true, ..described("t") };
        table.columns[0].collation = Some("NOCASE".into());
        table.key_collations = vec![Some("BINARY".into())];
        table.columns[1].generated = true;
        table.unique = vec![UniqueSet { columns: vec!["up".into()], kind: UniqueKind::Partial, ..UniqueSet::default() }];
        let notes = make(&mut tables, &table, None).unwrap();
        assert!(notes.len() == 3 && notes.iter().all(|note| note.ends_with('.')), "{notes:?}");
        let made = &tables.table("t").unwrap().schema;
        assert!(made.key_collations.is_empty());
        assert!(made.unique.is_empty() && made.columns[0].collation.is_none() && !made.columns[0].nullable);
    }
}
