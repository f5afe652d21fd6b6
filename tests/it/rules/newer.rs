//! Records that change their rows only where they are newer.

use super::{counts, of, records, v};
use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{ErrorKind, Outcome, PullOptions, Strategy, Value};

const NULL: Value = Value::Null;

fn import(here: &Fixture, rows: &[&[Value]], strategy: Strategy) -> Outcome {
    let options = PullOptions::new().strategy(strategy).newer_by("AT");
    let report = here.site.import_records("t", &records(&["id", "v", "at"], rows), options).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    report.outcome
}

#[test]
fn only_what_is_newer_changes_its_row() {
    // In bulk; with indexes beside the key; one by one; with all rows at once.
    for table in [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at); CREATE INDEX by_v ON t(v); CREATE INDEX by_at ON t(at);",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at TEXT COLLATE NOCASE)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at); CREATE TRIGGER none AFTER UPDATE ON t BEGIN SELECT 1; END;",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at, up INT REFERENCES t(id))",
        "PRAGMA encoding = 'UTF-16'; CREATE TABLE t(id INTEGER PRIMARY KEY, v, at)",
    ] {
        for strategy in [Strategy::Overwrite, Strategy::Merge] {
            let here = Fixture::new(&format!(
                "{table}; INSERT INTO t(id, v, at) VALUES (1, 1, '2026-01-01'), (2, 2, '2026-01-01'), (3, 3, '2026-01-01'),
                 (4, 4, '2026-01-01'), (5, 5, NULL), (6, 6, NULL), (7, 7, '2026-01-01'), (8, 8, 'b');"
            ));
            let rows: [&[Value]; 9] = [
                &[v(1), v(10), v("2026-01-02")],
                &[v(2), v(20), v("2025-12-31")],
                &[v(3), v(3), v("2026-01-01")],
                &[v(4), v(40), v("2026-01-01")],
                &[v(5), v(50), v("2026-01-01")],
                &[v(6), v(60), NULL],
                &[v(7), v(70), NULL],
                // By its bytes, whatever the collation.
                &[v(8), v(80), v("B")],
                &[v(9), v(90), NULL],
            ];
            let outcome = import(&here, &rows, strategy);
            assert_eq!((counts(&outcome), outcome.differing), ("1/2/1/5/0".into(), 5), "{table} {strategy}");
            let expected = ["10", "2", "3", "4", "50", "6", "7", "8", "90"];
            assert_eq!(here.rows("SELECT v FROM t ORDER BY id"), expected, "{table} {strategy}");
            assert_eq!(counts(&import(&here, &rows, strategy)), "0/0/4/5/0", "{table} {strategy}");
        }
    }
}

#[test]
fn values_of_other_classes_compare_as_sqlite_sorts_them() {
    let here = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, at); INSERT INTO t VALUES (1, 1, 9), (2, 2, 'a'), (3, 3, 2), (4, 4, 2), (5, 5, x'00');",
    );
    let rows: [&[Value]; 5] = [
        &[v(1), v(0), v("1")],
        &[v(2), v(0), v(99)],
        &[v(3), v(0), Value::Real(2.5)],
        &[v(4), v(0), Value::Real(2.0)],
        &[v(5), v(0), v("z")],
    ];
    assert_eq!(counts(&import(&here, &rows, Strategy::Overwrite)), "0/2/0/3/0");
    assert_eq!(here.rows("SELECT v FROM t ORDER BY id"), ["0", "2", "0", "4", "5"]);
}

#[test]
fn many_records_in_any_order_are_counted_alike() {
    let numbers = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 4000)";
    let table = "CREATE TABLE t(id TEXT PRIMARY KEY, v INT, at INT); CREATE INDEX by_v ON t(v);";
    let sender = Sender::new(&format!("{table} {numbers} INSERT INTO t SELECT 'k' || (n * 7919 % 4001), n, n % 10 FROM s"));
    let here = Fixture::new(&format!(
        "{table} {numbers} INSERT INTO t SELECT 'k' || (n * 7919 % 4001), n % 3, 5 FROM s WHERE n % 4 > 0"
    ));
    let report = sender.pull(&here.site, PullOptions::new().strategy(Strategy::Overwrite).newer_by("at"));
    let expected = here.rows(&format!(
        "{numbers} SELECT sum(n % 4 = 0), sum(n % 4 > 0 AND n % 10 > 5), sum(n % 4 > 0 AND n % 10 <= 5) FROM s"
    ));
    let Outcome { created, updated, skipped, differing, .. } = of(&report, "t");
    assert_eq!((format!("{created}|{updated}|{skipped}"), differing), (expected[0].clone(), skipped));
    assert_eq!(here.rows("SELECT count(*), min(at) FROM t WHERE v > 3"), here.rows("SELECT count(*), 0 FROM t WHERE v > 3"));
}

#[test]
fn tables_of_which_no_record_can_be_newer_say_so() {
    let tables = "CREATE TABLE a(id INTEGER PRIMARY KEY, at); CREATE TABLE b(id INTEGER PRIMARY KEY, v); CREATE TABLE c(at);
        CREATE TABLE d(id INTEGER PRIMARY KEY, at AS (id)); CREATE TABLE e(id INTEGER PRIMARY KEY, v);";
    let (sender, here) = (Sender::new(tables), Fixture::new(tables));
    here.run("DROP TABLE e");
    let options = || PullOptions::new().strategy(Strategy::Overwrite).newer_by("at");
    let report = sender.pull(&here.site, options().table_strategy("d", Strategy::Skip));
    let notes = |table: &str| report.table(table).unwrap().notes.join("\n");
    assert!(report.is_clean() && notes("b").contains("(no_newer_by)") && notes("c").contains("no key"), "{report:?}");
    assert_eq!([notes("a"), notes("d"), notes("e")], [""; 3]);
    assert!(sender.pull(&here.site, options()).table("d").unwrap().notes[0].contains("computed"));
    for (table, column, what) in [("b", "at", "no column"), ("c", "at", "no key"), ("d", "at", "computed")] {
        let report = sender.pull(&here.site, PullOptions::new().strategy(Strategy::Merge).table_newer_by(table, column));
        let error = report.table(table).unwrap().error.as_ref().unwrap();
        assert!(error.kind() == ErrorKind::SchemaMismatch && error.to_string().contains(what), "{error}");
    }
    for options in [
        PullOptions::new().newer_by("at"),
        PullOptions::new().table_newer_by("a", "at"),
        PullOptions::new().strategy(Strategy::Append).table_newer_by("a", "at"),
        PullOptions::new().strategy(Strategy::Merge).table_newer_by("x", "at"),
    ] {
        assert_eq!(sender.client().pull(&here.site, options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_column_that_no_table_has_is_an_error_before_a_row_moves() {
    let tables = "CREATE TABLE a(id INTEGER PRIMARY KEY, v, updated_at); CREATE TABLE b(id INTEGER PRIMARY KEY, v, seen);";
    let sender = Sender::new(&format!("{tables} INSERT INTO a VALUES (1, 'old', 1), (2, 'new', 1)"));
    let here =
        Fixture::new("CREATE TABLE a(id INTEGER PRIMARY KEY, v, updated_at); CREATE TABLE b(id INTEGER PRIMARY KEY, v);");
    here.run("INSERT INTO a VALUES (1, 'newer', 2)");
    let options = |column: &str| PullOptions::new().strategy(Strategy::Overwrite).newer_by(column);
    for (options, hint) in [
        (options("updated"), "\"updated_at\""),
        (options("updatd_at"), "\"updated_at\""),
        (options("updated_at").table("b"), "a table has"),
        // Not here, where its rows are to be kept.
        (options("seen"), "a table has"),
        (options("updated").dry_run(true), "\"updated_at\""),
        (options("updated").table_newer_by("a", "updated_at"), "a table has"),
    ] {
        let error = sender.client().pull(&here.site, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("newer by") && error.hint().unwrap().contains(hint), "{error:?}");
        assert_eq!(here.rows("SELECT v FROM a"), ["'newer'"]);
    }
    // Each has its own; a table that is made has the sender's.
    let report = sender.pull(&here.site, options("updated").table_newer_by("a", "updated_at").table_newer_by("b", "v"));
    assert_eq!(counts(of(&report, "a")), "1/0/0/1/0");
    assert_eq!(here.rows("SELECT v FROM a"), ["'newer'", "'new'"]);
    here.run("DROP TABLE b");
    assert!(sender.pull(&here.site, options("SEEN")).is_clean());
}

#[test]
fn a_table_may_have_a_column_of_its_own() {
    let tables = "CREATE TABLE a(id INTEGER PRIMARY KEY, at, since); CREATE TABLE b(id INTEGER PRIMARY KEY, at, since);";
    let rows =
        |at: i64, since: i64| format!("INSERT INTO a VALUES (1, {at}, {since}); INSERT INTO b VALUES (1, {at}, {since});");
    let (sender, here) = (Sender::new(&(tables.to_owned() + &rows(2, 1))), Fixture::new(&(tables.to_owned() + &rows(1, 2))));
    let options = PullOptions::new().strategy(Strategy::Overwrite).newer_by("at").table_newer_by("b", "since");
    let report = sender.pull(&here.site, options.dry_run(true));
    assert_eq!([counts(of(&report, "a")), counts(of(&report, "b"))], ["0/1/0/0/0", "0/0/0/1/0"]);
}
