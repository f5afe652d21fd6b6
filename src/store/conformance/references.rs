//! When references to other rows are checked.

use super::harness::*;
use crate::domain::record::Reason;
use crate::domain::schema::{ForeignKeyAction, TableSchema};
use crate::domain::value::Rows;
use crate::error::{ErrorKind, Result};
use crate::store::{Change, Check, Store, Target, Writer};

fn family(store: &dyn Store) -> [TableSchema; 2] {
    let described = [
        table("parent", "id integer!", "id"),
        table("child", "id integer!, parent integer", "id").with_parent("parent", "parent", "id"),
    ];
    create(store, described)
}

/// Has references checked in this way, which every store can do.
#[track_caller]
fn check(writer: &mut dyn Writer, when: Check, tables: &[TableSchema; 2]) {
    let targets = tables.each_ref().map(|table| Target { table, updates: true });
    assert!(writer.check_references(when, &targets).must("set when references are checked"), "no checks {when:?}");
}

/// Has references checked by the caller, if the store can do that.
#[track_caller]
fn check_here(writer: &mut dyn Writer, tables: &[TableSchema; 2]) -> bool {
    let targets = tables.each_ref().map(|table| Target { table, updates: false });
    writer.check_references(Check::ByCaller, &targets).must("set when references are checked")
}

/// Adds rows, none of which is refused.
#[track_caller]
fn put<const N: usize>(writer: &mut dyn Writer, table: &TableSchema, row: [Cell; N]) {
    let refused = add(writer, table, &rows([row])).must("write");
    expect_refused(&refused, &[]);
}

#[track_caller]
fn expect_broken(result: Result<()>) {
    match result {
        Ok(()) => panic!("rows that refer to nothing were committed"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ForeignKey, "a commit of rows that refer to nothing says {error}"),
    }
}

/// Looks whether a row that refers to nothing is refused at once.
#[track_caller]
fn expect_checked(writer: &mut dyn Writer, child: &TableSchema) {
    let refused = add(writer, child, &rows([[v(1_000), v(999)]])).must("write");
    expect_refused(&refused, &[(0, Reason::ForeignKey)]);
}

pub(super) fn they_are_checked_with_each_row(store: &dyn Store) {
    let [parent, child] = family(store);
    write(store, |writer| {
        let refused = add(writer, &child, &rows([[v(1), v(5)], [v(2), NULL]]))?;
        expect_refused(&refused, &[(0, Reason::ForeignKey)]);
        put(writer, &parent, [v(5)]);
        let refused = add(writer, &child, &rows([[v(1), v(5)], [v(3), v(6)]]))?;
        expect_refused(&refused, &[(1, Reason::ForeignKey)]);
        let update = Change::Update { key: &[0], set: &[1] };
        let mut refused = Vec::new();
        writer.write(&child, update, &rows([[v(1), v(6)], [v(2), v(5)]]), 0..2, &mut refused)?;
        expect_refused(&refused, &[(0, Reason::ForeignKey)]);
        Ok(())
    });
    expect_rows(store, &child, &rows([[v(1), v(5)], [v(2), v(5)]]));
}

pub(super) fn a_row_may_be_written_without_what_it_refers_to(store: &dyn Store) {
    let [parent, child] = family(store);
    write(store, |writer| {
        put(writer, &parent, [v(5)]);
        put(writer, &child, [v(2), v(5)]);
        let (new, mut refused) = (rows([[v(1), v(9)], [v(2), v(9)]]), Vec::new());
        writer.write_dangling(&child, Change::Insert, &new, 0, &mut refused)?;
        expect_refused(&refused, &[]);
        writer.write_dangling(&child, Change::Insert, &new, 1, &mut refused)?;
        expect_refused(&refused, &[(1, Reason::UniqueConflict)]);
        refused.clear();
        writer.write_dangling(&child, Change::Update { key: &[0], set: &[1] }, &new, 1, &mut refused)?;
        expect_refused(&refused, &[]);
        // All others are checked as before.
        expect_checked(writer, &child);
        Ok(())
    });
    expect_rows(store, &child, &rows([[v(1), v(9)], [v(2), v(9)]]));
}

pub(super) fn each_column_of_a_reference_counts(store: &dyn Store) {
    let described = [
        table("parent", "a integer!, b text!", "a b"),
        table("child", "id integer!, b text, a integer", "id").with_parent("b a", "parent", "b a"),
    ];
    let [parent, child] = create(store, described);
    write(store, |writer| {
        put(writer, &parent, [v(1), v("x")]);
        put(writer, &parent, [v(2), v("y")]);
        // A reference of which one column is NULL refers to nothing, and need not.
        let children = [[v(1), v("x"), v(1)], [v(2), v("y"), v(1)], [v(3), NULL, v(9)], [v(4), v("x"), NULL]];
        expect_refused(&add(writer, &child, &rows(children))?, &[(1, Reason::ForeignKey)]);
        Ok(())
    });
    assert_eq!(integers(&contents(store, &child), 0), [1, 3, 4], "the rows that are there");
}

pub(super) fn at_the_commit_parents_may_come_late(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    let mut writer = begin(store);
    // What was prepared for the checks of before must not be used after.
    expect_checked(&mut *writer, child);
    check(&mut *writer, Check::AtCommit, &tables);
    put(&mut *writer, child, [v(1), v(5)]);
    put(&mut *writer, child, [v(2), v(6)]);
    put(&mut *writer, parent, [v(6)]);
    let refused = add(&mut *writer, child, &rows([[v(1), v(6)]])).must("write");
    expect_refused(&refused, &[(0, Reason::UniqueConflict)]);
    put(&mut *writer, parent, [v(5)]);
    writer.commit().must("commit");
    drop(writer);
    expect_rows(store, child, &rows([[v(1), v(5)], [v(2), v(6)]]));
}

pub(super) fn at_the_commit_what_refers_to_nothing_is_an_error(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    for late in [false, true] {
        let mut writer = begin(store);
        check(&mut *writer, Check::AtCommit, &tables);
        put(&mut *writer, child, [v(1), v(5)]);
        put(&mut *writer, child, [v(2), v(6)]);
        if late {
            put(&mut *writer, parent, [v(5)]);
        }
        expect_broken(writer.commit());
        expect_rows(store, child, &Rows::new(2));
        drop(writer);
        expect_rows(store, child, &Rows::new(2));
        expect_rows(store, parent, &Rows::new(1));
    }
    write(store, |writer| {
        expect_checked(writer, child);
        Ok(())
    });
}

pub(super) fn at_the_commit_what_was_undone_counts_no_more(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    write(store, |writer| {
        check(writer, Check::AtCommit, &tables);
        put(writer, child, [v(1), v(5)]);
        writer.savepoint()?;
        put(writer, parent, [v(5)]);
        put(writer, child, [v(2), v(6)]);
        writer.rollback_to()?;
        put(writer, parent, [v(5)]);
        Ok(())
    });
    expect_rows(store, child, &rows([[v(1), v(5)]]));
}

pub(super) fn a_savepoint_has_no_part_in_when(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    write(store, |writer| {
        writer.savepoint()?;
        check(writer, Check::AtCommit, &tables);
        put(writer, child, [v(1), v(1)]);
        writer.rollback_to()?;
        put(writer, child, [v(2), v(2)]);
        put(writer, parent, [v(2)]);
        writer.savepoint()?;
        check(writer, Check::Now, &tables);
        expect_checked(writer, child);
        writer.rollback_to()?;
        expect_checked(writer, child);
        if check_here(writer, &tables) {
            writer.savepoint()?;
            writer.rollback_to()?;
            put(writer, child, [v(3), v(3)]);
            put(writer, parent, [v(3)]);
        }
        Ok(())
    });
    let ids = integers(&contents(store, child), 0);
    assert!(ids.starts_with(&[2]) && ids.len() <= 2, "the rows {ids:?} are there");
}

pub(super) fn checks_at_the_commit_end(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    let late = |writer: &mut dyn Writer, id: i64| {
        check(writer, Check::AtCommit, &tables);
        put(writer, child, [v(id), v(id)]);
        put(writer, parent, [v(id)]);
    };
    // When it is told so.
    write(store, |writer| {
        late(writer, 1);
        check(writer, Check::Now, &tables);
        expect_checked(writer, child);
        late(writer, 2);
        Ok(())
    });
    // With the transaction, which ended well.
    write(store, |writer| {
        expect_checked(writer, child);
        late(writer, 3);
        Ok(())
    });
    // And with one that did not.
    late(&mut *begin(store), 4);
    write(store, |writer| {
        expect_checked(writer, child);
        Ok(())
    });
    expect_rows(store, child, &rows((1..4).map(|id| [v(id), v(id)])));
}

pub(super) fn what_the_caller_checks_the_store_does_not(store: &dyn Store) {
    let tables = family(store);
    let [_, child] = &tables;
    let mut writer = begin(store);
    expect_checked(&mut *writer, child);
    if !check_here(&mut *writer, &tables) {
        // Then nothing has changed.
        return expect_checked(&mut *writer, child);
    }
    put(&mut *writer, child, [v(1), v(5)]);
    let refused = add(&mut *writer, child, &rows([[v(1), NULL]])).must("write");
    expect_refused(&refused, &[(0, Reason::UniqueConflict)]);
    writer.commit().must("commit what the caller answers for");
    drop(writer);
    expect_rows(store, child, &rows([[v(1), v(5)]]));
    // Later transactions check again, and are not stopped by what is there.
    for when in [Check::Now, Check::AtCommit] {
        let mut writer = begin(store);
        check(&mut *writer, when, &tables);
        put(&mut *writer, child, [v(2), NULL]);
        match when {
            Check::Now => expect_checked(&mut *writer, child),
            _ => {
                put(&mut *writer, child, [v(1_000), v(999)]);
                expect_broken(writer.commit());
            }
        }
    }
    expect_rows(store, child, &rows([[v(1), v(5)]]));
}

pub(super) fn checks_by_the_caller_end(store: &dyn Store) {
    let tables = family(store);
    let [parent, child] = &tables;
    // When it is told so.
    for (id, when) in [(1, Check::Now), (2, Check::AtCommit)] {
        let mut writer = begin(store);
        if check_here(&mut *writer, &tables) {
            put(&mut *writer, child, [v(id), v(id)]);
            put(&mut *writer, parent, [v(id)]);
        }
        check(&mut *writer, when, &tables);
        match when {
            Check::Now => expect_checked(&mut *writer, child),
            _ => put(&mut *writer, child, [v(1_000), v(999)]),
        }
        match when {
            Check::Now => writer.commit().must("commit"),
            _ => expect_broken(writer.commit()),
        }
    }
    // With a transaction that did not end well, and with one that was only begun.
    let mut writer = begin(store);
    if check_here(&mut *writer, &tables) {
        put(&mut *writer, child, [v(3), v(3)]);
    }
    drop(writer);
    check_here(&mut *begin(store), &tables);
    write(store, |writer| {
        expect_checked(writer, child);
        Ok(())
    });
    let ids = integers(&contents(store, child), 0);
    assert!(!ids.contains(&3) && !ids.contains(&1_000), "rows that were not committed are there: {ids:?}");
}

pub(super) fn what_refers_to_a_table_is_known(store: &dyn Store) {
    let described = [
        table("parent", "id integer!, code text, up integer", "id").with_unique("code").with_parent("up", "parent", "id"),
        table("child", "id integer!, p integer, code text", "id")
            .with_parent("p", "parent", "id")
            .with_parent("code", "parent", "code"),
        table("other", "id integer!, c integer", "id").with_parent("c", "child", "id"),
    ];
    let [parent, child, other] = create(store, described);
    let mut writer = begin(store);
    let mut names = |table: &crate::domain::schema::TableSchema| {
        let found = writer.referring(table).must("find what refers to a table");
        let mut names: Vec<_> =
            found.into_iter().map(|found| (found.table, found.key.columns, found.key.parent_columns)).collect();
        names.sort();
        names
    };
    let reference = |table: &str, column: &str, to: &str| (table.to_owned(), vec![column.to_owned()], vec![to.to_owned()]);
    let expected = [reference("child", "code", "code"), reference("child", "p", "id"), reference("parent", "up", "id")];
    assert_eq!(names(&parent), expected, "what refers to the parent, itself included");
    assert_eq!(names(&child), [reference("other", "c", "id")], "what refers to the child");
    assert_eq!(names(&other), [], "what refers to a table that nothing refers to");
}

pub(super) fn rows_follow_a_changed_parent_whatever_is_checked(store: &dyn Store) {
    let mut described = [
        table("parent", "id integer!, code text", "id").with_unique("code"),
        table("child", "id integer!, code text", "id").with_parent("code", "parent", "code"),
    ];
    described[1].foreign_keys[0].on_update = ForeignKeyAction::Cascade;
    let [parent, child] = create(store, described);
    fill(store, &parent, &rows([[v(1), v("a")], [v(2), v("b")]]));
    fill(store, &child, &rows([[v(1), v("a")], [v(2), v("b")]]));
    for (when, code) in [(Check::Now, "now"), (Check::AtCommit, "late"), (Check::ByCaller, "here")] {
        write(store, |writer| {
            // Where the store cannot do that, nothing changes.
            let can = writer.check_references(when, &[Target { table: &parent, updates: true }])?;
            assert!(can || when == Check::ByCaller, "no checks {when:?}");
            let mut refused = Vec::new();
            let update = Change::Update { key: &[0], set: &[1] };
            writer.write(&parent, update, &rows([[v(1), v(code)]]), 0..1, &mut refused)?;
            expect_refused(&refused, &[]);
            Ok(())
        });
        expect_rows(store, &child, &rows([[v(1), v(code)], [v(2), v("b")]]));
    }
    // What was said before holds where it cannot.
    let mut writer = begin(store);
    let targets = [Target { table: &parent, updates: true }];
    writer.check_references(Check::AtCommit, &targets).must("set when references are checked");
    if !writer.check_references(Check::ByCaller, &targets).must("set when references are checked") {
        put(&mut *writer, &child, [v(3), v("nowhere")]);
        expect_broken(writer.commit());
    }
}
