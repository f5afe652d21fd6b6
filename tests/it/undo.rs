//! What a pull did is undone: rows are what they were before, byte for byte, whichever way they were written.

use crate::support::common::Fixture;
use crate::support::model::make::{rows, tables};
use crate::support::model::sql::{fill, read};
use crate::support::model::{Model, sorted};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rowferry::{
    Auth, Client, ConnectOptions, Direction, ErrorKind, KeptReason, Limits, ManualClock, PullOptions, Report, Server, Site,
    Strategy as Choice, UndoOptions, UndoReport,
};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

fn pull(sender: &Site, receiver: &Site, options: PullOptions<'_>) -> Report {
    let server = Server::bind(sender, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = sender.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(receiver, options).unwrap()
}

fn transfers(report: &Report) -> Vec<Uuid> {
    report.tables.iter().filter_map(|table| table.transfer).collect()
}

/// Undoes the pull, from whichever transfer of it has something to undo.
fn undo_all(site: &Site, report: &Report, options: UndoOptions) -> Option<UndoReport> {
    for transfer in transfers(report) {
        match site.transfers().undo(transfer, options.whole_pull(true)) {
            Ok(undone) => return Some(undone),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotUndoable, "{error}"),
        }
    }
    None
}

fn all(fixture: &Fixture, names: &[&str]) -> Vec<Vec<String>> {
    names.iter().map(|name| sorted(&read(&fixture.sqlite, &format!("SELECT * FROM \"{name}\"")))).collect()
}

/// Two sites with these tables.
fn pair(sql: &str, there: &str, here: &str) -> (Fixture, Site, Fixture, Site) {
    let (sender, receiver) = (Fixture::new(sql), Fixture::new(sql));
    sender.run(there);
    receiver.run(here);
    let (from, to) = (Site::open(sender.path()).unwrap(), Site::open(receiver.path()).unwrap());
    (sender, from, receiver, to)
}

fn text(fixture: &Fixture, sql: &str) -> String {
    fixture.rows(sql).join("").replace('\'', "")
}

fn undoable(strategy: Choice) -> PullOptions<'static> {
    PullOptions::new().strategy(strategy).undoable(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_are_what_they_were_before(
        (table, there, here) in tables().prop_flat_map(|table| {
            let some = || vec(rows(&table), 0..40);
            (Just(table.clone()), some(), some())
        }),
        strategy in select(vec![Choice::Skip, Choice::Overwrite, Choice::Merge, Choice::Append]),
        commit_rows in 1..60usize,
    ) {
        let sql = table.sql("t");
        let (sender, receiver) = (Fixture::new(&sql), Fixture::new(&sql));
        for (fixture, rows) in [(&sender, &there), (&receiver, &here)] {
            let mut model = Model::new(table.clone());
            rows.iter().for_each(|row| _ = model.insert(row));
            fill(&fixture.sqlite, "t", &model.rows);
        }
        let mut limits = Limits::default();
        limits.pull.commit_rows = commit_rows;
        let (from, to) = (Site::open(sender.path()).unwrap(), Site::builder().limits(limits).open(receiver.path()).unwrap());
        let before = all(&receiver, &["t"]);
        let report = pull(&from, &to, undoable(strategy));
        let after = all(&receiver, &["t"]);
        let dry = undo_all(&to, &report, UndoOptions::new().dry_run(true));
        prop_assert_eq!(&all(&receiver, &["t"]), &after, "a dry run changes nothing");
        let undone = undo_all(&to, &report, UndoOptions::new());
        prop_assert_eq!(dry.as_ref().map(|dry| dry.tables.len()), undone.as_ref().map(|undone| undone.tables.len()));
        prop_assert_eq!(&all(&receiver, &["t"]), &before, "{:?}\n{:?}", report, undone);
        prop_assert_eq!(undone.map_or(0, |undone| undone.kept()), 0);
    }
}

/// Unique values that rotate, rows that wait for others, tables that refer to each other and to themselves, rows without a key.
#[test]
fn whatever_way_rows_were_written() {
    let sql = "CREATE TABLE a (id INTEGER PRIMARY KEY, u TEXT UNIQUE, b INT REFERENCES b DEFERRABLE INITIALLY DEFERRED);
               CREATE TABLE b (id INTEGER PRIMARY KEY, a INT REFERENCES a DEFERRABLE INITIALLY DEFERRED, v);
               CREATE TABLE tree (id INTEGER PRIMARY KEY, up INT REFERENCES tree, n TEXT);
               CREATE TABLE loose (x, y REAL);
               CREATE TABLE swap (id INTEGER PRIMARY KEY, u TEXT NOT NULL UNIQUE);
               CREATE TABLE child (id TEXT PRIMARY KEY, swap INT REFERENCES swap(id) ON DELETE CASCADE, w) WITHOUT ROWID;";
    let there = "PRAGMA defer_foreign_keys = 1; BEGIN;
                 INSERT INTO a VALUES (1, 'y', 1), (2, 'x', 2), (3, 'z', NULL);
                 INSERT INTO b VALUES (1, 2, 'new'), (2, 1, 'new'), (4, 3, x'00');
                 INSERT INTO tree VALUES (1, 1, 'self'), (2, 5, 'later'), (5, 1, 'mid'), (7, 8, 'c'), (8, 7, 'c');
                 INSERT INTO loose VALUES (1, 1), (1, 1), (NULL, 2.5), ('t', NULL);
                 INSERT INTO swap VALUES (1, 'b'), (2, 'c'), (3, 'a'), (9, 'n');
                 INSERT INTO child VALUES ('p', 9, 1), ('q', 1, 2); COMMIT;";
    let here = "BEGIN; INSERT INTO a VALUES (1, 'x', 1), (2, 'y', NULL);
                INSERT INTO b VALUES (1, 1, 'old');
                INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'old');
                INSERT INTO loose VALUES (1, 1), ('mine', 3);
                INSERT INTO swap VALUES (1, 'a'), (2, 'b'), (3, 'c');
                INSERT INTO child VALUES ('q', 2, 'old'); COMMIT;";
    let names = ["a", "b", "tree", "loose", "swap", "child"];
    for strategy in [Choice::Overwrite, Choice::Merge, Choice::Skip, Choice::Append] {
        let (_sender, from, receiver, to) = pair(sql, there, here);
        let before = all(&receiver, &names);
        let report = pull(&from, &to, undoable(strategy));
        assert_ne!(all(&receiver, &names), before);
        let undone = undo_all(&to, &report, UndoOptions::new()).unwrap();
        assert_eq!(undone.kept(), 0, "{strategy}: {undone:?}");
        assert_eq!(all(&receiver, &names), before, "{strategy}: {undone:?}");
    }
}

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);";

#[test]
fn what_somebody_changed_is_kept_and_named() {
    let sql = format!("{T} CREATE TABLE c (id INTEGER PRIMARY KEY, t INT REFERENCES t ON DELETE CASCADE);");
    let (there, here) = (
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'), (6, 'f');",
        "INSERT INTO t VALUES (1, 'old'), (2, 'old'), (6, 'old');",
    );
    let (_sender, from, receiver, to) = pair(&sql, there, here);
    let report = pull(&from, &to, undoable(Choice::Overwrite).table("t"));
    receiver.run(
        "UPDATE t SET v = 'mine' WHERE id = 2; UPDATE t SET v = 'old' WHERE id = 6; DELETE FROM t WHERE id = 5;
                  INSERT INTO c VALUES (1, 4);",
    );
    let transfer = transfers(&report)[0];
    let undone = to.transfers().by("me").undo(transfer, UndoOptions::new()).unwrap();
    let table = &undone.tables[0];
    assert_eq!((table.restored, table.deleted, table.kept, table.unchanged), (1, 1, 2, 2));
    let mut kept: Vec<_> = table.kept_rows.iter().map(|row| (row.key[0].as_integer().unwrap(), row.reason)).collect();
    kept.sort();
    assert_eq!(kept, [(2, KeptReason::Changed), (4, KeptReason::Referenced)]);
    let rows = text(&receiver, "SELECT group_concat(id || v, ' ') FROM (SELECT * FROM t ORDER BY id)");
    assert_eq!(rows, "1old 2mine 4d 6old");
    // Both are in the history, and know each other.
    let own = to.transfers().get(table.undone_by.unwrap()).unwrap();
    assert_eq!(own.metadata["undoes"], transfer.to_string());
    assert_eq!((own.counters.records_updated, own.counters.records_transferred), (1, 2));
    assert_eq!(own.initiated_by.as_deref(), Some("me"));
    assert_eq!(to.transfers().get(transfer).unwrap().metadata["undone_by"], own.uuid.to_string());
    let kind = |uuid| to.transfers().undo(uuid, UndoOptions::new()).unwrap_err().kind();
    assert_eq!((kind(transfer), kind(own.uuid)), (ErrorKind::AlreadyUndone, ErrorKind::NotUndoable));
    assert_eq!(kind(Uuid::new_v4()), ErrorKind::NotFound);
    assert_eq!(text(&receiver, "SELECT count(*) FROM rowferry_undo"), "0");
}

#[test]
fn a_later_transfer_is_undone_first() {
    let (sender, from, receiver, to) =
        pair(T, "INSERT INTO t VALUES (1, 'a'), (2, 'b');", "INSERT INTO t VALUES (1, 'old');");
    let first = transfers(&pull(&from, &to, undoable(Choice::Overwrite)))[0];
    sender.run("UPDATE t SET v = 'c'");
    let second = transfers(&pull(&from, &to, undoable(Choice::Overwrite)))[0];
    let undo = |uuid| to.transfers().undo(uuid, UndoOptions::new());
    assert_eq!(undo(first).unwrap_err().kind(), ErrorKind::LaterTransfer);
    let rows = || text(&receiver, "SELECT group_concat(id || v, ' ') FROM (SELECT * FROM t ORDER BY id)");
    undo(second).unwrap();
    assert_eq!(rows(), "1a 2b");
    undo(first).unwrap();
    assert_eq!(rows(), "1old");
}

#[test]
fn nothing_is_kept_unless_it_is_asked_for() {
    let (_sender, from, receiver, to) = pair(T, "INSERT INTO t VALUES (1, 'a');", "");
    let report = pull(&from, &to, PullOptions::new());
    assert_eq!(text(&receiver, "SELECT count(*) FROM rowferry_undo"), "0");
    let error = to.transfers().undo(transfers(&report)[0], UndoOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotUndoable);
}

#[test]
fn a_table_that_was_changed_or_dropped_is_left_alone() {
    let (_sender, from, receiver, to) = pair(T, "INSERT INTO t VALUES (1, 'a');", "");
    let transfer = transfers(&pull(&from, &to, undoable(Choice::Skip)))[0];
    receiver.run("ALTER TABLE t ADD COLUMN w");
    let kind = || to.transfers().undo(transfer, UndoOptions::new()).unwrap_err().kind();
    assert_eq!(kind(), ErrorKind::SchemaMismatch);
    receiver.run("DROP TABLE t");
    assert_eq!(kind(), ErrorKind::TableNotFound);
}

#[test]
fn it_is_kept_for_a_time_and_within_bytes() {
    for (days, bytes, left) in [(6, 1 << 30, 2), (8, 1 << 30, 0), (6, 0, 0)] {
        let (_sender, from, receiver, to) = pair(T, "INSERT INTO t VALUES (1, 'a');", "");
        let _ = pull(&from, &to, undoable(Choice::Skip));
        receiver.run("UPDATE t SET v = 'b'");
        let _ = pull(&from, &to, undoable(Choice::Overwrite));
        let mut limits = Limits::default();
        limits.retention.undo_bytes = bytes;
        let clock = Arc::new(ManualClock::new(to.clock().now()));
        clock.advance(Duration::from_secs(days * 24 * 3600));
        let later = Site::builder().limits(limits).clock(clock).open(receiver.path()).unwrap();
        let pruned = later.maintain().unwrap().pruned_undo;
        assert_eq!((pruned, text(&receiver, "SELECT count(*) FROM rowferry_undo")), (2 - left, left.to_string()));
    }
}
