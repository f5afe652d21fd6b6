//! The caller is told of records that fail, and may end the pull for them.

use super::{counts, of};
use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{ErrorKind, FailureAction, Limits, PullOptions, Site, TableStatus};

const NUMBERS: &str = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 5000)";

fn tables(check: &str) -> String {
    format!(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT {check}); CREATE TABLE b(id INTEGER PRIMARY KEY, v INT {check});
         CREATE TABLE c(id INTEGER PRIMARY KEY, v INT, up INT REFERENCES c(id));"
    )
}

/// Tables in which every tenth record fails here, and one that refers to itself, in which one refers to nothing.
fn sender() -> Sender {
    let of_c = "PRAGMA foreign_keys = OFF; INSERT INTO c VALUES (1, 1, NULL), (2, 1, 99);";
    let rows = "INSERT INTO a SELECT n, n % 10 FROM s; INSERT INTO b SELECT * FROM a;";
    Sender::new(&format!("{} {NUMBERS} {rows} {of_c}", tables("")))
}

/// A database of which a transaction takes few rows.
fn here() -> (Fixture, Site) {
    let here = Fixture::new(&format!("{} CREATE TABLE told(name, id, code);", tables("CHECK (v > 0)")));
    let mut limits = Limits::default();
    (limits.pull.commit_rows, limits.pull.reported_failures) = (500, 3);
    let site = Site::builder().limits(limits).open(here.path()).unwrap();
    (here, site)
}

/// Small pages of the three tables.
fn options<'p>() -> PullOptions<'p> {
    PullOptions::new().tables(["a", "b", "c"]).batch_size(100)
}

#[test]
fn each_record_that_failed_is_told_once_while_the_database_is_free() {
    let (sender, (here, site)) = (sender(), here());
    let tell = |table: &str, failure: &rowferry::Failure| {
        // Nobody waits for the lock, and what came before is committed.
        let (id, code) = (failure.key[0].as_integer().unwrap(), failure.reason.code());
        here.run(&format!("BEGIN IMMEDIATE; INSERT INTO told VALUES ('{table}', {id}, '{code}'); COMMIT;"));
        assert!(here.rows(&format!("SELECT 1 FROM {table} WHERE id = {} OR '{table}' = 'c'", id - 1)) == ["1"]);
        FailureAction::Continue
    };
    let report = sender.pull(&site, options().on_failure(tell));
    assert_eq!([counts(of(&report, "a")), counts(of(&report, "c"))], ["4500/0/0/0/500", "1/0/0/0/1"]);
    assert_eq!(of(&report, "a").failures.len(), 3, "the report names the first ones");
    let told = "SELECT name, count(*), count(DISTINCT id), sum(id % 10), min(code), max(code) FROM told GROUP BY name ORDER BY name";
    let each = |name: &str| format!("'{name}'|500|500|0|'check'|'check'");
    assert_eq!(here.rows(told), [each("a"), each("b"), "'c'|1|1|2|'foreign_key'|'foreign_key'".to_owned()]);
    // A dry run tells them as well.
    here.run("DELETE FROM told");
    let dry = sender.pull(&site, options().dry_run(true).on_failure(tell));
    assert_eq!((of(&dry, "a").failed, here.rows(told)[0].clone()), (500, each("a")));
}

#[test]
fn one_table_is_stopped_and_the_same_pull_again_resumes() {
    let (sender, (here, site)) = (sender(), here());
    let mut told = Vec::new();
    let report = sender.pull(
        &site,
        options().on_failure(|table, failure| {
            told.push((table.to_owned(), failure.key[0].as_integer().unwrap()));
            if table == "a" { FailureAction::StopTable } else { FailureAction::Continue }
        }),
    );
    let stopped = report.table("a").unwrap();
    assert_eq!((stopped.status, stopped.error.as_ref().unwrap().kind()), (TableStatus::Incomplete, ErrorKind::Stopped));
    assert!(stopped.outcome.created > 0 && stopped.outcome.created < 4_500, "{stopped:?}");
    assert_eq!(counts(of(&report, "b")), "4500/0/0/0/500");
    assert_eq!(told.iter().filter(|(table, _)| table == "a").count(), 1, "it is not asked again");
    assert_eq!(report.ok().unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(here.rows("SELECT count(*) FROM a"), [stopped.outcome.created.to_string()]);
    let again = sender.pull(&site, options());
    assert!(again.table("a").unwrap().resumed, "{again:?}");
    assert_eq!(counts(of(&again, "a")), "4500/0/0/0/500");
    assert_eq!(here.rows("SELECT count(*) FROM a"), ["4500"]);
}

#[test]
fn the_whole_pull_is_stopped_and_what_was_committed_stays() {
    let (sender, (here, site)) = (sender(), here());
    let mut told = 0;
    let report = sender.pull(
        &site,
        options().on_failure(|_, _| {
            told += 1;
            if told < 60 { FailureAction::Continue } else { FailureAction::StopPull }
        }),
    );
    assert_eq!(told, 60);
    let kinds = ["a", "b", "c"].map(|table| report.table(table).unwrap().error.as_ref().map(rowferry::Error::kind));
    assert_eq!(kinds, [Some(ErrorKind::Stopped); 3], "{report:?}");
    assert!(of(&report, "a").created > 0 && report.table("b").unwrap().status == TableStatus::Failed, "{report:?}");
    assert_eq!(here.rows("SELECT count(*) FROM a"), [of(&report, "a").created.to_string()]);
    let again = sender.pull(&site, options());
    let each = ["a", "b"].map(|table| counts(of(&again, table)));
    assert_eq!(each, ["4500/0/0/0/500"; 2]);
}
