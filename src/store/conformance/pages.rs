//! Reading a table page by page.

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::store::{Cursor, Keys, PageBounds, PageEnd, Snapshot, Store};

/// Reads a table to its end, and looks at how each page ends.
#[track_caller]
fn read(snapshot: &mut dyn Snapshot, table: &TableSchema, bounds: PageBounds) -> Vec<Vec<Value>> {
    let total = usize::try_from(snapshot.count(table).must("count")).expect("a case has few rows");
    read_all(&mut |after, rows| snapshot.page(table, after, 0, bounds, rows), table, bounds, total)
}

/// Reads a page after another.
type ReadPage<'r> = dyn FnMut(Option<&Cursor>, &mut Rows) -> Result<PageEnd> + 'r;

#[track_caller]
fn read_all(page: &mut ReadPage<'_>, table: &TableSchema, bounds: PageBounds, total: usize) -> Vec<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), None);
    // What a caller used before must not be seen again.
    let mut rows = Rows::new(1);
    rows.push([ValueRef::Text(b"left over")]);
    loop {
        let end = page(after.as_ref(), &mut rows).must("read a page");
        assert!(rows.width() == table.columns.len(), "a row has {} values", rows.width());
        assert!(rows.len() <= bounds.rows, "a page of {} rows, at most {} asked for", rows.len(), bounds.rows);
        assert!(!rows.is_empty() || !end.more, "an empty page says that there are more rows");
        assert!(end.cursor.is_some() != rows.is_empty(), "a page of {} rows ends at {:?}", rows.len(), end.cursor);
        all.extend(owned(&rows));
        assert!(end.more == (all.len() < total), "after {} of {total} rows a page says more: {}", all.len(), end.more);
        if !end.more {
            return all;
        }
        after = end.cursor;
    }
}

/// Reads it with pages of every size.
#[track_caller]
fn expect_pages(store: &dyn Store, table: &TableSchema, expected: &Rows) {
    let expected = owned(expected);
    let mut snapshot = look(store);
    for rows in 1..=expected.len() + 1 {
        let found = read(&mut *snapshot, table, PageBounds { rows, ..ALL });
        assert!(are_same(&found, &expected), "with pages of {rows} come {found:?} instead of {expected:?}");
    }
}

pub(super) fn rows_come_in_key_order_and_each_once(store: &dyn Store) {
    let [users] = create(store, [table("users", "name text, id integer!", "id")]);
    let keys = [i64::MIN, -100, -1, 0, 1, 2, 9, 10, 100, i64::MAX - 1, i64::MAX];
    // Filled in another order: every fourth one first.
    fill(store, &users, &rows((0..keys.len()).map(|at| [v("x"), v(keys[at * 4 % keys.len()])])));
    expect_pages(store, &users, &rows(keys.map(|key| [v("x"), v(key)])));
}

pub(super) fn a_key_of_several_columns_orders_by_its_own_order(store: &dyn Store) {
    let [pairs] = create(store, [table("pairs", "a integer!, b integer!, c integer", "b a")]);
    fill(store, &pairs, &rows((0..4).flat_map(|a| (0..4).map(move |b| [v(a), v(b), v(a * b)]))));
    expect_pages(store, &pairs, &rows((0..4).flat_map(|b| (0..4).map(move |a| [v(a), v(b), v(a * b)]))));
}

pub(super) fn a_unique_set_orders_where_there_is_no_primary_key(store: &dyn Store) {
    let [codes] = create(store, [table("codes", "x integer, code integer!", "").with_unique("x").with_unique("code")]);
    fill(store, &codes, &rows([[v(1), v(30)], [NULL, v(10)], [v(2), v(20)], [NULL, v(40)]]));
    expect_pages(store, &codes, &rows([[NULL, v(10)], [v(2), v(20)], [v(1), v(30)], [NULL, v(40)]]));
}

pub(super) fn a_key_orders_as_it_compares(store: &dyn Store) {
    let coarser = table("coarser", "a text!, n integer!", "a n");
    if let Some(coarser) = create_collated(store, coarser, "NOCASE -") {
        fill(store, &coarser, &rows([[v("C"), v(1)], [v("b"), v(1)], [v("B"), v(2)], [v("a"), v(1)], [v("A"), v(3)]]));
        let expected = [[v("a"), v(1)], [v("A"), v(3)], [v("b"), v(1)], [v("B"), v(2)], [v("C"), v(1)]];
        expect_pages(store, &coarser, &rows(expected));
    }
    let mut finer = table("finer", "a text!, n integer!", "a n");
    finer.columns[0].collation = Some("NOCASE".into());
    if let Some(finer) = create_collated(store, finer, "BINARY -") {
        fill(store, &finer, &rows([[v("x"), v(1)], [v("X"), v(1)], [v("a"), v(1)], [v("X"), v(2)]]));
        expect_pages(store, &finer, &rows([[v("X"), v(1)], [v("X"), v(2)], [v("a"), v(1)], [v("x"), v(1)]]));
    }
}

pub(super) fn skipped_rows_are_left_out(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!", "id")]);
    fill(store, &users, &rows((0..8).map(|id| [v(id)])));
    let mut snapshot = look(store);
    let mut page = Rows::default();
    let first = snapshot.page(&users, None, 0, PageBounds { rows: 3, ..ALL }, &mut page).must("read a page");
    for (after, begin) in [(None, 0), (first.cursor.as_ref(), 3)] {
        for skip in 0..10 {
            let bounds = PageBounds { rows: 2, ..ALL };
            let end = snapshot.page(&users, after, skip, bounds, &mut page).must("read a page");
            let from = begin + i64::try_from(skip).expect("it is small");
            let expected: Vec<i64> = (from..(from + 2).min(8)).collect();
            assert_eq!(integers(&owned(&page), 0), expected, "{skip} rows skipped from {begin} on");
            assert_eq!(end.more, from + 2 < 8, "{skip} rows skipped from {begin} on: whether there are more");
            assert_eq!(end.cursor.is_some(), !expected.is_empty(), "{skip} rows skipped from {begin} on: the cursor");
        }
    }
    let far = snapshot.page(&users, None, u64::MAX, ALL, &mut page).must("skip more rows than there are");
    assert!(page.is_empty() && far.cursor.is_none() && !far.more, "there are rows after the last one");
}

pub(super) fn a_page_ends_at_its_bytes(store: &dyn Store) {
    let [files] = create(store, [table("files", "id integer!, content blob", "id")]);
    let content = Value::Blob(vec![7; 10_000]);
    fill(store, &files, &rows((0..10).map(|id| [v(id), Some(content.clone())])));
    let mut snapshot = look(store);
    let mut page = Rows::default();
    for (bytes, expected) in [(1, 1), (9_000, 1), (15_000, 2), (45_000, 5), (1 << 20, 10)] {
        let end = snapshot.page(&files, None, 0, PageBounds { bytes, ..ALL }, &mut page).must("read a page");
        assert_eq!(page.len(), expected, "rows of 10,000 bytes in a page of {bytes}");
        assert_eq!(end.more, expected < 10, "a page of {bytes} bytes: whether there are more");
    }
    let found = read(&mut *snapshot, &files, PageBounds { bytes: 1, ..ALL });
    assert_eq!(integers(&found, 0), (0..10).collect::<Vec<_>>(), "rows that are larger than a page");
}

pub(super) fn an_empty_table_has_one_empty_page(store: &dyn Store) {
    let described = [table("keyed", "id integer!, x text", "id"), table("keyless", "a text, b text", "")];
    for table in create(store, described) {
        expect_pages(store, &table, &Rows::new(2));
    }
}

pub(super) fn a_cursor_works_in_a_later_snapshot(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!", "id")]);
    fill(store, &users, &rows([10, 20, 30, 40].map(|id| [v(id)])));
    let mut page = Rows::default();
    let end = look(store).page(&users, None, 0, PageBounds { rows: 2, ..ALL }, &mut page).must("read a page");
    assert_eq!(integers(&owned(&page), 0), [10, 20], "the first page");
    fill(store, &users, &rows([5, 15, 25, 45].map(|id| [v(id)])));
    let end = look(store).page(&users, end.cursor.as_ref(), 0, ALL, &mut page).must("read a page");
    assert_eq!(integers(&owned(&page), 0), [25, 30, 40, 45], "the rows after 20, of which one is new");
    assert!(!end.more, "the last page says that there are more rows");
}

pub(super) fn rows_without_a_key_come_each_once(store: &dyn Store) {
    let [log] = create(store, [table("log", "a integer, b text", "")]);
    let records = rows([[v(2), v("x")], [v(1), v("y")], [v(2), v("x")], [NULL, NULL], [v(1), NULL], [NULL, NULL]]);
    fill(store, &log, &records);
    expect_multiset(store, &log, &records);
    let mut snapshot = look(store);
    let expected = read(&mut *snapshot, &log, ALL);
    for rows in 1..=7 {
        let found = read(&mut *snapshot, &log, PageBounds { rows, ..ALL });
        assert!(are_same(&found, &expected), "with pages of {rows} come {found:?} instead of {expected:?}");
    }
    let mut page = Rows::default();
    snapshot.page(&log, None, 4, ALL, &mut page).must("read a page");
    assert!(are_same(&owned(&page), &expected[4..]), "after four skipped rows come {page:?}");
}

pub(super) fn rows_with_null_in_their_key_come_first(store: &dyn Store) {
    let Some(pairs) = create_nullable(store, table("pairs", "a integer, b integer, x text", "a b")) else { return };
    fill(store, &pairs, &rows([[v(2), v(1), v("e")], [v(1), v(2), v("d")], [v(1), v(1), v("c")]]));
    let nulls = rows([[NULL, v(1), v("a")], [v(5), NULL, v("b")]]);
    expect_refused(&write(store, |writer| add(writer, &pairs, &nulls)), &[]);
    let mut snapshot = look(store);
    for rows in 1..=6 {
        let found = read(&mut *snapshot, &pairs, PageBounds { rows, ..ALL });
        let names: Vec<_> = found.iter().map(|row| row[2].as_str().unwrap_or_default()).collect();
        let (first, keyed) = names.split_at(2.min(names.len()));
        assert!(first.contains(&"a") && first.contains(&"b"), "with pages of {rows} come {names:?}, not the NULLs first");
        assert_eq!(keyed, ["c", "d", "e"], "with pages of {rows} the rows with a key");
    }
    for skip in 0..6 {
        let mut page = Rows::default();
        snapshot.page(&pairs, None, skip, ALL, &mut page).must("read a page");
        assert_eq!(page.len() as u64, 5_u64.saturating_sub(skip), "rows after {skip} skipped ones");
    }
}

pub(super) fn a_writer_reads_what_it_wrote(store: &dyn Store) {
    let [users, log] = create(store, [table("users", "id integer!, name text", "id"), table("log", "a integer", "")]);
    fill(store, &users, &rows((0..5).map(|id| [v(2 * id), v("before")])));
    let mut writer = begin(store);
    let records = rows([[v(3), v("new")], [v(4), v("changed")], [v(20), v("new")]]);
    apply_one_by_one(&mut *writer, &plan(&users, Strategy::Overwrite), &records).must("write");
    add(&mut *writer, &log, &rows([[v(1)], [NULL], [v(1)]])).must("write");
    let before = |id| [v(id), v("before")];
    let expected = [before(0), before(2), [v(3), v("new")], [v(4), v("changed")], before(6), before(8), [v(20), v("new")]];
    let expected = owned(&rows(expected));
    for most in 1..=expected.len() + 1 {
        let bounds = PageBounds { rows: most, ..ALL };
        let found = read_all(&mut |after, rows| writer.page(&users, after, bounds, rows), &users, bounds, 7);
        assert!(are_same(&found, &expected), "with pages of {most} a writer reads {found:?} instead of {expected:?}");
        let found = read_all(&mut |after, rows| writer.page(&log, after, bounds, rows), &log, bounds, 3);
        assert_eq!(found.iter().filter(|row| row[0].is_null()).count(), 1, "a writer reads {found:?}");
    }
    let mut page = Rows::default();
    writer.page(&users, None, PageBounds { bytes: 1, ..ALL }, &mut page).must("read a page");
    assert_eq!(page.len(), 1, "a page of one byte has one row");
}

pub(super) fn a_table_that_is_not_there_has_no_pages(store: &dyn Store) {
    let gone = table("gone", "id integer!", "id");
    let (mut page, one) = (Rows::default(), Value::Integer(1));
    assert!(look(store).page(&gone, None, 0, ALL, &mut page).is_err(), "a snapshot reads a table that is not there");
    let keys = Keys::These(std::slice::from_ref(&one));
    assert!(look(store).find(&gone, 0, &keys, 0, ALL, &mut page).is_err(), "rows of a table that is not there are found");
    assert!(begin(store).page(&gone, None, ALL, &mut page).is_err(), "a writer reads a table that is not there");
}

pub(super) fn rows_are_found_by_their_key(store: &dyn Store) {
    let [users] = create(store, [table("users", "name text, id integer!", "id")]);
    fill(store, &users, &rows((1..=9).map(|id| [v(format!("user {id}").as_str()), v(id)])));
    let mut snapshot = look(store);
    let mut find = |keys: Keys<'_>, skip: u64, most: usize| {
        let mut found = rows([[v("left over")]]);
        let bounds = PageBounds { rows: most, ..ALL };
        let more = snapshot.find(&users, 1, &keys, skip, bounds, &mut found).must("find rows");
        let ids: Vec<Value> = owned(&found).into_iter().map(|row| row[1].clone()).collect();
        (ids, more)
    };
    let ids = |ids: &[i64]| ids.iter().map(|id| Value::Integer(*id)).collect::<Vec<_>>();
    let these = ids(&[7, 3, 20, 3]);
    assert_eq!(find(Keys::These(&these), 0, 5), (ids(&[3, 7]), false));
    assert_eq!(find(Keys::These(&these), 1, 5), (ids(&[7]), false));
    assert_eq!(find(Keys::These(&these), 0, 1), (ids(&[3]), true));
    assert_eq!(find(Keys::These(&[]), 0, 5), (ids(&[]), false));
    let (three, five) = (Value::Integer(3), Value::Integer(5));
    assert_eq!(find(Keys::Between(Some(&three), Some(&five)), 0, 5), (ids(&[3, 4, 5]), false));
    assert_eq!(find(Keys::Between(None, Some(&three)), 0, 5), (ids(&[1, 2, 3]), false));
    assert_eq!(find(Keys::Between(Some(&five), None), 1, 2), (ids(&[6, 7]), true));
    assert_eq!(find(Keys::Between(None, None), 8, 5), (ids(&[9]), false));
}
