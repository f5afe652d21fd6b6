//! Looking rows up by values.

use std::ops::Range;

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::store::{Found, Lookup, Store, Writer};

/// What was found for each row of the range.
#[track_caller]
fn look_up(writer: &mut dyn Writer, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>) -> Vec<Option<Vec<Value>>> {
    let mut found = Found::default();
    // What a caller used before must not be seen again.
    found.clear(1);
    found.add([ValueRef::Integer(7)]);
    writer.lookup(lookup, rows, range.clone(), &mut found).must("look rows up");
    let end = range.len();
    assert!(!found.has(end) && found.get(end).is_none(), "more was found than was looked for");
    let values = |number| found.get(number).map(|values| values.into_iter().map(ValueRef::to_owned).collect::<Vec<_>>());
    let found: Vec<_> = range.enumerate().map(|(number, _)| values(number)).collect();
    let wrong = found.iter().flatten().find(|values| values.len() != lookup.read.len());
    assert_eq!(wrong, None, "of {:?} these values were read", lookup.read);
    found
}

/// Rows `(id, team, n, name)`, of which `(team, n)` is unique.
fn users(store: &dyn Store) -> TableSchema {
    let described = table("users", "id integer!, team text, n integer, name text", "id").with_unique("team n");
    let [users] = create(store, [described]);
    let local = [
        [v(1), v("red"), v(1), v("a")],
        [v(2), v("red"), v(2), v("b")],
        [v(3), v("blue"), v(1), NULL],
        [v(4), NULL, v(1), v("d")],
        [v(5), v("blue"), NULL, v("e")],
    ];
    fill(store, &users, &rows(local));
    users
}

const BY_ID: Lookup<'_> = Lookup { table: "users", columns: &["id"], collations: &[], cells: &[0], read: &["name"] };

pub(super) fn rows_are_found_by_their_key(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    let found = look_up(&mut *writer, &BY_ID, &rows([[v(1)], [v(3)], [v(9)], [v(-1)], [v(2)]]), 0..5);
    assert_eq!(found, [Some(vec!["a".into()]), Some(vec![Value::Null]), None, None, Some(vec!["b".into()])]);
}

pub(super) fn each_column_counts(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    let records = rows([[v("red"), v(2)], [v("blue"), v(1)], [v("blue"), v(2)], [v("green"), v(1)], [v("red"), v(1)]]);
    let lookup = Lookup { columns: &["team", "n"], cells: &[0, 1], read: &["id"], ..BY_ID };
    let found = look_up(&mut *writer, &lookup, &records, 0..5);
    assert_eq!(found, [Some(vec![2.into()]), Some(vec![3.into()]), None, None, Some(vec![1.into()])], "by two columns");
    // They need not stand in the table's order, nor be a unique set, nor the only cells of a row.
    let records = rows([[v("?"), v("b"), v(2), v("red")], [v("?"), v("b"), v(1), v("red")]]);
    let lookup = Lookup { columns: &["n", "name", "team"], cells: &[2, 1, 3], read: &["id"], ..BY_ID };
    let found = look_up(&mut *writer, &lookup, &records, 0..2);
    assert_eq!(found, [Some(vec![2.into()]), None], "by three columns");
    // One of several rows is found where several have the value.
    let lookup = Lookup { columns: &["team"], read: &["team"], ..BY_ID };
    assert_eq!(look_up(&mut *writer, &lookup, &rows([[v("red")]]), 0..1), [Some(vec!["red".into()])], "by one column");
}

pub(super) fn columns_are_read_as_asked(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    let lookup = Lookup { read: &["name", "id", "team", "name"], ..BY_ID };
    let found = look_up(&mut *writer, &lookup, &rows([[v(2)], [v(4)]]), 0..2);
    let expected: [[Value; 4]; 2] =
        [["b".into(), 2.into(), "red".into(), "b".into()], ["d".into(), 4.into(), Value::Null, "d".into()]];
    assert_eq!(found, expected.map(|row| Some(row.into())), "columns in another order, and one twice");
    // Without columns only whether there is one is asked.
    let found = look_up(&mut *writer, &Lookup { read: &[], ..BY_ID }, &rows([[v(2)], [v(9)], [v(4)]]), 0..3);
    assert_eq!(found, [Some(vec![]), None, Some(vec![])], "whether rows are there");
}

pub(super) fn a_key_is_found_as_it_compares(store: &dyn Store) {
    let described = table("codes", "code text!, n integer!, name text", "n code");
    let Some(codes) = create_collated(store, described, "- NOCASE") else { return };
    fill(store, &codes, &rows([[v("x"), v(1), v("a")], [v("y"), v(1), v("b")], [v("X"), v(2), v("c")]]));
    let mut writer = begin(store);
    let asked = rows([[v("X"), v(1)], [v("x"), v(1)], [v("x "), v(1)], [v("x"), v(2)], [v("Y"), v(2)]]);
    let mut look = |collations: &[Option<&str>]| {
        let columns = &["code", "n"];
        let lookup = Lookup { table: "codes", columns, collations, cells: &[0, 1], read: &["name"] };
        let found = look_up(&mut *writer, &lookup, &asked, 0..5);
        found.into_iter().map(|found| found.map(|row| row[0].as_str().unwrap_or_default().to_owned())).collect::<Vec<_>>()
    };
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(look(&[Some("NOCASE"), None]), [name("a"), name("a"), None, name("c"), None], "as the key compares");
    assert_eq!(look(&[]), [None, name("a"), None, None, None], "as the columns compare");
}

pub(super) fn null_and_what_is_absent_find_nothing(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    let lookup = Lookup { columns: &["team", "n"], cells: &[0, 1], read: &["id"], ..BY_ID };
    // A row has NULL in each of them; the last record finds its row in spite of those before it.
    let records = rows([
        [NULL, v(1)],
        [v("blue"), NULL],
        [NULL, NULL],
        [ABSENT, v(1)],
        [v("red"), ABSENT],
        [ABSENT, ABSENT],
        [v("red"), v(1)],
    ]);
    let found = look_up(&mut *writer, &lookup, &records, 0..7);
    let expected: Vec<_> = (0..7).map(|row| (row == 6).then(|| vec![Value::Integer(1)])).collect();
    assert_eq!(found, expected, "rows looked for by NULL, by nothing, and by values");
}

pub(super) fn what_does_not_exist_finds_nothing(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    let records = rows([[v(1)], [v("nowhere")], [NULL]]);
    for lookup in [
        Lookup { table: "nowhere", ..BY_ID },
        Lookup { columns: &["nowhere"], ..BY_ID },
        Lookup { columns: &["id", "nowhere"], cells: &[0, 0], ..BY_ID },
        Lookup { read: &["nowhere"], ..BY_ID },
        Lookup { table: "nowhere", read: &[], ..BY_ID },
        Lookup { columns: &["nowhere"], read: &[], ..BY_ID },
    ] {
        assert_eq!(look_up(&mut *writer, &lookup, &records, 0..3), [None, None, None], "{lookup:?}");
    }
    // The transaction continues.
    assert!(look_up(&mut *writer, &BY_ID, &records, 0..1)[0].is_some(), "nothing is found any more");
}

pub(super) fn answers_are_those_of_the_range(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    fill(store, &users, &rows((0..500).filter(|id| id % 3 != 0).map(|id| [v(id), v(format!("n{id}"))])));
    let mut writer = begin(store);
    // In no order, and some of them twice.
    let ids: Vec<i64> = (0..600).map(|at| at * 37 % 550).collect();
    let records = rows(ids.iter().map(|id| [v("?"), v(*id)]));
    for range in [0..600, 100..101, 17..400, 5..5, 599..600, 600..600] {
        let found = look_up(&mut *writer, &Lookup { cells: &[1], ..BY_ID }, &records, range.clone());
        let name = |id: &i64| (id % 3 != 0 && *id < 500).then(|| vec![Value::from(format!("n{id}"))]);
        assert!(found.iter().eq(ids[range.clone()].iter().map(name).collect::<Vec<_>>().iter()), "of {range:?}: {found:?}");
    }
}

pub(super) fn it_sees_what_the_transaction_did(store: &dyn Store) {
    let users = users(store);
    let mut writer = begin(store);
    let records = rows([[v(1)], [v(6)]]);
    assert!(look_up(&mut *writer, &BY_ID, &records, 0..2)[1].is_none(), "a row is found before it is written");
    writer.savepoint().must("set a savepoint");
    let changes = rows([[v(1), v("red"), v(1), v("changed")], [v(6), NULL, NULL, v("new")]]);
    apply_one_by_one(&mut *writer, &plan(&users, Strategy::Overwrite), &changes).must("write");
    let found = look_up(&mut *writer, &BY_ID, &records, 0..2);
    assert_eq!(found, [Some(vec!["changed".into()]), Some(vec!["new".into()])], "rows that were written just now");
    writer.rollback_to().must("roll back");
    assert_eq!(look_up(&mut *writer, &BY_ID, &records, 0..2), [Some(vec!["a".into()]), None], "rows that were undone");
}

pub(super) fn names_are_compared_by_the_stores_rules(store: &dyn Store) {
    users(store);
    let mut writer = begin(store);
    for (table, column, read) in [("USERS", "id", "name"), ("users", "ID", "name"), ("users", "id", "Name")] {
        let lookup = Lookup { table, columns: &[column], read: &[read], ..BY_ID };
        let found = look_up(&mut *writer, &lookup, &rows([[v(1)]]), 0..1)[0].is_some();
        let names = store.names();
        let expected = names.same(table, "users") && names.same(column, "id") && names.same(read, "name");
        assert_eq!(found, expected, "whether {read:?} of {table:?} is found by {column:?}, where names are {names:?}");
    }
}

pub(super) fn values_are_read_bit_for_bit(store: &dyn Store) {
    let [keeper] = create(store, [table("keeper", "id text!, a integer, b real, c text, d blob", "id")]);
    let local = rows([
        [v("x"), v(i64::MIN), v(f64::MIN_POSITIVE), v(""), Some(Value::Blob(vec![]))],
        [v("ä"), v(i64::MAX), v(-1.5e300), v("𝄞 '\"; --"), Some(Value::Blob((0..=255).collect()))],
        [v("x "), v(0), v(0.1 + 0.2), v("x".repeat(100_000)), Some(Value::Blob(vec![0; 100_000]))],
    ]);
    fill(store, &keeper, &local);
    let lookup = Lookup { table: "keeper", read: &["id", "a", "b", "c", "d"], ..BY_ID };
    let found = look_up(&mut *begin(store), &lookup, &local, 0..3);
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert!(are_same(&found, &owned(&local)), "{found:?} is found instead of {local:?}");
}

/// A store that undoes nothing need not delete.
pub(super) fn one_row_is_deleted_that_has_exactly_the_values(store: &dyn Store) {
    if !store.undoes() {
        return;
    }
    let [users, posts] = create(store, [table("users", "id integer!, name text", "id"), table("posts", "v text", "")]);
    fill(store, &users, &rows([[v(1), v("a")], [v(2), v("b")]]));
    fill(store, &posts, &rows([[v("x")], [v("x")], [v(Value::Null)], [v("X")]]));
    let deleted = |table: &TableSchema, columns: &[usize], values: &Rows| {
        let mut refused = Vec::new();
        let deleted = write(store, |writer| writer.delete(table, columns, values, 0, &mut refused));
        assert!(refused.is_empty(), "{refused:?}");
        deleted
    };
    assert!(!deleted(&users, &[0, 1], &rows([[v(1), v("A")]])), "a row that has another value was deleted");
    assert!(!deleted(&users, &[0], &rows([[v(3), v("a")]])), "a row was deleted that is not there");
    assert!(deleted(&users, &[0], &rows([[v(1), v("other")]])), "a row is not found by its key");
    expect_rows(store, &users, &rows([[v(2), v("b")]]));
    assert!(deleted(&posts, &[0], &rows([[v("x")]])) && deleted(&posts, &[0], &rows([[v(Value::Null)]])));
    expect_multiset(store, &posts, &rows([[v("x")], [v("X")]]));
}

pub(super) fn rows_of_records_are_found_in_any_order(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    fill(store, &users, &rows((0..300).filter(|id| id % 3 > 0).map(|id| [v(id), v(format!("n{id}"))])));
    let ascending: Vec<i64> = (0..300).filter(|id| id % 2 == 0 || id % 50 < 5).collect();
    let (few, far) = (vec![7, 8], vec![1, 2, 4, 5, 100, 101, 102, 280, 298, 299, 300, 900]);
    let (back, twice) = (ascending.iter().rev().copied().collect(), [&ascending[..40], &ascending[..40]].concat());
    for ids in [ascending, few, far, back, twice] {
        let wanted = rows(ids.iter().map(|id| [v(*id), v("any")]));
        let mut found = Found::default();
        let differ = write(store, |writer| writer.rows_of(&users, &[0], &[1], &wanted, 0..ids.len(), &mut found));
        let mut sorted = ids.clone();
        sorted.dedup();
        sorted.sort();
        sorted.dedup();
        assert!(!differ || sorted.len() == ids.len(), "rows that are the same are said to differ");
        for (number, id) in ids.iter().enumerate() {
            let expected = (id % 3 > 0 && *id < 300).then(|| vec![Value::from(format!("n{id}"))]);
            let values = found.get(number).map(|values| values.into_iter().map(ValueRef::to_owned).collect::<Vec<_>>());
            assert_eq!(values, expected, "the row {id}");
        }
    }
}
