//! Comparisons over real sockets: what is equal, what differs and by how much, what nothing can be said of; and that nothing is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use crate::support::fake::{FakeTable, Kind, connect, quick};
use rowferry::{
    Auth, CancelToken, ConnectOptions, ErrorKind, ExtraColumns, NewConnection, PullOptions, TableVerification, Value,
    VerifyOptions, VerifyReason, VerifyReport, VerifyStatus,
};

const NUMBERS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL, score REAL, photo BLOB);";

/// Rows with these numbers.
fn numbered(from: u32, to: u32) -> String {
    format!(
        "INSERT INTO t WITH RECURSIVE s(n) AS (VALUES ({from}) UNION ALL SELECT n + 1 FROM s WHERE n < {to})
         SELECT n, 'name ' || n, n / 3.0, CASE n % 5 WHEN 0 THEN NULL ELSE x'00ff' END FROM s;"
    )
}

fn of(sql: &str) -> (Sender, Fixture) {
    (Sender::new(sql), Fixture::new(sql))
}

fn verify(there: &Sender, here: &Fixture, options: VerifyOptions<'_>) -> VerifyReport {
    there.client().verify(&here.site, options).unwrap()
}

fn table(there: &Sender, here: &Fixture) -> TableVerification {
    verify(there, here, VerifyOptions::new()).table("t").unwrap().clone()
}

fn counts(table: &TableVerification) -> [Option<u64>; 3] {
    [table.only_there, table.only_here, table.different]
}

fn exactly(counts: [u64; 3]) -> [Option<u64>; 3] {
    counts.map(Some)
}

#[test]
fn tables_with_the_same_rows_are_equal_and_nothing_is_changed() {
    let sql = format!(
        "{NUMBERS} {} CREATE TABLE u(a TEXT, b, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO u VALUES ('x', 1.5); CREATE TABLE empty(id INTEGER PRIMARY KEY);",
        numbered(1, 5_000)
    );
    let there = Sender::new(&sql);
    let here = Fixture::new("");
    assert!(there.pull(&here.site, PullOptions::new()).is_clean());
    let state = |of: &Fixture| of.rows("SELECT count(*), max(rowid) FROM rowferry_transfers");
    let before = (state(&here), state(&there.there), here.rows("SELECT * FROM t"));
    let report = verify(&there, &here, VerifyOptions::new());
    assert!(report.is_equal() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.tables.len(), 3);
    let t = report.table("t").unwrap();
    assert_eq!((t.rows_there, t.rows_here, counts(t)), (Some(5_000), Some(5_000), exactly([0; 3])));
    assert_eq!((state(&here), state(&there.there), here.rows("SELECT * FROM t")), before);
}

#[test]
fn what_differs_is_counted_and_named_around_the_size_of_a_stratum() {
    let rows = 20_000;
    for differences in [1u32, 60, 61, 1_000] {
        let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, rows)));
        // A third each: other values, only there, only here.
        let (changed, added) = (differences - 2 * (differences / 3), differences / 3);
        there.there.run(&format!(
            "UPDATE t SET name = 'new' WHERE id <= {changed}; {}",
            if added > 0 { numbered(rows + 1, rows + added) } else { String::new() }
        ));
        here.run(&if added > 0 { numbered(rows + 5_001, rows + 5_000 + added) } else { String::new() });
        let t = table(&there, &here);
        assert_eq!((t.status, t.reason, t.estimated), (VerifyStatus::Different, None, false), "{differences}: {t:?}");
        assert_eq!(counts(&t), exactly([added, added, changed].map(u64::from)), "{differences}");
        assert_eq!((t.rows_there, t.rows_here), (Some(u64::from(rows + added)), Some(u64::from(rows + added))));
        let numbers = |keys: &[Vec<Value>]| -> Vec<i64> { keys.iter().map(|key| key[0].as_integer().unwrap()).collect() };
        let (rows, changed, added) = (i64::from(rows), i64::from(changed), i64::from(added));
        assert_eq!(t.keys.different.len() as i64, changed.min(20));
        assert!(numbers(&t.keys.different).iter().all(|id| (1..=changed).contains(id)), "{:?}", t.keys);
        assert_eq!((t.keys.only_there.len() as i64, t.keys.only_here.len() as i64), (added.min(20), added.min(20)));
        assert!(numbers(&t.keys.only_there).iter().all(|id| (rows + 1..=rows + added).contains(id)), "{:?}", t.keys);
        assert!(numbers(&t.keys.only_here).iter().all(|id| *id > rows + 5_000), "{:?}", t.keys);
    }
}

#[test]
fn much_that_differs_is_counted_too() {
    let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, 20_000)));
    here.run("UPDATE t SET score = score + 1 WHERE id % 7 = 0");
    let t = table(&there, &here);
    assert_eq!((counts(&t), t.estimated), (exactly([0, 0, 2_857]), false));
    here.run("UPDATE t SET name = 'all'");
    let t = table(&there, &here);
    assert_eq!((counts(&t), t.estimated), (exactly([0, 0, 20_000]), false));
    here.run("DELETE FROM t");
    let t = table(&there, &here);
    assert_eq!((counts(&t), t.rows_here), (exactly([20_000, 0, 0]), Some(0)));
    assert!(!t.estimated, "{t:?}");
}

#[test]
fn how_many_keys_are_listed_is_for_the_caller() {
    let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, 300)));
    here.run("DELETE FROM t WHERE id <= 50");
    for (keys, expected) in [(0, 0), (7, 7), (1_000, 50)] {
        let report = verify(&there, &here, VerifyOptions::new().keys(keys));
        let t = report.table("t").unwrap();
        assert_eq!((t.keys.only_there.len(), t.only_there), (expected, Some(50)));
    }
}

#[test]
fn rows_without_a_key_are_compared_by_their_sums() {
    let (there, here) = of("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (NULL, x'')");
    // The order is another.
    here.run("DELETE FROM t; INSERT INTO t VALUES (NULL, x''), (1, 'x'), (1, 'x')");
    assert_eq!(table(&there, &here).status, VerifyStatus::Equal);
    here.run("DELETE FROM t WHERE rowid = 3");
    let t = table(&there, &here);
    assert_eq!((t.status, t.reason, counts(&t)), (VerifyStatus::Different, Some(VerifyReason::NoKey), [None; 3]));
    assert_eq!((t.rows_there, t.rows_here), (Some(3), Some(2)));
}

#[test]
fn keys_are_paired_as_the_local_table_compares_them() {
    let there =
        Sender::new("CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v); INSERT INTO t VALUES ('A', 1), ('b', 2), ('C', 3)");
    let here = Fixture::new(
        "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('d', 4)",
    );
    let t = table(&there, &here);
    assert_eq!(counts(&t), exactly([1, 1, 1]), "{t:?}");
    assert_eq!((&t.keys.only_there[..], &t.keys.only_here[..]), (&[vec!["C".into()]][..], &[vec!["d".into()]][..]));
    assert_eq!(t.keys.different, [vec!["A".into()]]);
}

#[test]
fn keys_of_several_columns_are_named_whole() {
    let (there, here) = of(
        "CREATE TABLE t(v, b INTEGER, a TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES (1, 2, 'x'), (1, 3, 'x')",
    );
    here.run("UPDATE t SET v = 9 WHERE b = 3");
    let t = table(&there, &here);
    assert_eq!((counts(&t), &t.keys.different[..]), (exactly([0, 0, 1]), &[vec!["x".into(), 3.into()]][..]));
}

#[test]
fn the_order_of_columns_does_not_matter() {
    let there = Sender::new("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b REAL); INSERT INTO t VALUES (1, 'x', 2.5)");
    let here = Fixture::new("CREATE TABLE T(B REAL, A TEXT, ID INTEGER PRIMARY KEY); INSERT INTO t VALUES (2.5, 'x', 1)");
    assert_eq!(table(&there, &here).status, VerifyStatus::Equal);
}

#[test]
fn nothing_is_said_of_tables_with_other_columns_unless_they_are_to_be_ignored() {
    let there = Sender::new("CREATE TABLE t(id INTEGER PRIMARY KEY, a, x); INSERT INTO t VALUES (1, 2, 3), (2, 2, 3)");
    let here =
        Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, a, note); INSERT INTO t VALUES (1, 2, 'mine'), (2, 9, 'mine')");
    let t = table(&there, &here);
    assert_eq!((t.status, t.reason), (VerifyStatus::Inconclusive, Some(VerifyReason::SchemaDiffers)));
    assert_eq!((t.error.unwrap().kind(), t.only_there), (ErrorKind::SchemaMismatch, None));
    let report = verify(&there, &here, VerifyOptions::new().extra_columns(ExtraColumns::Ignore));
    let t = report.table("t").unwrap();
    assert_eq!((counts(t), &t.keys.different[..]), (exactly([0, 0, 1]), &[vec![2.into()]][..]), "{t:?}");
}

#[test]
fn columns_that_store_otherwise_are_equal_where_their_values_are() {
    let there = Sender::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x')");
    let here = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES (1, 'x')");
    assert_eq!(table(&there, &here).status, VerifyStatus::Equal);
    there.there.run("INSERT INTO t VALUES (2, '5')");
    here.run("INSERT INTO t VALUES (2, '5')");
    let t = table(&there, &here);
    assert_eq!((t.status, t.reason), (VerifyStatus::Inconclusive, Some(VerifyReason::SchemaDiffers)));
    assert!(t.error.unwrap().message().contains("\"v\" is TEXT there and INTEGER here"));
}

#[test]
fn tables_that_only_one_end_has_are_told() {
    let there = Sender::new(&format!("{NUMBERS} {}", numbered(1, 7)));
    let here = Fixture::new("CREATE TABLE mine(id INTEGER PRIMARY KEY)");
    let report = verify(&there, &here, VerifyOptions::new());
    assert_eq!(counts(report.table("t").unwrap()), exactly([7, 0, 0]));
    assert!(report.notes.len() == 1 && report.notes[0].contains("(not_offered): \"mine\""), "{:?}", report.notes);
    let report = verify(&there, &here, VerifyOptions::new().tables(["t", "ghost"]));
    let ghost = report.table("ghost").unwrap();
    assert_eq!((ghost.status, ghost.reason), (VerifyStatus::Inconclusive, Some(VerifyReason::NotAllowed)));
    assert_eq!((report.status(), report.notes.len()), (VerifyStatus::Different, 0));
    assert!(there.client().verify(&here.site, VerifyOptions::new().exclude(["ghost"])).is_err());
}

#[test]
fn both_ends_are_compared_as_they_were_at_one_moment() {
    let sql = format!("{NUMBERS} {}", numbered(1, 30_000));
    let (there, here) = of(&sql);
    let ends = Arc::new(AtomicBool::new(false));
    std::thread::scope(|threads| {
        for file in [here.path(), there.there.path()] {
            let ends = Arc::clone(&ends);
            threads.spawn(move || {
                let sqlite = rusqlite::Connection::open(file).unwrap();
                sqlite.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
                // Rows that are there come and go together: each state has an even number of them.
                while !ends.load(Ordering::SeqCst) {
                    sqlite.execute_batch("INSERT INTO t(id, name) VALUES (-1, 'a'), (40000, 'b')").unwrap();
                    sqlite.execute_batch("DELETE FROM t WHERE id IN (-1, 40000)").unwrap();
                }
            });
        }
        let client = there.client();
        for _ in 0..5 {
            let report = client.verify(&here.site, VerifyOptions::new()).unwrap();
            let t = report.table("t").unwrap();
            let expected = [[0, 0, 0], [2, 0, 0], [0, 2, 0]].map(exactly);
            assert!(expected.contains(&counts(t)), "{t:?}");
        }
        ends.store(true, Ordering::SeqCst);
    });
}

#[test]
fn it_goes_by_code_by_token_and_through_a_connection() {
    let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, 100)));
    let code = there.code();
    let by_code =
        || here.site.verify_from(there.server.url(), Auth::code(&code), ConnectOptions::default(), VerifyOptions::new());
    assert!(by_code().unwrap().is_equal());
    assert_eq!(by_code().unwrap_err().kind(), ErrorKind::CodeUsed, "it is spent");

    let made = there.there.site.connections().create(NewConnection::sender("Backup", "https://backup.example")).unwrap();
    let auth = Auth::token(made.token.as_str());
    let report = here.site.verify_from(there.server.url(), auth, ConnectOptions::default(), VerifyOptions::new()).unwrap();
    assert!(report.is_equal(), "{report:?}");
    let stored = there.there.site.connections().get(made.connection.uuid).unwrap();
    assert_eq!(stored.downloads_used, 0, "no download is taken");
}

#[test]
fn a_site_of_phoenixkit_cannot_compare() {
    let here = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)");
    let client = connect(Kind::PhoenixKit, vec![FakeTable::new("t", &["a"])], quick(), Arc::new(|_, _| false));
    let report = client.verify(&here.site, VerifyOptions::new()).unwrap();
    let t = report.table("t").unwrap();
    assert_eq!((t.status, t.reason), (VerifyStatus::Inconclusive, Some(VerifyReason::PeerLacksFeature)));
    assert!(t.error.as_ref().is_some_and(|error| error.hint().is_some()));
    // Nor does a rowferry that does not say that it can.
    let client = connect(Kind::Rowferry, vec![FakeTable::new("t", &["a"])], quick(), Arc::new(|_, _| false));
    let report = client.verify(&here.site, VerifyOptions::new()).unwrap();
    assert_eq!(report.table("t").unwrap().reason, Some(VerifyReason::PeerLacksFeature));
}

#[test]
fn a_database_is_not_compared_with_itself() {
    let there = Sender::new(NUMBERS);
    let error = there.client().verify(&there.there.site, VerifyOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SelfConnection);
}

#[test]
fn it_ends_when_it_is_cancelled() {
    let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, 50_000)));
    let token = CancelToken::new();
    let cancel = token.clone();
    let options = VerifyOptions::new().cancel(token).on_progress(move |_| cancel.cancel());
    let report = verify(&there, &here, options);
    let t = report.table("t").unwrap();
    assert_eq!((t.status, t.reason), (VerifyStatus::Inconclusive, Some(VerifyReason::Failed)));
    assert_eq!(t.error.as_ref().unwrap().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_pull_goes_on_through_the_same_client() {
    let (there, here) = of(&format!("{NUMBERS} {}", numbered(1, 3_000)));
    there.there.run("UPDATE t SET name = 'x' WHERE id = 5");
    let client = there.client();
    let compare = || counts(client.verify(&here.site, VerifyOptions::new()).unwrap().table("t").unwrap());
    assert_eq!(compare(), exactly([0, 0, 1]));
    let report = client.pull(&here.site, PullOptions::new().strategy(rowferry::Strategy::Overwrite)).unwrap();
    assert!(report.is_clean());
    // What it compares with is the sender's state of now.
    assert_eq!(compare(), exactly([0; 3]));
    there.there.run("DELETE FROM t WHERE id = 7");
    client.pull(&here.site, PullOptions::new()).unwrap().ok().unwrap();
    assert_eq!(compare(), exactly([0, 1, 0]));
}
