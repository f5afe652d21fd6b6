//! Which tables there are, what they look like, and making them.

use super::harness::*;
use crate::domain::schema::{
    Column, DefaultValue, ForeignKey, ForeignKeyAction, Index, IndexPart, LogicalType, TableSchema,
};
use crate::error::ErrorKind;
use crate::store::{NewTable, Store};

pub(super) fn a_fresh_store_has_no_tables(store: &dyn Store) {
    let mut snapshot = look(store);
    assert_eq!(snapshot.tables().must("list the tables"), Vec::<String>::new(), "a fresh store has tables");
    assert!(!store.name().is_empty(), "the store has no name for messages");
}

/// Names that only quoting makes possible.
const NAMES: [&str; 9] = ["zebra", "Apple", "apple pie", "rowferryx", "select", "we\"ird '; --", "Grün", "100%_", "a.b"];

pub(super) fn tables_are_sorted_and_rowferrys_own_are_not_among_them(store: &dyn Store) {
    for name in NAMES {
        create(store, [table(name, "id integer!, from text", "id")]);
    }
    let mut snapshot = look(store);
    let mut expected = NAMES.map(String::from);
    expected.sort();
    assert_eq!(snapshot.tables().must("list the tables"), expected, "not these tables in this order");
    for name in NAMES {
        let found = snapshot.schema(name).must("read a schema");
        assert_eq!(found.map(|table| table.name).as_deref(), Some(name), "a listed table has no schema");
    }
    let found = snapshot.schema("rowferry_settings").must("read a schema");
    assert_eq!(found, None, "a table of rowferry's own has a schema");
}

pub(super) fn a_table_is_found_by_its_name(store: &dyn Store) {
    let [users] = create(store, [table("Users", "id integer!, Mail text", "id")]);
    assert_eq!(users.names, store.names(), "the table and the store compare names differently");
    let (mut snapshot, mut writer) = (look(store), begin(store));
    for name in ["Users", "USERS", "users", "Users ", "user", "", "Users; --", "Ũsers"] {
        let found = [snapshot.schema(name).must("read a schema"), writer.schema(name).must("read a schema")];
        assert_eq!(found[0], found[1], "snapshot and writer disagree about {name:?}");
        let expected = store.names().same(name, "Users").then_some(&users);
        assert_eq!(found[0].as_ref(), expected, "the table \"Users\", looked for as {name:?}");
    }
}

/// What every store can make, with all that a table may have.
fn rich() -> [TableSchema; 2] {
    let parent = table("parent", "a integer!, b text!, c integer", "b a").with_unique("c");
    let mut child = table("order \"x\"", "id integer!, a integer, b text, n real, t text!, bytes blob", "id")
        .with_unique("n t")
        .with_unique("bytes")
        .with_parent("b a", "parent", "b a")
        .with_parent("a", "parent", "c");
    child.foreign_keys[0].on_delete = ForeignKeyAction::Cascade;
    child.foreign_keys[1].on_update = ForeignKeyAction::SetNull;
    child.columns[1].default = Some("-5".into());
    child.columns[2].default = Some("'it''s'".into());
    child.columns[3].default = Some("1.5".into());
    child.columns.push(Column { name: "group by".into(), logical: LogicalType::Text, nullable: true, ..Column::default() });
    child.indexes.push(Index {
        name: "by t".into(),
        parts: vec![IndexPart::plain("t"), IndexPart { descending: true, ..IndexPart::plain("group by") }],
    });
    [parent, child]
}

/// What must be the same of a column; the declared type is the store's own.
fn column(column: &Column) -> (&str, &LogicalType, bool, bool, Option<DefaultValue>) {
    let default = column.default.as_deref().map(|text| {
        DefaultValue::parse(text).unwrap_or_else(|| panic!("the default of {:?} reads back as {text:?}", column.name))
    });
    (&column.name, &column.logical, column.nullable, column.generated, default)
}

fn sorted_keys(table: &TableSchema) -> Vec<&ForeignKey> {
    let mut keys: Vec<_> = table.foreign_keys.iter().collect();
    keys.sort_by_key(|key| key.columns.len());
    keys
}

#[track_caller]
fn expect_same(found: &TableSchema, made: &TableSchema) {
    let name = &made.name;
    assert_eq!(found.name, *name, "the table's name changed");
    let columns = |table: &TableSchema| format!("{:?}", table.columns.iter().map(column).collect::<Vec<_>>());
    assert_eq!(columns(found), columns(made), "the columns of {name:?} changed");
    assert_eq!(found.primary_key, made.primary_key, "the key of {name:?} changed");
    let unique = |table: &TableSchema| {
        let mut sets: Vec<_> = table.unique.iter().map(|set| (set.columns.clone(), format!("{:?}", set.kind))).collect();
        sets.sort();
        sets
    };
    assert_eq!(unique(found), unique(made), "the unique sets of {name:?} changed");
    assert_eq!(sorted_keys(found), sorted_keys(made), "the foreign keys of {name:?} changed");
    let indexes = |table: &TableSchema| table.indexes.iter().map(|index| index.parts.clone()).collect::<Vec<_>>();
    assert_eq!(indexes(found), indexes(made), "the indexes of {name:?} changed");
}

pub(super) fn a_table_reads_back_as_it_was_made(store: &dyn Store) {
    let described = rich();
    write(store, |writer| {
        make(writer, &described)?;
        for table in &described {
            let found = writer.schema(&table.name)?.expect("the table that was just made is there");
            expect_same(&found, table);
        }
        Ok(())
    });
    for table in &described {
        expect_same(&schema(store, &table.name), table);
    }
}

pub(super) fn tables_that_refer_to_each_other_are_made_in_one_transaction(store: &dyn Store) {
    // The first one's parent is not there yet.
    let described = [
        table("a", "id integer!, b integer", "id").with_parent("b", "b", "id"),
        table("b", "id integer!, a integer", "id").with_parent("a", "a", "id"),
        table("node", "id integer!, up integer", "id").with_parent("up", "node", "id"),
    ];
    let found = create(store, described.clone());
    for (found, made) in found.iter().zip(&described) {
        expect_same(found, made);
    }
    // A parent that is here is found without help.
    let late = table("late", "id integer!, a integer", "id").with_parent("a", "a", "id");
    write(store, |writer| writer.create_table(&NewTable { schema: &late, exact: false, parents: &|_| None }));
    expect_same(&schema(store, "late"), &late);
}

pub(super) fn what_cannot_be_taken_over_is_said(store: &dyn Store) {
    let mut users = table("users", "id integer!, seed integer, double integer, team integer", "id");
    users.columns[1].default = Some("random()".into());
    users.columns[2].generated = true;
    users.foreign_keys = table("", "x any", "").with_parent("team", "nowhere", "id").foreign_keys;
    let notes = write(store, |writer| writer.create_table(&NewTable { schema: &users, exact: false, parents: &|_| None }));
    assert!(
        notes.len() >= 3,
        "a default, a generated column and a reference are lost, of which only this is said: {notes:?}"
    );
    let whole = |note: &&String| note.trim_end().ends_with('.') && note.contains("users");
    assert_eq!(notes.iter().find(|note| !whole(note)), None, "a note is no whole sentence about its table");
    let found = schema(store, "users");
    assert!(
        found.columns.iter().all(|column| column.default.is_none() && !column.generated),
        "code was taken over: {found:?}"
    );
    assert!(found.foreign_keys.is_empty(), "the table refers to another that is not there: {found:?}");
}

pub(super) fn a_key_compares_as_described_or_it_is_said(store: &dyn Store) {
    for collations in ["NOCASE -", "- RTRIM", "NOCASE RTRIM"] {
        let described = table(collations, "a text!, b text!, x text", "b a");
        if let Some(found) = create_collated(store, described, collations) {
            let seen = begin(store).schema(collations).must("read a schema");
            assert_eq!(seen.as_ref(), Some(&found), "snapshot and writer disagree about {collations:?}");
        }
    }
}

pub(super) fn nothing_of_a_description_is_run(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, mail text", "id")]);
    fill(store, &users, &rows([[v(1), v("a")]]));
    let attack = "x\" integer); DROP TABLE users; --";
    let mut hostile = table(attack, "id integer!, y integer", "id");
    hostile.columns[1].name = attack.into();
    hostile.columns[1].default = Some("0); DROP TABLE users; --".into());
    hostile.columns[1].declared_type = "INT); DROP TABLE users; --".into();
    hostile.columns[1].collation = Some("BINARY); DROP TABLE users; --".into());
    hostile.indexes.push(Index { name: attack.into(), parts: vec![IndexPart::plain(attack)] });
    for exact in [false, true] {
        hostile.name.push('x');
        write(store, |writer| {
            writer.savepoint()?;
            let table = NewTable { schema: &hostile, exact, parents: &|_| None };
            // Whether such a table can be made is the store's own affair.
            writer.create_table(&table).map(|_| ()).or_else(|_| writer.rollback_to())
        });
    }
    assert_eq!(schema(store, "users"), users, "the description of one table changed another");
    expect_rows(store, &users, &rows([[v(1), v("a")]]));
}

pub(super) fn a_table_that_cannot_be_made_is_an_error(store: &dyn Store) {
    create(store, [table("users", "id integer!, mail text", "id")]);
    let nothing = TableSchema { name: "nothing".into(), ..TableSchema::default() };
    for (described, kind) in [
        (nothing, Some(ErrorKind::SchemaMismatch)),
        (table("twice", "a integer, a text", ""), Some(ErrorKind::SchemaMismatch)),
        (table("keyless", "a integer", "b"), Some(ErrorKind::SchemaMismatch)),
        (table("rowferry_settings", "key text!", "key"), Some(ErrorKind::ReservedName)),
        (table("rowferry_new", "key text!", "key"), Some(ErrorKind::ReservedName)),
        (table("Pragma_Table_List", "name text!", "name"), Some(ErrorKind::ReservedName)),
        (table("json_each", "value text!", "value"), Some(ErrorKind::ReservedName)),
        (table("users", "id integer!", "id"), None),
    ] {
        let name = &described.name;
        let made = begin(store).create_table(&NewTable { schema: &described, exact: false, parents: &|_| None });
        let found = made.map_err(|error| error.kind());
        match (found, kind) {
            (Ok(_), _) => panic!("the table {name:?} was made"),
            (Err(found), Some(kind)) => assert_eq!(found, kind, "the error of making the table {name:?}"),
            (Err(_), None) => {}
        }
    }
    assert_eq!(look(store).tables().must("list the tables"), ["users"], "tables that could not be made are there");
}

pub(super) fn a_table_that_cannot_be_made_can_be_undone(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, mail text", "id")]);
    fill(store, &users, &rows([[v(1), v("a")]]));
    let described = [table("users", "id integer!", "id"), table("posts", "id integer!", "id")];
    write(store, |writer| {
        writer.savepoint()?;
        assert!(make(writer, &described[..1]).is_err(), "a table was made twice");
        writer.rollback_to()?;
        make(writer, &described[1..])
    });
    assert_eq!(schema(store, "users"), users, "the table that was there changed");
    expect_rows(store, &users, &rows([[v(1), v("a")]]));
    expect_same(&schema(store, "posts"), &described[1]);
}

pub(super) fn rows_are_counted(store: &dyn Store) {
    let [users, empty] = create(store, [table("users", "id integer!", "id"), table("empty", "id integer", "")]);
    fill(store, &users, &rows((0..1234).map(|id| [v(id)])));
    let mut snapshot = look(store);
    for (table, count) in [(&users, 1234), (&empty, 0)] {
        assert_eq!(snapshot.count(table).must("count"), count, "the rows of {:?}", table.name);
    }
    let gone = table("gone", "id integer!", "id");
    assert!(snapshot.count(&gone).is_err(), "a table that is not there has a count");
}
