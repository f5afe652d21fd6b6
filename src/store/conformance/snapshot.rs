//! Snapshots: what they see of what others write.

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::store::{Snapshot, Store};

#[track_caller]
fn expect_seen(snapshot: &mut dyn Snapshot, table: &TableSchema, expected: &Rows, tables: &[&str]) {
    assert_eq!(snapshot.tables().must("list the tables"), tables, "a snapshot sees other tables");
    assert_eq!(snapshot.count(table).must("count"), expected.len() as u64, "a snapshot counts other rows");
    let mut page = Rows::default();
    snapshot.page(table, None, 0, ALL, &mut page).must("read a page");
    assert!(are_same(&owned(&page), &owned(expected)), "a snapshot sees {page:?} instead of {expected:?}");
}

pub(super) fn it_stays_as_it_is(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    let before = rows([[v(1), v("a")], [v(2), v("b")]]);
    fill(store, &users, &before);
    // Nothing has been read from it when the others write.
    let mut snapshot = look(store);
    apply(store, &plan(&users, Strategy::Overwrite), &rows([[v(2), v("changed")], [v(3), v("new")]]));
    create(store, [table("posts", "id integer!", "id")]);
    expect_seen(&mut *snapshot, &users, &before, &["users"]);
    assert_eq!(snapshot.schema("posts").must("read a schema"), None, "a snapshot sees a table that came later");
    // It may be read in another thread.
    std::thread::scope(|threads| {
        let (users, before) = (&users, &before);
        threads
            .spawn(move || expect_seen(&mut *snapshot, users, before, &["users"]))
            .join()
            .expect("it sees the same there");
    });
    let after = rows([[v(1), v("a")], [v(2), v("changed")], [v(3), v("new")]]);
    expect_seen(&mut *look(store), &users, &after, &["posts", "users"]);
}

pub(super) fn it_sees_nothing_that_is_not_committed(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    let before = rows([[v(1), v("a")]]);
    fill(store, &users, &before);
    let mut writer = begin(store);
    let changes = rows([[v(1), v("changed")], [v(2), v("new")]]);
    apply_one_by_one(&mut *writer, &plan(&users, Strategy::Overwrite), &changes).must("write");
    make(&mut *writer, &[table("posts", "id integer!", "id")]).must("make a table");
    assert_eq!(rows_in(&mut *writer, &users).must("read a page").len(), 2, "a transaction does not see its own rows");
    expect_seen(&mut *look(store), &users, &before, &["users"]);
    writer.commit().must("commit");
    expect_seen(&mut *look(store), &users, &changes, &["posts", "users"]);
}

pub(super) fn several_are_apart(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    let states: Vec<Rows> = (0..4).map(|count| rows((0..count).map(|id| [v(id), v("x")]))).collect();
    let mut snapshots = Vec::new();
    for (at, state) in states.iter().enumerate() {
        if at > 0 {
            let known = apply(store, &plan(&users, Strategy::Skip), state);
            expect_counts(&known, Counts { created: 1, skipped: at as u64 - 1, ..NONE });
        }
        snapshots.push(look(store));
    }
    snapshots.swap(0, 2);
    drop(snapshots.pop());
    for (snapshot, at) in snapshots.iter_mut().zip([2, 1, 0]) {
        expect_seen(&mut **snapshot, &users, &states[at], &["users"]);
    }
}
