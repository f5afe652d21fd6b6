//! Savepoints: what is undone with one, and what is not.

use super::harness::*;
use super::transaction::{get, put, read, set, users};
use crate::domain::record::Reason;
use crate::store::Store;

pub(super) fn rows_tables_and_state_are_undone(store: &dyn Store) {
    let users = users(store);
    write(store, |writer| {
        put(writer, &users, 2, "before")?;
        set(writer.state(), "conformance", "before")?;
        writer.savepoint()?;
        put(writer, &users, 1, "undone")?;
        put(writer, &users, 3, "undone")?;
        set(writer.state(), "conformance", "undone")?;
        make(writer, &[table("posts", "id integer!", "id")])?;
        assert!(writer.schema("posts")?.is_some(), "a table that was made is not there");
        writer.rollback_to()?;
        let ids = integers(&rows_in(writer, &users)?, 0);
        assert_eq!(ids, [1, 2], "the rows that are there after all that came after the savepoint was undone");
        assert_eq!(get(writer.state(), "conformance")?.as_deref(), Some("before"), "the state was not undone");
        assert_eq!(writer.schema("posts")?, None, "a table that was undone is there");
        put(writer, &users, 4, "after")
    });
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(2), v("before")], [v(4), v("after")]]));
    assert_eq!(read(store, "conformance").as_deref(), Some("before"), "the state that was kept");
    assert_eq!(look(store).tables().must("list the tables"), ["users"], "a table that was undone is kept");
}

pub(super) fn a_table_can_be_made_again(store: &dyn Store) {
    let described = |columns| table("posts", columns, "id");
    let found = write(store, |writer| {
        for columns in ["id integer!, a text", "id integer!, b integer, c text"] {
            writer.savepoint()?;
            make(writer, &[described(columns)])?;
            let posts = writer.schema("posts")?.expect("a table that was made is there");
            assert_eq!(posts.columns.len(), described(columns).columns.len(), "the columns of a table that was made again");
            writer.rollback_to()?;
        }
        make(writer, &[described("id integer!, last text")])?;
        writer.schema("posts")
    });
    assert_eq!(found, Some(schema(store, "posts")), "the table that was made last");
    assert!(found.is_some_and(|posts| posts.column("last").is_some()), "the table is one that was undone");
}

pub(super) fn one_that_nothing_goes_back_to_changes_nothing(store: &dyn Store) {
    let users = users(store);
    write(store, |writer| {
        put(writer, &users, 2, "before")?;
        writer.savepoint()?;
        put(writer, &users, 3, "after")
    });
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(2), v("before")], [v(3), v("after")]]));
    // It ends with its transaction.
    assert!(begin(store).rollback_to().is_err(), "the savepoint of an earlier transaction is still there");
    let mut writer = begin(store);
    put(&mut *writer, &users, 4, "dropped").must("write");
    writer.savepoint().must("set a savepoint");
    put(&mut *writer, &users, 5, "dropped").must("write");
    drop(writer);
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(2), v("before")], [v(3), v("after")]]));
}

pub(super) fn without_one_there_is_nothing_to_go_back_to(store: &dyn Store) {
    let users = users(store);
    assert!(begin(store).rollback_to().is_err(), "there is something to go back to without a savepoint");
    let mut writer = begin(store);
    writer.savepoint().must("set a savepoint");
    put(&mut *writer, &users, 2, "undone").must("write");
    writer.rollback_to().must("roll back");
    assert!(writer.rollback_to().is_err(), "a savepoint is still there after it was gone back to");
}

pub(super) fn they_nest(store: &dyn Store) {
    let users = users(store);
    write(store, |writer| {
        writer.savepoint()?;
        put(writer, &users, 2, "between")?;
        set(writer.state(), "conformance", "between")?;
        writer.savepoint()?;
        put(writer, &users, 3, "undone")?;
        set(writer.state(), "conformance", "undone")?;
        writer.rollback_to()?;
        assert_eq!(get(writer.state(), "conformance")?.as_deref(), Some("between"), "the state after the inner one");
        assert_eq!(integers(&rows_in(writer, &users)?, 0), [1, 2], "the rows after the inner one");
        writer.savepoint()?;
        put(writer, &users, 4, "undone")?;
        writer.rollback_to()?;
        writer.rollback_to()?;
        assert_eq!(get(writer.state(), "conformance")?, None, "the state after the outer one");
        assert!(writer.rollback_to().is_err(), "there is a third one after two");
        put(writer, &users, 5, "after")
    });
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(5), v("after")]]));
}

pub(super) fn what_is_released_is_kept(store: &dyn Store) {
    let users = users(store);
    write(store, |writer| {
        assert!(writer.release().is_err(), "there is something to release without a savepoint");
        // Kept, but undone with the one around it.
        writer.savepoint()?;
        writer.savepoint()?;
        put(writer, &users, 2, "undone")?;
        writer.release()?;
        assert_eq!(integers(&rows_in(writer, &users)?, 0), [1, 2], "the rows after a release");
        writer.rollback_to()?;
        assert_eq!(integers(&rows_in(writer, &users)?, 0), [1], "the rows after the outer one");
        assert!(writer.release().is_err(), "a savepoint is there after it was gone back to");
        writer.savepoint()?;
        put(writer, &users, 3, "kept")?;
        writer.release()?;
        assert!(writer.rollback_to().is_err(), "a savepoint is there after it was released");
        Ok(())
    });
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(3), v("kept")]]));
}

pub(super) fn refused_rows_leave_it_alone(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text!", "id")]);
    write(store, |writer| {
        for round in 0..3 {
            writer.savepoint()?;
            let kept = 10 * round;
            let refused = add(writer, &users, &rows([[v(kept), v("a")], [v(kept), v("b")], [v(kept + 1), NULL]]))?;
            expect_refused(&refused, &[(1, Reason::UniqueConflict), (2, Reason::NotNull)]);
            match round {
                1 => writer.rollback_to()?,
                _ => writer.release()?,
            }
        }
        Ok(())
    });
    expect_rows(store, &users, &rows([[v(0), v("a")], [v(20), v("a")]]));
}
