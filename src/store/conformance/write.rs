//! Writing local rows, each on its own.

use std::ops::Range;

use super::harness::*;
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::store::{Change, Refused, Store};

const UPDATE_NAME: Change<'_> = Change::Update { key: &[0], set: &[2] };

/// Writes rows in a transaction of its own.
#[track_caller]
fn put(store: &dyn Store, table: &TableSchema, change: Change<'_>, rows: &Rows, range: Range<usize>) -> Vec<Refused> {
    let mut refused = Vec::new();
    write(store, |writer| writer.write(table, change, rows, range, &mut refused));
    refused
}

#[track_caller]
fn insert(store: &dyn Store, table: &TableSchema, rows: &Rows) -> Vec<Refused> {
    put(store, table, Change::Insert, rows, 0..rows.len())
}

/// Three rows `(id, n, name)`.
fn users(store: &dyn Store) -> TableSchema {
    let [users] = create(store, [table("users", "id integer!, n integer, name text!", "id").with_unique("n")]);
    expect_refused(&insert(store, &users, &local()), &[]);
    users
}

fn local() -> Rows {
    rows([[v(1), v(1), v("a")], [v(2), v(2), v("b")], [v(3), NULL, v("c")]])
}

pub(super) fn new_rows_take_defaults_for_what_they_lack(store: &dyn Store) {
    let mut users = table("users", "id integer!, n integer, name text!, at text, must text!", "id");
    users.columns[1].default = Some("5".into());
    users.columns[2].default = Some("'nobody'".into());
    let [users] = create(store, [users]);
    let given = rows([
        [v(1), ABSENT, ABSENT, ABSENT, v("x")],
        [v(2), NULL, v("a"), NULL, v("x")],
        [v(3), v(1), v("a"), v("z"), ABSENT],
        [v(4), v(6), NULL, v("z"), v("x")],
        [v(5), ABSENT, v("a"), v("z"), v("x")],
    ]);
    let refused = insert(store, &users, &given);
    expect_refused(&refused, &[(2, Reason::NotNull), (3, Reason::NotNull)]);
    let expected = rows([
        [v(1), v(5), v("nobody"), NULL, v("x")],
        [v(2), NULL, v("a"), NULL, v("x")],
        [v(5), v(5), v("a"), v("z"), v("x")],
    ]);
    expect_rows(store, &users, &expected);
}

pub(super) fn a_row_may_lack_everything(store: &dyn Store) {
    let mut log = table("log", "a integer, b text", "");
    log.columns[0].default = Some("7".into());
    let [log] = create(store, [log]);
    expect_refused(&insert(store, &log, &rows([[ABSENT, ABSENT], [ABSENT, v("x")], [ABSENT, ABSENT]])), &[]);
    expect_multiset(store, &log, &rows([[v(7), NULL], [v(7), v("x")], [v(7), NULL]]));
}

pub(super) fn an_update_sets_only_what_it_is_told(store: &dyn Store) {
    let users = users(store);
    let refused = put(store, &users, UPDATE_NAME, &rows([[v(2), v(99), v("new")], [v(3), ABSENT, v("new")]]), 0..2);
    expect_refused(&refused, &[]);
    expect_rows(store, &users, &rows([[v(1), v(1), v("a")], [v(2), v(2), v("new")], [v(3), NULL, v("new")]]));
    // A row that is already so is no row that was not found.
    expect_refused(&put(store, &users, UPDATE_NAME, &rows([[v(2), ABSENT, v("new")]]), 0..1), &[]);
    // Among the columns that are set may be those that find the row.
    let all = Change::Update { key: &[0], set: &[2, 0, 1] };
    expect_refused(&put(store, &users, all, &rows([[v(1), NULL, v("last")]]), 0..1), &[]);
    expect_rows(store, &users, &rows([[v(1), NULL, v("last")], [v(2), v(2), v("new")], [v(3), NULL, v("new")]]));
}

pub(super) fn an_update_finds_its_row_by_all_columns_of_the_key(store: &dyn Store) {
    let [pairs] = create(store, [table("pairs", "x text, a integer!, b text!", "b a")]);
    fill(store, &pairs, &rows([[v("-"), v(1), v("p")], [v("-"), v(2), v("p")], [v("-"), v(1), v("q")]]));
    let update = Change::Update { key: &[2, 1], set: &[0] };
    let refused = put(store, &pairs, update, &rows([[v("new"), v(2), v("p")], [v("last"), v(1), v("q")]]), 0..2);
    expect_refused(&refused, &[]);
    expect_rows(store, &pairs, &rows([[v("-"), v(1), v("p")], [v("new"), v(2), v("p")], [v("last"), v(1), v("q")]]));
}

pub(super) fn an_update_that_finds_no_row_is_refused(store: &dyn Store) {
    let users = users(store);
    let refused = put(store, &users, UPDATE_NAME, &rows([[v(9), NULL, v("x")], [v(1), NULL, v("x")]]), 0..2);
    let found: Vec<_> = refused.iter().map(|refused| refused.row).collect();
    assert_eq!(found, [0], "the rows of an update that found none");
    expect_rows(store, &users, &rows([[v(1), v(1), v("x")], [v(2), v(2), v("b")], [v(3), NULL, v("c")]]));
}

pub(super) fn a_key_is_one_as_it_compares(store: &dyn Store) {
    let Some(codes) = create_collated(store, table("codes", "code text!, name text", "code"), "NOCASE") else { return };
    fill(store, &codes, &rows([[v("x"), v("a")], [v("y"), v("b")], [v("x "), v("c")]]));
    let given = rows([[v("X"), v("new")], [v("Z"), v("new")]]);
    expect_refused(&write(store, |writer| add(writer, &codes, &given)), &[(0, Reason::UniqueConflict)]);
    // The key itself is set as well: it is the same one in another form.
    let update = Change::Update { key: &[0], set: &[0, 1] };
    let given = rows([[v("X"), v("changed")], [v("w"), v("changed")], [v("y "), v("changed")]]);
    let refused: Vec<_> = put(store, &codes, update, &given, 0..3).into_iter().map(|refused| refused.row).collect();
    assert_eq!(refused, [1, 2], "only the first one is the key of a row, as the key compares");
    let expected = [[v("X"), v("changed")], [v("x "), v("c")], [v("y"), v("b")], [v("Z"), v("new")]];
    expect_rows(store, &codes, &rows(expected));
}

pub(super) fn refused_rows_leave_nothing_and_take_no_other_with_them(store: &dyn Store) {
    let described = [
        table("teams", "id integer!", "id"),
        table("users", "id integer!, mail text, name text!, team integer", "id")
            .with_unique("mail")
            .with_parent("team", "teams", "id"),
    ];
    let [teams, users] = create(store, described);
    fill(store, &teams, &rows([[v(1)]]));
    let mail = |id: i64| v(format!("{id}@example.org"));
    let given = rows((0..200).map(|id| match id {
        7 => [v(id), mail(3), v("x"), v(1)],
        40 => [v(id), mail(id), NULL, v(1)],
        41 => [v(id), mail(id), v("x"), v(99)],
        42 => [v(2), mail(id), v("x"), v(1)],
        199 => [v(id), mail(id), v("x"), v(-1)],
        _ => [v(id), mail(id), v("x"), if id % 2 == 0 { v(1) } else { NULL }],
    }));
    let refused = insert(store, &users, &given);
    let expected = [
        (7, Reason::UniqueConflict),
        (40, Reason::NotNull),
        (41, Reason::ForeignKey),
        (42, Reason::UniqueConflict),
        (199, Reason::ForeignKey),
    ];
    expect_refused(&refused, &expected);
    for (row, column) in [(0, "mail"), (1, "name"), (2, "team"), (3, "id")] {
        let found = refused[row].column.as_deref();
        assert!(found.is_none_or(|found| found == column), "{found:?} is at fault instead of {column:?}");
    }
    let failed: Vec<_> = expected.iter().map(|(row, _)| *row as i64).collect();
    let kept: Vec<i64> = (0..200).filter(|id| !failed.contains(id)).collect();
    assert_eq!(integers(&contents(store, &users), 0), kept, "the rows that are there");
    // An update is refused as well, and changes nothing.
    let update = Change::Update { key: &[0], set: &[1, 2, 3] };
    let given = rows([
        [v(0), mail(1), v("new"), NULL],
        [v(1), mail(1), v("new"), NULL],
        [v(2), mail(2), NULL, NULL],
        [v(3), NULL, v("new"), v(99)],
        [v(4), NULL, v("new"), v(1)],
    ]);
    let refused = put(store, &users, update, &given, 0..5);
    expect_refused(&refused, &[(0, Reason::UniqueConflict), (2, Reason::NotNull), (3, Reason::ForeignKey)]);
    let names: Vec<_> = contents(store, &users).into_iter().take(5).map(|mut row| row.swap_remove(2)).collect();
    assert_eq!(names, ["x", "new", "x", "x", "new"].map(Into::into), "the names after updates of which some were refused");
}

pub(super) fn no_other_row_makes_room(store: &dyn Store) {
    let users = users(store);
    // Of the key, and of another unique set; NULL is no value that rows could share.
    let given = rows([[v(2), v(9), v("x")], [v(9), v(1), v("x")], [v(1), v(2), v("x")]]);
    let refused = insert(store, &users, &given);
    expect_refused(&refused, &[0, 1, 2].map(|row| (row, Reason::UniqueConflict)));
    expect_rows(store, &users, &local());
    let update = Change::Update { key: &[0], set: &[1] };
    let refused = put(store, &users, update, &rows([[v(1), v(2), NULL], [v(2), NULL, NULL]]), 0..2);
    expect_refused(&refused, &[(0, Reason::UniqueConflict)]);
    let rekey = Change::Update { key: &[1], set: &[0] };
    expect_refused(&put(store, &users, rekey, &rows([[v(3), v(1), NULL]]), 0..1), &[(0, Reason::UniqueConflict)]);
    expect_rows(store, &users, &rows([[v(1), v(1), v("a")], [v(2), NULL, v("b")], [v(3), NULL, v("c")]]));
}

pub(super) fn rows_are_written_in_their_order(store: &dyn Store) {
    let node = table("node", "id integer!, up integer, name text", "id").with_parent("up", "node", "id");
    let [node] = create(store, [node]);
    // Each refers to one before it, but for one that does not, and itself may be meant.
    let given = rows([
        [v(5), NULL, v("root")],
        [v(3), v(5), v("a")],
        [v(3), v(5), v("again")],
        [v(1), v(2), v("early")],
        [v(2), v(3), v("b")],
        [v(7), v(7), v("self")],
        [v(8), v(1), v("orphan")],
    ]);
    let refused = insert(store, &node, &given);
    expect_refused(&refused, &[(2, Reason::UniqueConflict), (3, Reason::ForeignKey), (6, Reason::ForeignKey)]);
    let kept = [[v(2), v(3), v("b")], [v(3), v(5), v("a")], [v(5), NULL, v("root")], [v(7), v(7), v("self")]];
    expect_rows(store, &node, &rows(kept.clone()));
    // Of two updates of one row the last one stays.
    let given = rows([[v(3), NULL, v("first")], [v(5), NULL, v("other")], [v(3), NULL, v("last")]]);
    expect_refused(&put(store, &node, UPDATE_NAME, &given, 0..3), &[]);
    let names = contents(store, &node).into_iter().map(|mut row| row.swap_remove(2)).collect::<Vec<_>>();
    assert_eq!(names, ["b", "last", "other", "self"].map(Into::into), "the names after two updates of one row");
}

pub(super) fn only_the_range_is_written(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text!", "id")]);
    let given = rows((0..100).map(|row| [v(row % 90), if row == 55 { NULL } else { v("x") }]));
    let mut refused = Vec::new();
    write(store, |writer| {
        // What was refused before stays, and rows are counted from the first that is given.
        for range in [10..20, 20..20, 12..13, 50..60, 95..100, 100..100] {
            writer.write(&users, Change::Insert, &given, range, &mut refused)?;
        }
        Ok(())
    });
    expect_refused(&refused, &[(12, Reason::UniqueConflict), (55, Reason::NotNull)]);
    let expected: Vec<i64> = (5..20).chain(50..55).chain(56..60).collect();
    assert_eq!(integers(&contents(store, &users), 0), expected, "the rows of the ranges");
    let update = Change::Update { key: &[0], set: &[1] };
    let given = rows((0..20).map(|id| [v(id), v("new")]));
    expect_refused(&put(store, &users, update, &given, 7..9), &[]);
    let is_new = |row: &Vec<Value>| row[1] == "new".into();
    let new: Vec<_> = contents(store, &users).into_iter().filter(is_new).collect();
    assert_eq!(integers(&new, 0), [7, 8], "the rows that were updated");
}
