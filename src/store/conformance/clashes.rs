//! Which rows keep another one out: those that have its values in a unique set.

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::store::{Sets, Store};

fn users(store: &dyn Store) -> TableSchema {
    let [users] =
        create(store, [table("users", "id integer!, mail text, name text", "id").with_unique("mail").with_unique("name")]);
    fill(store, &users, &rows([[v(1), v("a"), v("x")], [v(2), v("b"), v("y")], [v(3), NULL, v("z")], [v(4), v("d"), NULL]]));
    users
}

/// The keys of the rows that keep the first of these rows out, sorted; the table stays as it is.
#[track_caller]
fn clashes(store: &dyn Store, table: &TableSchema, key: &[usize], given: &Rows) -> Vec<Vec<Value>> {
    let before = contents(store, table);
    let mut all = Vec::new();
    for sets in [Sets::All, Sets::Full] {
        let mut found = rows([[v("left from before"), v(1), v(1)]]);
        write(store, |writer| writer.clashes(table, key, sets, given, 0, &mut found));
        let mut found = owned(&found);
        found.sort_by_key(|key| format!("{key:?}"));
        all.push(found);
    }
    assert!(are_same(&contents(store, table), &before), "a look for what is in the way changed the table");
    let found = all.pop().unwrap_or_default();
    // Tables that are made from a description have full sets only.
    assert_eq!(all.pop().as_ref(), Some(&found), "what is in the way by all sets, and by the full ones");
    found
}

pub(super) fn all_rows_in_the_way_are_named_once(store: &dyn Store) {
    let users = users(store);
    let found = clashes(store, &users, &[0], &rows([[v(9), v("a"), v("y")]]));
    assert_eq!(found, [[Value::Integer(1)], [Value::Integer(2)]], "the rows in the way of a row by two sets");
    let found = clashes(store, &users, &[0], &rows([[v(9), v("b"), v("y")]]));
    assert_eq!(found, [[Value::Integer(2)]], "the row that is in the way by two sets");
    let found = clashes(store, &users, &[0], &rows([[v(9), v("c"), v("c")]]));
    assert!(found.is_empty(), "{found:?} are in the way of a row that is like none");
}

pub(super) fn its_own_row_is_in_nobodys_way(store: &dyn Store) {
    let users = users(store);
    let found = clashes(store, &users, &[0], &rows([[v(1), v("a"), v("x")]]));
    assert!(found.is_empty(), "{found:?} are in the way of a row that is there");
    let found = clashes(store, &users, &[0], &rows([[v(1), v("a"), v("z")]]));
    assert_eq!(found, [[Value::Integer(3)]], "the rows in the way of a change");
}

pub(super) fn null_is_like_nothing(store: &dyn Store) {
    let users = users(store);
    let found = clashes(store, &users, &[0], &rows([[v(9), NULL, NULL]]));
    assert!(found.is_empty(), "{found:?} are in the way of NULL");
}

pub(super) fn what_a_row_lacks_takes_its_default(store: &dyn Store) {
    let mut described = table("t", "id integer!, a text, b text", "id").with_unique("a").with_unique("b");
    described.columns[1].default = Some("'x'".into());
    let [t] = create(store, [described]);
    fill(store, &t, &rows([[v(1), v("x"), v("y")]]));
    let found = clashes(store, &t, &[0], &rows([[v(9), ABSENT, ABSENT]]));
    assert_eq!(found, [[Value::Integer(1)]], "the rows in the way of a default");
    let found = clashes(store, &t, &[0], &rows([[v(9), v("z"), ABSENT]]));
    assert!(found.is_empty(), "{found:?} are in the way of a row without a default");
}

pub(super) fn keys_of_several_columns_are_named_whole(store: &dyn Store) {
    let [t] = create(store, [table("t", "a integer!, b text!, n integer", "b a").with_unique("n")]);
    fill(store, &t, &rows([[v(1), v("x"), v(5)], [v(1), v("y"), v(6)]]));
    let key = [1, 0];
    let found = clashes(store, &t, &key, &rows([[v(1), v("x"), v(6)]]));
    assert_eq!(found, [["y".into(), Value::Integer(1)]], "the key of the row in the way");
}
