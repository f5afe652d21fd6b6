//! Which tables there are, what they look like, and making them.

use super::harness::*;
use crate::domain::schema::{Column, DefaultValue, ForeignKey, ForeignKeyAction, Index, LogicalType, TableSchema};
use crate::store::{Scope, Stage, Store};

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
    write(store, |writer| writer.stage_create(&Stage { scope: Scope::new(), number: 1, width: 2 }));
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
    let [users] = create(store, [table("Users", "id integer!, mail text", "id")]);
    let (mut snapshot, mut writer) = (look(store), begin(store));
    for name in ["Users", "USERS", "users", "Users ", "user", "", "Users; --"] {
        let found = [snapshot.schema(name).must("read a schema"), writer.schema(name).must("read a schema")];
        assert_eq!(found[0], found[1], "snapshot and writer disagree about {name:?}");
        let folded = name.eq_ignore_ascii_case("Users");
        match &found[0] {
            Some(table) => assert!(folded && *table == users, "{name:?} finds {table:?}"),
            // Whether case counts is the store's own affair.
            None => assert!(name != "Users", "the table is not found by its own name"),
        }
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
    child.indexes.push(Index { name: "by t".into(), columns: vec![("t".into(), false), ("group by".into(), true)] });
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
    let indexes = |table: &TableSchema| table.indexes.iter().map(|index| index.columns.clone()).collect::<Vec<_>>();
    assert_eq!(indexes(found), indexes(made), "the indexes of {name:?} changed");
}

pub(super) fn a_table_reads_back_as_it_was_made(store: &dyn Store) {
    let made = made(&rich());
    write(store, |writer| {
        for table in &made {
            writer.create_table(table)?;
            let found = writer.schema(&table.name)?.expect("the table that was just made is there");
            expect_same(&found, table);
        }
        Ok(())
    });
    for table in &made {
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
    let made = made(&described);
    let found = create(store, described);
    for (found, made) in found.iter().zip(&made) {
        expect_same(found, made);
    }
}

pub(super) fn a_table_that_cannot_be_made_can_be_undone(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, mail text", "id")]);
    fill(store, &users, &rows([[v(1), v("a")]]));
    let made = made(&[table("users", "id integer!", "id"), table("posts", "id integer!", "id")]);
    write(store, |writer| {
        writer.mark()?;
        assert!(writer.create_table(&made[0]).is_err(), "a table was made twice");
        writer.undo()?;
        writer.create_table(&made[1])
    });
    assert_eq!(schema(store, "users"), users, "the table that was there changed");
    expect_rows(store, &users, &rows([[v(1), v("a")]]));
    expect_same(&schema(store, "posts"), &made[1]);
}

pub(super) fn rows_are_counted(store: &dyn Store) {
    let [users, empty] = create(store, [table("users", "id integer!", "id"), table("empty", "id integer", "")]);
    fill(store, &users, &rows((0..1234).map(|id| [v(id)])));
    let (mut snapshot, mut writer) = (look(store), begin(store));
    for (table, count) in [(&users, 1234), (&empty, 0)] {
        assert_eq!(snapshot.count(table).must("count"), count, "the snapshot counts wrongly");
        assert_eq!(writer.count(table).must("count"), count, "the writer counts wrongly");
    }
    let gone = table("gone", "id integer!", "id");
    assert!(snapshot.count(&gone).is_err(), "a table that is not there has a count");
    assert!(snapshot.page(&gone, None, 0, ALL, &mut Default::default()).is_err(), "a table that is not there has rows");
}
