//! A unique value that rows of other tables refer to is renamed at the sender: one pull brings over both.

use std::sync::Arc;

use crate::support::common::Fixture;
use rowferry::store::MemoryStore;
use rowferry::{PullOptions, Records, Report, Site, Strategy, Value};

type Table<'t> = (&'t str, &'t [&'t str], Vec<Vec<Value>>);

fn v(value: impl Into<Value>) -> Value {
    value.into()
}

fn import(site: &Site, tables: &[Table<'_>], options: PullOptions<'_>) -> Report {
    let records: Vec<Records> = tables
        .iter()
        .map(|(_, columns, rows)| {
            let mut records = Records::new(columns.iter().copied());
            rows.iter().for_each(|row| records.push(row.iter().cloned()));
            records
        })
        .collect();
    let given: Vec<_> = tables.iter().zip(&records).map(|((name, ..), records)| (*name, records)).collect();
    site.import_multiple(&given, options).unwrap()
}

fn overwrite() -> PullOptions<'static> {
    PullOptions::new().strategy(Strategy::Overwrite)
}

/// Created, updated, unchanged and failed records of a table, and what failed.
fn counts(report: &Report, table: &str) -> ([u64; 4], Vec<(Value, &'static str)>) {
    let report = report.table(table).unwrap();
    assert!(report.error.is_none(), "{report:?}");
    let outcome = &report.outcome;
    let failed = outcome.failures.iter().map(|failure| (failure.key[0].clone(), failure.reason.code())).collect();
    ([outcome.created, outcome.updated, outcome.unchanged, outcome.failed], failed)
}

fn message(report: &Report, table: &str) -> String {
    let report = report.table(table).unwrap();
    report.outcome.failures[0].message.clone()
}

const ACTIONS: [&str; 4] = ["", "ON UPDATE RESTRICT", "DEFERRABLE INITIALLY DEFERRED", "ON UPDATE CASCADE"];

fn schema(action: &str) -> String {
    format!(
        "CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
         CREATE TABLE post(id INTEGER PRIMARY KEY, author TEXT REFERENCES member(name) {action});
         CREATE TABLE note(id INTEGER PRIMARY KEY, post INT REFERENCES post(id));"
    )
}

fn members(rows: &[(i64, &str)]) -> Table<'static> {
    ("member", &["id", "name"], rows.iter().map(|(id, name)| vec![v(*id), v(*name)]).collect())
}

fn posts(rows: &[(i64, &str)]) -> Table<'static> {
    ("post", &["id", "author"], rows.iter().map(|(id, author)| vec![v(*id), v(*author)]).collect())
}

fn notes(rows: &[(i64, i64)]) -> Table<'static> {
    ("note", &["id", "post"], rows.iter().map(|(id, post)| vec![v(*id), v(*post)]).collect())
}

fn texts(here: &Fixture, sql: &str) -> Vec<String> {
    here.rows(sql).into_iter().map(|text| text.trim_matches('\'').to_owned()).collect()
}

/// All rows, none of which refers to nothing.
fn all(here: &Fixture) -> Vec<String> {
    assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0]);
    texts(
        here,
        "SELECT 'm' || id || name FROM member UNION ALL SELECT 'p' || id || author FROM post \
         UNION ALL SELECT 'n' || id || post FROM note",
    )
}

#[test]
fn both_come_over_in_one_pull_whatever_the_reference_says() {
    for action in ACTIONS {
        let here = Fixture::new(&format!(
            "{} INSERT INTO member VALUES (1, 'ann'), (2, 'bo'); INSERT INTO post VALUES (1, 'ann'), (2, 'bo');",
            schema(action)
        ));
        let before = all(&here);
        let records =
            [members(&[(1, "anna"), (2, "bo")]), posts(&[(1, "anna"), (2, "bo"), (3, "anna")]), notes(&[(1, 3), (2, 1)])];
        let tried = import(&here.site, &records, overwrite().dry_run(true));
        assert_eq!(all(&here), before, "{action}");
        let done = import(&here.site, &records, overwrite());
        for report in [tried, done] {
            assert_eq!(counts(&report, "member"), ([0, 1, 1, 0], vec![]), "{action}");
            let (found, failed) = counts(&report, "post");
            // A row that follows is as it is to be.
            assert_eq!((found[0], found[1] + found[2], failed), (1, 2, vec![]), "{action}");
            assert_eq!(counts(&report, "note"), ([2, 0, 0, 0], vec![]), "{action}");
        }
        let expected = ["m1anna", "m2bo", "p1anna", "p2bo", "p3anna", "n13", "n21"];
        assert_eq!(all(&here), expected, "{action}");
        let again = import(&here.site, &records, overwrite());
        assert!(again.is_clean() && counts(&again, "post").0 == [0, 0, 3, 0], "{action} {again:?}");
    }
}

#[test]
fn a_name_that_a_local_row_holds_fails_alone() {
    for action in &ACTIONS[..3] {
        let here = Fixture::new(&format!(
            "{} INSERT INTO member VALUES (1, 'ann'), (2, 'bo'), (3, 'cy'); INSERT INTO post VALUES (1, 'ann'), (2, 'bo'), (50, 'bo');",
            schema(action)
        ));
        // The post 50 is none of the sender's: it holds the name of 2, so that the posts of 2 cannot come. 3 is free.
        let records = [
            members(&[(1, "anna"), (2, "bob"), (3, "cyd"), (4, "di")]),
            posts(&[(1, "anna"), (2, "bob"), (3, "di"), (4, "bob"), (5, "nobody")]),
            notes(&[(1, 4), (2, 1)]),
        ];
        let report = import(&here.site, &records, overwrite());
        assert_eq!(counts(&report, "member"), ([1, 2, 0, 1], vec![(v(2), "foreign_key")]), "{action}");
        assert!(message(&report, "member").contains("\"post\""), "{action}: {}", message(&report, "member"));
        let (found, mut failed) = counts(&report, "post");
        failed.sort_by_key(|(key, _)| format!("{key:?}"));
        let expected = [2, 4, 5].map(|key| (v(key), "foreign_key"));
        assert_eq!((found, failed), ([1, 1, 0, 3], expected.to_vec()), "{action}");
        assert_eq!(counts(&report, "note"), ([1, 0, 0, 1], vec![(v(1), "foreign_key")]), "{action}");
        let expected = ["m1anna", "m2bo", "m3cyd", "m4di", "p1anna", "p2bo", "p3di", "p50bo", "n21"];
        assert_eq!(all(&here), expected, "{action}");
    }
}

#[test]
fn names_that_rows_refer_to_are_exchanged() {
    for action in ACTIONS {
        let here = Fixture::new(&format!(
            "{} INSERT INTO member VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO post VALUES (1, 'a'), (2, 'b'), (3, 'c');",
            schema(action)
        ));
        let records = [members(&[(1, "b"), (2, "c"), (3, "a")]), posts(&[(1, "b"), (2, "c"), (3, "a")])];
        let report = import(&here.site, &records, overwrite());
        assert!(report.is_clean(), "{action} {report:?}");
        assert_eq!(all(&here), ["m1b", "m2c", "m3a", "p1b", "p2c", "p3a"], "{action}");
    }
}

#[test]
fn a_table_that_refers_to_itself_is_renamed_with_those_that_refer_to_it() {
    for action in &ACTIONS[..3] {
        let here = Fixture::new(&format!(
            "CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, boss INT REFERENCES member(id));
             CREATE TABLE post(id INTEGER PRIMARY KEY, author TEXT REFERENCES member(name) {action});
             INSERT INTO member VALUES (1, 'ann', NULL), (2, 'bo', 1); INSERT INTO post VALUES (1, 'ann'), (2, 'bo');"
        ));
        let rows = vec![vec![v(1), v("anna"), v(2)], vec![v(2), v("bo"), v(1)], vec![v(3), v("cy"), v(3)]];
        let records = [("member", &["id", "name", "boss"][..], rows), posts(&[(1, "anna"), (2, "cy"), (3, "anna")])];
        let report = import(&here.site, &records, overwrite());
        assert!(report.is_clean(), "{action} {report:?}");
        assert_eq!(texts(&here, "SELECT name || boss FROM member"), ["anna2", "bo1", "cy3"], "{action}");
        assert_eq!(texts(&here, "SELECT author FROM post"), ["anna", "cy", "anna"], "{action}");
    }
}

#[test]
fn the_store_in_memory_does_the_same() {
    for action in ["", "ON UPDATE RESTRICT"] {
        let model = Fixture::new(&schema(action));
        let site = Site::builder().with_store(Arc::new(MemoryStore::new().unwrap()));
        for table in ["member", "post", "note"] {
            assert_eq!(site.create_table(&model.site.get_schema(table).unwrap()).unwrap(), Vec::<String>::new());
        }
        let first = [members(&[(1, "ann"), (2, "bo")]), posts(&[(1, "ann"), (2, "bo"), (50, "bo")])];
        assert!(import(&site, &first, overwrite()).is_clean());
        let records =
            [members(&[(1, "anna"), (2, "bob")]), posts(&[(1, "anna"), (2, "bob"), (3, "anna")]), notes(&[(1, 3)])];
        let report = import(&site, &records, overwrite());
        assert_eq!(counts(&report, "member"), ([0, 1, 0, 1], vec![(v(2), "foreign_key")]), "{action}");
        assert_eq!(counts(&report, "post"), ([1, 1, 0, 1], vec![(v(2), "foreign_key")]), "{action}");
        assert!(counts(&report, "note").1.is_empty(), "{action}");
    }
}
