//! Rules that decide what becomes of rows that records would change.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{counts, of, reasons, records, v};
use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{ErrorKind, Outcome, PullOptions, Record, Resolution, Strategy, Value, ValueRef};

const NULL: Value = Value::Null;

fn number(row: &Record<'_>, column: &str) -> i64 {
    match row.get(column) {
        Some(ValueRef::Integer(number)) => number,
        other => panic!("{column} is {other:?}"),
    }
}

fn import(here: &Fixture, rows: &[&[Value]], options: PullOptions<'_>) -> Outcome {
    here.site.import_records("t", &records(&["id", "v", "w"], rows), options).unwrap().outcome
}

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v INT CHECK (v < 100), w TEXT, own DEFAULT 'o', g AS (v + 1));
    INSERT INTO t(id, v, w) VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, 5, 'e'), (6, 6, 'f');";

#[test]
fn each_resolution_does_what_it_says_and_equal_rows_are_not_asked_for() {
    for strategy in [Strategy::Overwrite, Strategy::Merge] {
        let here = Fixture::new(TABLE);
        let mut asked = Vec::new();
        let options = PullOptions::new().strategy(strategy).on_conflict("t", |local, incoming| {
            assert_eq!((local.table(), local.get("ID")), ("t", incoming.get("id")));
            assert_eq!((local.get("own"), local.get("g").is_some()), (Some(ValueRef::Text(b"o")), true));
            assert_eq!((incoming.get("own"), incoming.columns().count()), (None, 3));
            let id = number(local, "id");
            asked.push(id);
            match id {
                2 => Resolution::Keep,
                3 => Resolution::Take,
                4 => Resolution::Merge(vec![("V".into(), (number(local, "v") + number(incoming, "v")).into())]),
                5 => Resolution::Merge(vec![("w".into(), "e".into()), ("id".into(), 5.into())]),
                _ => Resolution::Fail("not this one".into()),
            }
        });
        let rows: [&[Value]; 7] = [
            &[v(1), v(1), v("a")],
            &[v(2), v(20), v("B")],
            &[v(3), v(30), NULL],
            &[v(4), v(40), v("D")],
            &[v(5), v(50), v("E")],
            &[v(6), v(60), v("F")],
            &[v(7), v(70), v("G")],
        ];
        let outcome = import(&here, &rows, options);
        assert_eq!(asked, [2, 3, 4, 5, 6]);
        assert_eq!((counts(&outcome), outcome.differing), ("1/2/2/1/1".into(), 1), "{strategy}");
        let failure = &outcome.failures[0];
        assert_eq!((failure.reason.code(), &*failure.message, &failure.key[0]), ("refused_by_rule", "not this one", &v(6)));
        let third = if strategy == Strategy::Merge { "30|'c'" } else { "30|NULL" };
        assert_eq!(here.rows("SELECT v, w FROM t"), ["1|'a'", "2|'b'", third, "44|'d'", "5|'e'", "6|'f'", "70|'G'"]);
    }
}

#[test]
fn what_a_rule_cannot_make_of_a_row_fails() {
    let here = Fixture::new(TABLE);
    let options = PullOptions::new().strategy(Strategy::Overwrite).on_conflict("t", |local, _| {
        Resolution::Merge(match number(local, "id") {
            1 => vec![("nothing".into(), 1.into())],
            2 => vec![("id".into(), 20.into())],
            3 => vec![("g".into(), 20.into())],
            4 => vec![("v".into(), "1e99999".into())],
            _ => vec![("v".into(), 100.into())],
        })
    });
    let rows: Vec<[Value; 3]> = (1..6).map(|id| [v(id), v(0), v("x")]).collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
    let outcome = import(&here, &rows, options);
    let refused = "refused_by_rule";
    assert_eq!(counts(&outcome), "0/0/0/0/5", "{outcome:?}");
    assert_eq!(reasons(&outcome), [refused, refused, refused, refused, "check"]);
    assert_eq!(here.rows("SELECT sum(v) FROM t"), ["21"]);
}

/// Rows that are kept out by unique values wait, and are asked for again; what a rule made is not tried again.
#[test]
fn unique_values_move_where_the_rule_takes_them() {
    let table =
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v INT UNIQUE, w); INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0);";
    let rows: [&[Value]; 3] = [&[v(1), v(2), v(1)], &[v(2), v(1), v(1)], &[v(3), v(2), v(1)]];
    let here = Fixture::new(table);
    let options = PullOptions::new().strategy(Strategy::Overwrite);
    let outcome = import(&here, &rows, options.on_conflict("t", |_, _| Resolution::Take));
    assert_eq!((counts(&outcome), reasons(&outcome)), ("0/2/0/0/1".into(), vec!["unique_conflict"]));
    assert_eq!(here.rows("SELECT v FROM t ORDER BY id"), ["2", "1", "3"]);
    let here = Fixture::new(table);
    let mut asked = 0;
    let options = PullOptions::new().strategy(Strategy::Overwrite).on_conflict("t", |_, incoming| {
        asked += 1;
        Resolution::Merge(vec![("v".into(), number(incoming, "v").into())])
    });
    let outcome = import(&here, &rows, options);
    assert_eq!((counts(&outcome), asked), ("0/0/0/0/3".into(), 3));
}

#[test]
fn rows_of_tables_that_refer_to_each_other_are_asked_for() {
    let tables = "CREATE TABLE a(id INTEGER PRIMARY KEY, n INT, b REFERENCES b(id)); CREATE TABLE b(id INTEGER PRIMARY KEY, a REFERENCES a(id));";
    let sender = Sender::new(&format!(
        "{tables} INSERT INTO a VALUES (1, 10, NULL); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1;"
    ));
    let here = Fixture::new(&format!("{tables} INSERT INTO a VALUES (1, 5, NULL);"));
    let sum = |local: &Record<'_>, incoming: &Record<'_>| {
        Resolution::Merge(vec![("n".into(), (number(local, "n") + number(incoming, "n")).into())])
    };
    let options = || PullOptions::new().strategy(Strategy::Overwrite).on_conflict("a", sum);
    assert!(sender.pull(&here.site, options().dry_run(true)).is_clean());
    assert_eq!(here.rows("SELECT n FROM a"), ["5"]);
    assert!(sender.pull(&here.site, options()).is_clean());
    assert_eq!(here.rows("SELECT n, b FROM a"), ["15|NULL"]);
}

#[test]
fn an_interrupted_pull_resumes_with_its_rule() {
    let numbers = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 3000)";
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);";
    let sender = Sender::new(&format!("{table} {numbers} INSERT INTO t SELECT n, 1 FROM s"));
    let here = Fixture::new(&format!("{table} {numbers} INSERT INTO t SELECT n, 10 FROM s"));
    let sum = |local: &Record<'_>, incoming: &Record<'_>| {
        Resolution::Merge(vec![("n".into(), (number(local, "n") + number(incoming, "n")).into())])
    };
    let options = || PullOptions::new().strategy(Strategy::Overwrite).batch_size(500).refresh(false).on_conflict("t", sum);
    let first = sender.pull(&here.site, options().max_records(1_000));
    assert!(!first.is_clean() && of(&first, "t").updated > 0, "{first:?}");
    let second = sender.pull(&here.site, options());
    assert!(second.is_clean() && second.table("t").unwrap().resumed, "{second:?}");
    assert_eq!(
        (counts(of(&second, "t")), here.rows("SELECT sum(n) FROM t")),
        ("0/3000/0/0/0".into(), vec!["33000".to_owned()])
    );
}

#[test]
fn a_rule_that_panics_ends_the_pull_and_nothing_of_its_transaction_stays() {
    let sender = Sender::new(&format!("{TABLE} UPDATE t SET v = v + 1;"));
    let here = Fixture::new(TABLE);
    let options = PullOptions::new().strategy(Strategy::Overwrite).on_conflict("t", |local, _| match number(local, "id") {
        3 => panic!("a rule that panics"),
        _ => Resolution::Take,
    });
    assert!(catch_unwind(AssertUnwindSafe(|| sender.pull(&here.site, options))).is_err());
    assert_eq!(here.rows("SELECT sum(v) FROM t"), ["21"]);
    // The database is free again.
    here.run("UPDATE t SET v = 0");
    assert!(sender.pull(&here.site, PullOptions::new().strategy(Strategy::Overwrite)).is_clean());
}

#[test]
fn rules_are_for_strategies_that_change_rows_and_tables_that_are_pulled() {
    let (sender, here) = (Sender::new(TABLE), Fixture::new(TABLE));
    let rule = |_: &Record<'_>, _: &Record<'_>| Resolution::Take;
    for options in [
        PullOptions::new().on_conflict("t", rule),
        PullOptions::new().strategy(Strategy::Append).on_conflict("t", rule),
        PullOptions::new().strategy(Strategy::Merge).on_conflict("x", rule),
    ] {
        assert_eq!(sender.client().pull(&here.site, options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
