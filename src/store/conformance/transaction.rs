//! Transactions: what is kept, what is undone, and who waits for whom.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::harness::*;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{PageBounds, Sql, Store, Writer};

const SET: &str = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const GET: &str = "SELECT value FROM rowferry_settings WHERE key = ?1";
const REMOVE: &str = "DELETE FROM rowferry_settings WHERE key = ?1";

pub(super) fn set(sql: &mut dyn Sql, key: &str, value: &str) -> Result<usize> {
    sql.execute(SET, &[key.into(), value.into()])
}

pub(super) fn get(sql: &mut dyn Sql, key: &str) -> Result<Option<String>> {
    let rows = sql.query(GET, &[key.into()])?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::as_str).map(String::from))
}

#[track_caller]
pub(super) fn read(store: &dyn Store, key: &str) -> Option<String> {
    let mut found = None;
    let done = store.read_state(&mut |sql| {
        found = get(sql, key)?;
        Ok(())
    });
    done.must("read the state");
    found
}

/// A table with one row.
pub(super) fn users(store: &dyn Store) -> TableSchema {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    fill(store, &users, &rows([[v(1), v("a")]]));
    users
}

/// Writes one row, whether it is there or not.
pub(super) fn put(writer: &mut dyn Writer, table: &TableSchema, id: i64, name: &str) -> Result<()> {
    let outcome = apply_one_by_one(writer, &plan(table, Strategy::Overwrite), &rows([[v(id), v(name)]]))?;
    assert_eq!(outcome.failed, 0, "a row was refused: {:?}", outcome.failures);
    Ok(())
}

pub(super) fn a_commit_keeps_everything(store: &dyn Store) {
    let users = users(store);
    let mut writer = begin(store);
    put(&mut *writer, &users, 1, "changed").must("write");
    put(&mut *writer, &users, 2, "new").must("write");
    assert_eq!(rows_in(&mut *writer, &users).must("read a page").len(), 2, "a transaction does not see its own rows");
    writer.commit().must("commit");
    expect_rows(store, &users, &rows([[v(1), v("changed")], [v(2), v("new")]]));
    drop(writer);
    expect_rows(store, &users, &rows([[v(1), v("changed")], [v(2), v("new")]]));
}

pub(super) fn a_drop_keeps_nothing(store: &dyn Store) {
    let users = users(store);
    let mut writer = begin(store);
    put(&mut *writer, &users, 1, "changed").must("write");
    put(&mut *writer, &users, 2, "new").must("write");
    make(&mut *writer, &[table("posts", "id integer!", "id")]).must("make a table");
    drop(writer);
    expect_rows(store, &users, &rows([[v(1), v("a")]]));
    assert_eq!(look(store).tables().must("list the tables"), ["users"], "a table that was not committed is there");
    // The next one finds nothing of it.
    write(store, |writer| {
        assert_eq!(rows_in(writer, &users)?.len(), 1, "rows that were not committed are there");
        assert_eq!(writer.schema("posts")?, None, "a table that was not committed is there");
        Ok(())
    });
}

pub(super) fn state_is_kept_or_not_as_a_whole(store: &dyn Store) {
    let mut changed = Vec::new();
    let kept = store.state(&mut |sql| {
        changed =
            vec![set(sql, "conformance a", "1")?, set(sql, "conformance a", "2")?, set(sql, "conformance b", "ü '\"")?];
        changed.push(sql.execute(REMOVE, &["conformance none".into()])?);
        assert_eq!(get(sql, "conformance a")?.as_deref(), Some("2"), "a transaction does not see its own state");
        assert_eq!(
            sql.query("SELECT value, 7, NULL FROM rowferry_settings WHERE key = ?1", &["conformance b".into()])?,
            [[Value::from("ü '\""), Value::Integer(7), Value::Null]]
        );
        Ok(())
    });
    kept.must("change the state");
    assert_eq!(changed, [1, 1, 1, 0], "the rows that each statement changed");
    let refused = store.state(&mut |sql| {
        set(sql, "conformance a", "3")?;
        set(sql, "conformance c", "3")?;
        Err(Error::new(ErrorKind::CodeUsed, "the work says no"))
    });
    let kind = refused.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::CodeUsed), "the error of the work is what the caller gets");
    let broken = store.state(&mut |sql| {
        set(sql, "conformance a", "4")?;
        sql.execute("INSERT INTO rowferry_nowhere (key) VALUES (?1)", &["x".into()]).map(|_| ())
    });
    assert!(broken.is_err(), "a statement that cannot be run gives no error");
    let found = ["a", "b", "c", "none"].map(|key| read(store, &format!("conformance {key}")));
    assert_eq!(found, [Some("2".into()), Some("ü '\"".into()), None, None], "the state that was kept");
}

pub(super) fn state_is_read_and_not_written(store: &dyn Store) {
    let written = store.read_state(&mut |sql| set(sql, "conformance", "written").map(|_| ()));
    assert!(written.is_err(), "reading the state wrote to it");
    assert_eq!(read(store, "conformance"), None, "reading the state wrote to it");
    let refused = store.read_state(&mut |_| Err(Error::new(ErrorKind::CodeUsed, "the work says no")));
    let kind = refused.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::CodeUsed), "the error of the work is what the caller gets");
    // It does not wait for a writer, and sees nothing of what that one has not committed.
    let mut writer = begin(store);
    set(writer.state(), "conformance", "later").must("change the state");
    assert_eq!(read(store, "conformance"), None, "state that is not committed was read");
    writer.commit().must("commit");
    assert_eq!(read(store, "conformance").as_deref(), Some("later"), "state that is committed was not read");
}

pub(super) fn state_commits_with_the_rows(store: &dyn Store) {
    let users = users(store);
    let mut writer = begin(store);
    put(&mut *writer, &users, 2, "dropped").must("write");
    set(writer.state(), "conformance", "dropped").must("change the state");
    drop(writer);
    assert_eq!(read(store, "conformance"), None, "state was kept and the rows were not");
    expect_rows(store, &users, &rows([[v(1), v("a")]]));
    write(store, |writer| {
        set(writer.state(), "conformance", "kept")?;
        assert_eq!(get(writer.state(), "conformance")?.as_deref(), Some("kept"), "a transaction does not see its own state");
        put(writer, &users, 2, "kept")
    });
    assert_eq!(read(store, "conformance").as_deref(), Some("kept"), "the state that was committed with the rows");
    expect_rows(store, &users, &rows([[v(1), v("a")], [v(2), v("kept")]]));
}

/// Whether it was done; a store that is locked for too long may say so.
#[track_caller]
fn done_or_locked(result: Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Locked, "of two who write at the same time one is told: {error}");
            false
        }
    }
}

pub(super) fn writers_take_turns(store: &dyn Store) {
    let [users] = create(store, [table("users", "id integer!, name text", "id")]);
    let (start, finished) = (Barrier::new(3), AtomicBool::new(false));
    // Each transaction writes two rows, so that half of one would be seen.
    let work = |first: i64| -> Vec<i64> {
        let transaction = |id: i64| -> Result<()> {
            let mut writer = store.writer()?;
            put(&mut *writer, &users, id, "x")?;
            std::thread::yield_now();
            put(&mut *writer, &users, id + 1, "x")?;
            writer.commit()
        };
        start.wait();
        (0..20).map(|n| first + 2 * n).filter(|id| done_or_locked(transaction(*id))).collect()
    };
    let written = std::thread::scope(|threads| {
        let writers = [0, 1_000].map(|first| threads.spawn(move || work(first)));
        let reader = threads.spawn(|| {
            start.wait();
            let mut page = Rows::default();
            while !finished.load(Ordering::Acquire) {
                let mut snapshot = look(store);
                let count = snapshot.count(&users).must("count");
                let bounds = PageBounds { rows: 7, ..ALL };
                snapshot.page(&users, None, count.saturating_sub(5), bounds, &mut page).must("read a page");
                assert_eq!((count % 2, page.len() as u64), (0, count.min(5)), "a snapshot sees half a transaction");
            }
        });
        let written = writers.map(|writer| writer.join());
        // The reader ends whatever became of the writers.
        finished.store(true, Ordering::Release);
        reader.join().expect("the reader saw whole transactions");
        written.into_iter().flat_map(|written| written.expect("the writers wrote")).collect::<Vec<i64>>()
    });
    assert!(!written.is_empty(), "of two who write at the same time neither could");
    let expected = rows(written.iter().flat_map(|id| [[v(*id), v("x")], [v(*id + 1), v("x")]]));
    expect_rows(store, &users, &expected);
}

pub(super) fn nothing_is_lost_between_threads(store: &dyn Store) {
    // Each reads a number and writes the next one; two that read the same would lose one.
    let raise = |sql: &mut dyn Sql| {
        let before: i64 = get(sql, "conformance")?.and_then(|text| text.parse().ok()).unwrap_or(0);
        std::thread::yield_now();
        set(sql, "conformance", &(before + 1).to_string()).map(|_| ())
    };
    let (start, done) = (Barrier::new(4), AtomicI64::new(0));
    std::thread::scope(|threads| {
        for worker in 0..4 {
            let (start, done) = (&start, &done);
            threads.spawn(move || {
                start.wait();
                for _ in 0..25 {
                    let result = match worker % 2 {
                        0 => store.state(&mut |sql| raise(sql)),
                        _ => store.writer().and_then(|mut writer| {
                            raise(writer.state())?;
                            writer.commit()
                        }),
                    };
                    done.fetch_add(i64::from(done_or_locked(result)), Ordering::Relaxed);
                }
            });
        }
    });
    let done = done.into_inner();
    assert!(done > 0, "of four who write at the same time none could");
    assert_eq!(read(store, "conformance"), Some(done.to_string()), "of {done} changes some were lost");
}
